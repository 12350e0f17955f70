//! How a spec names a devkit.

use super::{lists::ListName, palette::Palette};
use crate::spec_path::SpecPath;
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path};

/// Where a devkit lies and which of its lists are the two splits. In YAML:
/// `source: { voc: { devkit: VOCdevkit, year: 2007, train: trainval, val: test } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocSource {
    /// Holds `VOC2007/`, or is it, or holds `VOCdevkit/`.
    pub devkit: SpecPath,
    /// Which of several years; absent: the only one there.
    #[serde(default)]
    pub year: Option<u16>,
    pub train: ListName,
    #[serde(default)]
    pub val: Option<ListName>,
    /// SBD's `dataset` folder. Its masks are preferred for training, its lists are found before the devkit's, and its
    /// pictures stand in for those that the devkit lacks.
    #[serde(default)]
    pub sbd: Option<SpecPath>,
    /// The colors of the masks; absent: VOC's.
    #[serde(default, skip_serializing_if = "Palette::is_voc")]
    pub palette: Palette,
}

impl VocSource {
    /// The folders that it names, and the lists that are files of their own.
    pub(in crate::data) fn paths(&self) -> Vec<&Path> {
        let lists = [Some(&self.train), self.val.as_ref()].into_iter().flatten();
        let lists = lists.filter_map(ListName::path);
        [self.devkit.as_path()].into_iter().chain(self.sbd.as_deref()).chain(lists).collect()
    }

    /// The same source with its paths below `dir`.
    pub(in crate::data) fn below(&self, dir: &Path) -> Self {
        let list = |name: &ListName| name.below(dir);
        Self {
            devkit: dir.join(&self.devkit).into(),
            year: self.year,
            train: list(&self.train),
            val: self.val.as_ref().map(list),
            sbd: self.sbd.as_ref().map(|sbd| dir.join(sbd).into()),
            palette: self.palette.clone(),
        }
    }
}

impl fmt::Display for VocSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.devkit.display())?;
        self.year.map_or(Ok(()), |year| write!(f, " (VOC{year})"))
    }
}
