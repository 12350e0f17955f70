//! `ImageSets`: the images of a split (`Main/train.txt`, one identifier per line), and class presence
//! (`Main/dog_train.txt`: 1 present, −1 absent, 0 difficult examples only).

use super::{classes::CLASSES, devkit::Devkit};
use crate::{
    data::{annotated::Presence, dataset::Split, error::DataError},
    text::{self, excerpt},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Component, Path, PathBuf},
};

/// The folder of lists that a task uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// `ImageSets/Main`: classification and detection.
    Main,
    /// `ImageSets/Segmentation`: every image has a mask.
    Segmentation,
}

impl Lists {
    /// The folder below `ImageSets`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Main => "Main",
            Self::Segmentation => "Segmentation",
        }
    }
}

/// The name of a list in `ImageSets`, or the path of a text file that ends in `.txt`, with one identifier per line.
/// Relative paths start at the folder of the spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Name of a list")]
pub struct ListName(String);

impl ListName {
    /// The type's name in serde.
    pub const NAME: &str = "ListName";

    /// Whether `name` is a path, not a list in `ImageSets`.
    pub fn is_path(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|ending| ending == "txt")
    }

    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        Some(Path::new(&self.0)).filter(|_| Self::is_path(&self.0))
    }

    /// Joins a path to `dir`; keeps a name unchanged.
    pub(super) fn below(&self, dir: &Path) -> Self {
        if Self::is_path(&self.0) { Self(dir.join(&self.0).display().to_string()) } else { self.clone() }
    }
}

impl<T: Into<String>> From<T> for ListName {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

/// The file of the list `name`.
pub fn file(devkit: &Devkit, lists: Lists, split: Split, ListName(name): &ListName) -> PathBuf {
    if ListName::is_path(name) {
        return name.into();
    }
    let file = format!("{name}.txt");
    let sbd = devkit.sbd.as_ref().map(|sbd| sbd.join(&file)).filter(|path| path.is_file());
    let own = devkit.root.join("ImageSets").join(lists.folder()).join(file);
    sbd.filter(|_| lists == Lists::Segmentation && split == Split::Train).unwrap_or(own)
}

/// The identifiers in a list, in order. The label column of a single-class list is ignored.
///
/// # Errors
/// A missing file (the message lists the existing ones), an empty file, a line of several words, an invalid
/// or duplicate identifier.
pub fn read(list: &Path) -> Result<Vec<String>, DataError> {
    if !list.is_file() {
        let expected = format!("a text file with one image identifier a line{}", others(list));
        return Err(DataError::Missing { path: list.into(), expected });
    }
    let mut ids: Vec<String> = vec![];
    let mut seen = HashSet::new();
    let lines = words(list)?;
    if lines.iter().any(|(_, words)| words.len() > 1) {
        tracing::warn!("{}: the labels are ignored; every listed image is used", list.display());
    }
    for (line, words) in lines {
        let id = identifier(&words)
            .and_then(|id| if seen.insert(id.clone()) { Ok(id) } else { Err(twice(&id)) })
            .map_err(|reason| DataError::List { path: list.into(), line, reason })?;
        ids.push(id);
    }
    if ids.is_empty() {
        let expected = "one image identifier a line".into();
        return Err(DataError::Empty { path: list.into(), expected });
    }
    Ok(ids)
}

/// The identifier of a line, optionally followed by labels.
fn identifier(words: &[String]) -> Result<String, String> {
    let Some((id, labels)) = words.split_first() else { return Err("no identifier".into()) };
    if !labels.iter().all(|label| presence_of(label).is_some()) {
        return Err(
            "more than an identifier; a list has one word a line, which a label (1, -1 or 0) may follow"
                .into(),
        );
    }
    checked(id).map(String::from)
}

fn twice(id: &str) -> String {
    format!("`{}` is listed twice; remove one of the lines", excerpt(id))
}

/// Validates an identifier, which names the files of an image.
///
/// # Errors
/// Not a plain file name: it could read or write outside the devkit.
pub fn checked(id: &str) -> Result<&str, String> {
    let mut parts = Path::new(id).components();
    let named = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == id);
    if named && !id.contains(['/', '\\', '\0']) {
        return Ok(id);
    }
    Err(format!(
        "`{}` is no identifier: it is the name of a picture's file, without folders and without ending",
        excerpt(id)
    ))
}

