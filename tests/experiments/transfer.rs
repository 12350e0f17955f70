//! Transfer stages from spec to table: each task learns, stops and resumes, and reports invalid input.

use super::home::Home;
use candle_core::Device;
use hueristic::{
    backbones::{
        BackboneSpec, Build, Variant,
        alexnet::{AlexNetSpec, Stem},
        network::Network,
    },
    bounded::{Count, Positive},
    boxes::Rect,
    data::{
        annotated::{Annotated, Mask, Object, Presence},
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        scenes::composite::Composite,
        source::{DataError, Dataset, Locations, RgbImage, Split},
        voc::mask::write_indices,
    },
    experiment::{self, Experiment, Outcome},
    nn::{TrainingPass, init::Filler, layers::Fillers, params::Params},
    rng::Rng,
    train::task::Task,
    transfer::{
        classification::{Classification, ClassificationSpec},
        detection::{DetectionSpec, DetectionTask, ProposedSet},
        segmentation::{Segmentation, SegmentationSpec, Stride},
    },
};
use std::{fs, path::Path, sync::Arc};

const SPEC: &str = r#"
name: transfer
annotated:
  source: { composite: { train: 24, val: 8, size: 48 } }
backbone:
  alexnet: { stem: small, width: 0.1, fc: 16 }
stages:
  classification:
    classification:
      backbones: &rows
        gaussian: { init: msra }
        kmeans: { data_dependent: { filters: kmeans, batches: 1 } }
        rescaled: { rescaled: { init: msra } }
      task: { train_from: [fc8, conv1], crop: 29, draws: 2 }
      train: &train
        steps: 3
        batch: 4
        optimizer: { sgd: { lr: 1e-3 } }
  color:
    classification:
      backbones: { gaussian: { init: msra } }
      input: color
      task: { train_from: [conv1], crop: 29, draws: 1 }
      train: *train
  detection:
    detection:
      backbones: *rows
      task:
        proposals: { selective_search: { width: 48, smallest: 8 } }
        frozen: { through: conv1 }
        scales: [48]
        test_scale: 48
      train: *train
  segmentation:
    segmentation:
      backbones: *rows
      train: *train
  svm:
    svm:
      backbones: { gaussian: { init: msra } }
      features: { layers: [conv2, conv5], squash: 32 }
      classifier: { costs: { list: [0.1, 1] }, folds: 2 }
  knn:
    knn:
      backbones: { gaussian: { init: msra } }
      features: { layers: [conv5] }
      classifier: { neighbors: [1, 5] }
  low_shot:
    low_shot:
      backbones: { gaussian: { init: msra } }
      features: { layers: [conv5] }
      classifier: { shots: [1, 2], samples: 2, svm: { costs: { list: [0.1, 1] } } }
  nonlinear:
    nonlinear_probe:
      data: { source: { scenes: { train: 40, val: 10, size: 32 } }, crop: 29 }
      backbones: { gaussian: { init: msra } }
      through: [conv2, conv4]
      train: *train
"#;

#[test]
fn every_stage_runs_and_the_table_has_a_column_for_each() -> anyhow::Result<()> {
    let home = Home::new()?;
    let experiment = home.load(SPEC, &[])?;
    let plan = experiment::check(&experiment, &home.options())?.to_string();
    for part in
        ["crops of 29 pixels at random scales", "whole, short side 48", "stage svm", "nonlinear_probe"]
    {
        assert!(plan.contains(part), "{part} is not in\n{plan}");
    }
    let Outcome::Finished { report: Some(report), pictures } = experiment::run(&experiment, &home.options())?
    else {
        panic!("not finished")
    };
    home.reports_as_planned()?;
    for column in ["Class.", "fc8", "all", "Det.", "Seg.", "SVM", "kNN", "low-shot", "nonlinear"] {
        assert!(report.text.contains(column), "{column} is not in\n{}", report.text);
    }
    for row in ["gaussian", "kmeans", "rescaled"] {
        assert!(report.text.contains(row), "{row} is not in\n{}", report.text);
    }
    assert!(pictures.len() >= 6, "detections and masks are drawn: {pictures:?}");
    let runs = home.path().join("runs/transfer");
    let folder = |prefix: &str| {
        let mut all = fs::read_dir(&runs).into_iter().flatten().flatten();
        all.find(|e| e.file_name().to_string_lossy().starts_with(prefix)).map(|e| e.path())
    };
    let detections =
        folder("detection-gaussian-s0").expect("a run").join("detections/comp3_det_val_disc.txt");
    assert!(detections.exists());
    let masks = folder("segmentation-gaussian-s0").expect("a run").join("segmentations");
    assert_eq!(fs::read_dir(masks)?.count(), 8);
    // Finished runs are not repeated.
    let again = experiment::run(&experiment, &home.options())?;
    assert!(matches!(again, Outcome::Finished { .. }));
    Ok(())
}

