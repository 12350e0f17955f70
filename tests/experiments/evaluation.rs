//! Evaluation of colorizations as a stage: metrics on cases with known results, outputs, checks before the start, and
//! the losses of its methods.

use super::{home::Home, skipping};
use candle_core::Tensor;
use hueristic::{
    color::{bins::Bins, lab::srgb8_to_lab},
    data::{
        open::open,
        source::{Locations, Split},
    },
    experiment::{Experiment, Outcome, RunOptions, SweepPoint, check, current_runs, run},
    extremes::between,
    metrics::color::ColorMeasure,
    nn::weights,
    report::{colors::ColorResult, results::RESULTS},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

type Result<T> = anyhow::Result<T>;

const SPEC: &str = r#"
name: colors
data: { source: { scenes: { train: 32, val: 12, size: 32 } }, crop: 32 }
backbone: { vgg: { width: 0.05 } }
stages:
  full: { pretext: { task: { colorization: {} }, train: &train { steps: 3, batch: 4, optimizer: { adam: { lr: 1e-3 } } } } }
  l2: { pretext: { task: { colorization: { loss: l2 } }, train: *train } }
  l2_ft:
    pretext:
      init_from: { stage: full }
      task: { colorization: { loss: l2 } }
      train: { steps: 1, batch: 4, optimizer: { adam: { lr: 1e-12 } } }
  evaluation:
    color_evaluation:
      methods: { gray: gray, random: random, l2: { stage: l2 }, full: { stage: full } }
      evaluation: { bootstrap: 20, pictures: 3 }
"#;

impl Home {
    fn run_yaml(&self, yaml: &str) -> Result<Outcome> {
        run(&self.load(yaml, &[])?, &self.options())
    }

    /// The run directory whose name starts with `name`.
    fn fit(&self, start: &str) -> Result<PathBuf> {
        let mut fits = vec![];
        for entry in fs::read_dir(self.path().join("runs/colors"))? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)) {
                fits.push(path);
            }
        }
        anyhow::ensure!(fits.len() == 1, "{start}: {fits:?}");
        Ok(fits.remove(0))
    }

    fn result(&self, method: &str) -> Result<ColorResult> {
        let path = self.fit(&format!("evaluation-{method}-"))?.join(RESULTS);
        Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
    }
}

/// The validation pictures of [`SPEC`] as packed RGB.
fn truth(home: &Home) -> Result<Vec<Vec<u8>>> {
    let experiment = home.load(SPEC, &[])?;
    let stage = experiment.stages.get("full").expect("in the spec");
    let set = open(stage.data().expect("resolved"), Split::Val, &Locations::default())?;
    (0..set.len()).map(|i| Ok(set.image(i)?.pixels)).collect()
}

#[test]
fn methods_are_measured_and_reported() -> Result<()> {
    let home = Home::new()?;
    let Outcome::Finished { report: Some(report), .. } = home.run_yaml(SPEC)? else { panic!("no report") };
    for name in ["gray", "random", "l2", "full", "ground truth", "AuC %", "scenes", "12 images"] {
        assert!(report.text.contains(name), "{name}: {}", report.text);
    }
    let files: Vec<_> = report.tables.iter().chain(&report.plots).filter_map(|p| p.file_name()).collect();
    assert_eq!(files, ["colors.csv", "colors.md", "colors_differences.csv", "colors.png", "comparison.png"]);
    let markdown = fs::read_to_string(&report.tables[1])?;
    let [gray, full] = ["gray", "full"].map(|method| home.result(method));
    let (gray, full) = (gray?, full?);
    let less = 100.0 * (full.summary.auc - gray.summary.auc);
    assert!(markdown.contains(&format!("| full | {less:+.2} ± ")), "{less}: {markdown}");
    assert!(
        full.replicates.less(&gray.replicates, ColorMeasure::AucPrior).is_some_and(|all| all.len() == 20)
    );
    let sheet = fs::read_to_string(&report.tables[2])?;
    assert_eq!(sheet.lines().filter(|line| line.contains(",auc,")).count(), 6, "four methods: {sheet}");
    let comparison = image::open(&report.plots[1])?.into_rgb8();
    assert!(comparison.width() > 6 * 32 && comparison.height() > 3 * 32, "{:?}", comparison.dimensions());
    let examples = fs::read_dir(home.fit("evaluation-full-")?.join("examples"))?.count();
    assert_eq!(examples, 9, "three pictures of each of three images");
    home.reports_as_planned()
}

