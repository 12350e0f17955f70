//! Complete experiments: from YAML to a report, which runs are reused, and which errors prevent a start.

use super::home::Home;
use anyhow::Context as _;
use candle_core::{Device, Tensor};
use hueristic::{
    experiment::{Outcome, check, check_and_estimate, run},
    nn::weights,
    train::checkpoint::{self, Checkpoint},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = r#"
name: tiny
data: { source: { scenes: { train: 64, val: 40 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
stages:
  color: { pretext: { task: colorization, train: { steps: 3, batch: 8, optimizer: { adam: { lr: 1e-3 } } } } }
  labels: { supervised: { train: { steps: 3, batch: 8, optimizer: { adam: { lr: 1e-3 } } } } }
  probe:
    linear_probe:
      backbones: { gaussian: { init: msra }, color: { stage: color }, labels: { stage: labels } }
      probe: { layers: [conv1, conv3], dimensions: 96, augment: false }
      train: { steps: 4, batch: 16, optimizer: { sgd: { lr: 0.01 } } }
"#;

impl Home {
    fn run(&self, sets: &[&str]) -> Result<Outcome> {
        run(&self.load(SPEC, sets)?, &self.options())
    }

    /// Run directories with the modification times of their manifests.
    fn fits(&self) -> Result<Vec<(PathBuf, SystemTime)>> {
        let mut fits = vec![];
        for entry in fs::read_dir(self.path().join("runs/tiny"))? {
            let manifest = entry?.path().join("manifest.json");
            if let Ok(about) = fs::metadata(&manifest) {
                fits.push((manifest, about.modified()?));
            }
        }
        fits.sort();
        Ok(fits)
    }
}

fn named(fits: &[(PathBuf, SystemTime)], start: &str) -> Vec<(PathBuf, SystemTime)> {
    let of = |path: &Path| {
        path.parent().and_then(Path::file_name).is_some_and(|n| n.to_string_lossy().starts_with(start))
    };
    fits.iter().filter(|(path, _)| of(path)).cloned().collect()
}

#[test]
fn one_yaml_ends_in_a_table_a_plot_and_pictures() -> Result<()> {
    let home = Home::new()?;
    let Outcome::Finished { report: Some(report), pictures } = home.run(&[])? else { panic!("not finished") };
    assert!(
        ["gaussian", "color", "labels", "conv1", "conv3"].iter().all(|w| report.text.contains(w)),
        "{report}"
    );
    assert!(report.plots.iter().chain(&report.tables).chain(&pictures).all(|p| p.exists()));
    assert_eq!(pictures.len(), 1, "the colorizer draws, the others do not");
    let page = fs::read_to_string(report.page.as_ref().context("no page")?)?;
    for text in
        ["gaussian", "labels, seed 0", "Learning curves", "<section id=\"layers\">", "data:image/jpeg"]
    {
        assert!(page.contains(text), "no `{text}` on the page");
    }
    home.reports_as_planned()
}

/// Results are not lost for a page that cannot be written.
#[test]
fn a_run_without_its_page_is_finished() -> Result<()> {
    let home = Home::new()?;
    let blocked = home.options().out.join("tiny/report/report.html");
    fs::create_dir_all(&blocked)?;
    let Outcome::Finished { report: Some(report), .. } = home.run(&[])? else { panic!("not finished") };
    assert!(report.page.is_none() && report.tables.iter().all(|table| table.exists()), "{report}");
    Ok(())
}

/// The weight file is the average of the checkpoint, and the other one its last weights; running statistics are shared.
#[test]
fn averaged_weights_are_left_and_the_last_ones_beside_them() -> Result<()> {
    let home = Home::new()?;
    home.run(&["labels.train.ema.decay=0.5", "color.train.steps=1", "probe.train.steps=1"])?;
    let run = named(&home.fits()?, "labels-").remove(0).0.with_file_name("");
    let saved = Checkpoint::read(&checkpoint::last(&run), &Device::Cpu)?;
    assert!(fs::read_to_string(run.join("plan.txt"))?.contains("moving average with a decay of 0.5"));
    let read = |name: &str| weights::read(&run.join(name));
    let ((averaged, about), (raw, same)) = (read("weights.safetensors")?, read("weights_raw.safetensors")?);
    assert_eq!(about, same);
    let bits = |t: &Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
    assert_eq!((averaged.len(), raw.len()), (saved.params.len(), saved.params.len()));
    for (name, last) in &saved.params {
        let average = saved.average.iter().find(|(averaged, _)| averaged == name).map_or(last, |(_, t)| t);
        let is_statistic = ["_mean", "_var", "_sum"].iter().any(|end| name.ends_with(end));
        assert_eq!(average.id() == last.id(), is_statistic, "{name}");
        assert_eq!((bits(&raw[name])?, bits(&averaged[name])?), (bits(last)?, bits(average)?), "{name}");
    }
    Ok(())
}

#[test]
fn a_finished_stage_is_not_run_again_and_a_changed_one_is() -> Result<()> {
    let home = Home::new()?;
    home.run(&[])?;
    let first = home.fits()?;
    assert_eq!(first.len(), 5);
    home.run(&[])?;
    assert_eq!(home.fits()?, first, "nothing had changed");

    home.run(&["probe.train.steps=5"])?;
    let second = home.fits()?;
    assert_eq!(named(&second, "color-"), named(&first, "color-"));
    assert_eq!((named(&second, "probe-").len(), named(&second, "labels-").len()), (6, 1));

    home.run(&["color.train.steps=4"])?;
    let third = home.fits()?;
    assert_eq!(named(&third, "color-").len(), 2);
    assert_eq!(named(&third, "probe-color-").len(), 3, "it stands on the changed stage");
    assert_eq!(named(&third, "probe-gaussian-"), named(&second, "probe-gaussian-"), "it does not");
    Ok(())
}

/// Every file below `dir` with its content.
fn files(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => drop(found.insert(path.clone(), fs::read(&path)?)),
        }
    }
    Ok(found)
}

#[test]
fn nothing_of_a_finished_run_is_written_again() -> Result<()> {
    let home = Home::new()?;
    home.run(&[])?;
    let dir =
        |start: &str| -> Result<PathBuf> { Ok(named(&home.fits()?, start).remove(0).0.with_file_name("")) };
    let (color, probe) = (dir("color-")?, dir("probe-color-")?);
    let flip = |path: PathBuf| -> Result<()> {
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        Ok(fs::write(path, bytes)?)
    };
    // A file that only the run itself reads: the run stays finished.
    flip(color.join("checkpoints/last.safetensors"))?;
    flip(color.join("metrics.jsonl"))?;
    fs::remove_dir_all(color.join("pictures"))?;
    let before = files(&home.path().join("runs/tiny"))?;
    home.run(&[])?;
    let same = |(path, bytes): (&PathBuf, &Vec<u8>)| {
        path.iter().any(|part| part == "report") || before.get(path) == Some(bytes)
    };
    assert!(files(&home.path().join("runs/tiny"))?.iter().all(same));
    // A file that others read: the error names it, and it is not changed.
    for file in [color.join("weights.safetensors"), probe.join("results.json")] {
        let whole = fs::read(&file)?;
        flip(file.clone())?;
        let damaged = fs::read(&file)?;
        let message = home.run(&["probe.train.steps=5"]).err().map(|e| format!("{e:#}")).unwrap_or_default();
        let message = if file.ends_with("results.json") {
            home.run(&[]).err().map(|e| format!("{e:#}")).unwrap_or_default()
        } else {
            message
        };
        let parts = ["was modified after the run: its SHA-256 is", "manifest.json says"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(message.contains(&*file.file_name().unwrap_or_default().to_string_lossy()), "{message}");
        assert!(fs::read(&file)? == damaged, "it was written again");
        fs::write(&file, whole)?;
    }
    home.run(&[])?;
    Ok(())
}

/// A damaged directory of a later stage, or what is no directory, costs no training before it.
#[test]
fn damage_is_found_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    home.run(&[])?;
    let folder = |start: &str| -> Result<PathBuf> {
        Ok(named(&home.fits()?, start)[0].0.parent().context("a folder")?.to_path_buf())
    };
    let [color, probe] = [folder("color-")?, folder("probe-gaussian-")?];
    let results = fs::read(probe.join("results.json"))?;
    fs::remove_dir_all(&color)?;
    let refused = |parts: &[&str]| -> Result<()> {
        for message in [home.run(&[]).err(), check(&home.load(SPEC, &[])?, &home.options()).err()] {
            let message = format!("{:#}", message.context("it was not refused")?);
            let parts = [&["stage `probe` cannot start: `gaussian`: "], parts].concat();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
        assert!(!color.exists(), "something was trained");
        Ok(())
    };
    fs::write(probe.join("results.json"), "foo")?;
    refused(&["results.json was modified after the run"])?;
    fs::write(probe.join("results.json"), results)?;
    fs::write(probe.join("manifest.json"), "{")?;
    refused(&["manifest.json", "damaged"])?;
    fs::remove_dir_all(&probe)?;
    fs::write(&probe, "no folder")?;
    refused(&["is a file, and the run needs a folder of that name: move it away"])?;
    fs::remove_file(&probe)?;
    home.run(&[])?;
    Ok(())
}

#[test]
fn seeds_are_averaged() -> Result<()> {
    let home = Home::new()?;
    let Outcome::Finished { report: Some(report), .. } = home.run(&["seeds=[0, 1]"])? else {
        panic!("not finished")
    };
    assert!(report.text.contains('±'), "{report}");
    assert_eq!(home.fits()?.len(), 10);
    Ok(())
}

#[test]
fn a_check_takes_no_step() -> Result<()> {
    let home = Home::new()?;
    let plan = check(&home.load(SPEC, &[])?, &home.options())?.to_string();
    assert!(plan.contains("conv5") && plan.contains("nothing was trained"), "{plan}");
    assert!(!plan.contains("images/s"), "nothing is timed: {plan}");
    assert!(!home.path().join("runs").exists());
    Ok(())
}

#[test]
fn training_crops_vary_and_validation_crops_do_not() -> Result<()> {
    let home = Home::new()?;
    let plan = |crop: &str| -> Result<String> {
        let experiment = home.load(SPEC, &[&format!("data.train_crop={crop}")])?;
        Ok(check(&experiment, &home.options())?.to_string())
    };
    for (crop, said) in [
        ("random_resized", "of 8 to 100 % of the picture"),
        ("{ random_resized: { area: [0.2, 0.5] } }", "of 20 to 50 % of the picture"),
        ("{ random_short_side: { pixels: [29, 40] } }", "of pictures with a short side of 29 to 40"),
        ("{ padded: { pixels: 4 } }", "of pictures with a margin of 4"),
    ] {
        let plan = plan(crop)?;
        assert!(plan.contains(&format!("batches of 8: crop 29 {said}, shuffled")), "{said}: {plan}");
        assert!(plan.contains("batches of 64: crop 29, once"), "{plan}");
    }
    let error = format!("{:#}", plan("{ random_short_side: { pixels: [28, 40] } }").expect_err("too small"));
    assert!(
        error.contains("larger than the least short side of `train_crop`, 28; begin it at 29"),
        "{error}"
    );
    let error = format!("{:#}", plan("{ random_resized: { area: [0.5, 0.2] } }").expect_err("descending"));
    assert!(error.contains("expected the least number first, got [0.5, 0.2]"), "{error}");
    Ok(())
}

fn refusal(yaml: &str, sets: &[&str]) -> Result<String> {
    let home = Home::new()?;
    let outcome = home.load(yaml, sets).and_then(|experiment| run(&experiment, &home.options()));
    Ok(outcome.err().map(|e| format!("{e:#}")).unwrap_or_default())
}

#[test]
fn a_batch_larger_than_the_data_says_so() -> Result<()> {
    let message = refusal(SPEC, &["color.train.batch=65"])?;
    assert!(message.contains("65") && message.contains("64"), "{message}");
    Ok(())
}

#[test]
fn weights_of_another_network_are_refused() -> Result<()> {
    let home = Home::new()?;
    home.run(&[])?;
    let (manifest, _) = named(&home.fits()?, "color-").remove(0);
    let weights = manifest.with_file_name("weights.safetensors");
    let (tensors, _) = hueristic::nn::weights::read(&weights)?;
    // Neither header nor shapes determine the architecture, so the spec's is used, which has a conv4.
    let some = tensors.iter().filter(|(name, _)| !name.starts_with("conv4"));
    let bare: Vec<_> = some.map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let file = home.path().join("bare.safetensors");
    hueristic::nn::weights::write(&bare, &Default::default(), &file)?;
    let yaml = SPEC
        .replace("width: 0.25", "width: 0.5")
        .replace("color: { stage: color }", &format!("theirs: {{ file: {} }}", file.display()));
    let message = refusal(&yaml, &[])?;
    assert!(message.contains("bare.safetensors") && message.contains("conv4.weight"), "{message}");
    Ok(())
}

#[test]
fn a_missing_weight_file_is_named_before_anything_runs() -> Result<()> {
    let home = Home::new()?;
    let yaml = SPEC.replace("color: { stage: color }", "theirs: { file: nowhere.safetensors }");
    let message =
        check(&home.load(&yaml, &[])?, &home.options()).err().map(|e| format!("{e:#}")).unwrap_or_default();
    assert!(message.contains("nowhere.safetensors"), "{message}");
    Ok(())
}

/// Writes four pictures into each of these folders.
fn pictures(home: &Home, folders: &[&str]) -> Result<()> {
    for folder in folders {
        let folder = home.path().join(folder);
        fs::create_dir_all(&folder)?;
        for i in 0..4u8 {
            image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([x as u8 * 8, y as u8 * 8, i * 60]))
                .save(folder.join(format!("{i}.png")))?;
        }
    }
    Ok(())
}

/// The spec with the class folders `train` and `val` of the temporary folder as its data.
fn of_folders(home: &Home) -> String {
    let at = |split: &str| home.path().join(split).display().to_string();
    let source = format!("folder: {{ train: {}, val: {} }}", at("train"), at("val"));
    SPEC.replace("scenes: { train: 64, val: 40 }", &source).replace("batch: 8", "batch: 4")
}

#[test]
fn unlabeled_data_pretrains_but_is_not_probed() -> Result<()> {
    let home = Home::new()?;
    pictures(&home, &["train", "val"])?;
    let yaml = of_folders(&home);
    let message = refusal(&yaml, &[])?;
    assert!(message.contains("labels"), "{message}");
    let pretext = yaml.split("  labels:").next().unwrap_or_default();
    assert_eq!(refusal(pretext, &[])?, "", "pretraining needs no labels");
    Ok(())
}

#[test]
fn labels_that_do_not_meet_stop_only_the_stages_that_need_them() -> Result<()> {
    let home = Home::new()?;
    pictures(&home, &["train/2021", "train/2022", "val/holiday"])?;
    let yaml = of_folders(&home);
    let pretext = yaml.split("  labels:").next().unwrap_or_default();
    assert_eq!(refusal(pretext, &[])?, "", "pretraining asks for no classes");
    let supervised =
        yaml.replace(&yaml[yaml.find("  color:").unwrap_or(0)..yaml.find("  labels:").unwrap_or(0)], "");
    let supervised = supervised.split("  probe:").next().unwrap_or_default();
    let checked = home.load(supervised, &[]).and_then(|experiment| check(&experiment, &home.options()));
    for message in
        [refusal(supervised, &[])?, format!("{:#}", checked.err().unwrap_or(anyhow::anyhow!("fine")))]
    {
        assert!(message.contains("the val images of") && message.contains("class `holiday`"), "{message}");
        assert!(message.contains("(2021, 2022)"), "{message}");
    }
    fs::remove_dir_all(home.path().join("val"))?;
    pictures(&home, &["val/2022"])?;
    fs::copy(home.path().join("train/2021/0.png"), home.path().join("train/montage.png"))?;
    let message = refusal(supervised, &[])?;
    assert!(message.contains("train/montage.png lies beside its folders 2021, 2022"), "{message}");
    Ok(())
}

/// Covers both splits, every file that a row names, and data errors together with weight errors.
#[test]
fn one_fault_of_a_stage_hides_no_other() -> Result<()> {
    let stages = r#"
stages:
  colors:
    color_evaluation:
      methods: { theirs: { file: no-colorizer.safetensors } }
      evaluation: { prior: { file: no-prior.npy }, classifier: { weights: no-vgg.safetensors } }
  detection:
    detection:
      annotated: { source: { composite: { train: 4, val: 4, size: 48 } } }
      backbones: { theirs: { file: no-backbone.safetensors } }
      task: { proposals: { file: { train: no-train.safetensors, val: no-val.safetensors } } }
      train: { steps: 1, batch: 9, optimizer: { sgd: { lr: 1e-3 } } }
  probe:
    linear_probe:
      data: { source: { folder: { train: no/train, val: no/val } }, crop: 29 }
      backbones: { theirs: { file: no-weights.safetensors } }
      train: { steps: 1, batch: 4, optimizer: { sgd: { lr: 1e-3 } } }
"#;
    let message = refusal(&[SPEC.split("stages:").next().unwrap_or_default(), stages].concat(), &[])?;
    for part in [
        "9 errors, nothing was run",
        "stage `colors` cannot start: `theirs`: ",
        "no-colorizer.safetensors does not exist",
        "no-prior.npy (No such file",
        "no-vgg.safetensors",
        "stage `detection` cannot start: `theirs`: ",
        "no-backbone.safetensors does not exist",
        "no-train.safetensors (No such file",
        "no-val.safetensors (No such file",
        "stage `probe` cannot start: `theirs`: ",
        "no-weights.safetensors does not exist",
        "no/train",
        "no/val",
    ] {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    Ok(())
}

#[test]
fn data_that_is_not_there_is_named() -> Result<()> {
    let yaml =
        SPEC.replace("scenes: { train: 64, val: 40 }", "folder: { train: nowhere/train, val: nowhere/val }");
    let message = refusal(&yaml, &[])?;
    assert!(message.contains("nowhere/train"), "{message}");
    Ok(())
}

/// Directory (without hash) and label of each run.
fn plans(home: &Home) -> Result<Vec<String>> {
    let mut plans = vec![];
    for (manifest, _) in home.fits()? {
        let dir = manifest.with_file_name("");
        let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let label = name.rsplit_once("-s0-").map(|(label, _)| format!("{label}, seed 0"));
        plans.push(format!("{}\n{}", label.unwrap_or(name), fs::read_to_string(dir.join("plan.txt"))?));
    }
    plans.sort();
    Ok(plans)
}

#[test]
fn the_plan_that_a_check_prints_is_the_plan_that_the_run_executes() -> Result<()> {
    let home = Home::new()?;
    let outlook = check(&home.load(SPEC, &[])?, &home.options())?;
    let mut printed: Vec<String> =
        outlook.plans().map(|(label, plan)| format!("{label}\n{plan}\n")).collect();
    printed.sort();
    home.run(&[])?;
    assert_eq!(plans(&home)?, printed);
    let text = outlook.to_string();
    for line in printed.iter().flat_map(|plan| plan.lines()).filter(|line| !line.contains(", seed")) {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    // The plan matches what was trained: networks, batches and steps agree with the outputs.
    let (color, _) = named(&home.fits()?, "color-").remove(0);
    let plan = fs::read_to_string(color.with_file_name("plan.txt"))?;
    assert!(
        plan.contains("313 outputs") && plan.contains("batches of 8: crop 29, shuffled, augmented"),
        "{plan}"
    );
    let (tensors, _) = hueristic::nn::weights::read(&color.with_file_name("weights.safetensors"))?;
    assert!(tensors.values().any(|tensor| tensor.dims() == [313]), "it has no head of 313 outputs");
    Ok(())
}

#[test]
fn everything_that_can_be_known_is_refused_before_the_first_step_and_at_once() -> Result<()> {
    let home = Home::new()?;
    let yaml = SPEC
        .replace("task: colorization,", "task: { colorization: { prior: { file: nowhere.npy } } },")
        .replace("color: { stage: color }", "theirs: { file: nowhere.safetensors }");
    let experiment = home.load(&yaml, &["labels.train.batch=65"])?;
    let ran = run(&experiment, &home.options()).err().map(|e| format!("{e:#}")).unwrap_or_default();
    let checked = check(&experiment, &home.options()).err().map(|e| format!("{e:#}")).unwrap_or_default();
    assert_eq!(ran, checked);
    for part in [
        "3 errors, nothing was run",
        "stage `color` cannot start: cannot read ",
        "nowhere.npy (No such file or directory (os error 2)): give the path of a file that is there",
        "stage `labels` cannot start: a batch of 65",
        "stage `probe` cannot start: `theirs`: ",
        "nowhere.safetensors does not exist; give the path of a weight file",
    ] {
        assert!(ran.contains(part), "{part} is not in\n{ran}");
    }
    assert!(!home.path().join("runs").exists(), "something was begun");
    Ok(())
}

#[test]
fn a_network_that_a_file_does_not_fit_is_refused_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    home.run(&[])?;
    let (color, _) = named(&home.fits()?, "color-").remove(0);
    let weights = color.with_file_name("weights.safetensors").display().to_string();
    let other = Home::new()?;
    let of = |sets: &[&str]| {
        let ran = other.load(SPEC, sets).and_then(|experiment| run(&experiment, &other.options()));
        ran.err().map(|e| format!("{e:#}")).unwrap_or_default()
    };
    // Another width of the stage's own network.
    let message = of(&[
        &format!("color.init_from={{ file: {weights} }}"),
        "color.backbone={ alexnet: { stem: small, width: 0.5 } }",
    ]);
    assert!(message.contains("stage `color` cannot start") && message.contains("does not fit"), "{message}");
    // A layer that the file's network lacks.
    let taps = format!("{{ mine: {{ file: {weights} }} }}");
    let message = of(&[
        &format!("probe.backbones={taps}"),
        "probe.backbone={ vgg: { width: 0.125 } }",
        "probe.probe.layers=[conv1_1]",
    ]);
    assert!(message.contains("none of the layers conv1_1") && message.contains("conv5"), "{message}");
    // A crop too small for the layers.
    let message = of(&[
        "color.data={ source: { scenes: { train: 64, val: 40 } }, crop: 29 }",
        "probe.data={ source: { scenes: { train: 64, val: 40 } }, crop: 5 }",
        "probe.probe.layers=[conv5]",
    ]);
    assert!(message.contains("window") && message.contains("--> --set probe.data="), "{message}");
    assert!(!other.path().join("runs").exists());
    Ok(())
}

#[test]
fn unreadable_validation_pictures_are_counted_before_the_first_step() -> Result<()> {
    let home = Home::new()?;
    pictures(&home, &["train/a", "train/b", "val/a", "val/b"])?;
    fs::write(home.path().join("val/b/2.png"), "no picture")?;
    let yaml = of_folders(&home);
    let message = refusal(&yaml, &[])?;
    assert!(message.contains("cannot start: more than the 0 of the 8 validation pictures"), "{message}");
    assert!(message.contains("b/2.png") && message.contains("data verify"), "{message}");
    let lenient = yaml.replace("crop: 29 }", "crop: 29, max_bad: 0.2 }").replace("batch: 16", "batch: 4");
    assert_eq!(refusal(&lenient, &[])?, "", "one of eight is tolerated");
    Ok(())
}

/// Logging intervals and the spelling of paths do not affect the hash.
#[test]
fn only_what_decides_the_result_begins_a_new_run() -> Result<()> {
    let home = Home::new()?;
    pictures(&home, &["train/a", "train/b", "val/a", "val/b"])?;
    let yaml = of_folders(&home).replace("batch: 16", "batch: 4");
    run(&home.load(&yaml, &[])?, &home.options())?;
    let first = home.fits()?;
    let home_path = home.path().display().to_string();
    let spelled = yaml
        .replace(&format!("{home_path}/val"), &format!("{home_path}/train/../val"))
        .replace("stages:", "description: the same\nstages:");
    let idle = [
        "color.train.log_every=1",
        "color.train.checkpoint_every=2",
        "labels.train.keep=3",
        "probe.train.log_every=2",
        "data.max_bad=0.2",
    ];
    run(&home.load(&spelled, &idle)?, &home.options())?;
    assert_eq!(home.fits()?, first, "nothing that decides a result had changed");
    // Names of stages and table rows do not affect it either.
    let renamed = yaml
        .replace("  color: {", "  colors: {")
        .replace("color: { stage: color }", "color: { stage: colors }");
    run(&home.load(&renamed, &[])?, &home.options())?;
    assert_eq!(home.fits()?, first, "the stages had other names, not other results");
    // File content does: the same path with another picture.
    let picture = home.path().join("val/b/2.png");
    let before = fs::read(&picture)?;
    fs::write(&picture, fs::read(home.path().join("val/a/1.png"))?)?;
    run(&home.load(&yaml, &[])?, &home.options())?;
    let second = home.fits()?;
    assert_eq!(second.len(), 2 * first.len(), "every stage reads the picture");
    assert!(first.iter().all(|fit| second.contains(fit)), "the earlier runs were touched");
    // With the picture of before, the earlier runs are found again.
    fs::write(&picture, before)?;
    run(&home.load(&yaml, &[])?, &home.options())?;
    assert_eq!(home.fits()?, second);
    Ok(())
}

#[test]
fn a_longer_run_goes_on_from_a_shorter_one_bit_for_bit() -> Result<()> {
    let (home, straight) = (Home::new()?, Home::new()?);
    let only = SPEC.split("  labels:").next().unwrap_or_default();
    let weights = |home: &Home| -> Result<Vec<Vec<u8>>> {
        let steps = |dir: &Path| -> Result<usize> {
            Ok(serde_yaml::from_str::<serde_yaml::Value>(&fs::read_to_string(dir.join("spec.yaml"))?)?["work"]
                ["pretext"]["train"]["steps"]
                .as_u64()
                .unwrap_or_default() as usize)
        };
        let mut found = vec![];
        for (manifest, _) in home.fits()? {
            let dir = manifest.with_file_name("");
            found.push((steps(&dir)?, fs::read(dir.join("checkpoints/last.safetensors"))?));
        }
        found.sort();
        Ok(found.into_iter().map(|(_, bytes)| bytes).collect())
    };
    let tensors = |bytes: &[u8]| {
        let all = safetensors::SafeTensors::deserialize(bytes).unwrap();
        all.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect::<BTreeMap<_, _>>()
    };
    run(&home.load(only, &[])?, &home.options())?;
    run(&home.load(only, &["color.train.steps=5"])?, &home.options())?;
    run(&straight.load(only, &["color.train.steps=5"])?, &straight.options())?;
    let (extended, whole) = (weights(&home)?, weights(&straight)?);
    assert_eq!((extended.len(), whole.len()), (2, 1), "the shorter run is still there");
    assert!(
        tensors(&extended[1]) == tensors(&whole[0]),
        "it is not as if it had been that long from the start"
    );
    let long = named(&home.fits()?, "color-").into_iter().map(|(m, _)| fs::read_to_string(m).unwrap());
    assert!(long.into_iter().any(|m| m.contains("\"resumed\": 1")), "it was trained anew");

    // A cosine schedule depends on the total number of steps, so the run cannot be extended.
    let cosine = only.replace("batch: 8,", "batch: 8, schedule: { decay: cosine },");
    run(&home.load(&cosine, &[])?, &home.options())?;
    run(&home.load(&cosine, &["color.train.steps=5"])?, &home.options())?;
    let resumed =
        home.fits()?.into_iter().filter(|(m, _)| fs::read_to_string(m).unwrap().contains("\"resumed\": 1"));
    assert_eq!(resumed.count(), 1);
    Ok(())
}

#[test]
fn a_check_says_what_a_run_would_take() -> Result<()> {
    let home = Home::new()?;
    let text = check_and_estimate(&home.load(SPEC, &[])?, &home.options())?.to_string();
    assert_eq!(text.matches("  time     about ").count(), 3, "{text}");
    assert_eq!(text.matches("  memory   about ").count(), 3, "{text}");
    assert_eq!(text.matches(" images/s on its own").count(), 3, "{text}");
    home.run(&[])?;
    let text = check_and_estimate(&home.load(SPEC, &[])?, &home.options())?.to_string();
    assert!(text.contains("finished 3 of 3 fits") && !text.contains("  time  "), "{text}");
    Ok(())
}

#[test]
fn stages_that_do_the_same_share_a_run() -> Result<()> {
    let home = Home::new()?;
    let color = SPEC.split("  labels:").next().unwrap_or_default();
    let (_, stage) = color.split_once("  color: ").expect("a stage");
    let yaml = format!("{color}  again: {stage}  more: {}", stage.replace("steps: 3", "steps: 4"));
    let experiment = home.load(&yaml, &["again.init_from={ stage: color }"])?;
    assert!(!check(&experiment, &home.options())?.to_string().contains("note"), "it starts from the other");
    let experiment = home.load(&yaml, &[])?;
    let text = check(&experiment, &home.options())?.to_string();
    let note = "  note     `again, seed 0` is identical to `color, seed 0`: both share one run";
    assert!(text.contains(note) && text.matches("  note  ").count() == 1, "{text}");
    run(&experiment, &home.options())?;
    assert_eq!((named(&home.fits()?, "color-").len(), home.fits()?.len()), (1, 2));
    Ok(())
}

#[test]
fn what_comes_to_nothing_in_so_few_steps_is_noted() -> Result<()> {
    let home = Home::new()?;
    let notes = |set: &str| -> Result<usize> {
        let experiment = home.load(SPEC, &[&format!("color.train.{set}")])?;
        let text = check(&experiment, &home.options())?.to_string();
        Ok(text.lines().filter(|line| line.starts_with("  note  ") && line.contains(" 3 steps: ")).count())
    };
    for (late, in_time) in [
        ("schedule.warmup=4", "schedule.warmup=3"),
        ("evaluate_every=4", "evaluate_every=3"),
        (
            "schedule.decay={ multi_step: { at: [1, 3], rates: [1e-3, 1e-4] } }",
            "schedule.decay={ multi_step: { at: [1, 2], rates: [1e-3, 1e-4] } }",
        ),
        (
            "schedule.decay={ step: { every: 3, factor: 0.1 } }",
            "schedule.decay={ step: { every: 2, factor: 0.1 } }",
        ),
    ] {
        assert_eq!((notes(late)?, notes(in_time)?), (1, 0), "{late}");
    }
    Ok(())
}

/// Rows are matched by hash; their names are those of the requesting spec.
#[test]
fn rows_that_change_places_change_their_names_in_the_table() -> Result<()> {
    let (home, fresh) = (Home::new()?, Home::new()?);
    let rows = "{ gaussian: { init: msra }, color: { stage: color }, labels: { stage: labels } }";
    let swapped = SPEC.replace(rows, "{ color: { stage: labels }, labels: { stage: color } }");
    assert_ne!(swapped, SPEC);
    home.run(&[])?;
    let text = |home: &Home| -> Result<String> {
        let Outcome::Finished { report: Some(report), .. } =
            run(&home.load(&swapped, &[])?, &home.options())?
        else {
            panic!("not finished")
        };
        Ok(report.text)
    };
    let before = home.fits()?;
    assert_eq!(text(&home)?, text(&fresh)?);
    assert_eq!(home.fits()?, before, "the rows were run again");
    Ok(())
}

#[test]
fn what_a_stage_will_leave_is_matched_with_what_builds_on_it() -> Result<()> {
    let wider = SPEC.replace(
        "stages:",
        "stages:\n  first: { pretext: { task: colorization, backbone: { alexnet: { stem: small, width: 0.5 } }, \
         train: { steps: 1, \
         batch: 8, optimizer: { adam: { lr: 1e-3 } } } } }",
    );
    let message = refusal(&wider, &["color.init_from={ stage: first }"])?;
    assert!(
        message.contains("stage `color` cannot start: what stage `first` trains does not fit"),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_renamed_stage_of_more_steps_goes_on_too() -> Result<()> {
    let home = Home::new()?;
    let only = SPEC.split("  labels:").next().unwrap_or_default();
    run(&home.load(only, &[])?, &home.options())?;
    let renamed = only.replace("  color: {", "  tinted: {");
    run(&home.load(&renamed, &["tinted.train.steps=5"])?, &home.options())?;
    let (manifest, _) = named(&home.fits()?, "tinted-").remove(0);
    assert!(fs::read_to_string(manifest)?.contains("\"resumed\": 1"), "it was trained anew");
    Ok(())
}

/// Replacing a picture by another of the same file size changes the hash.
#[test]
fn the_content_of_pictures_decides_not_their_size() -> Result<()> {
    let home = Home::new()?;
    pictures(&home, &["train", "val"])?;
    for folder in ["train", "val"] {
        for i in 0..4u8 {
            let path = home.path().join(folder).join(format!("{i}.png"));
            let picture = image::open(&path)?;
            fs::remove_file(&path)?;
            picture.save(path.with_extension("bmp"))?;
        }
    }
    let yaml = of_folders(&home);
    let pretext = yaml.split("  labels:").next().unwrap_or_default();
    run(&home.load(pretext, &[])?, &home.options())?;
    fs::copy(home.path().join("train/1.bmp"), home.path().join("train/2.bmp"))?;
    run(&home.load(pretext, &[])?, &home.options())?;
    assert_eq!(named(&home.fits()?, "color-").len(), 2, "another picture was not noticed");
    Ok(())
}
