//! PASCAL VOC's devkit and the composite scenes: annotated sets. The tests write a devkit of a few images and damage
//! it in every way; the real images are read if a copy exists.

use hueristic::{
    bounded::{Count, Fraction},
    boxes::Rect,
    data::{
        annotated::{Annotated, Mask, Presence, VOID},
        annotated_source::{AnnotatedSource, AnnotatedSpec, Lists, open},
        catalog,
        decode::decode,
        open::open as open_pictures,
        scenes::composite::{CLASSES as SHAPES, Composite},
        source::{DataSpec, Dataset, Limit, Locations, RgbImage, SourceSpec, Split},
        voc::{
            CLASSES, VocSource,
            mask::{color_map, write_indices},
            palette::Palette,
            sbd::read_mask,
            verify::{ClassCount, ListReport, VocReport},
        },
    },
};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

const CAT: usize = 7;
const DOG: usize = 11;
const PERSON: usize = 14;

/// A devkit in a temporary folder, with images of 40×30 pixels.
struct Toy(tempfile::TempDir);

/// An object of the toy's annotations: class, corners (1-based), difficult.
type Drawn<'a> = (&'a str, [i32; 4], bool);

impl Toy {
    /// Three training images (a dog; a cat and a difficult dog; nothing) and one validation image (a difficult
    /// person).
    fn new() -> Self {
        let toy = Self(tempfile::tempdir().unwrap());
        toy.picture("a", &[("dog", [1, 1, 20, 10], false)]);
        toy.picture("b", &[("cat", [5, 5, 40, 30], false), ("dog", [1, 2, 3, 4], true)]);
        toy.picture("c", &[]);
        toy.picture("d", &[("person", [2, 2, 9, 9], true)]);
        toy.write("ImageSets/Main/train.txt", "a\nb\nc\n");
        toy.write("ImageSets/Main/val.txt", "d\n");
        toy.write("ImageSets/Segmentation/train.txt", "a\nb\n");
        toy.write("ImageSets/Segmentation/val.txt", "d\n");
        for id in ["a", "b", "d"] {
            toy.mask(id, 40, 30, &[0, 12, VOID]);
        }
        toy
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("VOCdevkit/VOC2007")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.root().join(path)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.root().join(from), self.root().join(to)).unwrap();
    }

    /// Replaces a text in the annotation of an image.
    fn edit(&self, id: &str, from: &str, to: &str) {
        let path = self.root().join(format!("Annotations/{id}.xml"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    fn picture(&self, id: &str, objects: &[Drawn]) {
        let path = self.root().join(format!("JPEGImages/{id}.jpg"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(40, 30, image::Rgb([120; 3])).save(path).unwrap();
        self.annotate(id, objects);
    }

    fn annotate(&self, id: &str, objects: &[Drawn]) {
        let object = |(name, [x1, y1, x2, y2], difficult): &Drawn| {
            let difficult = u8::from(*difficult);
            format!(
                "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{x1}</xmin>\
                 <ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            )
        };
        let objects: String = objects.iter().map(object).collect();
        let size = "<size><width>40</width><height>30</height><depth>3</depth></size>";
        self.write(
            &format!("Annotations/{id}.xml"),
            &format!("<annotation><filename>{id}.jpg</filename>{size}{objects}</annotation>"),
        );
    }

    /// A mask whose rows cycle through the labels.
    fn mask(&self, id: &str, width: usize, height: usize, labels: &[u8]) {
        let path = self.root().join(format!("SegmentationClass/{id}.png"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let labels = (0..width * height).map(|at| labels[at / width % labels.len()]).collect();
        write_indices(&path, &Mask { width, height, labels }).unwrap();
    }

    fn source(&self) -> VocSource {
        VocSource {
            devkit: self.0.path().into(),
            year: Some(2007),
            train: "train".into(),
            val: Some("val".into()),
            sbd: None,
            palette: Palette::default(),
        }
    }

    fn spec(&self, max_bad: f64) -> AnnotatedSpec {
        let source = AnnotatedSource::Voc(self.source());
        AnnotatedSpec { max_bad: Fraction::of(max_bad), ..AnnotatedSpec::new(source) }
    }

    /// The training list, with all faulty images excluded.
    fn open(&self, lists: Lists) -> Arc<dyn Annotated> {
        opened(&self.spec(1.0), Split::Train, lists).unwrap()
    }

    /// The error for the training list if no fault is tolerated.
    fn refusal(&self, lists: Lists) -> String {
        opened(&self.spec(0.0), Split::Train, lists).err().unwrap()
    }
}

fn opened(spec: &AnnotatedSpec, split: Split, lists: Lists) -> Result<Arc<dyn Annotated>, String> {
    open(spec, split, lists, &Locations::default()).map_err(|error| error.to_string())
}

fn ids(set: &dyn Annotated) -> Vec<&str> {
    (0..set.len()).map(|index| set.id(index)).collect()
}

fn present(set: &dyn Annotated, index: usize, of: Presence) -> Vec<usize> {
    (0..set.classes().len()).filter(|class| set.presence(index)[*class] == of).collect()
}

/// The folder of real data sets, if it contains this one.
fn real(path: &str) -> Option<Locations> {
    super::skipping::data(path)
        .map(|_| Locations { data: Some(super::skipping::data_folder()), ..Locations::default() })
}

#[test]
fn a_devkit_is_read() {
    let toy = Toy::new();
    let set = opened(&toy.spec(0.0), Split::Train, Lists::Main).unwrap();
    assert_eq!((ids(&*set), set.classes().len(), set.label(0)), (vec!["a", "b", "c"], 20, None));
    let dog = &set.objects(0)[0];
    assert_eq!((dog.class, dog.bounds, dog.difficult), (DOG, Rect::new(0., 0., 19., 9.), false));
    assert_eq!(set.size(1), (40, 30));
    assert_eq!(set.objects(1)[0].bounds, Rect::new(4., 4., 39., 29.), "up to the edge");
    assert_eq!(present(&*set, 1, Presence::Present), [CAT]);
    assert_eq!(present(&*set, 1, Presence::Ignored), [DOG]);
    assert_eq!(present(&*set, 2, Presence::Absent).len(), 20, "a picture without objects stays");
    let mask = set.mask(0).unwrap().unwrap();
    assert_eq!((mask.width, mask.height, &mask.labels[38..42]), (40, 30, &[0, 0, 12, 12][..]));
    assert_eq!(set.mask(2).unwrap(), None);
    let image = set.image(0).unwrap();
    assert_eq!((image.width, image.height), (40, 30));
    let val = opened(&toy.spec(0.0), Split::Val, Lists::Main).unwrap();
    assert_eq!((ids(&*val), present(&*val, 0, Presence::Ignored)), (vec!["d"], vec![PERSON]));
}

#[test]
fn lists_of_segmentation_limits_and_paths() {
    let toy = Toy::new();
    assert_eq!(ids(&*toy.open(Lists::Segmentation)), ["a", "b"]);
    let limit = Some(Limit { train: Some(Count::of(1)), val: None });
    let limited = opened(&AnnotatedSpec { limit, ..toy.spec(0.0) }, Split::Train, Lists::Main).unwrap();
    assert_eq!((ids(&*limited), limited.image(0).is_ok()), (vec!["a"], true));
    assert_ne!(limited.fingerprint(), toy.open(Lists::Main).fingerprint());
    let list = toy.0.path().join("mine.txt");
    fs::write(&list, "c\r\nb\r\n\r\n").unwrap();
    let source = VocSource { train: list.display().to_string().into(), ..toy.source() };
    let spec = AnnotatedSpec::new(AnnotatedSource::Voc(source));
    assert_eq!(ids(&*opened(&spec, Split::Train, Lists::Main).unwrap()), ["c", "b"]);
}

#[test]
fn the_fingerprint_is_that_of_the_content() {
    let (one, two) = (Toy::new(), Toy::new());
    let of = |toy: &Toy| toy.open(Lists::Main).fingerprint();
    assert_eq!(of(&one), of(&two), "the place plays no part");
    two.annotate("a", &[("dog", [1, 1, 20, 11], false)]);
    assert_ne!(of(&one), of(&two));
}

#[test]
fn the_lists_of_classes_are_believed_and_the_boxes_speak_where_there_are_none() {
    let toy = Toy::new();
    toy.write("ImageSets/Main/dog_train.txt", "a -1\nb  1\nc  0\n");
    let set = toy.open(Lists::Main);
    assert_eq!(set.presence(0)[DOG], Presence::Absent);
    assert_eq!((set.presence(1)[DOG], set.presence(1)[CAT]), (Presence::Present, Presence::Present));
    assert_eq!(set.presence(2)[DOG], Presence::Ignored);
    toy.write("ImageSets/Main/dog_train.txt", "a -1\nb  1\n");
    assert!(toy.refusal(Lists::Main).contains("dog_train.txt: has no entry for c"));
    toy.write("ImageSets/Main/dog_train.txt", "a -1\nb yes\n");
    let fault = toy.refusal(Lists::Main);
    assert!(fault.contains("dog_train.txt:2: not an identifier and one of 1, -1 and 0"), "{fault}");
}

#[test]
fn missing_and_wrong_lists_say_what_was_looked_for() {
    let toy = Toy::new();
    let with = |train: &str| {
        let source = VocSource { train: train.into(), val: None, ..toy.source() };
        let spec = AnnotatedSpec::new(AnnotatedSource::Voc(source));
        let open = |split| opened(&spec, split, Lists::Main).err().unwrap_or_default();
        (open(Split::Train), open(Split::Val))
    };
    let (train, val) = with("trainval");
    assert!(train.contains("ImageSets/Main/trainval.txt: not found"), "{train}");
    assert!(train.contains("the folder has train, val"), "{train}");
    assert!(val.contains("names no val images"), "{val}");
    toy.write("ImageSets/Main/empty.txt", "\n\n");
    assert!(with("empty").0.contains("holds no images"));
    toy.write("ImageSets/Main/twice.txt", "a\nb\na\n");
    assert!(with("twice").0.contains("twice.txt:3: `a` is listed twice"));
    toy.write("ImageSets/Main/words.txt", "a\nmy picture\n");
    assert!(with("words").0.contains("words.txt:2: more than an identifier"));
    let nowhere = VocSource { devkit: "no/such/folder".into(), ..toy.source() };
    let fault =
        opened(&AnnotatedSpec::new(AnnotatedSource::Voc(nowhere)), Split::Train, Lists::Main).err().unwrap();
    assert!(fault.contains("no/such/folder: not found; expected a PASCAL VOC devkit"), "{fault}");
}

/// Every fault of image `b`: the change to the devkit and the expected message.
type Harm = (fn(&Toy), &'static str);

const HARMS: [Harm; 7] = [
    (|toy| toy.remove("JPEGImages/b.jpg"), "JPEGImages/b.jpg is missing"),
    (|toy| toy.remove("Annotations/b.xml"), "Annotations/b.xml: cannot be read"),
    (|toy| toy.write("Annotations/b.xml", "<annotation><size>"), "Annotations/b.xml:1: broken XML"),
    (
        |toy| toy.annotate("b", &[("cat", [5, 5, 41, 30], false)]),
        "object 1 (cat) has a box that reaches outside the 40×30 picture: 5 5 41 30",
    ),
    (
        |toy| toy.annotate("b", &[("cat", [0, 5, 30, 30], false)]),
        "reaches outside the 40×30 picture: 0 5 30 30; pixels count from 1",
    ),
    (|toy| toy.annotate("b", &[("cat", [9, 5, 8, 20], false)]), "inverted"),
    (
        |toy| toy.annotate("b", &[("dog", [1, 1, 9, 9], false), ("gnu", [1, 1, 9, 9], false)]),
        "object 2 (gnu) is of no class of PASCAL VOC",
    ),
];

#[test]
fn faulty_pictures_are_left_out_and_too_many_are_an_error() {
    for (harm, part) in HARMS {
        let toy = Toy::new();
        harm(&toy);
        assert_eq!(ids(&*toy.open(Lists::Main)), ["a", "c"], "{part}");
        let fault = toy.refusal(Lists::Main);
        assert!(fault.contains("1 of 3 images") && fault.contains(part), "`{part}` is not in: {fault}");
    }
    let toy = Toy::new();
    ["a", "b", "c"].iter().for_each(|id| toy.remove(&format!("JPEGImages/{id}.jpg")));
    let nothing = opened(&toy.spec(1.0), Split::Train, Lists::Main).err().unwrap();
    assert!(nothing.contains("at least one valid image"), "{nothing}");
}

const MASK_HARMS: [Harm; 4] = [
    (|toy| toy.remove("SegmentationClass/b.png"), "SegmentationClass/b.png is missing"),
    (|toy| toy.mask("b", 39, 30, &[0]), "the mask is 39×30, but the picture is 40×30"),
    (|toy| toy.mask("b", 40, 30, &[0, 20, 21]), "label 21 in the mask is no class"),
    (|toy| toy.write("SegmentationClass/b.png", "not a picture"), "SegmentationClass/b.png"),
];

#[test]
fn faulty_masks_cost_their_pictures_where_masks_are_needed() {
    for (harm, part) in MASK_HARMS {
        let toy = Toy::new();
        harm(&toy);
        assert_eq!(ids(&*toy.open(Lists::Segmentation)), ["a"], "{part}");
        assert_eq!(toy.open(Lists::Main).len(), 3, "boxes do not need masks");
        let fault = toy.refusal(Lists::Segmentation);
        assert!(fault.contains(part), "`{part}` is not in: {fault}");
    }
}

#[test]
fn a_picture_of_another_size_than_its_annotation_is_refused_when_it_is_read() {
    let toy = Toy::new();
    let path = toy.root().join("JPEGImages/b.jpg");
    image::RgbImage::new(41, 30).save(path).unwrap();
    let fault = toy.open(Lists::Main).image(1).unwrap_err().to_string();
    assert!(fault.contains("b.jpg: is 41×30, but its annotation says 40×30"), "{fault}");
}

/// Images with other extensions, a missing size, boxes of one pixel, flags as tools write them.
#[test]
fn devkits_are_read_as_tools_write_them() {
    let toy = Toy::new();
    toy.rename("JPEGImages/a.jpg", "JPEGImages/a.JPG");
    toy.rename("JPEGImages/b.jpg", "JPEGImages/b.jpeg");
    image::RgbImage::new(40, 30).save(toy.root().join("JPEGImages/c.png")).unwrap();
    toy.edit("c", "c.jpg", "c.png");
    toy.edit("a", "<size><width>40</width><height>30</height><depth>3</depth></size>", "");
    toy.edit("a", "<filename>a.jpg</filename>", "");
    toy.annotate("b", &[("cat", [5, 5, 5, 20], false), ("dog", [40, 30, 40, 30], true)]);
    toy.edit("b", "<difficult>0</difficult>", "<pose/><truncated>0.3</truncated><difficult/>");
    toy.write("ImageSets/Main/train.txt", "\u{feff}a  1\r\nb -1\r\nc  0\r\n");
    toy.write("ImageSets/Main/dog_train.txt", "\u{feff}a 1\r\nb 0\r\nc -1\r\n");
    let set = opened(&toy.spec(0.0), Split::Train, Lists::Main).unwrap();
    assert_eq!((ids(&*set), set.size(0)), (vec!["a", "b", "c"], (40, 30)));
    assert_eq!((0..3).filter(|index| set.image(*index).is_ok()).count(), 3);
    assert!(
        set.name(0).ends_with("a.JPG") && set.name(2).ends_with("c.png"),
        "of c.jpg and c.png the one that is named"
    );
    let bounds: Vec<Rect> = set.objects(1).iter().map(|object| object.bounds).collect();
    assert_eq!(bounds, [Rect::new(4., 4., 4., 19.), Rect::new(39., 29., 39., 29.)]);
    assert_eq!((set.objects(1)[0].difficult, set.presence(1)[DOG]), (false, Presence::Ignored));
    let report = VocReport::of_source(&toy.source()).unwrap();
    assert!(report.is_sound(), "{report}");
    let plain = DataSpec::new(SourceSpec::Voc(toy.source()), Count::of(8));
    let plain = open_pictures(&plain, Split::Train, &Locations::default()).unwrap();
    assert!((0..3).all(|index| plain.image(index).is_ok()) && plain.name(1).ends_with("b.jpeg"));
}

#[test]
fn a_picture_whose_size_nobody_knows_is_left_out() {
    let toy = Toy::new();
    toy.edit("b", "<size><width>40</width><height>30</height><depth>3</depth></size>", "<size/>");
    toy.write("JPEGImages/b.jpg", "no picture");
    assert_eq!(ids(&*toy.open(Lists::Main)), ["a", "c"]);
    let fault = toy.refusal(Lists::Main);
    assert!(fault.contains("b.xml: has no <size>, and its picture cannot be read"), "{fault}");
}

/// Masks are written under the names of identifiers.
#[test]
fn identifiers_lead_nowhere_else() {
    let toy = Toy::new();
    for id in ["../b", "..", "/etc/b", "JPEGImages/b", "..\\b"] {
        toy.write("ImageSets/Main/train.txt", &format!("a\n{id}\n"));
        let fault = toy.refusal(Lists::Main);
        assert!(fault.contains(&format!("train.txt:2: `{id}` is no identifier")), "{fault}");
        assert!(VocReport::of_source(&toy.source()).unwrap_err().to_string().contains("is no identifier"));
    }
}

#[test]
fn masks_are_read_by_their_colors_or_those_of_the_spec() {
    let toy = Toy::new();
    let (map, path) = (color_map(), toy.root().join("SegmentationClass/a.png"));
    let rows =
        |colors: [[u8; 3]; 3]| image::RgbImage::from_fn(40, 30, |_, y| image::Rgb(colors[y as usize % 3]));
    rows([map[0], map[12], map[255]]).save(&path).unwrap();
    let expected = opened(&Toy::new().spec(0.0), Split::Train, Lists::Segmentation).unwrap().mask(0).unwrap();
    let by_vocs = toy.open(Lists::Segmentation);
    assert_eq!(by_vocs.mask(0).unwrap(), expected);
    let own = [[255, 255, 255], [255, 0, 0], [0, 0, 0]];
    rows(own).save(&path).unwrap();
    let fault = toy.refusal(Lists::Segmentation);
    assert!(fault.contains("a.png: the color [255, 255, 255] is not the color of any class"), "{fault}");
    let named = ["background", "dog", "void"].map(String::from).into_iter().zip(own).collect();
    let source = VocSource { palette: Palette::Named(named), ..toy.source() };
    rows(own).save(toy.root().join("SegmentationClass/b.png")).unwrap();
    let spec = AnnotatedSpec {
        max_bad: Fraction::of(0.0),
        ..AnnotatedSpec::new(AnnotatedSource::Voc(source.clone()))
    };
    let set = opened(&spec, Split::Train, Lists::Segmentation).unwrap();
    assert_eq!((set.mask(0).unwrap(), set.mask(1).unwrap()), (expected.clone(), expected));
    assert_ne!(set.fingerprint(), by_vocs.fingerprint());
    let faults = VocReport::of_source(&source).unwrap().faults;
    assert!(faults.iter().all(|(id, _)| id == "d"), "a and b have the named colors, d has VOC's: {faults:?}");
    assert!(faults[0].1.contains("is not the color of any class"), "{faults:?}");
}

/// Pillow 13 leaves the last four bits of every label where a palette has 16 colors.
#[test]
fn void_that_a_writer_cut_is_suspected() {
    let toy = Toy::new();
    let map = color_map();
    let file = fs::File::create(toy.root().join("SegmentationClass/a.png")).unwrap();
    let mut encoder = png::Encoder::new(file, 40, 30);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Four);
    encoder.set_palette(map[..16].as_flattened().to_vec());
    let row = |y: usize| [[0x00, 0xff, 0xcc, 0xff][y.min(28) / 7 % 4]; 20];
    encoder.write_header().unwrap().write_image_data(&(0..30).flat_map(row).collect::<Vec<u8>>()).unwrap();
    let report = VocReport::of_source(&toy.source()).unwrap();
    assert_eq!(report.faults.len(), 1, "{report}");
    assert!(report.faults[0].1.contains("a.png: label 15 is suspected to be void (255)"), "{report}");
    assert!(report.faults[0].1.contains("no such object is annotated"), "{report}");
    assert_eq!(ids(&*toy.open(Lists::Segmentation)), ["b"]);
}

/// Black-and-white masks of single-object tools: white reads as void.
#[test]
fn masks_of_two_levels_are_faulty() {
    let toy = Toy::new();
    let white = |x: u32, _| image::Luma([if x < 20 { 0 } else { 255 }]);
    let mask = image::GrayImage::from_fn(40, 30, white);
    mask.save(toy.root().join("SegmentationClass/a.png")).unwrap();
    let report = VocReport::of_source(&toy.source()).unwrap();
    assert_eq!(report.faults.len(), 1, "{report}");
    assert!(report.faults[0].1.contains("a.png: it holds nothing but background and void"), "{report}");
    assert_eq!(ids(&*toy.open(Lists::Segmentation)), ["b"]);
}

/// A gradient of 40×30 pixels with an EXIF orientation, as stored by a rotated camera.
fn oriented_jpeg(path: &Path, orientation: u8) {
    let pixels = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 128]));
    let mut plain = vec![];
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut plain, 100).encode_image(&pixels).unwrap();
    let exif =
        [&b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation, 0, 0, 0, 0, 0, 0]]
            .concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    fs::write(path, [&plain[..2], &[0xff, 0xe1], &length, &exif, &plain[2..]].concat()).unwrap();
}

/// Boxes and masks refer to the stored pixels, independent of the EXIF orientation.
#[test]
fn annotated_pictures_are_not_turned() {
    let toy = Toy::new();
    let path = toy.root().join("JPEGImages/a.jpg");
    let red = |image: &RgbImage, x: usize, y: usize| image.pixels[3 * (y * image.width + x)];
    let mut fingerprints = HashSet::new();
    for orientation in 1..=8 {
        oriented_jpeg(&path, orientation);
        let set = opened(&toy.spec(0.0), Split::Train, Lists::Main).unwrap();
        let image = set.image(0).unwrap();
        assert_eq!((image.width, image.height), (40, 30), "orientation {orientation}");
        assert!(
            red(&image, 0, 0) < 20 && red(&image, 39, 0) > 220 && red(&image, 0, 29) < 20,
            "{orientation}"
        );
        let mask = set.mask(0).unwrap().unwrap();
        assert_eq!((mask.width, mask.height), (40, 30));
        fingerprints.insert(set.fingerprint());
        let report = VocReport::of_source(&toy.source()).unwrap();
        assert!(report.is_sound(), "{report}");
        let noted =
            report.to_string().contains(&format!("note a: EXIF gives orientation {orientation}; boxes and"));
        assert_eq!(noted, orientation > 1, "{report}");
    }
    assert_eq!(fingerprints.len(), 8, "proposals of turned pictures are not taken for these");
}

/// A tool that rotates images before annotation writes the rotated size.
#[test]
fn a_picture_is_turned_where_its_annotation_has_the_turned_size() {
    let toy = Toy::new();
    let (path, mask) = (toy.root().join("JPEGImages/a.jpg"), toy.root().join("SegmentationClass/a.png"));
    toy.edit("a", "<width>40</width><height>30</height>", "<width>30</width><height>40</height>");
    toy.mask("a", 30, 40, &[0, 12, VOID]);
    for orientation in [5, 6, 7, 8] {
        oriented_jpeg(&path, orientation);
        let set = opened(&toy.spec(0.0), Split::Train, Lists::Main).unwrap();
        let (image, upright) = (set.image(0).unwrap(), decode(&fs::read(&path).unwrap()).unwrap());
        assert_eq!((image.width, image.height, &image.pixels), (30, 40, &upright.pixels), "{orientation}");
        let report = VocReport::of_source(&toy.source()).unwrap();
        assert!(report.is_sound() && report.to_string().contains("the image is rotated"), "{report}");
    }
    fs::remove_file(mask).unwrap();
    toy.mask("a", 40, 30, &[0, 12, VOID]);
    let report = VocReport::of_source(&toy.source()).unwrap();
    assert!(
        report.to_string().contains("one of them was made on the picture turned by its EXIF orientation, 8")
    );
    for orientation in [1, 2, 3, 4] {
        oriented_jpeg(&path, orientation);
        let fault =
            opened(&toy.spec(0.0), Split::Train, Lists::Main).unwrap().image(0).unwrap_err().to_string();
        assert!(fault.contains("is 40×30, but its annotation says 30×40"), "{orientation}: {fault}");
    }
}

#[test]
fn one_class_is_enough() {
    let toy = Toy::new();
    ["a", "b", "c"].iter().for_each(|id| toy.annotate(id, &[("dog", [1, 1, 9, 9], *id == "c")]));
    let set = toy.open(Lists::Main);
    let dogs: Vec<Presence> = (0..3).map(|index| set.presence(index)[DOG]).collect();
    assert_eq!(dogs, [Presence::Present, Presence::Present, Presence::Ignored]);
    assert_eq!(present(&*set, 0, Presence::Absent).len(), 19);
}

#[test]
fn the_report_of_a_sound_devkit() {
    let toy = Toy::new();
    let report = VocReport::of_devkit(toy.0.path()).unwrap();
    assert!(report.is_sound());
    let text = report.to_string().replace(&toy.root().display().to_string(), "ROOT");
    insta::assert_snapshot!(text);
    let of_source = VocReport::of_source(&toy.source()).unwrap();
    assert_eq!(of_source.to_string(), report.to_string());
}

#[test]
fn the_report_names_every_fault() {
    for (harm, part) in HARMS.iter().chain(&MASK_HARMS) {
        let toy = Toy::new();
        harm(&toy);
        let report = VocReport::of_source(&toy.source()).unwrap();
        let text = report.to_string();
        assert!(!report.is_sound() && text.contains(part), "`{part}` is not in: {text}");
        assert!(report.faults.iter().all(|(id, _)| id == "b"), "{text}");
    }
    let toy = Toy::new();
    toy.remove("JPEGImages/a.jpg");
    toy.annotate("b", &[("gnu", [1, 1, 9, 9], false), ("cat", [1, 1, 99, 9], false)]);
    toy.mask("b", 39, 30, &[0]);
    toy.write("JPEGImages/c.jpg", "no JPEG");
    toy.write("ImageSets/Main/person_val.txt", "x 1\n");
    toy.write("ImageSets/Main/cat_val.txt", "d 1\n");
    let report = VocReport::of_source(&toy.source()).unwrap();
    let names: Vec<&str> = report.faults.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "b", "b", "c", "d"], "{report}");
    let faulty: Vec<usize> = report.lists.iter().map(|list| list.faulty).collect();
    assert_eq!(faulty, [3, 0, 2, 0], "in Main/train, Main/val, Segmentation/train, Segmentation/val");
    assert_eq!(report.differing.len(), 1);
    assert!(report.differing[0].contains("cat_val.txt says 1, the boxes say -1"), "{report}");
}

