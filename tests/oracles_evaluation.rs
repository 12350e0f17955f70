//! The measures of transfer tasks against known answers: scikit-learn (`scripts/oracles/metrics.py` makes the stored file),
//! the Python evaluation that came with Faster R-CNN, an independent one, and real masks. Then the verb `evaluate` as a
//! user meets it.

use hueristic::{
    boxes::Rect,
    data::{
        annotated::Mask,
        voc::{
            CLASSES,
            mask::{colour_map, read_indices, write_indices},
            xml,
        },
    },
    evaluation::detections::DetectionFiles,
    metrics::{
        average_precision::{Relevance, Rule, interpolated, stepwise},
        detection::{Detection, Truth, match_class},
        segmentation::Confusion,
    },
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Where the real data lies; None, with a line that says so, when it does not.
fn data(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("HUERISTIC_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[derive(Deserialize)]
struct Oracles {
    rankings: Vec<Ranking>,
    segmentations: Vec<Segmentation>,
}

#[derive(Deserialize)]
struct Ranking {
    scores: Vec<f64>,
    /// 1, 0, or −1 for ignored
    relevance: Vec<i8>,
    stepwise: f64,
    area: f64,
    eleven_point: f64,
}

#[derive(Deserialize)]
struct Segmentation {
    classes: usize,
    truth: Vec<u8>,
    predicted: Vec<u8>,
    matrix: Vec<Vec<u64>>,
    pixel_accuracy: f64,
    mean_accuracy: f64,
    mean_iu: f64,
    frequency_weighted_iu: f64,
    class_iu: Vec<Option<f64>>,
}

fn oracles() -> Oracles {
    serde_json::from_str(include_str!("../scripts/oracles/metrics.json")).unwrap()
}

fn close(what: &str, got: Option<f64>, want: f64, tolerance: f64) {
    let got = got.unwrap_or_else(|| panic!("{what}: no value, not {want}"));
    assert!((got - want).abs() < tolerance, "{what}: {got}, not {want}");
}

#[test]
fn average_precision_is_scikit_learns() {
    for (i, case) in oracles().rankings.iter().enumerate() {
        let relevance = case.relevance.iter().map(|relevance| match relevance {
            1 => Relevance::Relevant,
            0 => Relevance::Irrelevant,
            _ => Relevance::Ignored,
        });
        let items: Vec<_> = case.scores.iter().copied().zip(relevance).collect();
        let back: Vec<_> = items.iter().rev().copied().collect();
        for items in [items, back] {
            close(&format!("ranking {i}"), stepwise(items.clone()), case.stepwise, 1e-12);
            close(&format!("ranking {i}, area"), interpolated(items.clone(), Rule::Area), case.area, 1e-12);
            close(
                &format!("ranking {i}, points"),
                interpolated(items, Rule::Voc07),
                case.eleven_point,
                1e-12,
            );
        }
    }
}

#[test]
fn segmentation_is_scikit_learns() {
    let cases = oracles().segmentations;
    assert!(cases.iter().any(|case| case.class_iu.contains(&None)), "no undefined class is tried");
    for case in cases {
        let mut confusion = Confusion::new(case.classes).unwrap();
        confusion.add(&case.truth, &case.predicted).unwrap();
        for (i, row) in case.matrix.iter().enumerate() {
            let ours: Vec<u64> = (0..case.classes).map(|j| confusion.count(i, j)).collect();
            assert_eq!(&ours, row, "class {i}");
        }
        let scores = confusion.scores();
        close("pixel accuracy", scores.pixel_accuracy, case.pixel_accuracy, 1e-12);
        close("mean accuracy", scores.mean_accuracy, case.mean_accuracy, 1e-12);
        close("mean IU", scores.mean_iu, case.mean_iu, 1e-12);
        close("frequency weighted IU", scores.frequency_weighted_iu, case.frequency_weighted_iu, 1e-12);
        for (class, (ours, theirs)) in scores.class_iu.iter().zip(&case.class_iu).enumerate() {
            let same = ours.zip(*theirs).is_some_and(|(a, b)| (a - b).abs() < 1e-12);
            assert!(same || (ours.is_none() && theirs.is_none()), "class {class}: {ours:?} {theirs:?}");
        }
    }
}

/// 452 detections on 100 pictures, three thresholds, both rules, every class.
#[test]
fn detections_score_as_faster_rcnns_evaluation_says() {
    let Some(dir) = data("eval_fixtures/voc2012_100_dets") else { return };
    let expected: HashMap<String, HashMap<String, f64>> =
        serde_json::from_str(&fs::read_to_string(dir.join("expected_voc_eval.json")).unwrap()).unwrap();
    for threshold in [0.3, 0.5, 0.75] {
        for (rule, name) in [(Rule::Voc07, "voc07"), (Rule::Area, "allpoint")] {
            let key = format!("iou{threshold}_{name}");
            let files = DetectionFiles {
                results: dir.join("results/VOC2012/Main"),
                annotations: dir.join("Annotations"),
                set: dir.join("imageset.txt"),
                threshold,
                rule,
            };
            let scores = files.evaluate().unwrap();
            assert_eq!(scores.classes.len(), 20);
            for class in &scores.classes {
                let theirs = &expected[&class.class];
                close(&format!("{} {key}", class.class), class.average_precision, theirs[&key], 1e-6);
                assert_eq!(class.detections as f64, theirs["ndet"], "{}", class.class);
            }
            close(&format!("mean {key}"), scores.mean, expected["mean"][&key], 1e-6);
        }
    }
}

/// `LABEL [SCORE] X Y WIDTH HEIGHT` a line: the score, if there is one, and the box.
fn boxes_of(path: &Path) -> Vec<(f64, Rect)> {
    let text = fs::read_to_string(path).unwrap();
    let parse = |line: &str| {
        let numbers: Vec<f64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap()).collect();
        let &[x, y, w, h] = &numbers[numbers.len() - 4..] else { panic!("{line}") };
        (numbers[0], Rect::new(x as f32, y as f32, (x + w) as f32, (y + h) as f32))
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(parse).collect()
}

#[test]
fn detections_score_as_an_independent_evaluation_says() {
    let Some(dir) = data("eval_fixtures/padilla_7img") else { return };
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(dir.join("expected.json")).unwrap()).unwrap();
    let (mut detections, mut truth) = (vec![], vec![]);
    for image in 0..7 {
        let file = format!("{:05}.txt", image + 1);
        let found = boxes_of(&dir.join("dets").join(&file));
        detections.extend(found.into_iter().map(|(score, bounds)| Detection { image, score, bounds }));
        let objects = boxes_of(&dir.join("gts").join(&file));
        truth.push(objects.into_iter().map(|(_, bounds)| Truth { bounds, difficult: false }).collect());
    }
    for threshold in [0.1, 0.3, 0.5, 0.75] {
        let matched = match_class(&detections, &truth, threshold).unwrap();
        for (rule, name) in [(Rule::Voc07, "voc07_11point"), (Rule::Area, "every_point")] {
            let theirs = expected[name][threshold.to_string()].as_f64().unwrap();
            close(&format!("{name} at {threshold}"), matched.average_precision(rule), theirs, 1e-9);
        }
    }
}

/// The released FCN's answer to one picture, in the palette's colours, against the picture's mask.
#[test]
fn a_released_networks_mask_scores_as_counting_says() {
    let Some(dir) = data("eval_fixtures/fcn_demo") else { return };
    let truth = read_indices(&dir.join("label.png")).unwrap();
    let output = image::open(dir.join("output.png")).unwrap().into_rgb8();
    assert_eq!((truth.width, truth.height), (output.width() as usize, output.height() as usize));
    let map = colour_map();
    let index = |colour: &[u8; 3]| map.iter().position(|known| known == colour).unwrap() as u8;
    let predicted: Vec<u8> = output.pixels().map(|pixel| index(&pixel.0)).collect();
    let mut confusion = Confusion::new(21).unwrap();
    confusion.add(&truth.labels, &predicted).unwrap();
    let scores = confusion.scores();
    // bicycle and person, as in the picture; counted here pixel by pixel
    for class in [0u8, 2, 15] {
        let pixels = || truth.labels.iter().zip(&predicted).filter(|(t, _)| **t != 255);
        let both = pixels().filter(|(t, p)| **t == class && **p == class).count() as f64;
        let either = pixels().filter(|(t, p)| **t == class || **p == class).count() as f64;
        close("IU", scores.class_iu[usize::from(class)], both / either, 1e-12);
    }
    assert!(scores.mean_iu.unwrap() > 0.7 && scores.pixel_accuracy.unwrap() > 0.8, "{scores:?}");
}

/// Real masks: every one is read, has its picture's classes, and equals itself.
#[test]
fn real_masks_are_read() {
    let Some(dir) = data("voc2012_small/VOCdevkit/VOC2012/SegmentationClass") else { return };
    let (map, mut confusion) = (colour_map(), Confusion::new(21).unwrap());
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().step_by(20) {
        let mask = read_indices(path).unwrap();
        confusion.add(&mask.labels, &mask.labels).unwrap();
        let shown = image::open(path).unwrap().into_rgb8();
        let colours = mask.labels.iter().map(|label| map[usize::from(*label)]);
        assert!(shown.pixels().map(|pixel| pixel.0).eq(colours), "{}", path.display());
    }
    let scores = confusion.scores();
    assert_eq!((scores.mean_iu, scores.pixel_accuracy), (Some(1.0), Some(1.0)));
    assert!(scores.class_iu.iter().flatten().count() > 5);
}

/// Every annotation of the small set; the counts are those of its makers.
#[test]
fn real_annotations_are_read() {
    let Some(dir) = data("voc2012_small/VOCdevkit/VOC2012/Annotations") else { return };
    let (mut pictures, mut objects, mut difficult) = (0, 0, 0);
    for entry in fs::read_dir(dir).unwrap() {
        let record = xml::read(&entry.unwrap().path()).unwrap();
        let size = (record.width, record.height);
        pictures += 1;
        for object in record.objects {
            assert_eq!(object.bounds.clipped(size), object.bounds, "{}", record.filename);
            assert!(CLASSES.contains(&object.name.as_str()), "{}", object.name);
            objects += 1;
            difficult += usize::from(object.difficult);
        }
    }
    assert_eq!((pictures, objects, difficult), (585, 1896, 237));
}

fn hueristic(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.args(arguments).env_remove("HUERISTIC_DATA").env_remove("RUST_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two pictures: a cat and a dog on the first, a difficult cow on the second; the cat is found twice, the dog missed.
struct Desk(tempfile::TempDir);

const CAT: &str = "one 0.9 11 11 20 20\none 0.8 11 11 20 20\ntwo 0.1 20 20 11 11\n";

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let object = |name: &str, difficult: u8| {
            format!(
                "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>11</xmin><ymin>11</ymin>\
                 <xmax>20</xmax><ymax>20</ymax></bndbox></object>"
            )
        };
        desk.annotate("one", &(object("cat", 0) + &object("dog", 0)));
        desk.annotate("two", &object("cow", 1));
        desk.write("set.txt", "one\ntwo -1\n");
        desk.write("results/comp3_det_val_cat.txt", CAT);
        desk.write("results/comp3_det_val_dog.txt", "");
        desk.write("results/comp3_det_val_cow.txt", "two 0.5 11 11 20 20\n");
        desk.write("results/notes.txt", "not a result");
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn annotate(&self, id: &str, objects: &str) {
        let size = "<size><width>40</width><height>30</height></size>";
        let xml = format!("<annotation><filename>{id}.jpg</filename>{size}{objects}</annotation>");
        self.write(&format!("annotations/{id}.xml"), &xml);
    }

    fn files(&self) -> DetectionFiles {
        DetectionFiles {
            results: self.0.path().join("results"),
            annotations: self.0.path().join("annotations"),
            set: self.0.path().join("set.txt"),
            threshold: 0.5,
            rule: Rule::Voc07,
        }
    }

    /// The whole chain of causes.
    fn fault(&self) -> String {
        format!("{:#}", self.files().evaluate().unwrap_err())
    }

    fn evaluate(&self, more: &[&str]) -> Output {
        let (results, annotations, set) =
            (self.path("results"), self.path("annotations"), self.path("set.txt"));
        let verb =
            ["evaluate", "detections", "--results", &results, "--annotations", &annotations, "--set", &set];
        hueristic(&[&verb, more].concat())
    }
}

#[test]
fn empty_files_and_difficult_classes_have_a_defined_score() {
    let scores = Desk::new().files().evaluate().unwrap();
    let row = |i: usize| {
        let class = &scores.classes[i];
        (class.class.as_str(), class.objects, class.difficult, class.detections, class.average_precision)
    };
    // the first detection finds the cat; the second and the box that is inside out come after it
    assert_eq!(row(0), ("cat", 1, 0, 3, Some(1.0)));
    assert_eq!(row(1), ("cow", 0, 1, 1, None));
    assert_eq!(row(2), ("dog", 1, 0, 0, Some(0.0)));
    assert_eq!(scores.mean, Some(0.5));
}

#[test]
fn faults_of_result_folders_are_named() {
    let desk = Desk::new();
    for (file, text, parts) in [
        ("results/comp3_det_val_catt.txt", "", ["catt.txt", "did you mean `cat`?"]),
        ("results/comp3_det_val_gizmo.txt", "", ["gizmo.txt", "neither a class"]),
        ("results/comp4_det_val_cat.txt", "", ["comp3_det_val_cat.txt and", "both results of class `cat`"]),
        ("results/comp3_det_val_train.txt", "three 0.5 1 1 2 2\n", ["train.txt:1: `three`", "set.txt"]),
        ("results/comp3_det_val_bus.txt", "one 0.5 1 1 2\n", ["bus.txt:1: 5 fields", "class `bus`"]),
    ] {
        desk.write(file, text);
        let fault = desk.fault();
        assert!(parts.iter().all(|part| fault.contains(part)), "{file}: {fault}");
        fs::remove_file(desk.path(file)).unwrap();
    }
    fs::remove_file(desk.path("results/comp3_det_val_dog.txt")).unwrap();
    assert!(desk.fault().contains("no result file of class `dog`, which has 1 objects"), "{}", desk.fault());
    fs::remove_file(desk.path("results/comp3_det_val_cat.txt")).unwrap();
    fs::remove_file(desk.path("results/comp3_det_val_cow.txt")).unwrap();
    assert!(desk.fault().contains("holds no result files; they are called comp3_det_SET_CLASS.txt"));
}

#[test]
fn faults_of_sets_and_annotations_are_named() {
    let desk = Desk::new();
    desk.write("set.txt", "one\nthree\n");
    assert!(
        desk.fault().contains("picture `three`") && desk.fault().contains("three.xml"),
        "{}",
        desk.fault()
    );
    desk.write("set.txt", "one\ntwo\n\none\n");
    assert!(desk.fault().contains("set.txt:4: `one` is named twice"), "{}", desk.fault());
    desk.write("set.txt", "\n");
    assert!(desk.fault().contains("names no pictures"), "{}", desk.fault());
    desk.write("set.txt", "one\n");
    desk.write("annotations/one.xml", "<annotation>\n<size/>\n</annotation>");
    assert!(desk.fault().contains("one.xml:"), "{}", desk.fault());
}

#[test]
fn the_verb_prints_a_table_and_writes_json() {
    let desk = Desk::new();
    let json = desk.path("scores.json");
    let output = desk.evaluate(&["--json", &json]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    insta::assert_snapshot!(table, @r"
    Average precision in %, eleven points (VOC2007), at an overlap of 0.5
    class  objects  difficult  detections      AP
    cat          1          0           3  100.00
    cow          0          1           1       –
    dog          1          0           0    0.00
    mean of 2 classes: 50.00
    not in the mean, since no object of them counts: cow
    ");
    let scores: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!((&scores["mean"], &scores["rule"]), (&0.5.into(), &"voc07".into()));
    assert_eq!(scores["classes"][1]["average_precision"], Value::Null);
    let strict = desk.evaluate(&["--iou", "1", "--rule", "area"]);
    assert!(text(&strict.stdout).contains("area under the envelope"), "{}", text(&strict.stdout));
}

#[test]
fn wrong_usage_exits_with_2_and_faults_with_1() {
    let desk = Desk::new();
    for more in [&["--iou", "0"][..], &["--iou", "1.5"], &["--rule", "coco"]] {
        assert_eq!(desk.evaluate(more).status.code(), Some(2), "{more:?}");
    }
    let (folder, set) = (desk.path("annotations"), desk.path("set.txt"));
    let missing = hueristic(&[
        "evaluate",
        "detections",
        "--results",
        "no/such",
        "--annotations",
        &folder,
        "--set",
        &set,
    ]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("no/such is not a folder"), "{}", text(&missing.stderr));
    desk.write("results/comp3_det_val_cat.txt", "one 0.5 1 1 2\n");
    let broken = desk.evaluate(&[]);
    assert_eq!((broken.status.code(), text(&broken.stdout)), (Some(1), String::new()));
    assert!(text(&broken.stderr).contains("comp3_det_val_cat.txt:1: 5 fields"), "{}", text(&broken.stderr));
}

#[test]
fn help_carries_examples() {
    for verb in [&["evaluate"][..], &["evaluate", "detections"], &["evaluate", "segmentation"]] {
        let help = text(&hueristic(&[verb, &["--help"]].concat()).stdout);
        assert!(help.contains(&format!("Example:\n  hueristic {}", verb.join(" "))), "{help}");
    }
}

/// Two folders of masks: one picture half right, one void.
struct Masks(tempfile::TempDir);

impl Masks {
    fn new() -> Self {
        let masks = Self(tempfile::tempdir().unwrap());
        masks.put("truth/one.png", (2, 2), &[0, 0, 15, 15]);
        masks.put("pred/one.png", (2, 2), &[0, 15, 15, 15]);
        masks.put("truth/two.png", (1, 2), &[255, 255]);
        masks.put("pred/two.png", (1, 2), &[3, 255]);
        masks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, (width, height): (usize, usize), labels: &[u8]) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        write_indices(&self.path(name), &Mask { width, height, labels: labels.into() }).unwrap();
    }

    fn evaluate(&self, more: &[&str]) -> Output {
        let (truth, pred) =
            (self.path("truth").display().to_string(), self.path("pred").display().to_string());
        hueristic(&[&["evaluate", "segmentation", "--truth", &truth, "--pred", &pred], more].concat())
    }

    /// Stderr of an evaluation that has to fail.
    fn fault(&self, more: &[&str]) -> String {
        let output = self.evaluate(more);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        text(&output.stderr)
    }
}

#[test]
fn masks_are_scored_by_class() {
    let masks = Masks::new();
    let json = masks.path("scores.json").display().to_string();
    let output = masks.evaluate(&["--json", &json]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout), @r"
    Segmentation of 2 images, 4 pixels, in %
    class                      IU
    background              50.00
    aeroplane                   –
    bicycle                     –
    bird                        –
    boat                        –
    bottle                      –
    bus                         –
    car                         –
    cat                         –
    chair                       –
    cow                         –
    diningtable                 –
    dog                         –
    horse                       –
    motorbike                   –
    person                  66.67
    pottedplant                 –
    sheep                       –
    sofa                        –
    train                       –
    tvmonitor                   –
    mean IU of 2 classes    58.33
    pixel accuracy          75.00
    mean accuracy           75.00
    frequency weighted IU   58.33
    ");
    let scores: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    close("mean IU", scores["mean_iu"].as_f64(), (0.5 + 2.0 / 3.0) / 2.0, 1e-12);
    assert_eq!((&scores["images"], &scores["pixels"]), (&2.into(), &4.into()));
}

#[test]
fn faults_of_masks_are_named() {
    let masks = Masks::new();
    assert!(masks.fault(&["--classes", "15"]).contains("label 15 is neither one of 15 classes"));
    masks.put("pred/one.png", (2, 2), &[0, 21, 15, 15]);
    let fault = masks.fault(&[]);
    assert!(fault.contains("prediction 21 is not one of 21 classes") && fault.contains("one.png"), "{fault}");
    masks.put("pred/one.png", (4, 1), &[0, 15, 15, 15]);
    let fault = masks.fault(&[]);
    assert!(fault.contains("4×1 pixels") && fault.contains("2×2"), "{fault}");
    fs::write(masks.path("pred/one.png"), "no picture").unwrap();
    assert!(masks.fault(&[]).contains("one.png: not a PNG"));
    fs::remove_file(masks.path("pred/one.png")).unwrap();
    let fault = masks.fault(&[]);
    assert!(fault.contains("no prediction `one.png`") && fault.contains("--set FILE"), "{fault}");
    let set = masks.path("set.txt").display().to_string();
    fs::write(&set, "two\n").unwrap();
    let some = masks.evaluate(&["--set", &set]);
    assert!(text(&some.stdout).contains("mean IU of 0 classes"), "{}", text(&some.stderr));
    fs::remove_file(masks.path("pred/two.png")).unwrap();
    assert!(masks.fault(&[]).contains("holds no masks"));
}
