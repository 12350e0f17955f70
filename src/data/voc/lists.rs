//! `ImageSets`: which pictures belong to a split (`Main/train.txt`, one identifier a line), and whether each shows a class
//! (`Main/dog_train.txt`: 1 it does, −1 it does not, 0 difficult examples only).

use super::{classes::CLASSES, devkit::Devkit};
use crate::{
    data::{annotated::Presence, dataset::Split, error::DataError},
    text::{self, excerpt},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Component, Path, PathBuf},
};

/// Which of a devkit's lists a task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    /// `ImageSets/Main`: classification and detection.
    Main,
    /// `ImageSets/Segmentation`: every picture has a mask.
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

/// A list below `ImageSets`, or the path of a text file (it ends in `.txt`) with one identifier a line; as a
/// [`SpecPath`](crate::spec_path::SpecPath), it is read in a spec as one that can be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListName(String);

impl ListName {
    /// What serde calls the type.
    pub const NAME: &str = "ListName";

    /// Whether a list is named by its path, not by its name in `ImageSets`.
    pub fn is_path(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|ending| ending == "txt")
    }

    /// The path, where it is one.
    pub fn path(&self) -> Option<&Path> {
        Some(Path::new(&self.0)).filter(|_| Self::is_path(&self.0))
    }

    /// A path below `dir`; a name as it is.
    pub(super) fn below(&self, dir: &Path) -> Self {
        if Self::is_path(&self.0) { Self(dir.join(&self.0).display().to_string()) } else { self.clone() }
    }
}

impl<T: Into<String>> From<T> for ListName {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

/// The file of the list that a spec calls `name`.
pub fn file(devkit: &Devkit, lists: Lists, split: Split, ListName(name): &ListName) -> PathBuf {
    if ListName::is_path(name) {
        return name.into();
    }
    let file = format!("{name}.txt");
    let sbd = devkit.sbd.as_ref().map(|sbd| sbd.join(&file)).filter(|path| path.is_file());
    let own = devkit.root.join("ImageSets").join(lists.folder()).join(file);
    sbd.filter(|_| lists == Lists::Segmentation && split == Split::Train).unwrap_or(own)
}

/// The identifiers in a list, in its order. A list of one class, with its labels in a second column, is read as one of
/// pictures.
///
/// # Errors
/// No such file (the message says which lists there are), an empty one, a line of several words, what is no identifier, an
/// identifier twice.
pub fn read(list: &Path) -> Result<Vec<String>, DataError> {
    if !list.is_file() {
        let expected = format!("a text file with one image identifier a line{}", others(list));
        return Err(DataError::Missing { path: list.into(), expected });
    }
    let mut ids: Vec<String> = vec![];
    let mut seen = HashSet::new();
    let lines = words(list)?;
    if lines.iter().any(|(_, words)| words.len() > 1) {
        tracing::warn!("{}: its labels are not read; every picture that it lists counts", list.display());
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

/// The identifier of a line, which labels may follow.
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

/// `id`, which names the files of a picture.
///
/// # Errors
/// What is no name of a file: files would be read, and results written, elsewhere.
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

/// Lines that are not blank: number and words.
fn words(file: &Path) -> Result<Vec<(usize, Vec<String>)>, DataError> {
    let text = text::read(file).map_err(|source| DataError::Io { path: file.into(), source })?;
    let lines = text.lines().enumerate();
    let words =
        lines.map(|(i, line)| (i + 1, line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    Ok(words.filter(|(_, words)| !words.is_empty()).collect())
}

/// The lists beside one that is missing, as a part of its message.
fn others(list: &Path) -> String {
    let names = list.parent().map(plain).unwrap_or_default();
    if names.is_empty() { String::new() } else { format!("; the folder has {}", names.join(", ")) }
}

/// The names of the lists in a folder of `ImageSets`, sorted; those of single classes in `Main` are not among them.
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

/// For each class what its list beside `list` says of each picture; `None` where the class has no list.
///
/// # Errors
/// A line that is not an identifier and one of 1, −1 and 0.
pub fn presence(list: &Path) -> Result<Vec<Option<HashMap<String, Presence>>>, DataError> {
    CLASSES.iter().map(|class| class_list(&class_file(list, class))).collect()
}

/// The list of one class that goes with `list`.
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
