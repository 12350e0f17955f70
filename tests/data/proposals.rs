//! MATLAB files against SciPy, proposal files, and Selective Search against OpenCV's and the objects of real photographs.

use super::skipping::data;
use hueristic::{
    boxes::Rect,
    data::{
        annotated::{Annotated, Mask, Object, Presence},
        decode::decode,
        error::DataError,
        mat::{self, MatValue},
        proposals::{
            Proposals,
            matlab::{self, BoxFormat},
            selective_search::SelectiveSearch,
            spec::{ProposalSpec, obtain},
        },
        source::{Dataset, RgbImage, Split},
    },
};
use serde_json::{Value as Json, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mat").join(name)
}

/// The form in which `scripts/oracles/mat.py` writes what SciPy reads.
fn described(value: &MatValue) -> Json {
    match value {
        MatValue::Numeric { dims, values } => json!({ "numeric": [dims, values] }),
        MatValue::Cell { dims, items } => {
            json!({ "cell": [dims, items.iter().map(described).collect::<Vec<_>>()] })
        }
        MatValue::Text(text) => json!({ "text": text }),
        MatValue::Struct { fields } => {
            let fields =
                fields.iter().map(|(name, values)| (name.clone(), values.iter().map(described).collect()));
            json!({ "struct": fields.collect::<serde_json::Map<_, _>>() })
        }
    }
}

