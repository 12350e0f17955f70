//! `ImageSets`: which pictures belong to a split (`Main/train.txt`, one identifier a line), and whether each shows a class
//! (`Main/dog_train.txt`: 1 it does, −1 it does not, 0 difficult examples only).

use super::{CLASSES, devkit::Devkit};
use crate::data::{annotated::Presence, annotated_source::Lists, error::DataError, source::Split};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

impl Lists {
    /// The folder below `ImageSets`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Main => "Main",
            Self::Segmentation => "Segmentation",
        }
    }
}

/// Whether a list is named by its path, not by its name in `ImageSets`.
pub fn is_path(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "txt")
}

/// The file of the list that a spec calls `name`.
pub fn file(devkit: &Devkit, lists: Lists, split: Split, name: &str) -> PathBuf {
    if is_path(name) {
        return name.into();
    }
    let file = format!("{name}.txt");
    let sbd = devkit.sbd.as_ref().map(|sbd| sbd.join(&file)).filter(|path| path.is_file());
    let own = devkit.root.join("ImageSets").join(lists.folder()).join(file);
    sbd.filter(|_| lists == Lists::Segmentation && split == Split::Train).unwrap_or(own)
}

/// The identifiers in a list, in its order.
///
/// # Errors
/// No such file (the message says which lists there are), an empty one, a line of several words, an identifier twice.
pub fn read(list: &Path) -> Result<Vec<String>, DataError> {
    if !list.is_file() {
        let expected = format!("a text file with one image identifier a line{}", others(list));
        return Err(DataError::Missing { path: list.into(), expected });
    }
    let fault = |line: usize, reason: String| DataError::List { path: list.into(), line, reason };
    let mut ids: Vec<String> = vec![];
    let mut seen = HashSet::new();
    for (number, words) in words(list)? {
        let [id] = &words[..] else {
            let reason = "more than an identifier; a list has one word a line".into();
            return Err(fault(number, reason));
        };
        if !seen.insert(id.clone()) {
            return Err(fault(number, format!("`{id}` is listed twice; remove one of the lines")));
        }
        ids.push(id.clone());
    }
    if ids.is_empty() {
        let expected = "one image identifier a line".into();
        return Err(DataError::Empty { path: list.into(), expected });
    }
    Ok(ids)
}

/// Lines that are not blank: number and words.
fn words(file: &Path) -> Result<Vec<(usize, Vec<String>)>, DataError> {
    let text = fs::read_to_string(file).map_err(|source| DataError::Io { path: file.into(), source })?;
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
        let presence = match words.get(1).map(String::as_str) {
            Some("1") => Presence::Present,
            Some("-1") => Presence::Absent,
            Some("0") => Presence::Ignored,
            _ => {
                let reason = "not an identifier and one of 1, -1 and 0".into();
                return Err(DataError::List { path: file.into(), line, reason });
            }
        };
        Ok((words.into_iter().next().unwrap_or_default(), presence))
    };
    words(file)?.into_iter().map(entry).collect::<Result<_, _>>().map(Some)
}