/// The fixture has the label 3·y + x in row y and column x of 4 rows and 5 columns.
#[test]
fn masks_of_sbd_are_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mat/sbd_cls.mat");
    let mask = read_mask(&fixture).unwrap();
    let expected: Vec<u8> = (0..4).flat_map(|y| (0..5).map(move |x| 3 * y + x)).collect();
    assert_eq!((mask.width, mask.height, mask.labels), (5, 4, expected));
    let other = fixture.with_file_name("proposals.mat");
    assert!(read_mask(&other).unwrap_err().to_string().contains("GTcls.Segmentation"));
}

/// SBD's list, image and mask take precedence in training; in validation its lists are not used.
#[test]
fn sbd_stands_beside_the_devkit() {
    let toy = Toy::new();
    let sbd = toy.0.path().join("SBD/dataset");
    fs::create_dir_all(sbd.join("cls")).unwrap();
    fs::create_dir_all(sbd.join("img")).unwrap();
    fs::write(sbd.join("train.txt"), "s\na\n").unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mat/sbd_cls.mat");
    for id in ["s", "d"] {
        fs::copy(&fixture, sbd.join(format!("cls/{id}.mat"))).unwrap();
    }
    image::RgbImage::new(5, 4).save(sbd.join("img/s.jpg")).unwrap();
    let size = "<size><width>5</width><height>4</height></size>";
    toy.write("Annotations/s.xml", &format!("<annotation><filename>s.jpg</filename>{size}</annotation>"));
    let source = VocSource { sbd: Some(toy.0.path().join("SBD").into()), ..toy.source() };
    let spec = AnnotatedSpec {
        max_bad: Fraction::of(0.0),
        ..AnnotatedSpec::new(AnnotatedSource::Voc(source.clone()))
    };
    let train = opened(&spec, Split::Train, Lists::Segmentation).unwrap();
    assert_eq!(ids(&*train), ["s", "a"]);
    assert_eq!(train.mask(0).unwrap().unwrap().labels[..5], [0, 1, 2, 3, 4]);
    assert_eq!((train.image(0).unwrap().width, train.mask(1).unwrap().unwrap().width), (5, 40));
    let val = opened(&spec, Split::Val, Lists::Segmentation).unwrap();
    assert_eq!(val.mask(0).unwrap().unwrap().width, 40, "the devkit's own mask");
    assert_eq!(ids(&*opened(&spec, Split::Train, Lists::Main).unwrap()), ["a", "b", "c"]);
    // d's mask of SBD has another size than its picture, which only training would notice
    let report = VocReport::of_source(&source).unwrap();
    assert_eq!(report.faults.len(), 1, "{report}");
    assert!(report.faults[0].1.contains("the mask is 5×4, but the picture is 40×30"), "{report}");
}