fn read(name: &str) -> Json {
    let variables = mat::read(&fixture(name)).unwrap();
    variables
        .iter()
        .map(|(name, value)| (name.clone(), described(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn matlab_files_read_as_scipy_reads_them() {
    let oracle: Json = serde_json::from_str(include_str!("../../scripts/oracles/mat.json")).unwrap();
    assert!(oracle["variables"].as_object().unwrap().len() > 15);
    for name in ["plain.mat", "compressed.mat", "big_endian.mat"] {
        assert_eq!(read(name), oracle["variables"], "{name}");
    }
    assert_eq!(read("proposals.mat"), oracle["proposals"]);
}

#[test]
fn published_matlab_files_are_read() {
    let Some(folder) = data("eval_fixtures/fast_rcnn_demo") else { return };
    for (name, rows) in [("000004", 2888), ("001551", 2057)] {
        let variables = mat::read(&folder.join(format!("{name}_boxes.mat"))).unwrap();
        let MatValue::Numeric { dims, values } = &variables["boxes"] else { panic!("{variables:?}") };
        assert_eq!((dims.as_slice(), values.len()), ([rows, 4].as_slice(), 4 * rows), "{name}");
    }
}

#[test]
fn published_proposals_are_in_their_pictures_order() {
    let ids = ["000001", "000002", "000003"].map(String::from);
    let proposals = matlab::read(&fixture("proposals.mat"), BoxFormat::default(), &ids).unwrap();
    assert_eq!(proposals.of("000001").unwrap(), [Rect::new(0., 0., 39., 19.), Rect::new(2., 4., 24., 29.)]);
    assert_eq!(proposals.without_boxes(), ["000002"]);
    assert_eq!(proposals.of("000003").unwrap(), [Rect::new(3., 1., 31., 23.)]);
    let others = ["000001", "000003", "000002"].map(String::from);
    let fault =
        matlab::read(&fixture("proposals.mat"), BoxFormat::default(), &others).unwrap_err().to_string();
    assert!(fault.contains("proposals.mat: image 2 is `000002`"), "{fault}");
}

/// Recall of `wanted` at an IoU threshold.
fn recall(boxes: &[Rect], wanted: &[Rect], overlap: f64) -> f64 {
    let found = wanted.iter().filter(|w| boxes.iter().any(|b| b.iou(w) >= overlap)).count();
    found as f64 / wanted.len() as f64
}

fn picture(path: &Path) -> RgbImage {
    decode(&std::fs::read(path).unwrap()).unwrap()
}

/// Fast R-CNN's demo includes the proposals of two images, from another implementation that keeps small boxes; those
/// of at least 20 pixels must be found.
#[test]
fn selective_search_finds_what_was_published() {
    let Some(folder) = data("eval_fixtures/fast_rcnn_demo") else { return };
    for id in ["000004", "001551"] {
        let path = folder.join(format!("{id}_boxes.mat"));
        let published = matlab::read(&path, BoxFormat::XyxyFromZero, &[id.to_owned()]).unwrap();
        let large = |b: &&Rect| b.x2 - b.x1 >= 19.0 && b.y2 - b.y1 >= 19.0;
        let published: Vec<Rect> = published.of(id).unwrap().iter().filter(large).copied().collect();
        let boxes =
            SelectiveSearch::default().propose(&picture(&folder.join(format!("{id}.jpg"))), id).unwrap();
        let (half, most) = (recall(&boxes, &published, 0.5), recall(&boxes, &published, 0.7));
        println!("{id}: {} boxes, recall {half:.3} at 0.5 and {most:.3} at 0.7", boxes.len());
        assert!((1500..3500).contains(&boxes.len()), "{id}: {} boxes", boxes.len());
        assert!(half > 0.93 && most > 0.70, "{id}: recall {half} at 0.5, {most} at 0.7");
    }
}

/// The 0-based corners of the non-difficult objects in VOC's XML; object parts have boxes, too.
fn objects(xml: &str) -> Vec<Rect> {
    let number = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split('<').next().unwrap().trim().parse::<f32>().unwrap() - 1.0
    };
    let objects = xml.split("<object>").skip(1).filter(|object| !object.contains("<difficult>1"));
    let own = |object: &str| {
        let parts = object.find("<part>").map_or(String::new(), |start| {
            let end = object.rfind("</part>").unwrap();
            object[..start].to_owned() + &object[end..]
        });
        if parts.is_empty() { object.to_owned() } else { parts }
    };
    let corners = |text: String| ["xmin", "ymin", "xmax", "ymax"].map(|tag| number(&text, tag));
    objects.map(own).map(corners).map(|[x1, y1, x2, y2]| Rect::new(x1, y1, x2, y2)).collect()
}

/// Objects of real photographs are covered as well as by OpenCV's implementation, with about as many boxes.
#[test]
fn selective_search_covers_objects_as_opencv_does() {
    let Some(voc) = data("voc2012_small/VOCdevkit/VOC2012") else { return };
    let oracle: Json =
        serde_json::from_str(include_str!("../../scripts/oracles/selective_search.json")).unwrap();
    let (mut ours, mut theirs, mut counts) = (vec![], vec![], [0, 0]);
    for (id, stored) in oracle["pictures"].as_object().unwrap() {
        let image = picture(&voc.join(format!("JPEGImages/{id}.jpg")));
        let boxes = SelectiveSearch::default().propose(&image, id).unwrap();
        let xml = std::fs::read_to_string(voc.join(format!("Annotations/{id}.xml"))).unwrap();
        let best = |object: &Rect| boxes.iter().map(|b| b.iou(object)).fold(0.0, f64::max);
        ours.extend(objects(&xml).iter().map(best));
        theirs.extend(serde_json::from_value::<Vec<f64>>(stored["best"].clone()).unwrap());
        counts = [counts[0] + boxes.len(), counts[1] + stored["boxes"].as_u64().unwrap() as usize];
    }
    assert_eq!(ours.len(), theirs.len(), "the objects are read alike");
    let mean = |overlaps: &[f64]| overlaps.iter().sum::<f64>() / overlaps.len() as f64;
    let share =
        |overlaps: &[f64], at: f64| mean(&overlaps.iter().map(|o| f64::from(*o >= at)).collect::<Vec<_>>());
    let shares = [0.5, 0.7].map(|at| [share(&ours, at), share(&theirs, at)]);
    println!(
        "{} objects; boxes {counts:?}, best overlap {:.3} and {:.3}, recall at 0.5 and 0.7 {shares:.3?}",
        ours.len(),
        mean(&ours),
        mean(&theirs)
    );
    assert!(
        mean(&ours) > mean(&theirs) - 0.03 && mean(&ours) > 0.74,
        "{} and {}",
        mean(&ours),
        mean(&theirs)
    );
    assert!(shares[0][0] > shares[0][1] - 0.06 && shares[0][0] > 0.88, "{shares:?}");
    assert!(counts[0] * 2 > counts[1] && counts[0] < counts[1] * 2, "{counts:?}");
}

/// In-memory images without objects that count their accesses.
struct Pictures {
    ids: Vec<String>,
    side: usize,
    asked: AtomicUsize,
}

impl Pictures {
    fn new(ids: &[&str]) -> Self {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Self { ids, side: 60, asked: AtomicUsize::new(0) }
    }
}

impl Dataset for Pictures {
    fn len(&self) -> usize {
        self.ids.len()
    }
    fn classes(&self) -> &[String] {
        &[]
    }
    fn label(&self, _: usize) -> Option<u32> {
        None
    }
    fn name(&self, index: usize) -> String {
        self.ids[index].clone()
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.ids[index] == "broken" {
            return Err(DataError::Image { name: self.name(index), reason: "the file is empty".into() });
        }
        let side = self.side;
        let square =
            |i: usize| if i % side / 25 == 1 && i / side / 25 == 1 { [200, 30, 30] } else { [30, 30, 90] };
        Ok(RgbImage { width: side, height: side, pixels: (0..side * side).flat_map(square).collect() })
    }
    fn fingerprint(&self) -> String {
        self.ids.join(" ")
    }
}

impl Annotated for Pictures {
    fn id(&self, index: usize) -> &str {
        &self.ids[index]
    }
    fn size(&self, _: usize) -> (usize, usize) {
        (self.side, self.side)
    }
    fn objects(&self, _: usize) -> &[Object] {
        &[]
    }
    fn presence(&self, _: usize) -> Vec<Presence> {
        vec![]
    }
    fn mask(&self, _: usize) -> Result<Option<Mask>, DataError> {
        Ok(None)
    }
}

fn search() -> ProposalSpec {
    ProposalSpec::SelectiveSearch(SelectiveSearch::default())
}

#[test]
fn proposals_are_searched_once_whatever_the_threads() {
    let (set, cache) = (Pictures::new(&["a", "b", "c"]), tempfile::tempdir().unwrap());
    let first = obtain(&search(), &set, Split::Train, &cache.path().join("kept")).unwrap();
    assert_eq!((first.len(), set.asked.load(Ordering::SeqCst)), (3, 3));
    assert!(
        recall(first.of("a").unwrap(), &[Rect::new(25., 25., 49., 49.)], 0.8) == 1.0,
        "{:?}",
        first.of("a")
    );
    let again = obtain(&search(), &set, Split::Train, &cache.path().join("kept")).unwrap();
    assert_eq!((&again, set.asked.load(Ordering::SeqCst)), (&first, 3), "kept, not searched again");
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let single =
        alone.install(|| obtain(&search(), &set, Split::Train, &cache.path().join("other"))).unwrap();
    assert_eq!(single, first, "one thread finds the same");
    obtain(&search(), &Pictures::new(&["a", "b"]), Split::Train, &cache.path().join("kept")).unwrap();
    let files = std::fs::read_dir(cache.path().join("kept")).unwrap().count();
    assert_eq!(files, 2, "one file for each set, and nothing of the way there");
}

#[test]
fn a_search_that_stopped_goes_on() {
    let (broken, cache) = (Pictures::new(&["a", "broken", "c"]), tempfile::tempdir().unwrap());
    let fault = obtain(&search(), &broken, Split::Train, cache.path()).unwrap_err().to_string();
    assert!(fault.contains("broken") && fault.contains("1 of 3"), "{fault}");
    obtain(&search(), &broken, Split::Train, cache.path()).unwrap_err();
    assert_eq!(broken.asked.load(Ordering::SeqCst), 3 + 1, "only the broken picture is asked for again");
}

#[test]
fn files_of_other_sets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let spec = ProposalSpec::File { train: path.clone().into(), val: None };
    let set = Pictures::new(&["a"]);
    let fault = |split| obtain(&spec, &set, split, folder.path()).unwrap_err().to_string();
    let write = |id: &str, rect| {
        Proposals::new(vec![(id.into(), vec![rect])]).unwrap().write(&path, "a test").unwrap()
    };
    write("b", Rect::new(0., 0., 59., 59.));
    assert!(fault(Split::Train).contains("no proposals for image `a`"));
    write("a", Rect::new(0., 0., 80., 59.));
    assert!(fault(Split::Train).contains("the box from (0, 0) to (80, 59) is outside of picture `a`"));
    assert!(fault(Split::Val).contains("add `val:`"));
    write("a", Rect::new(0., 0., 59., 59.));
    assert_eq!(obtain(&spec, &set, Split::Train, folder.path()).unwrap().total(), 1);
}

/// A detector would silently score 0.
#[test]
fn a_file_without_any_box_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.safetensors");
    let spec = ProposalSpec::File { train: path.clone().into(), val: None };
    let of = |boxes: Vec<Rect>| {
        let all = vec![("a".into(), vec![]), ("b".into(), boxes)];
        Proposals::new(all).unwrap().write(&path, "a test").unwrap();
        obtain(&spec, &Pictures::new(&["a", "b"]), Split::Train, folder.path())
    };
    let fault = of(vec![]).unwrap_err().to_string();
    assert!(fault.contains("p.safetensors: it has no box for any of the 2 train pictures"), "{fault}");
    assert_eq!(of(vec![Rect::new(0., 0., 9., 9.)]).unwrap().total(), 1, "one is enough");
}

fn hueristic(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hueristic")).arg("proposals").args(arguments).output().unwrap()
}

fn folder_of_pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, level) in [("a.png", 40u8), ("b.png", 90)] {
        let square = |x: u32, y: u32| if x / 30 == 1 && y / 30 == 1 { [250, 200, level] } else { [level; 3] };
        image::RgbImage::from_fn(90, 90, |x, y| image::Rgb(square(x, y)))
            .save(folder.path().join(name))
            .unwrap();
    }
    folder
}