/// Gray's error is the chroma of the truth, so its AuC can be computed from the pictures.
#[test]
fn gray_is_what_the_pictures_say() -> Result<()> {
    let home = Home::new()?;
    home.run_yaml(SPEC)?;
    let (mut chroma, mut pixels) = (0.0, 0.0);
    for rgb in truth(&home)? {
        for pixel in rgb.as_chunks::<3>().0 {
            let [_, a, b] = srgb8_to_lab(*pixel).map(f64::from);
            chroma += (a * a + b * b).sqrt().min(150.0);
            pixels += 1.0;
        }
    }
    let gray = home.result("gray")?;
    assert!((gray.summary.auc - (1.0 - chroma / pixels / 150.0)).abs() < 1e-6);
    assert_eq!((gray.summary.images, gray.summary.pixels), (12, 12 * 32 * 32));
    assert!(gray.summary.colorfulness.is_some_and(|c| c < 1.0));
    let random = home.result("random")?;
    assert_ne!(random.summary.auc, gray.summary.auc);
    assert!(random.summary.colorfulness > gray.summary.colorfulness);
    assert_eq!(gray.truth, random.truth, "the truth does not depend on the method");
    Ok(())
}

/// The true pictures, given as a method's results, have no error; a changed picture gives another run.
#[test]
fn finished_pictures_are_scored_as_they_are() -> Result<()> {
    let home = Home::new()?;
    let pictures = home.path().join("pictures");
    fs::create_dir(&pictures)?;
    let experiment = home.load(SPEC, &[])?;
    let data = experiment.stages.get("full").and_then(|s| s.data()).expect("resolved").clone();
    let set = open(&data, Split::Val, &Locations::default())?;
    let stem =
        |i: usize| Path::new(&set.name(i)).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for (i, rgb) in truth(&home)?.into_iter().enumerate() {
        let image = image::RgbImage::from_raw(32, 32, rgb).expect("32×32 pixels");
        image.save(pictures.join(format!("{}.png", stem(i))))?;
    }
    let yaml = format!(
        "name: colors\ndata: {{ source: {{ scenes: {{ train: 32, val: 12, size: 32 }} }}, crop: 32 }}\nstages:\n  \
         evaluation:\n    color_evaluation:\n      methods: {{ copy: {{ pictures: {:?} }} }}\n",
        pictures
    );
    home.run_yaml(&yaml)?;
    let copy = home.result("copy")?;
    assert_eq!((copy.summary.auc, copy.summary.auc_empirical, copy.summary.rmse), (1.0, 1.0, 0.0));
    assert_eq!(copy.histogram, copy.truth);
    fs::remove_file(pictures.join(format!("{}.png", stem(3))))?;
    let error = format!("{:#}", home.run_yaml(&yaml).expect_err("a picture is missing"));
    assert!(error.contains(&format!("no file has the stem `{}`", stem(3))), "{error}");
    let error =
        format!("{:#}", check(&home.load(&yaml, &[])?, &home.options()).expect_err("and check says so"));
    assert!(error.contains("`copy`"), "{error}");
    Ok(())
}

/// With a negligible learning rate the result has the trunk of the initial stage and a new head.
#[test]
fn a_stage_starts_from_another_with_a_new_head() -> Result<()> {
    let home = Home::new()?;
    home.run_yaml(SPEC)?;
    let read = |stage: &str| -> Result<BTreeMap<String, Tensor>> {
        Ok(weights::read(&home.fit(stage)?.join("weights.safetensors"))?.0)
    };
    let (full, fine) = (read("full-")?, read("l2_ft-")?);
    assert!(full.contains_key("conv8_313.weight") && !fine.contains_key("conv8_313.weight"));
    assert_eq!(fine["conv8_ab.weight"].dims()[0], 2);
    for (name, tensor) in
        full.iter().filter(|(name, _)| name.ends_with("weight") && name.as_str() < "conv8_313")
    {
        let gap = between(tensor, &fine[name])?;
        assert!(gap < 1e-6, "{name} moved by {gap}");
    }
    Ok(())
}

/// Deep-supervision branches are heads too: another loss starts with new ones.
#[test]
fn branches_start_afresh_with_another_loss() -> Result<()> {
    let home = Home::new()?;
    home.run_yaml(&SPEC.replace("width: 0.05", "width: 0.05, deep_supervision: true"))?;
    let (fine, _) = weights::read(&home.fit("l2_ft-")?.join("weights.safetensors"))?;
    assert_eq!(fine["conv5_313.weight"].dims()[0], 2);
    Ok(())
}