#[test]
fn a_rehearsal_takes_as_many_pictures_as_its_stage_must_see() -> anyhow::Result<()> {
    let home = Home::new()?;
    // Eight pictures are too few for folds of every class.
    let few = ["svm.classifier.folds=3", "annotated.source={ composite: { train: 48, val: 16, size: 48 } }"];
    let outlook = experiment::check_and_estimate(&home.load(SPEC, &few)?, &home.options())?;
    let text = outlook.to_string();
    assert_eq!((outlook.failing(), text.matches("  time     about ").count()), (0, 8), "{text}");
    Ok(())
}

/// The error message for a spec.
fn refused(sets: &[&str]) -> String {
    let home = Home::new().expect("a folder");
    match home.load(SPEC, sets).and_then(|e| experiment::check(&e, &home.options()).map(|_| ())) {
        Ok(()) => panic!("{sets:?} was taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    for (set, part) in [
        ("classification.task.train_from=[conv9]", "conv9"),
        ("detection.task.frozen.through=conv0", "conv0"),
        ("svm.features.layers=[conv2,conv2]", "twice"),
        ("nonlinear.through=[]", "at least one layer"),
        ("knn.backbones={x: {stage: svm}}", "trains no backbone"),
        ("annotated.source={catalog: cifar10}", "neither boxes nor masks"),
        ("annotated.source={catalog: voc2070}", "voc2007"),
        ("annotated.source={voc: {devkit: nowhere, train: train, val: val}}", "nowhere"),
        (
            "detection.task.proposals={file: {train: none.safetensors, val: none.safetensors}}",
            "none.safetensors",
        ),
    ] {
        let message = refused(&[set]);
        assert!(message.contains(part), "{set}: {message}");
    }
}

#[test]
fn a_stage_needs_a_backbone() -> anyhow::Result<()> {
    let home = Home::new()?;
    let yaml = SPEC.replace(
        "  segmentation:\n    segmentation:\n      backbones: *rows",
        "  segmentation:\n    segmentation:\n      backbones: {}",
    );
    assert_ne!(yaml, SPEC);
    let message = home.load(&yaml, &[]).expect_err("empty").to_string();
    assert!(message.contains("at least one backbone"), "{message}");
    Ok(())
}

/// Uniform gray pictures with the annotations that a test specifies.
struct Given {
    classes: Vec<String>,
    objects: Vec<Vec<Object>>,
    mask: Option<Mask>,
}

const SIDE: usize = 48;

fn given(classes: usize, objects: Vec<Vec<Object>>) -> Arc<dyn Annotated> {
    Arc::new(Given { classes: (0..classes).map(|c| format!("class {c}")).collect(), objects, mask: None })
}

fn object(class: usize, difficult: bool) -> Object {
    let bounds = Rect::new(8., 8., 39., 39.);
    Object { class, bounds, difficult, truncated: false, occluded: false }
}

impl Dataset for Given {
    fn len(&self) -> usize {
        self.objects.len()
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn name(&self, index: usize) -> String {
        format!("picture {index}")
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        Ok(RgbImage { width: SIDE, height: SIDE, pixels: vec![40 + 20 * index as u8; 3 * SIDE * SIDE] })
    }
    fn fingerprint(&self) -> String {
        "given".into()
    }
}

impl Annotated for Given {
    fn id(&self, index: usize) -> &str {
        ["a", "b", "c", "d"][index]
    }
    fn size(&self, _: usize) -> (usize, usize) {
        (SIDE, SIDE)
    }
    fn objects(&self, index: usize) -> &[Object] {
        &self.objects[index]
    }
    fn presence(&self, index: usize) -> Vec<Presence> {
        let of = |class| {
            let mut own = self.objects[index].iter().filter(|o| o.class == class).peekable();
            match (own.peek().is_some(), own.any(|o| !o.difficult)) {
                (false, _) => Presence::Absent,
                (true, true) => Presence::Present,
                (true, false) => Presence::Ignored,
            }
        };
        (0..self.classes.len()).map(of).collect()
    }
    fn mask(&self, _: usize) -> Result<Option<Mask>, DataError> {
        Ok(self.mask.clone())
    }
}

fn net(variant: Variant, outputs: Option<usize>) -> (Network, Params) {
    let spec = AlexNetSpec {
        stem: Stem::Small,
        width: Positive::of(0.1),
        fc: Some(Count::of(16)),
        ..Default::default()
    };
    let build = Build { variant, batch_norm: false, input_channels: 1, outputs };
    let mut params = Params::new(&Device::Cpu);
    let net = BackboneSpec::Alexnet(spec).build(&build, &mut params, &Rng::new(1)).expect("a network");
    (net, params)
}

fn proposed(set: &Arc<dyn Annotated>, boxes: Vec<Rect>) -> ProposedSet {
    ProposedSet { set: set.clone(), proposals: Arc::new(vec![boxes; set.len()]) }
}

fn loader(set: &Arc<dyn Annotated>, framing: CropPolicy, pass: Pass, batch: usize) -> Loader {
    let feed = LoaderOptions { batch, pass, flip: true, max_bad: 0.0, threads: Some(1) };
    Loader::with_policy(set.clone(), framing, feed, &Rng::new(0), &Device::Cpu).expect("a loader")
}

fn detection_spec() -> DetectionSpec {
    DetectionSpec { scales: vec![Count::of(SIDE)], test_scale: Count::of(SIDE), ..Default::default() }
}

#[test]
fn a_detector_without_boxes_that_show_objects_is_refused() {
    let nothing = given(2, vec![vec![], vec![]]);
    let sets = || (proposed(&nothing, vec![Rect::new(0., 0., 20., 20.)]), proposed(&nothing, vec![]));
    let error =
        DetectionTask::new(&detection_spec(), net(Variant::Regions, None), sets(), &Rng::new(0)).err();
    let message = error.expect("nothing to learn").to_string();
    assert!(message.contains("nothing to learn"), "{message}");
}

#[test]
fn a_detector_lives_with_empty_proposals_one_class_and_objects_of_no_size() -> anyhow::Result<()> {
    let point = Object { bounds: Rect::new(5., 5., 5., 5.), ..object(0, false) };
    let set = given(1, vec![vec![object(0, false), point], vec![]]);
    let sets = (proposed(&set, vec![]), proposed(&set, vec![]));
    let mut task = DetectionTask::new(&detection_spec(), net(Variant::Regions, None), sets, &Rng::new(0))?;
    let mut train = loader(&set, detection_spec().training(), Pass::Train, 2);
    let batch = train.next_batch()?.expect("a batch");
    let step = task.step(&batch, &TrainingPass::new(Rng::new(1)))?;
    assert!(step.loss.to_scalar::<f32>()?.is_finite());
    let mut val = loader(&set, detection_spec().test(), Pass::Once, 1);
    let metrics = task.evaluate(&mut val)?;
    assert_eq!((metrics[0].name.as_str(), metrics[0].value), ("map", 0.0), "nothing was proposed");
    Ok(())
}

#[test]
fn difficult_objects_alone_leave_nothing_to_be_found() -> anyhow::Result<()> {
    let train = given(2, vec![vec![object(0, true)], vec![object(1, true)]]);
    let sets = (proposed(&train, vec![]), proposed(&train, vec![Rect::new(8., 8., 39., 39.)]));
    let mut task = DetectionTask::new(&detection_spec(), net(Variant::Regions, None), sets, &Rng::new(0))?;
    let message = match task.evaluate(&mut loader(&train, detection_spec().test(), Pass::Once, 1)) {
        Ok(_) => panic!("a mean of nothing"),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("not difficult"), "{message}");
    let spec = ClassificationSpec { crop: Some(Count::of(29)), ..Default::default() };
    let both = (train.clone(), train.clone());
    let error = Classification::new(&spec, net(Variant::Transfer, Some(2)), both).err();
    assert!(error.expect("nothing is shown").to_string().contains("nothing to learn"));
    Ok(())
}

#[test]
fn ignored_classes_count_neither_in_the_loss_nor_in_the_mean() -> anyhow::Result<()> {
    let set = given(2, vec![vec![object(0, false), object(1, true)], vec![object(1, true)]]);
    let spec = ClassificationSpec { crop: Some(Count::of(29)), draws: Count::of(1), ..Default::default() };
    let mut task = Classification::new(&spec, net(Variant::Transfer, Some(2)), (set.clone(), set.clone()))?;
    let mut val = loader(&set, CropPolicy::RandomScale { side: 29 }, Pass::Draw, 2);
    let metrics = task.evaluate(&mut val)?;
    assert_eq!(task.last()[1].average_precision, None, "class 1 is nowhere but difficult");
    assert_eq!(metrics.len(), 2, "the mean and one class: {metrics:?}");
    let mut train = loader(&set, CropPolicy::RandomScale { side: 29 }, Pass::Train, 2);
    let step = task.step(&train.next_batch()?.expect("a batch"), &TrainingPass::new(Rng::new(0)))?;
    // The last layer is zero: ln 2 for each of the two labeled entries, over two pictures.
    let loss = step.loss.to_scalar::<f32>()?;
    assert!((loss - 2f32.ln()).abs() < 1e-5, "{loss}");
    Ok(())
}

#[test]
fn a_crop_that_leaves_a_map_of_answers_is_refused() -> anyhow::Result<()> {
    let set = given(1, vec![vec![object(0, false)]]);
    let spec = ClassificationSpec::default();
    let mut task = Classification::new(&spec, net(Variant::Transfer, Some(1)), (set.clone(), set.clone()))?;
    let mut val = loader(&set, CropPolicy::RandomScale { side: 48 }, Pass::Draw, 1);
    let message = task.evaluate(&mut val).expect_err("too large").to_string();
    assert!(message.contains("small stem 29"), "{message}");
    Ok(())
}

#[test]
fn a_segmentation_needs_masks() {
    let set = given(1, vec![vec![object(0, false)]]);
    let spec = SegmentationSpec::default();
    let error =
        Segmentation::new(&spec, net(Variant::Dense, Some(2)), (set.clone(), set), &Rng::new(0)).err();
    let message = error.expect("no masks").to_string();
    assert!(message.contains("has no mask"), "{message}");
}

/// Initially the finer strides give the coarse scores, since their classifiers are zero; all cover the picture.
#[test]
fn finer_strides_start_as_the_coarse_one() -> anyhow::Result<()> {
    let set: Arc<dyn Annotated> = Arc::new(Composite::new(2, 64, 0, Split::Train)?);
    let image = set.image(0)?;
    let of = |stride| -> anyhow::Result<Mask> {
        let spec = SegmentationSpec { stride, ..Default::default() };
        let (net, params) = net(Variant::Dense, Some(set.classes().len() + 1));
        let head = params.get("fc8.weight").expect("a head").clone();
        head.set(&Filler::Gaussian { std: Positive::of(0.1) }.fill(
            head.dims(),
            &Rng::new(3),
            &Device::Cpu,
        )?)?;
        let task = Segmentation::new(&spec, (net, params), (set.clone(), set.clone()), &Rng::new(0))?;
        task.predict(&image)
    };
    let coarse = of(Stride::Coarse)?;
    assert_eq!((coarse.width, coarse.height), (64, 64));
    for finer in [of(Stride::Middle)?, of(Stride::Fine)?] {
        let same = coarse.labels.iter().zip(&finer.labels).filter(|(a, b)| a == b).count();
        assert!(same as f64 > 0.85 * coarse.labels.len() as f64, "{same} of {}", coarse.labels.len());
    }
    Ok(())
}

#[test]
fn columns_are_named_as_in_the_paper() {
    let alexnet = BackboneSpec::Alexnet(AlexNetSpec::default());
    let named = ["fc8", "fc6", "conv1", "conv4"].map(|first| ClassificationSpec::column(first, &alexnet));
    assert_eq!(named, ["fc8", "fc6-8", "all", "conv4-fc8"]);
    let Fillers { bias, .. } = ClassificationSpec::head();
    assert_eq!(bias, Some(Filler::Constant { value: 0.1 }));
}

/// A devkit with the original's folders and twenty pictures per list.
fn devkit(root: &Path, year: &str, lists: &[(&str, &str)]) -> anyhow::Result<()> {
    let dir = root.join("VOCdevkit").join(year);
    for folder in ["Annotations", "JPEGImages", "SegmentationClass"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    let picture = image::RgbImage::from_fn(500, 375, |x, y| image::Rgb([x as u8, y as u8, 9]));
    picture.save(root.join("picture.jpg"))?;
    let mask = Mask { width: 500, height: 375, labels: vec![12; 500 * 375] };
    write_indices(&root.join("mask.png"), &mask)?;
    for (list, (kind, name)) in lists.iter().enumerate() {
        let folder = dir.join("ImageSets").join(kind);
        fs::create_dir_all(&folder)?;
        let ids: Vec<String> = (0..20).map(|i| format!("{:06}", 100 * list + i)).collect();
        fs::write(folder.join(format!("{name}.txt")), ids.join("\n"))?;
        for id in &ids {
            fs::copy(root.join("picture.jpg"), dir.join(format!("JPEGImages/{id}.jpg")))?;
            fs::copy(root.join("mask.png"), dir.join(format!("SegmentationClass/{id}.png")))?;
            let xml = format!(
                "<annotation><filename>{id}.jpg</filename><size><width>500</width><height>375</height>\
                 <depth>3</depth></size><object><name>dog</name><bndbox><xmin>48</xmin><ymin>240</ymin>\
                 <xmax>195</xmax><ymax>371</ymax></bndbox></object></annotation>"
            );
            fs::write(dir.join(format!("Annotations/{id}.xml")), xml)?;
        }
    }
    Ok(())
}

/// Replaces `from` by `to` in every file below `folder`.
fn rewrite(folder: &Path, from: &str, to: &str) -> anyhow::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        let text = fs::read_to_string(&file)?;
        assert!(text.contains(from), "{} is as it was", file.display());
        fs::write(&file, text.replace(from, to))?;
    }
    Ok(())
}

/// Objects that are all difficult, and masks of background alone: each is refused by the stages that need the other.
#[test]
fn annotations_that_show_nothing_are_refused() -> anyhow::Result<()> {
    let lists = [("Main", "train"), ("Main", "val"), ("Segmentation", "train"), ("Segmentation", "val")];
    let of = |spoil: &dyn Fn(&Path) -> anyhow::Result<()>| -> anyhow::Result<String> {
        let temp = tempfile::tempdir()?;
        devkit(temp.path(), "VOC2012", &lists)?;
        let kit = temp.path().join("VOCdevkit");
        spoil(&kit.join("VOC2012"))?;
        Ok(refused(&[&format!(
            "annotated.source={{voc: {{devkit: {}, train: train, val: val}}}}",
            kit.display()
        )]))
    };
    let (objects, masks) = (
        "show no object that counts: look at its lists and annotations",
        "names a class: give a set with masks",
    );
    let difficult =
        |kit: &Path| rewrite(&kit.join("Annotations"), "<bndbox>", "<difficult>1</difficult><bndbox>");
    let message = of(&difficult)?;
    for split in ["train", "val"] {
        assert!(message.contains(&format!("the {split} pictures of ")), "{message}");
    }
    assert!(message.contains(objects) && !message.contains(masks), "{message}");
    let background = |kit: &Path| -> anyhow::Result<()> {
        let empty = Mask { width: 500, height: 375, labels: vec![0; 500 * 375] };
        let masks = fs::read_dir(kit.join("SegmentationClass"))?;
        masks.into_iter().try_for_each(|mask| Ok(write_indices(&mask?.path(), &empty)?))
    };
    let message = of(&background)?;
    for split in ["train", "val"] {
        assert!(message.contains(&format!("no mask of the {split} pictures of ")), "{message}");
    }
    assert!(message.contains(masks) && !message.contains(objects), "{message}");
    Ok(())
}

/// Two classes of photographs in folders, in ImageNet's layout.
fn imagenet(root: &Path) -> anyhow::Result<()> {
    for (split, class) in [("train", "n01"), ("train", "n02"), ("val", "n01"), ("val", "n02")] {
        let folder = root.join("imagenet").join(split).join(class);
        fs::create_dir_all(&folder)?;
        let picture = image::RgbImage::from_fn(300, 280, |x, y| image::Rgb([x as u8, y as u8, 40]));
        picture.save(folder.join("0.jpg"))?;
        (1..130)
            .try_for_each(|i| fs::copy(folder.join("0.jpg"), folder.join(format!("{i}.jpg"))).map(drop))?;
    }
    Ok(())
}

/// The paper's recipes pass `check` on data in the original layouts.
#[test]
fn the_papers_recipes_pass_check() -> anyhow::Result<()> {
    let home = Home::new()?;
    let data = home.path().join("data");
    imagenet(&data)?;
    devkit(&data, "VOC2007", &[("Main", "trainval"), ("Main", "test")])?;
    devkit(&data, "VOC2012", &[("Segmentation", "train"), ("Segmentation", "seg11valid")])?;
    let sbd = data.join("SBD/dataset");
    fs::create_dir_all(sbd.join("cls"))?;
    fs::create_dir_all(sbd.join("img"))?;
    let mask = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mat/sbd_cls.mat");
    fs::copy(mask, sbd.join("cls/2008_000001.mat"))?;
    fs::write(sbd.join("train.txt"), "2008_000001\n")?;
    let picture = |(width, height)| image::RgbImage::from_pixel(width, height, image::Rgb([90, 80, 70]));
    let size = hueristic::data::voc::sbd::read_mask(&sbd.join("cls/2008_000001.mat"))?;
    picture((size.width as u32, size.height as u32)).save(sbd.join("img/2008_000001.jpg"))?;
    let xml = fs::read_to_string(data.join("VOCdevkit/VOC2012/Annotations/000000.xml"))?;
    let xml = xml.replace("<width>500", &format!("<width>{}", size.width));
    let xml = xml.replace("<height>375", &format!("<height>{}", size.height));
    let bounds = [("48", "2"), ("240", "2"), ("195", "4"), ("371", "4")];
    let xml =
        bounds.iter().fold(xml, |xml, (from, to)| xml.replace(&format!(">{from}<"), &format!(">{to}<")));
    fs::write(data.join("VOCdevkit/VOC2012/Annotations/2008_000001.xml"), xml)?;

    let options = experiment::RunOptions {
        locations: Locations { data: Some(data), ..Locations::default() },
        ..home.options()
    };
    for (name, parts) in [
        (
            "table2",
            &["80000 steps × 16", "150000 steps × 2", "150000 steps × 1 × 20", "8 stages", "20 fits"][..],
        ),
        ("figure7", &["140000 steps × 64 × 4", "450000 steps × 80", "58,127,353", "8 stages"][..]),
    ] {
        let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("experiments/paper/{name}.yaml"));
        let spec = Experiment::load(&spec, &[])?;
        let plan = experiment::check(&spec, &options)?.to_string();
        for part in parts {
            assert!(plan.contains(part), "{name}: {part} is not in\n{plan}");
        }
    }
    Ok(())
}