#[test]
fn a_devkit_is_a_source_of_plain_images_too() {
    let toy = Toy::new();
    let spec = DataSpec::new(SourceSpec::Voc(toy.source()), Count::of(8));
    let set = open_pictures(&spec, Split::Train, &Locations::default()).unwrap();
    assert_eq!((set.len(), set.classes().len(), set.label(0)), (3, 0, None));
    assert!(set.image(2).is_ok() && set.name(2).ends_with("JPEGImages/c.jpg"));
}

#[test]
fn specs_are_read_with_their_defaults() {
    let read = |text: &str| -> Result<AnnotatedSpec, String> {
        let document = serde_yaml::Deserializer::from_str(text);
        serde_yaml::with::singleton_map_recursive::deserialize(document).map_err(|e| e.to_string())
    };
    let spec = read("source: { voc: { devkit: d, train: train } }").unwrap();
    assert_eq!((spec.max_bad.get(), spec.cache, spec.limit, spec.threads), (0.01, true, None, None));
    assert_eq!(spec.source.to_string(), "d");
    let spec = read("source: { voc: { devkit: d, train: t, palette: { dog: [9, 9, 9] } } }").unwrap();
    let AnnotatedSource::Voc(source) = spec.source else { panic!("{spec:?}") };
    assert_eq!(source.palette, Palette::Named([("dog".to_owned(), [9; 3])].into()));
    let fault = read("source: { voc: { devkit: d, train: t, palette: { dgo: [9, 9, 9] } } }").unwrap_err();
    assert!(fault.contains("`dgo` is neither a class of PASCAL VOC"), "{fault}");
    let spec = read("source: { composite: { train: 8, val: 4 } }").unwrap();
    let size = Count::of(96);
    let expected = AnnotatedSource::Composite { train: Count::of(8), val: Count::of(4), size, seed: 0 };
    assert_eq!(spec.source, expected);
    assert!(read("source: { voc: { devkit: d, train: t, yaer: 2007 } }").unwrap_err().contains("yaer"));
    assert!(read("source: { catalog: voc2007 }\ncrop: 8").unwrap_err().contains("crop"));
}

