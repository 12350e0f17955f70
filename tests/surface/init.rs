//! `init`: the spec that it writes loads, fits its pictures, and runs.

use candle_core::Device;
use hueristic::{
    data::{source::Locations, survey::Survey},
    experiment::{
        Experiment, RunOptions, check,
        draft::{self, Draft, DraftOptions, DraftSource, TASK_NAMES},
    },
    train::collective::Ranks,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A folder of `count` pictures in each of `classes`, without classes if there is none.
fn pictures(root: &Path, classes: &[&str], count: u32, side: u32) {
    let classes = if classes.is_empty() { &[""] } else { classes };
    for (number, class) in classes.iter().enumerate() {
        let folder = root.join(class);
        fs::create_dir_all(&folder).unwrap();
        for index in 0..count {
            let shade = |x: u32, y: u32| [(x * 5 + index * 40) as u8, (y * 7) as u8, (number * 90) as u8];
            let picture = image::RgbImage::from_fn(side + 8, side, |x, y| image::Rgb(shade(x, y)));
            picture.save(folder.join(format!("{index:03}.png"))).unwrap();
        }
    }
}

fn init(at: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.arg("init").args(arguments).current_dir(at).env_remove("RUST_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The drafted spec for these pictures, loaded.
fn drafted(home: &Path, survey: &Survey, source: DraftSource, task: &str, gpu: bool) -> (String, Experiment) {
    let options = DraftOptions { name: "mine", file: "mine.yaml", task, source, gpu, seconds: 60.0 };
    let draft = Draft::new(survey, &options).unwrap();
    let (text, file) = (draft.text(draft.epochs(0.1), 0.1), home.join(format!("{task}.yaml")));
    fs::write(&file, &text).unwrap();
    let experiment = Experiment::load(&file, &[]).unwrap_or_else(|error| panic!("{task}: {error}\n{text}"));
    (text, experiment)
}

#[test]
fn every_task_is_drafted_for_thumbnails_and_photographs() {
    for (side, gpu) in [(24, false), (32, false), (64, false), (100, false), (240, false), (240, true)] {
        let home = tempfile::tempdir().unwrap();
        pictures(&home.path().join("photos"), &["cat", "dog"], 6, side);
        for task in TASK_NAMES {
            let survey = Survey::of(&home.path().join("photos")).unwrap();
            let source = DraftSource::Folder { train: "photos", val: None };
            let (text, experiment) = drafted(home.path(), &survey, source, task, gpu);
            let names: Vec<&str> = experiment.stages.iter().map(|(name, _)| name).collect();
            assert_eq!(names, [task, "probe"], "{text}");
            assert!(text.contains("hold_out: 0.1") && text.contains("2 classes"), "{text}");
        }
    }
}

#[test]
fn the_default_draft_of_a_labeled_folder_runs() {
    let home = tempfile::tempdir().unwrap();
    pictures(&home.path().join("photos"), &["cat", "dog"], 12, 32);
    let output = init(home.path(), &["photos", "--minutes", "1", "--threads", "1", "--device", "cpu"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.contains("24 pictures, 2 classes") && said.contains("hueristic run photos_colorization.yaml"),
        "{said}"
    );
    let file = home.path().join("photos_colorization.yaml");
    let written = fs::read_to_string(&file).unwrap();
    assert!(written.contains("train: photos, hold_out: 0.1"), "{written}");
    let epochs = written.lines().find_map(|line| line.trim().strip_prefix("epochs: ")).unwrap();
    let epochs: f64 = epochs.split(' ').next().unwrap().parse().unwrap();
    assert!((0.1..=200.0).contains(&epochs), "{written}");
    let run = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(["run", "photos_colorization.yaml", "--threads", "1", "--out", "runs"])
        .args(["--set", "colorization.train.steps=3", "--set", "probe.train.steps=2"])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("gaussian"), "{}", text(&run.stdout));
    let again = init(home.path(), &["photos"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("photos_colorization.yaml exists"), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), written, "nothing is overwritten");
}

/// Of each class a rounded share is held out, and a task that tells pictures apart needs two.
#[test]
fn a_draft_counts_pictures_as_the_split_does() {
    let home = tempfile::tempdir().unwrap();
    let folder = |name: &str| home.path().join(name);
    pictures(&folder("three"), &["a", "b", "c"], 16, 32);
    pictures(&folder("loose"), &[], 10, 32);
    for (name, task, said) in [
        ("three", "rotation", "42 for training, 6 for validation"),
        ("loose", "rotation", "9 for training, 1 for validation"),
        ("loose", "simclr", "8 for training, 2 for validation"),
    ] {
        let survey = Survey::of(&folder(name)).unwrap();
        let source = DraftSource::Folder { train: name, val: None };
        let (text, experiment) = drafted(home.path(), &survey, source, task, false);
        assert!(text.contains(said), "{text}");
        let options = RunOptions {
            out: folder("runs"),
            locations: Locations::default(),
            device: Device::Cpu,
            ranks: Ranks::default(),
        };
        check(&experiment, &options).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    }
}

#[test]
fn every_task_is_drafted_for_the_built_in_scenes() {
    let home = tempfile::tempdir().unwrap();
    for task in TASK_NAMES {
        let (text, experiment) = drafted(home.path(), &draft::scenes(task), DraftSource::Scenes, task, false);
        let names: Vec<&str> = experiment.stages.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [task, "probe"], "{text}");
        assert!(
            text.contains("scenes: { train: 3000, val: 500, size: ") && !text.contains("folder:"),
            "{text}"
        );
        assert!(text.contains("own pictures: hueristic init FOLDER"), "{text}");
    }
}

#[test]
fn without_pictures_it_writes_a_spec_that_runs() {
    let home = tempfile::tempdir().unwrap();
    let output = init(home.path(), &["--minutes", "1", "--schema", "--threads", "1", "--device", "cpu"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("no pictures here: built-in scenes: 3000 pictures, 10 classes"), "{said}");
    let written = fs::read_to_string(home.path().join("scenes_colorization.yaml")).unwrap();
    assert!(
        written.starts_with("# yaml-language-server: $schema=hueristic.schema.json\n# colorization"),
        "{written}"
    );
    let schema = fs::read_to_string(home.path().join("hueristic.schema.json")).unwrap();
    assert!(
        serde_json::from_str::<serde_json::Value>(&schema).is_ok() && schema.contains("\"linear_probe\"")
    );
    let run = Command::new(env!("CARGO_BIN_EXE_hueristic"))
        .args(["run", "scenes_colorization.yaml", "--threads", "1", "--out", "runs"])
        .args(["--set", "colorization.train.steps=2", "--set", "probe.train.steps=2"])
        .args(["--set", "data.source.scenes.train=64", "--set", "data.source.scenes.val=32"])
        .args(["--set", "colorization.monitor.pictures.bank=32", "--set", "colorization.train.batch=4"])
        .args(["--set", "probe.train.batch=16"])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(text(&run.stdout).contains("gaussian"), "{}", text(&run.stdout));
}

#[test]
fn splits_and_names_of_the_folder_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("my photos");
    pictures(&root.join("train"), &[], 9, 40);
    pictures(&root.join("test"), &[], 5, 40);
    fs::create_dir(home.path().join("specs")).unwrap();
    let output = init(
        home.path(),
        &["my photos", "--task", "rotation", "--out", "specs/a.yaml", "--threads", "1", "--device", "cpu"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let written = fs::read_to_string(home.path().join("specs/a.yaml")).unwrap();
    assert!(written.contains("name: my_photos_rotation"), "{written}");
    assert!(written.contains(r#"train: "../my photos/train", val: "../my photos/test""#), "{written}");
    assert!(!written.contains("probe:") && !written.contains("monitor:"), "no labels: {written}");
    assert!(written.contains("9 for training, 5 for validation, no classes"), "{written}");
}

/// Whichever pictures of a small folder are broken, the spec that is written runs, and each is named.
#[test]
fn unreadable_pictures_are_named_and_the_spec_runs_all_the_same() {
    for broken in [[0, 1, 2], [3, 7, 11], [4, 5, 12]] {
        let home = tempfile::tempdir().unwrap();
        pictures(&home.path().join("mine"), &[], 13, 32);
        for index in broken {
            fs::write(home.path().join(format!("mine/{index:03}.png")), "no picture").unwrap();
        }
        let output = init(home.path(), &["mine", "--minutes", "1", "--threads", "1", "--device", "cpu"]);
        let (said, warned) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{warned}");
        for index in broken {
            assert!(said.contains(&format!("not readable: mine/{index:03}.png")), "{said}");
        }
        assert!(warned.contains("10 training pictures: enough to try"), "{warned}");
        let written = fs::read_to_string(home.path().join("mine_colorization.yaml")).unwrap();
        assert!(written.contains("  max_bad: 0.25\n"), "3 of 12 remain for training: {written}");
        let run = Command::new(env!("CARGO_BIN_EXE_hueristic"))
            .args(["run", "mine_colorization.yaml", "--threads", "1", "--out", "runs"])
            .args(["--set", "colorization.train.steps=3"])
            .current_dir(home.path())
            .output()
            .unwrap();
        assert!(run.status.success(), "{written}\n{}", text(&run.stderr));
    }
}

/// A validation folder is looked at too; what no split can mend is refused.
#[test]
fn unreadable_validation_pictures_are_seen() {
    let home = tempfile::tempdir().unwrap();
    pictures(&home.path().join("mine/train"), &[], 12, 32);
    pictures(&home.path().join("mine/val"), &[], 4, 32);
    fs::write(home.path().join("mine/val/002.png"), "no picture").unwrap();
    let arguments = ["mine", "--minutes", "1", "--threads", "1", "--device", "cpu"];
    let output = init(home.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("not readable: mine/val/002.png"), "{}", text(&output.stdout));
    let written = fs::read_to_string(home.path().join("mine_colorization.yaml")).unwrap();
    assert!(written.contains("  max_bad: 0.25\n"), "{written}");
    fs::remove_file(home.path().join("mine_colorization.yaml")).unwrap();
    (0..5).for_each(|i| fs::write(home.path().join(format!("mine/train/{i:03}.png")), "no picture").unwrap());
    let output = init(home.path(), &arguments);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("mine/train holds 12 pictures; 6 of those looked at cannot be read"), "{error}");
}

/// Gray pictures in class folders, and one beside them that cannot be read.
#[test]
fn what_is_odd_about_a_folder_is_said_and_does_not_stop_it() {
    let home = tempfile::tempdir().unwrap();
    for index in 0..12u8 {
        let folder = home.path().join(format!("odd/class{}", index % 2));
        fs::create_dir_all(&folder).unwrap();
        image::GrayImage::from_pixel(40, 40, image::Luma([index * 20]))
            .save(folder.join(format!("{index}.png")))
            .unwrap();
    }
    fs::write(home.path().join("odd/loose.png"), "no picture").unwrap();
    let output = init(home.path(), &["odd", "--minutes", "1", "--threads", "1", "--device", "cpu"]);
    let (said, warned) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{warned}");
    assert!(said.contains("not readable: ") && said.contains("loose.png"), "{said}");
    assert!(warned.contains("nearly all of these pictures are gray"), "{warned}");
    assert!(warned.contains("no classes: ") && warned.contains("beside its folders"), "{warned}");
}

#[test]
fn what_cannot_be_used_is_refused_in_words() {
    let home = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], code: i32, part: &str| {
        let output = init(home.path(), arguments);
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{error}");
        assert!(error.contains(part), "{part} is not in {error}");
        let left: Vec<PathBuf> =
            fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.iter().all(|path| path.is_dir()), "{left:?}");
    };
    refused(&["."], 2, "hueristic init FOLDER");
    refused(&["nowhere"], 2, "nowhere");
    fs::create_dir(home.path().join("few")).unwrap();
    pictures(&home.path().join("few"), &[], 1, 32);
    refused(&["few"], 1, "few holds 1 picture; give a folder of at least 8");
    refused(&["few/000.png"], 2, "few/000.png is a picture, give its folder: hueristic init few");
    fs::write(home.path().join("few/notes.txt"), "").unwrap();
    refused(&["few/notes.txt"], 2, "is a file, give its folder");
    pictures(&home.path().join("dots"), &[], 9, 10);
    refused(&["dots"], 1, "at least 24");
    refused(&["dots", "--task", "colorisation"], 2, "colorization");
    pictures(&home.path().join("a$b"), &[], 9, 32);
    refused(&["a$b"], 2, "rename the folder");
    fs::create_dir(home.path().join("broken")).unwrap();
    (0..9).for_each(|i| fs::write(home.path().join(format!("broken/{i}.png")), "no picture").unwrap());
    refused(&["broken"], 1, "broken/0.png");
}
