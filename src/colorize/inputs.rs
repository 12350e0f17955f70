//! Input pictures of a command: files, folders, and patterns that the shell did not expand.

use crate::data::walk::{self, is_image};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};
use walkdir::DirEntry;

/// One picture to colorize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPicture {
    pub path: PathBuf,
    /// Path of its folder relative to the named folder; empty for pictures named directly.
    pub subfolder: PathBuf,
}

/// Why an argument gives no pictures.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("{}: not found; give a picture, a folder of pictures, or a pattern such as 'photos/*.jpg'", .0.display())]
    Missing(PathBuf),
    #[error("`{pattern}` matches no picture (jpg, png, webp, bmp, tiff)")]
    NoMatch { pattern: String },
    #[error("`{pattern}` is not a valid pattern: {reason}; the wildcards are `*`, `?`, `**` and `[abc]`")]
    BadPattern { pattern: String, reason: String },
    #[error("{}: holds no pictures{}", folder.display(), if *.recursive { "" } else { "; use --recursive to \
             include subfolders" })]
    NoPictures { folder: PathBuf, recursive: bool },
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// Every picture that `named` refers to, in order, without duplicates. An existing path is used literally, even with
/// pattern characters. A folder gives its pictures (with `recursive`, also those of its subfolders), except those in
/// the folder `results`. Unreadable subfolders are skipped with a warning; a dangling link counts as an unreadable
/// picture.
///
/// # Errors
/// A path that does not exist; a folder or pattern without pictures; an unreadable folder.
pub fn expand(named: &[PathBuf], recursive: bool, results: &Path) -> Result<Vec<InputPicture>, InputError> {
    let mut inputs = vec![];
    for path in named {
        if path.is_dir() {
            inputs.extend(in_folder(path, recursive, results)?);
        } else if fs::symlink_metadata(path).is_ok() {
            inputs.push(InputPicture { path: path.clone(), subfolder: PathBuf::new() });
        } else {
            inputs.extend(matching(path)?);
        }
    }
    let mut seen = HashSet::new();
    inputs.retain(|input| seen.insert(input.path.canonicalize().unwrap_or_else(|_| input.path.clone())));
    Ok(inputs)
}

fn in_folder(folder: &Path, recursive: bool, results: &Path) -> Result<Vec<InputPicture>, InputError> {
    let results = results.canonicalize().ok();
    let ours = |entry: &DirEntry| {
        entry.file_type().is_dir() && results.is_some() && entry.path().canonicalize().ok() == results
    };
    let depth = if recursive { usize::MAX } else { 1 };
    let found = walk::pictures(folder, depth, ours)
        .map_err(|source| InputError::Unreadable { path: folder.into(), source })?;
    found.warn();
    let input = |path: PathBuf| {
        let parent = path.parent().and_then(|parent| parent.strip_prefix(folder).ok());
        InputPicture { subfolder: parent.map(Path::to_path_buf).unwrap_or_default(), path }
    };
    if found.pictures.is_empty() {
        return Err(InputError::NoPictures { folder: folder.into(), recursive });
    }
    Ok(found.pictures.into_iter().map(input).collect())
}

fn matching(path: &Path) -> Result<Vec<InputPicture>, InputError> {
    let pattern = match path.to_str() {
        Some(text) if text.contains(['*', '?', '[']) => text.to_owned(),
        _ => return Err(InputError::Missing(path.into())),
    };
    let bad =
        |e: glob::PatternError| InputError::BadPattern { pattern: pattern.clone(), reason: e.to_string() };
    // As in a shell, patterns do not match hidden files unless they start with a dot.
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
    let mut inputs = vec![];
    for found in glob::glob_with(&pattern, options).map_err(bad)? {
        match found {
            Ok(path) if is_image(&path) && !path.is_dir() => {
                inputs.push(InputPicture { path, subfolder: PathBuf::new() });
            }
            Ok(_) => {}
            Err(e) => tracing::warn!("{} is skipped: {}", e.path().display(), e.error()),
        }
    }
    if inputs.is_empty() { Err(InputError::NoMatch { pattern }) } else { Ok(inputs) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with a.jpg, [b].png, notes.txt, .hidden.png, deep/c.webp and out/a.jpg.
    fn photos() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.jpg", "[b].png", "notes.txt", ".hidden.png", "deep/c.webp", "out/a.jpg"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn found(folder: &Path, named: &[&str], recursive: bool) -> Result<Vec<(String, String)>, String> {
        let named: Vec<PathBuf> = named.iter().map(|name| folder.join(name)).collect();
        let inputs = expand(&named, recursive, &folder.join("out")).map_err(|e| e.to_string())?;
        let plain = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
        Ok(inputs.iter().map(|i| (plain(&i.path), plain(&i.subfolder))).collect())
    }

    fn names(folder: &Path, named: &[&str], recursive: bool) -> Vec<String> {
        found(folder, named, recursive).unwrap().into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn folders_are_flat_unless_told_otherwise() {
        let photos = photos();
        assert_eq!(names(photos.path(), &[""], false), ["[b].png", "a.jpg"]);
        assert_eq!(names(photos.path(), &[""], true), ["[b].png", "a.jpg", "deep/c.webp"]);
        assert_eq!(found(photos.path(), &[""], true).unwrap()[2].1, "deep");
    }

    #[test]
    fn patterns_are_expanded_and_files_win() {
        let photos = photos();
        assert_eq!(names(photos.path(), &["*"], false), ["[b].png", "a.jpg"]);
        assert_eq!(names(photos.path(), &["d*/?.webp"], false), ["deep/c.webp"]);
        assert_eq!(
            names(photos.path(), &["[b].png"], false),
            ["[b].png"],
            "the file, not a pattern for b.png"
        );
        assert_eq!(
            names(photos.path(), &["[a].jpg"], false),
            ["a.jpg"],
            "a pattern, as there is no such file"
        );
    }

    #[test]
    #[cfg(unix)]
    fn links_that_lead_nowhere_keep_nothing_else_out() {
        use std::os::unix::fs::symlink;
        let photos = photos();
        for (target, link) in [("gone", "old"), ("gone.jpg", "z.jpg"), ("..", "deep/up"), ("loop", "loop")] {
            symlink(target, photos.path().join(link)).unwrap();
        }
        assert_eq!(names(photos.path(), &[""], true), ["[b].png", "a.jpg", "deep/c.webp", "z.jpg"]);
        assert_eq!(names(photos.path(), &[""], false), ["[b].png", "a.jpg", "z.jpg"]);
        assert_eq!(names(photos.path(), &["*.jpg"], false), ["a.jpg", "z.jpg"]);
        assert_eq!(names(photos.path(), &["z.jpg", "a.jpg"], false), ["z.jpg", "a.jpg"]);
    }

    #[test]
    fn a_picture_named_twice_is_one_and_any_file_may_be_named() {
        let photos = photos();
        assert_eq!(names(photos.path(), &["notes.txt", "a.jpg", "deep/../a.jpg", "*.jpg"], false).len(), 2);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let photos = photos();
        let said = |named: &str, recursive| found(photos.path(), &[named], recursive).unwrap_err();
        assert!(said("none.jpg", false).contains("none.jpg: not found"));
        assert!(said("*.gif", false).contains("matches no picture"));
        assert!(said("[a.jpg", false).contains("is not a valid pattern"));
        fs::remove_file(photos.path().join("deep/c.webp")).unwrap();
        assert!(said("deep", false).contains("--recursive"));
        assert!(!said("deep", true).contains("--recursive"));
    }
}