#[test]
fn the_verb_searches_a_folder_and_draws() {
    let folder = folder_of_pictures();
    let (out, drawn) = (folder.path().join("p.safetensors"), folder.path().join("drawn"));
    std::fs::write(folder.path().join("c.jpg"), "no picture").unwrap();
    let done = hueristic(&[folder.path(), "--out".as_ref(), &out, "--picture".as_ref(), &drawn]);
    let text = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1), "a file was left out: {text}");
    assert!(text.contains("2 pictures") && text.contains("c.jpg: not an image"), "{text}");
    let proposals = Proposals::read(&out).unwrap();
    assert_eq!(recall(proposals.of("a").unwrap(), &[Rect::new(30., 30., 59., 59.)], 0.8), 1.0);
    assert_eq!(std::fs::read_dir(&drawn).unwrap().count(), 2);
}

/// A red square at the right of a wide image with an EXIF rotation.
fn oriented_jpeg(path: &Path) {
    let square = |x: u32, y: u32| if x >= 60 && y < 30 { [250, 20, 20] } else { [40; 3] };
    let mut plain = vec![];
    let picture = image::RgbImage::from_fn(90, 60, |x, y| image::Rgb(square(x, y)));
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut plain, 100).encode_image(&picture).unwrap();
    let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = (exif.len() as u16 + 2).to_be_bytes();
    std::fs::write(path, [&plain[..2], &[0xff, 0xe1], &length, exif, &plain[2..]].concat()).unwrap();
}

