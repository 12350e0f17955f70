//! The spec of a devkit.

use super::{lists::ListName, palette::Palette};
use crate::spec_path::SpecPath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, path::Path};

/// A PASCAL VOC devkit, and the lists of its two splits. In YAML: `voc: { devkit: VOCdevkit, year: 2007, train:
/// trainval, val: test }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "PASCAL VOC devkit")]
pub struct VocSource {
    /// A folder that contains `VOC2007/` or `VOCdevkit/`, or `VOC2007` itself.
    pub devkit: SpecPath,
    /// Year, if there are several; absent: the only one.
    #[serde(default)]
    pub year: Option<u16>,
    /// List of the training pictures.
    pub train: ListName,
    /// List of the validation pictures; absent: there are none.
    #[serde(default)]
    pub val: Option<ListName>,
    /// SBD's `dataset` folder. Its masks are preferred in training, its lists take precedence over the devkit's, and
    /// its images replace those missing from the devkit.
    #[serde(default)]
    pub sbd: Option<SpecPath>,
    /// Colors of the masks; absent: VOC's.
    #[serde(default, skip_serializing_if = "Palette::is_voc")]
    pub palette: Palette,
}

impl VocSource {
    /// The folders and list files it refers to.
    pub(in crate::data) fn paths(&self) -> Vec<&Path> {
        let lists = [Some(&self.train), self.val.as_ref()].into_iter().flatten();
        let lists = lists.filter_map(ListName::path);
        [self.devkit.as_path()].into_iter().chain(self.sbd.as_deref()).chain(lists).collect()
    }

    /// The source with its paths joined to `dir`.
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