#[test]
fn the_catalog_knows_which_sets_are_annotated() {
    let at = Locations { data: Some("/no/such/folder".into()), ..Locations::default() };
    let fault = catalog::annotated("cifar10", &at).unwrap_err().to_string();
    assert!(fault.contains("neither boxes nor masks") && fault.contains("voc2007, voc2012"), "{fault}");
    let absent = catalog::annotated("voc2007", &at).unwrap_err().to_string();
    assert!(absent.contains("VOCdevkit/VOC2007") && absent.contains("VOCtest_06-Nov-2007.tar"), "{absent}");
    let toy = Toy::new();
    let at = Locations { data: Some(toy.0.path().into()), ..Locations::default() };
    assert_eq!(catalog::annotated("voc2007", &at).unwrap().devkit.as_path(), toy.root());
}

#[test]
fn the_real_set_is_read() {
    let Some(at) = real("voc2012_small") else { return };
    let spec = AnnotatedSpec { max_bad: Fraction::of(0.0), ..AnnotatedSpec::new(small()) };
    let set = |split, lists| open(&spec, split, lists, &at).unwrap();
    let main = [Split::Train, Split::Val].map(|split| set(split, Lists::Main));
    assert_eq!(main.each_ref().map(|set| set.len()), [289, 296]);
    let segmentation = [Split::Train, Split::Val].map(|split| set(split, Lists::Segmentation));
    assert_eq!(segmentation.each_ref().map(|set| set.len()), [148, 171]);
    let objects = main.iter().flat_map(|set| (0..set.len()).flat_map(|index| set.objects(index)));
    let difficult = objects.clone().filter(|object| object.difficult).count();
    assert_eq!((objects.count(), difficult), (1896, 237));
    let train = &segmentation[0];
    let (mask, image) = (train.mask(0).unwrap().unwrap(), train.image(0).unwrap());
    assert_eq!((mask.width, mask.height), (image.width, image.height));
    assert!(mask.labels.contains(&VOID) && mask.labels.contains(&1), "2007_000032 shows aeroplanes");
}

