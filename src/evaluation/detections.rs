//! Scores a detector's result files against VOC annotations: a folder of `comp3_det_SET_CLASS.txt`, a folder of XML
//! files, and a list of pictures. All classes in the annotations or the result files are scored; a class with objects
//! must have a file.

use super::identifiers;
use crate::{
    data::voc::{
        CLASSES,
        devkit::{ANNOTATIONS, of as file_of},
        xml::{self, Annotation},
    },
    metrics::{
        average_precision::ApInterpolation,
        detection::{self, Class, ClassAp, Detection, DetectionScores, Truth},
        detection_files,
    },
    text::counted,
};
use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::{Path, PathBuf},
};

/// Inputs and options of the comparison.
#[derive(Clone, Debug)]
pub struct DetectionFiles {
    /// Folder of result files, one per class.
    pub results: PathBuf,
    /// Folder of `ID.xml`.
    pub annotations: PathBuf,
    /// Text file with the pictures' identifiers: the first word of each line.
    pub set: PathBuf,
    /// Minimum overlap of a correct detection, in (0, 1].
    pub threshold: f64,
    pub rule: ApInterpolation,
}

/// Width and height in pixels.
type PixelSize = (usize, usize);
/// The objects of each class, by picture.
type Objects = BTreeMap<String, Vec<Vec<Truth>>>;

/// Index and size of the pictures of a set.
struct PictureIndex<'a> {
    /// Index by identifier.
    index: HashMap<&'a str, usize>,
    /// Sizes from the annotations, where given.
    sizes: Vec<Option<PixelSize>>,
}

impl DetectionFiles {
    /// Scores every class by name.
    ///
    /// # Errors
    /// A list that is missing, empty or names a picture twice; missing or malformed annotations; no result files, no
    /// file for a class with objects, two files for one class, a file for an unknown class; malformed lines, lines for
    /// pictures that are not in the list, or invalid boxes. Each error names its file.
    pub fn evaluate(&self) -> Result<DetectionScores> {
        let ids = identifiers::read(&self.set)?;
        let (truth, sizes) = self.read_truth(&ids)?;
        let mut known: BTreeSet<&str> = truth.keys().map(String::as_str).collect();
        known.extend(CLASSES);
        let files = self.class_files(&known)?;
        let index: HashMap<&str, usize> = ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
        let named: BTreeSet<&str> =
            truth.keys().map(String::as_str).chain(files.keys().map(String::as_str)).collect();
        let pictures = PictureIndex { index, sizes };
        let class = |name: &&str| -> Result<Class> {
            let objects = truth.get(*name).cloned().unwrap_or_else(|| vec![vec![]; ids.len()]);
            let detections = self.read_class(name, files.get(*name), &objects, &pictures)?;
            Ok(Class { name: name.to_string(), detections, truth: objects })
        };
        let classes = named.iter().map(class).collect::<Result<Vec<_>>>()?;
        Ok(detection::evaluate(&classes, self.threshold, self.rule)?)
    }

    /// The objects of each picture by class, and the pictures' sizes.
    fn read_truth(&self, ids: &[String]) -> Result<(Objects, Vec<Option<PixelSize>>)> {
        let read = |id: &String| {
            xml::read_objects(&file_of(&self.annotations, id, &ANNOTATIONS))
                .with_context(|| format!("picture `{id}` of {}", self.set.display()))
        };
        let records: Vec<_> = ids.par_iter().map(read).collect::<Result<_>>()?;
        let sizes = records.iter().map(size).collect();
        let mut truth = Objects::new();
        for (image, record) in records.into_iter().enumerate() {
            for object in record.objects {
                let pictures = truth.entry(object.name).or_insert_with(|| vec![vec![]; ids.len()]);
                pictures[image].push(Truth { bounds: object.bounds, difficult: object.difficult });
            }
        }
        Ok((truth, sizes))
    }