#[test]
fn mistakes_are_found_before_anything_runs() -> Result<()> {
    let home = Home::new()?;
    let with = |from: &str, to: &str| -> String {
        let yaml = SPEC.replace(from, to);
        assert_ne!(yaml, SPEC, "{from}");
        match home.load(&yaml, &[]) {
            Ok(_) => panic!("{to} was accepted"),
            Err(error) => format!("{error:#}"),
        }
    };
    assert!(with("full: { stage: full }", "full: { stage: ful }").contains("did you mean `full`"));
    assert!(
        with("init_from: { stage: full }", "init_from: { stage: l2_ft }").contains("is this stage itself")
    );
    assert!(with("gray: gray", "gray: gra").contains("did you mean `gray`"));
    assert!(with("loss: l2 } }, train: *train", "loss: l3 } }, train: *train").contains("l2"));
    let none = "methods: { gray: gray, random: random, l2: { stage: l2 }, full: { stage: full } }";
    assert!(with(none, "methods: {}").contains("at least one method"));
    Ok(())
}

/// Two classes in ImageNet's layout, 24 pictures each, for both splits.
fn imagenet(home: &Home) -> Result<Locations> {
    for (split, ending) in [("train", "JPEG"), ("val", "JPEG")] {
        for class in ["n01440764", "n01443537"] {
            let folder = home.path().join("data/imagenet").join(split).join(class);
            fs::create_dir_all(&folder)?;
            for i in 0..24u8 {
                let picture =
                    image::RgbImage::from_fn(300, 280, |x, y| image::Rgb([x as u8, y as u8, 10 * i]));
                let mut jpeg = std::io::Cursor::new(vec![]);
                picture.write_to(&mut jpeg, image::ImageFormat::Jpeg)?;
                fs::write(folder.join(format!("{class}_{i}.{ending}")), jpeg.into_inner())?;
            }
        }
    }
    Ok(Locations { data: Some(home.path().join("data")), ..Locations::default() })
}

fn paper(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/paper/{name}.yaml"))
}