fn small() -> AnnotatedSource {
    AnnotatedSource::Catalog("voc2012_small".into())
}

#[test]
fn the_real_lists_of_classes_agree_with_the_boxes() {
    let Some(at) = real("voc2012_small") else { return };
    let source = catalog::annotated("voc2012_small", &at).unwrap();
    let with = open(&AnnotatedSpec::new(small()), Split::Val, Lists::Main, &at).unwrap();
    let list = source.devkit.join("ImageSets/Main/val.txt");
    let copy = tempfile::tempdir().unwrap();
    let alone = copy.path().join("val.txt");
    fs::copy(list, &alone).unwrap();
    let source = VocSource { val: Some(alone.display().to_string().into()), ..source };
    let without =
        open(&AnnotatedSpec::new(AnnotatedSource::Voc(source)), Split::Val, Lists::Main, &at).unwrap();
    for index in 0..with.len() {
        assert_eq!(with.presence(index), without.presence(index), "{}", with.id(index));
    }
    assert_eq!(with.fingerprint(), without.fingerprint());
}

#[test]
fn the_real_set_has_no_faults() {
    let Some(at) = real("voc2012_small") else { return };
    let report = VocReport::of_source(&catalog::annotated("voc2012_small", &at).unwrap()).unwrap();
    assert!(report.is_sound() && report.differing.is_empty(), "{report}");
    let total = |of: fn(&ClassCount) -> usize| report.classes.iter().map(of).sum::<usize>();
    assert_eq!((report.pictures, report.masks), (585, 578));
    assert_eq!((total(|c| c.objects), total(|c| c.difficult)), (1896, 237));
    let list = |name: &str, images| ListReport { name: name.into(), images, faulty: 0 };
    let expected = [
        list("Main/train", 289),
        list("Main/val", 296),
        list("Segmentation/train", 148),
        list("Segmentation/val", 171),
    ];
    assert_eq!(report.lists, expected);
}

