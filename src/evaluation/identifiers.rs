//! Lists of pictures, as VOC's `ImageSets` have them: the first word of each line is a picture's identifier.

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, path::Path};

/// The identifiers, in order. Errors: a list that is missing, empty, or names a picture twice.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let (mut ids, mut seen) = (vec![], BTreeSet::new());
    for (i, line) in text.lines().enumerate() {
        let Some(id) = line.split_whitespace().next() else { continue };
        ensure!(seen.insert(id), "{}:{}: `{id}` is named twice", path.display(), i + 1);
        ids.push(id.to_string());
    }
    ensure!(!ids.is_empty(), "{}: names no pictures; expected one identifier a line", path.display());
    Ok(ids)
}
