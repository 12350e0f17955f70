//! The report of `data verify` on a devkit: decodes every listed image and mask and lists every fault.

use super::{
    classes::CLASSES,
    devkit::Devkit,
    lists::{self, Lists},
    palette::Palette,
    picture::VocPicture,
    source::VocSource,
};
use crate::{
    data::{annotated::Presence, dataset::Split, error::DataError, verify::spread},
    progress::Progress,
    text::counted,
};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::{Path, PathBuf},
};

/// Most rotated images that a report names.
const NOTED: usize = 5;

/// Report on a devkit.
#[derive(Clone, Debug)]
pub struct VocReport {
    pub devkit: Devkit,
    pub lists: Vec<ListReport>,
    /// in any of the lists
    pub pictures: usize,
    /// images with a mask
    pub masks: usize,
    /// smallest, median and largest, of the images with a readable annotation
    pub width: [usize; 3],
    pub height: [usize; 3],
    /// in the devkit's order
    pub classes: Vec<ClassCount>,
    /// image or list, and its fault
    pub faults: Vec<(String, String)>,
    /// disagreements between a class list and the boxes; the list takes precedence
    pub differing: Vec<String>,
    /// images with an EXIF rotation: identifier, orientation, whether the image is rotated to fit its annotation
    pub oriented: Vec<(String, u8, bool)>,
}

/// Report on one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListReport {
    /// `Main/train`
    pub name: String,
    pub images: usize,
    pub faulty: usize,
}

/// Frequency of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// images with at least one object
    pub images: usize,
    pub objects: usize,
    pub difficult: usize,
}

/// A list to verify.
struct Listed {
    lists: Lists,
    name: String,
    path: PathBuf,
    ids: Vec<String>,
}

/// One verified image.
struct Looked {
    picture: VocPicture,
    masked: bool,
    turned: bool,
    faults: Vec<String>,
}

impl VocReport {
    /// Whether there are no faults.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// Verifies the lists of `source` in `Main` and `Segmentation`.
    ///
    /// # Errors
    /// A missing devkit; a list that is in neither folder or unreadable.
    pub fn of_source(source: &VocSource) -> Result<Self, DataError> {
        let devkit = Devkit::find(&source.devkit, source.year, source.sbd.as_deref())?;
        let mut listed: Vec<Listed> = vec![];
        let names = [(Split::Train, Some(&source.train)), (Split::Val, source.val.as_ref())];
        for (split, name) in names.into_iter().filter_map(|(split, name)| Some((split, name?))) {
            let places = [Lists::Main, Lists::Segmentation]
                .map(|kind| (kind, lists::file(&devkit, kind, split, name)));
            let nowhere = places.iter().all(|(_, path)| !path.is_file());
            for (kind, path) in places {
                if (path.is_file() || nowhere) && listed.iter().all(|other| other.path != path) {
                    listed.push(Listed::read(kind, path)?);
                }
            }
        }
        listed.sort_by_key(|list| list.lists == Lists::Segmentation);
        look(devkit, listed, &source.palette)
    }

    /// Verifies every list of the devkit in `dir`.
    ///
    /// # Errors
    /// No devkit, or several; no list; an unreadable list.
    pub fn of_devkit(dir: &Path) -> Result<Self, DataError> {
        let devkit = Devkit::find(dir, None, None)?;
        let mut listed = vec![];
        for kind in [Lists::Main, Lists::Segmentation] {
            let folder = devkit.root.join("ImageSets").join(kind.folder());
            for name in lists::plain(&folder) {
                listed.push(Listed::read(kind, folder.join(format!("{name}.txt")))?);
            }
        }
        if listed.is_empty() {
            let (path, expected) = (devkit.root.join("ImageSets"), "lists of images in Main or Segmentation");
            return Err(DataError::Empty { path, expected: expected.into() });
        }
        look(devkit, listed, &Palette::Voc)
    }
}