fn composite(images: usize, size: usize, split: Split) -> Composite {
    Composite::new(images, size, 3, split).unwrap()
}

/// The smallest box around the pixels of the class in the mask, of those inside `within`.
fn around(mask: &Mask, class: usize, within: Rect) -> Rect {
    let mut found = Rect::new(f32::MAX, f32::MAX, f32::MIN, f32::MIN);
    for (at, label) in mask.labels.iter().enumerate() {
        let (x, y) = ((at % mask.width) as f32, (at / mask.width) as f32);
        let inside = x >= within.x1 && x <= within.x2 && y >= within.y1 && y <= within.y2;
        if inside && usize::from(*label) == class + 1 {
            found = Rect::new(found.x1.min(x), found.y1.min(y), found.x2.max(x), found.y2.max(y));
        }
    }
    found
}

#[test]
fn boxes_of_composite_scenes_are_the_extents_of_the_mask() {
    let set = composite(400, 96, Split::Train);
    let (mut objects, mut difficult, mut occluded) = (0, 0, 0);
    for index in 0..set.len() {
        let mask = set.mask(index).unwrap().unwrap();
        let of: Vec<usize> = set.objects(index).iter().map(|object| object.class).collect();
        let shown: HashSet<usize> = of.iter().copied().collect();
        let labels: HashSet<usize> =
            mask.labels.iter().filter(|label| **label > 0).map(|label| usize::from(*label) - 1).collect();
        assert_eq!(shown, labels, "picture {index}: classes of objects and of the mask");
        for object in set.objects(index) {
            // two objects of a class share its label, so that only a single one fills its box alone
            let single = of.iter().filter(|class| **class == object.class).count() == 1;
            let everywhere = Rect::new(0., 0., 95., 95.);
            let extent = around(&mask, object.class, if single { everywhere } else { object.bounds });
            assert_eq!(extent, object.bounds, "picture {index}: {object:?}");
            objects += 1;
            difficult += usize::from(object.difficult);
            occluded += usize::from(object.occluded);
        }
    }
    println!("{objects} objects, {difficult} difficult, {occluded} occluded");
    assert!(objects > 800 && occluded > 20 && occluded < objects / 2);
    assert!((1..objects / 10).contains(&difficult));
}