    /// The result file of each class that has one.
    fn class_files(&self, known: &BTreeSet<&str>) -> Result<BTreeMap<String, PathBuf>> {
        let unreadable = || format!("{}: cannot be read", self.results.display());
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        for entry in std::fs::read_dir(&self.results).with_context(unreadable)? {
            let path = entry.with_context(unreadable)?.path();
            let Some(class) = class_of(&path, known)? else { continue };
            if let Some(other) = files.insert(class.clone(), path.clone()) {
                let (a, b) = if other < path { (other, path) } else { (path, other) };
                bail!(
                    "{} and {} are both results of class `{class}`; leave one set in the folder",
                    a.display(),
                    b.display()
                );
            }
        }
        ensure!(
            !files.is_empty(),
            "{}: contains no result files; the file name is {}",
            self.results.display(),
            detection_files::file_name("SET", "CLASS")
        );
        Ok(files)
    }

    /// Only a class without objects may lack a file: a missing file must not look like a poor detector.
    fn read_class(
        &self,
        class: &str,
        file: Option<&PathBuf>,
        truth: &[Vec<Truth>],
        pictures: &PictureIndex,
    ) -> Result<Vec<Detection>> {
        let Some(file) = file else {
            let objects = truth.iter().flatten().filter(|object| !object.difficult).count();
            ensure!(
                objects == 0,
                "{}: no result file of class `{class}`, which has {objects} objects; where nothing was detected, \
                 leave an empty {}",
                self.results.display(),
                detection_files::file_name("SET", class)
            );
            return Ok(vec![]);
        };
        let size = |image: usize| pictures.sizes.get(image).copied().flatten();
        detection_files::read_sized(file, |id| pictures.index.get(id).copied(), size)
            .with_context(|| format!("results of class `{class}` on the pictures of {}", self.set.display()))
    }
}

/// The size in an annotation, unless its own objects exceed it.
fn size(record: &Annotation) -> Option<PixelSize> {
    let inside = |(width, height): &PixelSize| {
        record.objects.iter().all(|o| o.bounds.x2 <= *width as f32 && o.bounds.y2 <= *height as f32)
    };
    record.size.filter(inside)
}

/// The class of a result file; `None` for files with other names. The longest known class that is a suffix of the name
/// counts, since names of sets and classes may contain underscores.
fn class_of(path: &Path, known: &BTreeSet<&str>) -> Result<Option<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".txt").filter(|stem| stem.starts_with("comp"));
    let Some((_, set_and_class)) = stem.and_then(|stem| stem.split_once("_det_")) else { return Ok(None) };
    let ends = |class: &&&str| set_and_class.strip_suffix(**class).is_some_and(|set| set.ends_with('_'));
    if let Some(class) = known.iter().filter(ends).max_by_key(|class| class.len()) {
        return Ok(Some(class.to_string()));
    }
    let given = set_and_class.rsplit('_').next().unwrap_or_default();
    let likeness = |class: &&str| strsim::jaro_winkler(given, class);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint =
        nearest.filter(|class| likeness(class) > 0.8).map(|class| format!(" (did you mean `{class}`?)"));
    bail!(
        "{}: `{given}` is neither a class of the annotations nor one of PASCAL VOC{}; rename or remove the file",
        path.display(),
        hint.unwrap_or_default()
    )
}

/// One row per class in percent, the mean, and the classes left out of the mean.
impl fmt::Display for DetectionScores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            ApInterpolation::Voc07 => "eleven points (VOC2007)",
            ApInterpolation::Area => "area under the envelope (VOC2010 and later)",
        };
        writeln!(f, "Average precision in %, {rule}, at an overlap of {}", self.threshold)?;
        let width = self.classes.iter().map(|class| class.class.chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "{:width$}  objects  difficult  detections      AP", "class")?;
        for ClassAp { class, objects, difficult, detections, average_precision } in &self.classes {
            let value = percent(*average_precision);
            writeln!(f, "{class:width$}  {objects:>7}  {difficult:>9}  {detections:>10}  {value:>6}")?;
        }
        let found = self.classes.iter().filter(|class| class.average_precision.is_some()).count();
        writeln!(f, "mean of {}: {}", counted(found, "class"), percent(self.mean))?;
        let left_out: Vec<&str> = self.left_out().map(|class| class.class.as_str()).collect();
        if !left_out.is_empty() {
            writeln!(f, "not in the mean (no objects): {}", left_out.join(", "))?;
        }
        Ok(())
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{:.2}", 100.0 * value))
}