/// The spec of the paper's table passes `check` on a data set in ImageNet's layout. The networks of others are those of their own
/// specs, whose runs it takes.
#[test]
fn the_papers_recipe_passes_check() -> Result<()> {
    let home = Home::new()?;
    let locations = imagenet(&home)?;
    let options = RunOptions { locations, ..home.options() };
    let table = Experiment::load(&paper("table1"), &[])?;
    let text = check(&table, &options)?.to_string();
    for part in [
        "32,230,393",
        "450000 steps × 40",
        "19,743.9",
        "400000 steps × 6",
        "2000000 steps × 8",
        "methods  8",
        "7 stages",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let dirs = |experiment: &Experiment, stage: &str| -> Result<String> {
        let found = current_runs(&[SweepPoint::whole(experiment.clone())], &options)?.used;
        let hash = |dir: &PathBuf| {
            Some(dir.file_name()?.to_str()?.strip_prefix(&format!("{stage}-s0-"))?.to_string())
        };
        Ok(found.iter().find_map(hash).expect(stage))
    };
    for stage in ["dahl", "larsson"] {
        assert_eq!(dirs(&table, stage)?, dirs(&Experiment::load(&paper(stage), &[])?, stage)?, "{stage}");
    }
    Ok(())
}

/// Bins, prior and weights are those of the paper's grid, independent of the methods.
#[test]
fn the_prior_is_kept_beside_the_results() -> Result<()> {
    let home = Home::new()?;
    home.run_yaml(SPEC)?;
    let prior = hueristic::color::prior::Prior::read(
        &home.fit("evaluation-gray-")?.join("prior.npy"),
        &Bins::new(10.0),
    )?;
    assert!((prior.probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(home.result("gray")?.summary.auc_prior.is_some());
    Ok(())
}

/// A narrow VGG-16 with random weights: its predictions are meaningless, but equal for Gray's pictures and the gray
/// ones.
#[test]
fn a_classifier_is_asked_what_the_pictures_show() -> Result<()> {
    let home = Home::new()?;
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/vgg16_torch.safetensors");
    let judged = format!(
        "evaluation: {{ bootstrap: 20, pictures: 3, classifier: {{ weights: {weights:?}, classes: [0, 1, 2, 3, 4, 5, 6, \
         7, 8, 0], vgg16: {{ width: 0.03, fc: 16, crop: 64, input: rgb_unit }} }} }}"
    );
    let yaml = SPEC.replace("evaluation: { bootstrap: 20, pictures: 3 }", &judged);
    let Outcome::Finished { report: Some(report), .. } = home.run_yaml(&yaml)? else { panic!("no report") };
    assert!(report.text.contains("VGG top-1 %"), "{}", report.text);
    let gray = home.result("gray")?.recognized.expect("a classifier was asked");
    assert_eq!((gray.gray.top1, gray.gray.top5), (gray.recolored.top1, gray.recolored.top5));
    let pages = home.fit("evaluation-full-")?.join("interpretability");
    let page = fs::read_to_string(pages.join("interpretability.md"))?;
    assert!(page.contains("12 pictures of scenes, recolored by full"), "{page}");
    assert!(pages.join("interpretability_classes.png").exists());
    let unmapped = yaml.replace("classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 0], ", "");
    let error = format!("{:#}", home.run_yaml(&unmapped).expect_err("ten classes, of which nine are known"));
    assert!(error.contains("map the labels of the data set"), "{error}");
    Ok(())
}

/// The spec of the paper's Figures 10 to 12, with small weights in place of the released ones.
#[test]
fn the_interpretability_of_the_paper_is_measured_in_small() -> Result<()> {
    let home = Home::new()?;
    let locations = imagenet(&home)?;
    home.run_yaml(SPEC)?;
    let colorizer = home.fit("full-")?.join("weights.safetensors");
    let judge = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles/vgg16_torch.safetensors");
    let classifier = "{ width: 0.03, fc: 16, crop: 64, input: rgb_unit }";
    let key = "evaluation.evaluation.classifier";
    let sets = [
        format!("evaluation.methods.full.file={}", colorizer.display()),
        format!("{key}.weights={}", judge.display()),
        format!("{key}.vgg16={classifier}"),
        format!("{key}.classes=[3, 5]"),
        "data.crop=64".into(),
    ];
    let experiment = Experiment::load(&paper("interpretability"), &sets)?;
    let Outcome::Finished { report: Some(report), .. } =
        run(&experiment, &RunOptions { locations, ..home.options() })?
    else {
        panic!("no report")
    };
    assert!(
        report.text.contains("VGG top-1 %") && report.text.contains("48 images of imagenet"),
        "{}",
        report.text
    );
    Ok(())
}

/// Published pictures of 240 photographs have the published scores, to the last digit that was printed.
#[test]
fn the_papers_table_4_comes_out_of_its_spec() -> Result<()> {
    let Some(folder) = skipping::data("sun6_learch") else { return Ok(()) };
    let home = Home::new()?;
    let pictures = |stage: &str, method: &str, folder: &Path| {
        format!("{stage}.methods.{method}.pictures={}", folder.display())
    };
    let stages = ["average", "lightness"];
    let sets = stages.map(|stage| {
        [
            pictures(stage, "learch", &folder.join("learch")),
            pictures(stage, "published", &folder.join("ours")),
        ]
    });
    let locations = Locations { data: folder.parent().map(Path::to_path_buf), ..Locations::default() };
    let experiment = Experiment::load(&paper("table4"), sets.as_flattened())?;
    let Outcome::Finished { report: Some(report), .. } =
        run(&experiment, &RunOptions { locations, ..home.options() })?
    else {
        panic!("no report")
    };
    for title in ["seen as (R+G+B)/3", "seen as L"] {
        assert!(report.text.contains(title), "{}", report.text);
    }
    let result = |start: &str| -> Result<ColorResult> {
        let run = fs::read_dir(home.path().join("runs/table4"))?
            .flatten()
            .find(|run| run.file_name().to_string_lossy().starts_with(start));
        let run = run.unwrap_or_else(|| panic!("no run {start}"));
        Ok(serde_json::from_slice(&fs::read(run.path().join(RESULTS))?)?)
    };
    for (method, auc, rebalanced) in
        [("gray", 89.15, 66.23), ("learch", 88.83, 69.44), ("published", 89.98, 76.51)]
    {
        let summary = result(&format!("average-{method}-"))?.summary;
        let ours = [summary.auc_thresholds, summary.auc_empirical_thresholds].map(|v| 100.0 * v);
        let off = [ours[0] - auc, ours[1] - rebalanced].map(f64::abs);
        assert!(off.iter().all(|off| *off < 0.1), "{method}: {ours:?}");
    }
    Ok(())
}

/// A network made for L sees the same without `gray:`, and something else of colored pictures as (R+G+B)/3.
#[test]
fn all_networks_see_the_gray_that_is_asked_for() -> Result<()> {
    let auc = |gray: &str| -> Result<[f64; 2]> {
        let home = Home::new()?;
        let asked = SPEC.replace("pictures: 3 }", &format!("pictures: 3{gray} }}"));
        home.run_yaml(&asked)?;
        let of = |method: &str| -> Result<f64> { Ok(home.result(method)?.summary.auc) };
        Ok([of("full")?, of("gray")?])
    };
    let own = auc("")?;
    assert_eq!(own, auc(", gray: lightness")?);
    let average = auc(", gray: average")?;
    assert!(own[0] != average[0] && own[1] == average[1], "{own:?}, {average:?}");
    Ok(())
}