#[test]
fn composite_scenes_follow_the_seed_and_splits_share_none() {
    let (short, long) = (composite(20, 48, Split::Train), composite(40, 48, Split::Train));
    for index in 0..20 {
        assert_eq!(short.image(index).unwrap(), long.image(index).unwrap());
        assert_eq!(short.objects(index), long.objects(index));
    }
    let val = composite(40, 48, Split::Val);
    let pictures: HashSet<Vec<u8>> =
        [&long, &val].iter().flat_map(|set| (0..40).map(|index| set.image(index).unwrap().pixels)).collect();
    assert_eq!(pictures.len(), 80);
    assert_ne!(long.fingerprint(), val.fingerprint());
    assert_ne!(long.fingerprint(), Composite::new(40, 48, 4, Split::Train).unwrap().fingerprint());
    assert_eq!((short.id(7), val.id(7)), ("train_000007", "val_000007"));
    assert!(Composite::new(4, 31, 0, Split::Train).unwrap_err().to_string().contains("at least 32"));
}

/// Objects are a fifth to a half of the side, and classes are equally frequent.
#[test]
fn composite_scenes_are_balanced() {
    let set = composite(240, 64, Split::Train);
    let mut counts = [0; SHAPES.len()];
    for object in (0..set.len()).flat_map(|index| set.objects(index)) {
        counts[object.class] += 1;
        let Rect { x1, y1, x2, y2 } = object.bounds;
        assert!(x2 - x1 < 36.0 && y2 - y1 < 36.0, "{object:?}");
    }
    assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    let all = (0..set.len()).all(|index| !set.objects(index).is_empty());
    assert!(all && CLASSES.len() == 20, "every picture shows something");
}

