//! Whole experiments: from YAML to a report, what is run again and what is not, and what stops one before it starts.

mod home;

use home::Home;
use hueristic::experiment::{Outcome, check, run};
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

    /// The fits' directories with the time of their manifests.
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

/// Every file below `dir`, with its content.
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
    // What only the run itself reads: it is finished, and stays so.
    flip(color.join("checkpoints/last.safetensors"))?;
    flip(color.join("metrics.jsonl"))?;
    fs::remove_dir_all(color.join("pictures"))?;
    let before = files(&home.path().join("runs/tiny"))?;
    home.run(&[])?;
    let same = |(path, bytes): (&PathBuf, &Vec<u8>)| {
        path.iter().any(|part| part == "report") || before.get(path) == Some(bytes)
    };
    assert!(files(&home.path().join("runs/tiny"))?.iter().all(same));
    // What others read is refused by name, and left as it is.
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
        let parts = ["is not what the run has left: its SHA-256 is", "manifest.json says"];
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(message.contains(&*file.file_name().unwrap_or_default().to_string_lossy()), "{message}");
        assert!(fs::read(&file)? == damaged, "it was written again");
        fs::write(&file, whole)?;
    }
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
    assert!(
        plan.contains("conv5") && plan.contains("images/s") && plan.contains("nothing was trained"),
        "{plan}"
    );
    assert!(!home.path().join("runs").exists());
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
    // Neither a header nor a whole set of shapes tells the architecture, so the spec's counts, which has a conv4.
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

/// Pictures in these folders, four each.
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

/// The spec with class folders of the home's `train` and `val` as its data.
fn of_folders(home: &Home) -> String {
    let at = |split: &str| home.path().join(split).display().to_string();
    let source = format!("folder: {{ train: {}, val: {} }}", at("train"), at("val"));
    SPEC.replace("scenes: { train: 64, val: 40 }", &source).replace("batch: 8", "batch: 4")
}

#[test]
fn unlabelled_data_pretrains_but_is_not_probed() -> Result<()> {
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

#[test]
fn data_that_is_not_there_is_named() -> Result<()> {
    let yaml =
        SPEC.replace("scenes: { train: 64, val: 40 }", "folder: { train: nowhere/train, val: nowhere/val }");
    let message = refusal(&yaml, &[])?;
    assert!(message.contains("nowhere/train"), "{message}");
    Ok(())
}
