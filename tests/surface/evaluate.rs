//! Scoring of result files and its errors, by the library and by the command `evaluate`.

use hueristic::{
    data::{
        annotated::Mask,
        voc::mask::{color_map, write_indices},
    },
    evaluation::detections::DetectionFiles,
    metrics::average_precision::ApInterpolation,
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

fn hueristic(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hueristic"));
    command.args(arguments).env_remove("HUERISTIC_DATA").env_remove("RUST_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Two pictures: a cat and a dog on the first, a difficult cow on the second; the cat is detected twice, the dog
/// missed.
struct Desk(tempfile::TempDir);

const CAT: &str = "one 0.9 11 11 20 20\none 0.8 11 11 20 20\ntwo 0.1 20 20 21 21\n";

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
            rule: ApInterpolation::Voc07,
        }
    }

    /// The complete chain of causes.
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
    // The first detection matches the cat; the second, and one on another picture, have lower scores.
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
        (
            "results/comp3_det_val_bus.txt",
            "one 0.5 1 1 2 2\none 0.5 20 20 11 11\n",
            ["bus.txt:2: ", "inverted: 20 20 11 11"],
        ),
        (
            "results/comp3_det_val_bus.txt",
            "one 0.5 1 1 200 20\n",
            ["bus.txt:1: the box 1 1 200 20", "far outside"],
        ),
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
    assert!(desk.fault().contains("contains no result files; the file name is comp3_det_SET_CLASS.txt"));
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
    desk.write("annotations/one.xml", "<annotation>\n<object/>\n</annotation>");
    assert!(desk.fault().contains("one.xml:2: <object> has no <name>"), "{}", desk.fault());
}

/// Data that scoring does not use may be missing or invalid.
#[test]
fn annotations_need_no_more_than_classes_and_boxes() {
    let desk = Desk::new();
    let expected = desk.files().evaluate().unwrap();
    let object = |name: &str, more: &str| {
        format!(
            "<object><name>{name}</name>{more}<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object>"
        )
    };
    let truncated = "<truncated>0.0597</truncated><occluded/><difficult>False</difficult>";
    let one = object("cat", truncated) + &object("dog", "<truncated>Unspecified</truncated>");
    let head = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><annotation><source>caf\u{e9}</source>";
    let latin = |text: String| text.chars().map(|c| c as u8).collect::<Vec<u8>>();
    for size in ["", "<size/>", "<width>0</width><height>0</height>", "<width>1</width><height>1</height>"] {
        let size = size.replace("<width>", "<size><width>").replace("</height>", "</height></size>");
        let xml = latin(format!("{head}{size}{one}</annotation>"));
        fs::write(desk.path("annotations/one.xml"), xml).unwrap();
        assert_eq!(desk.files().evaluate().unwrap(), expected, "{size}");
    }
}

#[test]
fn marks_and_other_line_ends_are_no_part_of_a_name() {
    let desk = Desk::new();
    let expected = desk.files().evaluate().unwrap();
    desk.write("set.txt", "\u{feff}one\r\ntwo -1\r\n");
    desk.write("results/comp3_det_val_cat.txt", &format!("\u{feff}{}", CAT.replace('\n', "\r\n")));
    let xml = fs::read_to_string(desk.path("annotations/one.xml")).unwrap();
    desk.write("annotations/one.xml", &format!("\u{feff}{xml}"));
    assert_eq!(desk.files().evaluate().unwrap(), expected);
    let utf16: Vec<u8> = "\u{feff}one\ntwo\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(desk.path("set.txt"), utf16).unwrap();
    assert_eq!(desk.files().evaluate().unwrap(), expected);
}

#[test]
fn sets_name_no_files_elsewhere() {
    let desk = Desk::new();
    for id in ["../annotations/one", "/one", "a\\one"] {
        desk.write("set.txt", &format!("two\n{id}\n"));
        let fault = desk.fault();
        assert!(
            fault.contains("set.txt:2: ") && fault.contains(&format!("`{id}` is no identifier")),
            "{fault}"
        );
    }
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
    not in the mean (no objects): cow
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
    let nowhere = desk.path("no/such/scores.json");
    let unwritten = desk.evaluate(&["--json", &nowhere]);
    let said = text(&unwritten.stderr);
    assert_eq!(unwritten.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{nowhere}: cannot be written")) && !said.contains(".partial"), "{said}");
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

/// Two folders of masks: one picture half correct, one void.
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

    /// Stderr of an evaluation that must fail.
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
    let mean_iu = scores["mean_iu"].as_f64().unwrap();
    assert!((mean_iu - (0.5 + 2.0 / 3.0) / 2.0).abs() < 1e-12, "{mean_iu}");
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
    assert!(masks.fault(&[]).contains("contains no masks"));
}

/// In a black-and-white true mask only the background would count: everything else is void.
#[test]
fn true_masks_of_two_levels_are_refused() {
    let masks = Masks::new();
    let gray = |name: &str, levels: [u8; 4]| {
        image::GrayImage::from_raw(2, 2, levels.to_vec()).unwrap().save(masks.path(name)).unwrap();
    };
    gray("truth/one.png", [0, 0, 255, 255]);
    for more in [&[][..], &["--indices"]] {
        let fault = masks.fault(more);
        assert!(fault.contains("one.png: it holds nothing but background and void (255)"), "{fault}");
        assert!(!fault.contains("--indices"), "no other reading would help: {fault}");
    }
    gray("truth/one.png", [0, 255, 15, 15]);
    let output = masks.evaluate(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Rows of pixels in VOC's colors, with a reordered palette or without one.
#[test]
fn masks_are_compared_by_their_colors() {
    let masks = Masks::new();
    let expected = text(&masks.evaluate(&[]).stdout);
    let map = color_map();
    let sorted = [map[15], map[0]];
    let indexed = |name: &str, indices: &[u8], colors: &[[u8; 3]]| {
        let mut encoder = png::Encoder::new(fs::File::create(masks.path(name)).unwrap(), 2, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(colors.as_flattened().to_vec());
        encoder.write_header().unwrap().write_image_data(indices).unwrap();
    };
    indexed("truth/one.png", &[1, 1, 0, 0], &sorted);
    assert_eq!(text(&masks.evaluate(&[]).stdout), expected, "the true one in another order");
    image::RgbImage::from_raw(2, 2, [map[0], map[15], map[15], map[15]].concat())
        .unwrap()
        .save(masks.path("pred/one.png"))
        .unwrap();
    assert_eq!(text(&masks.evaluate(&[]).stdout), expected, "the predicted one in red, green and blue");
    fs::rename(masks.path("pred/one.png"), masks.path("pred/one.PNG")).unwrap();
    assert_eq!(text(&masks.evaluate(&[]).stdout), expected, "as some cameras and Windows write endings");
    fs::remove_file(masks.path("pred/one.PNG")).unwrap();
    let own: Vec<[u8; 3]> = (0..16).map(|index| [index, 100, 100]).collect();
    indexed("truth/one.png", &[0, 0, 15, 15], &own);
    indexed("pred/one.png", &[0, 15, 15, 15], &own);
    let fault = masks.fault(&[]);
    assert!(fault.contains("one.png: the color [0, 100, 100] is not the color of any class"), "{fault}");
    assert!(fault.contains("use --indices"), "{fault}");
    assert_eq!(text(&masks.evaluate(&["--indices"]).stdout), expected);
}