/// Proposals refer to the stored pixels, like annotations.
#[test]
fn the_verb_searches_pictures_as_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (out, drawn) = (folder.path().join("p.safetensors"), folder.path().join("drawn"));
    oriented_jpeg(&folder.path().join("a.jpg"));
    let upright = decode(&std::fs::read(folder.path().join("a.jpg")).unwrap()).unwrap();
    assert_eq!(
        (upright.width, upright.height),
        (60, 90),
        "the orientation is one that is followed elsewhere"
    );
    let done = hueristic(&[folder.path(), "--out".as_ref(), &out, "--picture".as_ref(), &drawn]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let proposals = Proposals::read(&out).unwrap();
    assert_eq!(recall(proposals.of("a").unwrap(), &[Rect::new(60., 0., 89., 29.)], 0.8), 1.0);
    assert_eq!(image::image_dimensions(drawn.join("a.png")).unwrap(), (90, 60));
}

#[test]
fn the_verb_says_what_is_wrong() {
    let folder = folder_of_pictures();
    let out = folder.path().join("p.safetensors");
    let refusal = |arguments: &[&Path]| {
        let done = hueristic(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(done.stderr).unwrap()
    };
    let to = |path: &Path, out: &Path| refusal(&[path, "--out".as_ref(), out]);
    assert!(to(&folder.path().join("none"), &out).contains("not found"));
    assert!(to(folder.path(), &folder.path().join("no/p.safetensors")).contains("is not a folder"));
    assert!(refusal(&[folder.path()]).contains("--out"));
    assert!(
        refusal(&[folder.path(), "--out".as_ref(), &out, "--mode".as_ref(), "slow".as_ref()])
            .contains("quality")
    );
    std::fs::copy(folder.path().join("a.png"), folder.path().join("a.jpg")).unwrap();
    assert!(to(folder.path(), &out).contains("are both named `a`"));
    assert!(!out.exists());
}
