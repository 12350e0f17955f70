//! Small files of every kind, as seeds: made here, or taken from the fixtures of the tests.

pub mod images;
pub mod results;
pub mod tables;
pub mod weights;

use std::{fs, path::Path};

/// The files below a folder of the package that have one of these endings, up to 64 KiB each, by path.
pub fn files(folder: &str, endings: &[&str]) -> Vec<Vec<u8>> {
    let mut found = vec![];
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder), endings, &mut found);
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, endings, found);
        } else if path.extension().is_some_and(|e| endings.iter().any(|ending| e == *ending)) {
            found.extend(fs::read(&path).ok().filter(|bytes| bytes.len() <= 64 << 10));
        }
    }
}

/// What a writer that takes a path leaves there.
pub fn written<E>(name: &str, write: impl FnOnce(&Path) -> Result<(), E>) -> Vec<u8> {
    let path = crate::folder().join(name);
    let done = write(&path);
    assert!(done.is_ok(), "{name} cannot be written");
    fs::read(path).expect("a file that was written")
}

/// The text of each, as bytes.
pub fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
