//! Resolution of paths in a spec from several working directories; each command is a separate process.

use image::{Rgb, RgbImage};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// One step on embedded scenes, without any path.
const TINY: &str = "
name: tiny
data: { source: { scenes: { train: 8, val: 4 } }, crop: 32 }
backbone: { alexnet: { stem: small, width: 0.1 } }
stages:
  color:
    pretext:
      task: { colorization: { rebalance: off } }
      train: { steps: 1, batch: 2, optimizer: { adam: { lr: 1e-4 } } }
";

/// A stage on plain pictures, as a format string for its source.
const ON_SOURCE: &str = "
name: tiny
data: { source: SOURCE, crop: 8 }
backbone: { alexnet: { stem: small } }
stages:
  color: { pretext: { task: colorization, train: { steps: 1, batch: 2, optimizer: { adam: { lr: 1 } } } } }
";

/// Every spec key that takes a path; here all paths start with `a/`.
const ALL: &str = "
name: all
backbone: { alexnet: { stem: small } }
stages:
  folder:
    pretext:
      data: { source: { folder: { train: a/folder-train, val: a/folder-val } }, crop: 32 }
      init_from: { file: a/start.pth#ema }
      task: { colorization: { prior: { file: a/prior.npy } } }
      train: &train { steps: 1, batch: 2, optimizer: { adam: { lr: 1 } } }
  list:
    pretext:
      data: { source: { list: { train: a/list-train, val: a/list-val, root: a/list-root } }, crop: 32 }
      task: colorization
      train: *train
  parquet:
    pretext:
      data: { source: { parquet: { train: [a/parquet-0, a/parquet-1], val: [a/parquet-2] } }, crop: 32 }
      task: colorization
      train: *train
  shards:
    pretext:
      data: { source: { shards: { train: 'a/shards-{0..1}.tar', val: a/shards-2.tar } }, crop: 32 }
      task: colorization
      train: *train
  stores:
    pretext:
      data: { source: { shards: { train: 's3://me/t-{0..1}.tar', val: 'https://me/v.tar' } }, crop: 32 }
      task: colorization
      train: *train
  binary:
    pretext:
      data: { source: { cifar_binary: { dir: a/binary } }, crop: 32 }
      task: colorization
      train: *train
  colors:
    color_evaluation:
      data: { source: { voc: { devkit: a/devkit, train: a/list.txt, val: name } }, crop: 32 }
      methods: { theirs: { file: a/colorizer }, finished: { pictures: a/pictures } }
      evaluation: { prior: { file: a/prior-of-colors }, classifier: { weights: a/vgg } }
  matlab:
    detection:
      annotated: { source: { voc: { devkit: a/annotated, train: a/annotated.txt, val: a/val.txt, sbd: a/sbd } } }
      backbones: { one: { file: a/one }, two: { rescaled: { file: a/two } } }
      task: { proposals: { mat: { train: a/mat-train, val: a/mat-val } } }
      train: *train
  boxes:
    detection:
      annotated: { source: { voc: { devkit: a/again, train: train } } }
      backbones: { hub: { file: 'hf://me/weights/file.pth#ema' } }
      task: { proposals: { file: { train: a/boxes-train, val: a/boxes-val } } }
      train: *train
";

struct Tree(tempfile::TempDir);

/// Output of a command.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Tree {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A folder with two pictures.
    fn pictures(&self, folder: &str) -> &Self {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        for gray in [10, 200] {
            RgbImage::from_pixel(9, 8, Rgb([gray; 3])).save(folder.join(format!("{gray}.png"))).unwrap();
        }
        self
    }

    /// Runs the program in a folder of the tree.
    fn run(&self, folder: &str, arguments: &[&str]) -> Said {
        self.run_with(folder, arguments, &[])
    }

    fn run_with(&self, folder: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_hueristic"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("HUERISTIC_DATA")
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Output of a command that must succeed.
    fn says(&self, folder: &str, arguments: &[&str]) -> Said {
        let said = self.run(folder, arguments);
        assert_eq!(said.code, Some(0), "{arguments:?} in {folder:?}: {}{}", said.out, said.err);
        said
    }
}

fn on(source: &str) -> String {
    ON_SOURCE.replace("SOURCE", source)
}

/// The paths of [`ALL`], prefixed by `folder`.
fn below(folder: &str, text: &str) -> String {
    text.replace(" a/", &format!(" {folder}a/"))
}

#[test]
fn every_path_begins_at_the_folder_of_the_spec() {
    let tree = Tree::new();
    tree.put("project/sets/all.yaml", ALL);
    let at_home = tree.says("project/sets", &["show", "all.yaml"]).out;
    assert_eq!(at_home.matches(" a/").count(), ALL.matches("a/").count(), "{at_home}");
    assert!(at_home.contains("hf://me/weights/file.pth#ema") && at_home.contains("val: name"), "{at_home}");
    let body = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    for (from, spec, folder) in [
        ("project", "sets/all.yaml", "sets/"),
        ("project", "./sets/all.yaml", "sets/"),
        ("project/sets/deeper", "../all.yaml", "../"),
        ("elsewhere", "../project/sets/all.yaml", "../project/sets/"),
    ] {
        let said = tree.says(from, &["show", spec]);
        assert_eq!(body(&said.out), below(folder, &body(&at_home)), "{spec} from {from}");
        assert_eq!(said.err, "", "nothing is at either place, so nothing is to be told");
    }
    let spec = tree.path("project/sets/all.yaml").display().to_string();
    let folder = tree.path("project/sets").display().to_string() + "/";
    assert_eq!(body(&tree.says("", &["show", &spec]).out), below(&folder, &body(&at_home)));
}

#[test]
fn what_is_shown_reads_back_the_same_in_the_working_directory() {
    let tree = Tree::new();
    let shown = tree.put("project/sets/all.yaml", ALL).says("project", &["show", "sets/all.yaml"]).out;
    assert_eq!(tree.put("project/again.yaml", &shown).says("project", &["show", "again.yaml"]).out, shown);
}

#[test]
fn pictures_beside_the_spec_are_read_from_anywhere() {
    let tree = Tree::new();
    tree.pictures("set/train").pictures("set/val").put("set/val.txt", "val/10.png\n");
    tree.put("set/folder.yaml", &on("{ folder: { train: ./train, val: ../set/val } }"));
    tree.put("set/list.yaml", &on("{ list: { train: val.txt, root: . } }"));
    for from in ["", "set", "else/where"] {
        for (name, images) in [("folder", "train: 2 images"), ("list", "train: 1 image")] {
            let spec = tree.path(&format!("set/{name}.yaml")).display().to_string();
            let said = tree.says(from, &["data", "verify", &spec]);
            assert!(said.out.contains(images) && said.err.is_empty(), "{}{}", said.out, said.err);
        }
    }
}

#[test]
fn a_base_has_its_own_folder() {
    let tree = Tree::new();
    tree.put("bases/base.yaml", &on("{ folder: { train: photos, val: others } }"));
    tree.put("bases/deep/spec.yaml", "extends: ../base.yaml\ndata: { source: { folder: { val: mine } } }");
    tree.put("far/spec.yaml", "extends: $BASES/base.yaml\ndata: { source: { folder: { val: mine } } }");
    let shown = tree.says("", &["show", "bases/deep/spec.yaml"]).out;
    assert!(shown.contains("train: bases/photos\n") && shown.contains("val: bases/deep/mine\n"), "{shown}");
    let bases = tree.path("bases").display().to_string();
    let shown = tree.run_with("", &["show", "far/spec.yaml"], &[("BASES", &bases)]).out;
    let train = format!("train: {bases}/photos\n");
    assert!(shown.contains(&train) && shown.contains("val: far/mine\n"), "{shown}");
}

#[test]
fn the_home_folder_and_variables_are_expanded() {
    let tree = Tree::new();
    tree.put("sets/spec.yaml", &on("{ folder: { train: ~/photos, val: '${PART}-$NUMBER/val' } }"));
    let variables = [("HOME", "/home/of/mine"), ("PART", "part"), ("NUMBER", "7")];
    let shown = tree.run_with("", &["show", "sets/spec.yaml"], &variables).out;
    assert!(shown.contains("train: /home/of/mine/photos\n"), "{shown}");
    assert!(shown.contains("val: sets/part-7/val\n"), "{shown}");
    let set = "data.source.folder.val=$PART/~";
    let shown = tree.run_with("", &["show", "sets/spec.yaml", "--set", set], &variables).out;
    assert!(shown.contains("val: part/~\n"), "{shown}");
}

#[test]
fn a_variable_that_is_not_set_is_named_at_its_place() {
    let tree = Tree::new();
    tree.put("sets/spec.yaml", &on("{ folder: { train: a, val: $NO_SUCH_FOLDER/val } }"));
    let said = tree.run("", &["check", "sets/spec.yaml"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    for part in [
        "error: the environment variable `NO_SUCH_FOLDER` is not set\n",
        "--> sets/spec.yaml:3:44\n",
        "^^^^^^^^^^^^^^^^^^^ set it, or write the folder itself",
    ] {
        assert!(said.err.contains(part), "no {part:?} in\n{}", said.err);
    }
    let empty = tree.run_with("", &["check", "sets/spec.yaml"], &[("NO_SUCH_FOLDER", "")]);
    assert_eq!((empty.code, empty.err), (Some(2), said.err));
    let set = "data.source.folder.train=${NO_SUCH_OTHER}";
    let said = tree.run_with("", &["check", "sets/spec.yaml", "--set", set], &[("NO_SUCH_FOLDER", "/a")]);
    assert!(said.err.contains("`NO_SUCH_OTHER` is not set\n --> --set data.source"), "{}", said.err);
}

#[test]
fn an_old_path_from_the_working_directory_is_found_with_a_notice() {
    let tree = Tree::new();
    tree.pictures("old/photos")
        .put("sets/spec.yaml", &on("{ folder: { train: old/photos, val: old/photos } }"));
    let said = tree.says("", &["data", "verify", "sets/spec.yaml"]);
    assert!(said.out.contains("train: 2 images"), "{}", said.out);
    let notice = "sets/spec.yaml:3:36: using `old/photos` of the working directory because \
                  `sets/old/photos` does not exist; paths in a spec are relative to its folder: write `../old/photos`";
    assert_eq!(said.err.matches(notice).count(), 1, "{}", said.err);
    assert_eq!(said.err.matches("old/photos`").count(), 3, "once for one path: {}", said.err);
    // The spelling suggested by the notice works and gives no further notice.
    tree.put("sets/spec.yaml", &on("{ folder: { train: ../old/photos, val: ../old/photos } }"));
    let said = tree.says("", &["data", "verify", "sets/spec.yaml"]);
    assert!(said.out.contains("train: 2 images") && said.err.is_empty(), "{}", said.err);
    // A path relative to the spec takes precedence.
    tree.pictures("sets/old/photos");
    tree.put("sets/spec.yaml", &on("{ folder: { train: old/photos } }"));
    let shown = tree.says("", &["show", "sets/spec.yaml"]);
    assert!(shown.out.contains("train: sets/old/photos\n") && shown.err.is_empty(), "{}", shown.err);
}

#[test]
fn an_old_weight_file_is_found_with_its_key() {
    let tree = Tree::new();
    let spec = ALL.replace("a/start.pth#ema", "weights/start.pth#ema.0");
    tree.put("weights/start.pth", "").put("sets/spec.yaml", &spec);
    let shown = tree.says("", &["show", "sets/spec.yaml"]);
    assert!(shown.out.contains("file: weights/start.pth#ema.0\n"), "{}", shown.out);
    assert!(shown.err.contains("write `../weights/start.pth#ema.0`"), "{}", shown.err);
    tree.put("sets/weights/start.pth", "");
    let shown = tree.says("", &["show", "sets/spec.yaml"]);
    assert!(shown.out.contains("file: sets/weights/start.pth#ema.0\n"), "{}", shown.out);
}

#[test]
fn paths_of_arguments_begin_at_the_working_directory() {
    let tree = Tree::new();
    tree.pictures("sets/photos").pictures("photos");
    tree.put("sets/spec.yaml", &on("{ folder: { train: photos } }"));
    let set = "data.source.folder={ train: photos, val: ./photos }";
    let shown = tree.says("", &["show", "sets/spec.yaml", "--set", set]);
    assert!(shown.out.contains("train: photos\n") && shown.out.contains("val: ./photos\n"), "{}", shown.out);
    assert!(shown.err.is_empty(), "{}", shown.err);
}

/// The run folders in the tree.
fn runs(tree: &Tree, below: &[&str]) -> Vec<bool> {
    below.iter().map(|folder| tree.path(folder).join("results/runs/tiny").is_dir()).collect()
}

#[test]
fn runs_go_to_the_project_of_the_spec() {
    let tree = Tree::new();
    tree.put("project/experiments/sets/tiny.yaml", TINY);
    let spec = tree.path("project/experiments/sets/tiny.yaml").display().to_string();
    let places = ["project", "project/experiments/sets", "project/experiments", "elsewhere", ""];
    let only_project = [true, false, false, false, false];
    let first = tree.says("project", &["run", "experiments/sets/tiny.yaml"]);
    assert_eq!(runs(&tree, &places), only_project, "{}", first.err);
    let made = || fs::read_dir(tree.path("project/results/runs/tiny")).unwrap().count();
    let before = made();
    // From every working directory it is the same, finished run.
    for (from, spec) in [
        ("project/experiments/sets", "tiny.yaml"),
        ("elsewhere", "../project/experiments/sets/tiny.yaml"),
        ("elsewhere", &spec),
    ] {
        tree.says(from, &["run", spec]);
        assert_eq!((runs(&tree, &places).as_slice(), made()), (&only_project[..], before), "from {from}");
    }
    // Runs that an older version wrote to the working directory are resumed there until they are moved.
    fs::create_dir_all(tree.path("elsewhere/results/runs")).unwrap();
    fs::rename(tree.path("project/results/runs/tiny"), tree.path("elsewhere/results/runs/tiny")).unwrap();
    let said = tree.says("elsewhere", &["run", &spec]);
    assert!(said.err.contains("using results/runs because it contains the runs of `tiny`"), "{}", said.err);
    assert_eq!(runs(&tree, &places), [false, false, false, true, false]);
    // Paths on the command line are relative to the working directory.
    tree.says("elsewhere", &["run", &spec, "--out", "mine"]);
    assert!(tree.path("elsewhere/mine/tiny").is_dir());
}

#[test]
fn a_project_has_a_folder_of_experiments_or_a_mark() {
    let tree = Tree::new();
    let help = tree.says("", &["run", "--help"]).out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("--out <DIR>") && help.contains("in the spec's project"), "{help}");
    let out = |spec: &str| {
        tree.put(spec, TINY);
        let said = tree.says("elsewhere", &["run", &tree.path(spec).display().to_string()]);
        let found = |folder: &Path| folder.join("results/runs/tiny").is_dir();
        let spec = tree.path(spec);
        let at: Vec<PathBuf> = spec.ancestors().filter(|folder| found(folder)).map(PathBuf::from).collect();
        assert_eq!(at.len(), 1, "{at:?} {}", said.err);
        at[0].strip_prefix(tree.0.path()).unwrap().display().to_string()
    };
    tree.put("crate/Cargo.toml", "").put("repository/.git/HEAD", "").put("second/.git/HEAD", "");
    assert_eq!(out("crate/a/b/tiny.yaml"), "crate");
    assert_eq!(out("repository/tiny.yaml"), "repository");
    assert_eq!(out("second/x/experiments/y/tiny.yaml"), "second/x");
    assert_eq!(out("plain/folder/tiny.yaml"), "plain/folder");
}