/// A result that violates `expected` fails the run after the report is written; so does divergence.
#[test]
fn a_run_that_stays_below_what_is_expected_fails() -> anyhow::Result<()> {
    let home = Home::new()?;
    let fast = SPEC.split("  color:").next().expect("a first part");
    let diverging = format!("{fast}expected: {{ classification: {{ map: 0.0 }} }}\n");
    let message =
        experiment::run(&home.load(&diverging, &[])?, &home.options()).expect_err("too fast").to_string();
    assert!(message.contains("it has diverged: the training loss is"), "{message}");
    let yaml = fast.replace("lr: 1e-3", "lr: 1e-5");
    let with = |expected: &str| format!("{yaml}expected: {{ classification: {{ {expected} }} }}\n");
    let low = home.load(&with("map: 0.0"), &[])?;
    assert!(matches!(experiment::run(&low, &home.options())?, Outcome::Finished { .. }));
    let high = home.load(&with("map: 1.1"), &[])?;
    let message = experiment::run(&high, &home.options()).expect_err("not reached").to_string();
    assert!(message.contains("map") && message.contains("is below 1.1"), "{message}");
    Ok(())
}

/// `expected` is checked before the first step against the stage's metric names; those of classes are known once the
/// data is open.
#[test]
fn an_unknown_metric_that_is_expected_is_refused_before_anything_runs() -> anyhow::Result<()> {
    let home = Home::new()?;
    let said = |expected: &str| -> anyhow::Result<String> {
        let experiment = match home.load(&format!("{SPEC}expected: {{ {expected} }}\n"), &[]) {
            Ok(experiment) => experiment,
            Err(error) => return Ok(error.to_string()),
        };
        Ok(experiment::check(&experiment, &home.options()).err().map(|e| e.to_string()).unwrap_or_default())
    };
    let message = said("classification: { mpa: 0.1 }, nonlinear: { top2: 0, top1: 0 }")?;
    for part in [
        "error: stage `classification`: unknown metric `mpa`, expected one of `map`, `ap_CLASS`",
        "did you mean `map`?",
        "error: stage `nonlinear`: unknown metric `top2`, expected one of `top1`, `top5`",
    ] {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    let message = said("segmentation: { ap_disc: 0 }, svm: { conv3: 0 }")?;
    for part in ["`mean_iu`", "expected one of `conv2`, `conv5`"] {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    // Classes are known once the data is open.
    let message = said("detection: { ap_dics: 0 }")?;
    for part in
        ["stage `detection` cannot start: `expected`: unknown metric `ap_dics`", "did you mean `ap_disc`?"]
    {
        assert!(message.contains(part), "{part} is not in\n{message}");
    }
    let known =
        "detection: { ap_disc: 0 }, svm: { conv2: 0 }, knn: { 'conv5, 5': 0 }, low_shot: { 'conv5, 2': 0 }";
    assert_eq!(said(known)?, "");
    assert!(!home.path().join("runs").exists());
    Ok(())
}

/// Weight files as released by others (with local response normalization and BGR input, and torchvision's one-tower
/// networks) work in a probe and in every transfer task.
#[test]
fn files_of_other_methods_go_through_probes_and_heads() -> anyhow::Result<()> {
    let home = Home::new()?;
    let fixture = |name: &str| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights/conventions");
        dir.join(name).display().to_string()
    };
    let yaml = format!(
        r#"
name: others
annotated: {{ source: {{ composite: {{ train: 6, val: 3, size: 48 }} }} }}
backbone: {{ alexnet: {{ preset: caffenet, channels: [8, 8, 8, 8, 8], fc: 2 }} }}
stages:
  probe:
    linear_probe:
      data: {{ source: {{ scenes: {{ train: 20, val: 10, size: 64 }} }}, crop: 64 }}
      backbones: {{ caffenet: {{ file: {caffenet} }} }}
      probe: {{ layers: [conv1, norm1, conv2], dimensions: 100 }}
      train: &train {{ steps: 2, batch: 2, optimizer: {{ sgd: {{ lr: 1e-3 }} }} }}
  classification:
    classification:
      backbones: {{ caffenet: {{ file: {caffenet} }} }}
      task: {{ train_from: [fc6], draws: 1 }}
      train: *train
  detection:
    detection:
      backbones: {{ caffenet: {{ file: {caffenet} }} }}
      task:
        proposals: {{ selective_search: {{ width: 48, smallest: 8 }} }}
        scales: [96]
        test_scale: 96
      train: *train
  segmentation:
    segmentation:
      backbones: {{ caffenet: {{ file: {caffenet} }} }}
      train: {{ steps: 2, batch: 1, optimizer: {{ sgd: {{ lr: 1e-3 }} }} }}
  svm:
    svm:
      annotated: {{ source: {{ composite: {{ train: 60, val: 8, size: 48 }} }} }}
      backbone: {{ alexnet: {{ preset: torchvision, channels: [8, 8, 16, 8, 8], fc: 2 }} }}
      backbones: {{ torchvision: {{ file: {torchvision} }} }}
      features: {{ layers: [conv3], squash: 64 }}
      side: 64
      classifier: {{ costs: {{ list: [1] }}, folds: 2 }}
"#,
        caffenet = fixture("caffenet.caffemodel"),
        torchvision = fixture("torchvision.pth"),
    );
    let experiment = home.load(&yaml, &[])?;
    let Outcome::Finished { report: Some(report), .. } = experiment::run(&experiment, &home.options())?
    else {
        panic!("not finished")
    };
    assert!(report.text.contains("caffenet") && report.text.contains("torchvision"), "{}", report.text);
    // Color input requires weights for lightness.
    let color = yaml.replace(
        "task: { train_from: [fc6], draws: 1 }",
        "task: { train_from: [fc6], draws: 1 }\n      input: color",
    );
    let error = experiment::run(&home.load(&color, &[])?, &home.options()).expect_err("it sees BGR");
    assert!(format!("{error:#}").contains("`input: color` requires weights for lightness"), "{error:#}");
    Ok(())
}