/// Line numbers and words of the non-blank lines.
fn words(file: &Path) -> Result<Vec<(usize, Vec<String>)>, DataError> {
    let text = text::read(file).map_err(|source| DataError::Io { path: file.into(), source })?;
    let lines = text.lines().enumerate();
    let words =
        lines.map(|(i, line)| (i + 1, line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    Ok(words.filter(|(_, words)| !words.is_empty()).collect())
}

/// The existing lists in the folder of a missing one, for its error.
fn others(list: &Path) -> String {
    let names = list.parent().map(plain).unwrap_or_default();
    if names.is_empty() { String::new() } else { format!("; the folder has {}", names.join(", ")) }
}

/// Sorted names of the lists in a folder of `ImageSets`, without the single-class lists of `Main`.
pub fn plain(folder: &Path) -> Vec<String> {
    let in_main = folder.ends_with(Lists::Main.folder());
    let of_class = |name: &str| name.split_once('_').is_some_and(|(class, _)| CLASSES.contains(&class));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let texts = entries.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    let stems = texts.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()));
    let mut names: Vec<String> = stems.filter(|name| !(in_main && of_class(name))).collect();
    names.sort();
    names
}

/// For each class, the presence labels of its list next to `list`; `None` if the class has no list.
///
/// # Errors
/// A line that is not an identifier and one of 1, −1 and 0.
pub fn presence(list: &Path) -> Result<Vec<Option<HashMap<String, Presence>>>, DataError> {
    CLASSES.iter().map(|class| class_list(&class_file(list, class))).collect()
}

/// The single-class list that belongs to `list`.
pub fn class_file(list: &Path, class: &str) -> PathBuf {
    let name = list.file_name().unwrap_or_default().to_string_lossy();
    list.with_file_name(format!("{class}_{name}"))
}

fn class_list(file: &Path) -> Result<Option<HashMap<String, Presence>>, DataError> {
    if !file.is_file() {
        return Ok(None);
    }
    let entry = |(line, words): (usize, Vec<String>)| {
        let presence = words.get(1).and_then(|label| presence_of(label)).ok_or_else(|| {
            let reason = "not an identifier and one of 1, -1 and 0".into();
            DataError::List { path: file.into(), line, reason }
        })?;
        Ok((words.into_iter().next().unwrap_or_default(), presence))
    };
    words(file)?.into_iter().map(entry).collect::<Result<_, _>>().map(Some)
}

fn presence_of(label: &str) -> Option<Presence> {
    match label {
        "1" | "+1" => Some(Presence::Present),
        "-1" => Some(Presence::Absent),
        "0" => Some(Presence::Ignored),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_names_or_paths_and_known_to_serde_by_name() {
        let name = |text: &str| ListName::from(text);
        assert_eq!(name("trainval").below(Path::new("d")), name("trainval"));
        assert_eq!(name("a/b.txt").below(Path::new("d")), name("d/a/b.txt"));
        assert_eq!(std::any::type_name::<ListName>().rsplit("::").next(), Some(ListName::NAME));
    }

    #[test]
    fn identifiers_are_names_of_files_in_their_folder() {
        for id in ["2007_000027", "a..b", "..a", "a.b", "ä", "-1"] {
            assert_eq!(checked(id), Ok(id));
        }
        for id in ["..", ".", "../a", "a/b", "/a", "a/", "./a", "a\\b", "..\\a", "C:\\a", "", "a\0"] {
            let fault = checked(id).unwrap_err();
            assert!(fault.contains("is no identifier"), "{fault}");
        }
    }
}
