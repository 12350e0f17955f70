//! Lists the images below a folder. Symbolic links are followed. Dangling links, link cycles and unreadable folders
//! are skipped and reported; hidden files and folders are ignored.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};
use walkdir::{DirEntry, WalkDir};

/// The images below a folder.
#[derive(Debug, Default)]
pub struct PictureListing {
    /// Paths, including `root`, sorted by component.
    pub pictures: Vec<PathBuf>,
    /// Number of files without an image extension.
    pub others: usize,
    /// Skipped entries, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

/// Walks `root` down to `depth` levels (1: the folder itself), skipping entries for which `left_out` is true.
///
/// # Errors
/// An unreadable `root`.
pub fn pictures(
    root: &Path,
    depth: usize,
    left_out: impl Fn(&DirEntry) -> bool,
) -> io::Result<PictureListing> {
    let kept = |e: &DirEntry| e.depth() == 0 || !(is_hidden(e.path()) || left_out(e));
    let mut found = PictureListing::default();
    for entry in WalkDir::new(root).max_depth(depth).follow_links(true).into_iter().filter_entry(kept) {
        match entry {
            Ok(entry) if !entry.file_type().is_file() => {}
            Ok(entry) if is_image(entry.path()) => found.pictures.push(entry.into_path()),
            Ok(_) => found.others += 1,
            Err(error) => found.skip(error)?,
        }
    }
    // by component, so that classes sort by name, independent of the path separator
    found.pictures.sort();
    Ok(found)
}

impl PictureListing {
    /// Records a skipped entry. A dangling link with an image extension is kept as an image; reading it fails and is
    /// counted.
    fn skip(&mut self, error: walkdir::Error) -> io::Result<()> {
        let (path, depth, in_circle) =
            (error.path().map(Path::to_path_buf), error.depth(), error.loop_ancestor().is_some());
        let cause = error.into_io_error().unwrap_or_else(|| io::Error::other("a symbolic link cycle"));
        let Some(path) = path.filter(|_| depth > 0) else { return Err(cause) };
        if is_hidden(&path) {
            return Ok(());
        }
        let is_link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
        if is_image(&path) && is_link && !in_circle {
            self.pictures.push(path);
            return Ok(());
        }
        self.skipped.push((path, skip_reason(is_link, &cause)));
        Ok(())
    }

    /// If subfolders of `root` contain images, skips dangling links directly in `root`, which must not make the set
    /// unlabeled.
    pub fn skip_dangling_links(&mut self, root: &Path) {
        let beside = |path: &Path| path.parent() == Some(root);
        if self.pictures.iter().all(|path| beside(path)) {
            return;
        }
        let skipped = &mut self.skipped;
        self.pictures.retain(|path| {
            let lost = beside(path).then(|| fs::metadata(path).err()).flatten();
            if let Some(cause) = &lost {
                skipped.push((path.clone(), skip_reason(true, cause)));
            }
            lost.is_none()
        });
    }

    /// Warns about the skipped entries.
    pub fn warn(&self) {
        for (path, reason) in &self.skipped {
            tracing::warn!("{} is skipped: {reason}", path.display());
        }
    }
}

fn skip_reason(is_link: bool, cause: &io::Error) -> String {
    let dangling = is_link && cause.kind() == io::ErrorKind::NotFound;
    if dangling { "a dangling symbolic link".into() } else { cause.to_string() }
}

/// Whether a path has an image extension.
pub fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    matches!(ending.as_deref(), Some("jpg" | "jpeg" | "png" | "webp" | "bmp" | "tif" | "tiff"))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_cannot_be_looked_into_is_named_and_the_rest_found() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("cat/deep")).unwrap();
        ["cat/1.png", "cat/deep/2.jpg", "notes.txt"]
            .iter()
            .for_each(|name| fs::write(at(name), "x").unwrap());
        for (target, link) in [
            ("nowhere", "bird"),            // a folder that was moved away
            ("nowhere.png", "cat/9.png"),   // a picture that was
            ("nobody@host", "cat/.#1.png"), // an editor's lock
            ("..", "cat/deep/up"),          // a circle of folders
            ("self", "self"),               // a link to itself
            ("b.png", "a.png"),
            ("a.png", "b.png"),
            ("1.png", "cat/3.png"), // a sound one
        ] {
            symlink(target, at(link)).unwrap();
        }
        let found = pictures(dir.path(), usize::MAX, |_| false).unwrap();
        let plain = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let paths: Vec<String> = found.pictures.iter().map(plain).collect();
        assert_eq!(paths, ["a.png", "b.png", "cat/1.png", "cat/3.png", "cat/9.png", "cat/deep/2.jpg"]);
        let mut passed: Vec<String> = found.skipped.iter().map(|(path, _)| plain(path)).collect();
        passed.sort();
        assert_eq!((passed, found.others), (vec!["bird".into(), "cat/deep/up".into(), "self".into()], 1));
        assert!(found.skipped.iter().any(|(_, why)| why.contains("dangling")));
        assert!(found.skipped.iter().any(|(_, why)| why.contains("cycle")));
        assert!(pictures(&at("none"), usize::MAX, |_| false).is_err());

        // beside folders of pictures, links that lead nowhere are no pictures; in a folder they are
        let mut beside = found;
        beside.skip_dangling_links(dir.path());
        let paths: Vec<String> = beside.pictures.iter().map(plain).collect();
        assert_eq!(paths, ["cat/1.png", "cat/3.png", "cat/9.png", "cat/deep/2.jpg"]);
        assert_eq!(beside.skipped.len(), 5);
        // where no folder holds a picture, they stay
        fs::remove_dir_all(at("cat")).unwrap();
        let mut flat = pictures(dir.path(), usize::MAX, |_| false).unwrap();
        flat.skip_dangling_links(dir.path());
        assert_eq!(flat.pictures, [at("a.png"), at("b.png")]);
    }
}