/// For visual inspection, in Cargo's test output folder: images with their masks below.
#[test]
fn contact_sheet() {
    let (size, columns, rows) = (96, 10, 4);
    let set = composite(columns * rows, size, Split::Train);
    let mut sheet = image::RgbImage::new((columns * size) as u32, (2 * rows * size) as u32);
    let colors = color_map();
    for index in 0..set.len() {
        let (x, y) = (index % columns * size, index / columns * 2 * size);
        let mut pixels = set.image(index).unwrap().pixels;
        for object in set.objects(index) {
            outline(&mut pixels, size, object.bounds);
        }
        let mask = set.mask(index).unwrap().unwrap();
        let labels = mask.labels.iter().flat_map(|label| colors[usize::from(*label)]).collect();
        for (pixels, below) in [(pixels, 0), (labels, size)] {
            let tile = image::RgbImage::from_raw(size as u32, size as u32, pixels).unwrap();
            image::imageops::replace(&mut sheet, &tile, x as i64, (y + below) as i64);
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("composite.png");
    sheet.save(&path).unwrap();
    println!("{}", path.display());
}

fn outline(pixels: &mut [u8], size: usize, bounds: Rect) {
    let Rect { x1, y1, x2, y2 } = bounds;
    for at in 0..size * size {
        let (x, y) = ((at % size) as f32, (at / size) as f32);
        let inside = x >= x1 && x <= x2 && y >= y1 && y <= y2;
        if inside && (x == x1 || x == x2 || y == y1 || y == y2) {
            pixels[3 * at..3 * at + 3].copy_from_slice(&[255, 0, 0]);
        }
    }
}
