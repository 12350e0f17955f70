//! Picture lists in the format of VOC's `ImageSets`: the first word of each line is a picture's identifier.

use crate::{
    data::voc::lists::checked,
    text::{self, excerpt},
};
use anyhow::{Context, Result, ensure};
use std::{collections::BTreeSet, path::Path};

/// Reads the identifiers in order. Errors: a list that is missing, empty, names a picture twice, or contains an
/// invalid identifier.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let text = text::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let (mut ids, mut seen) = (vec![], BTreeSet::new());
    for (i, line) in text.lines().enumerate() {
        let Some(id) = line.split_whitespace().next() else { continue };
        let place = || format!("{}:{}", path.display(), i + 1);
        let id = checked(id).map_err(anyhow::Error::msg).with_context(place)?;
        ensure!(seen.insert(id), "{}: `{}` is named twice", place(), excerpt(id));
        ids.push(id.to_string());
    }
    ensure!(!ids.is_empty(), "{}: names no pictures; expected one identifier a line", path.display());
    Ok(ids)
}