impl Listed {
    fn read(lists: Lists, path: PathBuf) -> Result<Self, DataError> {
        let ids = lists::read(&path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{}/{stem}", lists.folder());
        Ok(Self { lists, name, path, ids })
    }
}

fn look(devkit: Devkit, listed: Vec<Listed>, palette: &Palette) -> Result<VocReport, DataError> {
    let masked: BTreeSet<&String> =
        listed.iter().filter(|list| list.lists == Lists::Segmentation).flat_map(|list| &list.ids).collect();
    let ids: Vec<&String> =
        listed.iter().flat_map(|list| &list.ids).collect::<BTreeSet<_>>().into_iter().collect();
    let progress = Progress::new(ids.len(), "reading");
    let one = |id: &&String| Looked::new(&devkit, id, masked.contains(*id), palette);
    let looked: Vec<Looked> = ids.par_iter().map(one).inspect(|_| progress.add(1)).collect();
    drop(progress);
    let pictures: HashMap<&str, &Looked> = looked.iter().map(|one| (one.picture.id.as_str(), one)).collect();
    let mut faults: Vec<(String, String)> = vec![];
    for Looked { picture, faults: of, .. } in &looked {
        faults.extend(of.iter().map(|fault| (picture.id.clone(), fault.clone())));
    }
    let mut differing = vec![];
    for list in listed.iter().filter(|list| list.lists == Lists::Main) {
        compare(list, &pictures, &mut faults, &mut differing);
    }
    let faulty = |list: &Listed| {
        list.ids
            .iter()
            .filter(|id| pictures.get(id.as_str()).is_some_and(|one| !one.faults.is_empty()))
            .count()
    };
    let report =
        |list: &Listed| ListReport { name: list.name.clone(), images: list.ids.len(), faulty: faulty(list) };
    let sizes = looked.iter().map(|one| one.picture.size).filter(|size| *size != (0, 0));
    let (widths, heights) = sizes.unzip();
    Ok(VocReport {
        lists: listed.iter().map(report).collect(),
        pictures: looked.len(),
        masks: looked.iter().filter(|one| one.masked).count(),
        width: spread(widths),
        height: spread(heights),
        classes: counts(&looked),
        oriented: oriented(&looked),
        faults,
        differing,
        devkit,
    })
}

impl Looked {
    /// Decodes the image and all its masks.
    fn new(devkit: &Devkit, id: &str, needs_mask: bool, palette: &Palette) -> Self {
        let (picture, mut faults) = VocPicture::read(devkit, id, Split::Val);
        let mut turned = false;
        if picture.size != (0, 0) && picture.photograph.is_file() {
            match picture.pixels() {
                Ok((_, was)) => turned = was,
                Err(reason) => faults.push(format!("{} {reason}", picture.photograph.display())),
            }
        }
        if picture.mask.is_none() && needs_mask {
            faults.push(format!("{} is missing", devkit.palette_mask(id).display()));
        }
        let (other, _) = VocPicture::read(devkit, id, Split::Train);
        let second = Some(&other).filter(|other| other.mask != picture.mask);
        for picture in std::iter::once(&picture).chain(second).filter(|picture| picture.size != (0, 0)) {
            faults.extend(picture.mask(palette).err().map(|error| error.to_string()));
        }
        Self { masked: picture.mask.is_some(), turned, picture, faults }
    }
}

fn oriented(looked: &[Looked]) -> Vec<(String, u8, bool)> {
    let of = |one: &Looked| (one.picture.id.clone(), one.picture.orientation, one.turned);
    looked.iter().filter(|one| one.picture.orientation > 1).map(of).collect()
}

/// Compares the class lists of `list` with the objects.
fn compare(
    list: &Listed,
    pictures: &HashMap<&str, &Looked>,
    faults: &mut Vec<(String, String)>,
    differing: &mut Vec<String>,
) {
    let classes = match lists::presence(&list.path) {
        Ok(classes) => classes,
        Err(error) => return faults.push((list.name.clone(), error.to_string())),
    };
    for (class, (name, known)) in CLASSES.iter().zip(&classes).enumerate() {
        let Some(known) = known else { continue };
        let file = lists::class_file(&list.path, name);
        for id in &list.ids {
            let of_objects = pictures.get(id.as_str()).filter(|one| one.faults.is_empty());
            match (known.get(id), of_objects.and_then(|one| one.picture.presence().get(class).copied())) {
                (None, _) => faults.push((id.clone(), format!("{} has no entry for it", file.display()))),
                (Some(said), Some(seen)) if *said != seen => differing.push(format!(
                    "{id}: {} says {}, the boxes say {}",
                    file.display(),
                    number(*said),
                    number(seen)
                )),
                _ => {}
            }
        }
    }
}

/// The label used in lists.
fn number(presence: Presence) -> i8 {
    match presence {
        Presence::Present => 1,
        Presence::Absent => -1,
        Presence::Ignored => 0,
    }
}

fn counts(looked: &[Looked]) -> Vec<ClassCount> {
    let mut counts = vec![ClassCount::default(); CLASSES.len()];
    for Looked { picture, .. } in looked {
        let mut seen: BTreeMap<usize, ClassCount> = BTreeMap::new();
        for object in &picture.objects {
            let of = seen.entry(object.class).or_default();
            of.objects += 1;
            of.difficult += usize::from(object.difficult);
        }
        for (class, of) in seen {
            if let Some(count) = counts.get_mut(class) {
                count.images += 1;
                count.objects += of.objects;
                count.difficult += of.difficult;
            }
        }
    }
    counts
}

impl fmt::Display for VocReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.devkit.root.display())?;
        if let Some(sbd) = &self.devkit.sbd {
            writeln!(f, "with the masks of {}", sbd.display())?;
        }
        let wide = self.lists.iter().map(|list| list.name.chars().count()).max().unwrap_or(0);
        for ListReport { name, images, faulty } in &self.lists {
            writeln!(f, "  {name:wide$}  {images:>6} images, {faulty} with faults")?;
        }
        let range = |[low, median, high]: [usize; 3]| format!("{low} to {high}, median {median}");
        writeln!(f, "\n{}, {} with masks", counted(self.pictures, "image"), self.masks)?;
        writeln!(f, "  width   {}", range(self.width))?;
        writeln!(f, "  height  {}", range(self.height))?;
        writeln!(f, "  {:11}  {:>6}  {:>7}  {:>9}", "class", "images", "objects", "difficult")?;
        for (name, ClassCount { images, objects, difficult }) in CLASSES.iter().zip(&self.classes) {
            writeln!(f, "  {name:11}  {images:>6}  {objects:>7}  {difficult:>9}")?;
        }
        let total = |of: fn(&ClassCount) -> usize| self.classes.iter().map(of).sum::<usize>();
        let (objects, difficult) = (total(|count| count.objects), total(|count| count.difficult));
        writeln!(f, "  {:11}  {:>6}  {objects:>7}  {difficult:>9}", "all", self.pictures)?;
        for note in &self.differing {
            writeln!(f, "  note {note}; the list is used")?;
        }
        for (id, orientation, turned) in self.oriented.iter().take(NOTED) {
            let pixels = match turned {
                false => {
                    "boxes and masks are assumed to refer to the stored pixels; the image is not rotated"
                }
                true => "the annotation has the size of the rotated image; the image is rotated",
            };
            writeln!(f, "  note {id}: EXIF gives orientation {orientation}; {pixels}")?;
        }
        if let Some(more) = self.oriented.len().checked_sub(NOTED).filter(|more| *more > 0) {
            writeln!(f, "  note {more} more pictures have an orientation")?;
        }
        for (name, reason) in &self.faults {
            writeln!(f, "  fault {name}: {reason}")?;
        }
        match self.faults.len() {
            0 => writeln!(f, "no faults"),
            1 => writeln!(f, "1 fault"),
            faults => writeln!(f, "{faults} faults"),
        }
    }
}
