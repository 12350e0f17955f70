//! The spec of proposals, and how they are obtained: computed once and cached, or read from files.

use super::{
    Proposals,
    matlab::{self, BoxFormat},
    search::{SearchResult, search},
    selective_search::{self, SelectiveSearch},
};
use crate::{
    data::{annotated::Annotated, dataset::Split, error::DataError},
    spec_path::SpecPath,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

/// Tolerance in pixels for boxes beyond the image border, due to rounding.
const OVER: f32 = 1.0;

/// Where proposals come from. In YAML: `proposals: { selective_search: { mode: fast } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(title = "Proposals")]
pub enum ProposalSpec {
    /// Computed on first use, then cached with other results.
    SelectiveSearch(SelectiveSearch),
    /// MATLAB files in the order of the image sets.
    Mat {
        /// File of the training pictures.
        train: SpecPath,
        /// File of the test pictures; absent: there are none.
        #[serde(default)]
        val: Option<SpecPath>,
        /// Meaning of the columns.
        #[serde(default)]
        columns: BoxFormat,
    },
    /// Files written by `hueristic proposals`.
    File {
        /// File of the training pictures.
        train: SpecPath,
        /// File of the test pictures; absent: there are none.
        #[serde(default)]
        val: Option<SpecPath>,
    },
}

impl Default for ProposalSpec {
    fn default() -> Self {
        Self::SelectiveSearch(SelectiveSearch::default())
    }
}

impl ProposalSpec {
    /// Origin of a split's proposals, for messages.
    fn named(&self, split: Split) -> String {
        let file = self.files().get(split as usize).map(|file| file.display().to_string());
        file.unwrap_or_else(|| "Selective Search, whose `smallest` may be less".into())
    }

    /// The input files.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::SelectiveSearch(_) => vec![],
            Self::Mat { train, val, .. } | Self::File { train, val } => {
                std::iter::once(train).chain(val).map(SpecPath::as_path).collect()
            }
        }
    }
}

/// The proposals of every image of a set. Computed ones are stored in the folder `cache`, created if missing, under a
/// name derived from the set's fingerprint and the settings; an interrupted search resumes.
///
/// # Errors
/// A split without a file in the spec; a file for another set; an unreadable image; a folder that cannot be
/// written; no proposals at all.
pub fn obtain(
    spec: &ProposalSpec,
    set: &dyn Annotated,
    split: Split,
    cache: &Path,
) -> Result<Proposals, DataError> {
    let ids: Vec<String> = (0..set.len()).map(|index| set.id(index).to_owned()).collect();
    let proposals = match spec {
        ProposalSpec::SelectiveSearch(settings) => searched(settings, set, &ids, cache)?,
        ProposalSpec::Mat { train, val, columns } => {
            let path = file(train, val.as_deref(), split)?;
            inside(matlab::read(path, *columns, &ids)?, set, path)?
        }
        ProposalSpec::File { train, val } => {
            let path = file(train, val.as_deref(), split)?;
            inside(Proposals::read(path)?, set, path)?
        }
    };
    let empty = ids.iter().filter(|id| proposals.of(id).is_some_and(<[_]>::is_empty)).count();
    if empty > 0 && empty == ids.len() {
        return Err(DataError::Spec(format!(
            "{}: it has no box for any of the {empty} {} pictures, so that nothing could be found in them",
            spec.named(split),
            split.name()
        )));
    }
    if empty > 0 {
        tracing::warn!("{empty} of {} {} pictures have no proposals", ids.len(), split.name());
    }
    Ok(proposals)
}

fn file<'a>(train: &'a Path, val: Option<&'a Path>, split: Split) -> Result<&'a Path, DataError> {
    match split {
        Split::Train => Ok(train),
        Split::Val => val.ok_or_else(|| {
            DataError::Spec(
                "the proposals name no file for the val pictures; add `val:` beside `train:`".into(),
            )
        }),
    }
}

fn searched(
    settings: &SelectiveSearch,
    set: &dyn Annotated,
    ids: &[String],
    cache: &Path,
) -> Result<Proposals, DataError> {
    let json = serde_json::to_string(settings).map_err(|e| DataError::Spec(e.to_string()))?;
    let key = format!("{} {json} {}", set.fingerprint(), selective_search::VERSION);
    let key: String = format!("{:x}", Sha256::digest(key)).chars().take(16).collect();
    let path = cache.join(format!("proposals-{key}.safetensors"));
    if path.exists() {
        return inside(Proposals::read(&path)?, set, &path);
    }
    fs::create_dir_all(cache).map_err(|source| DataError::Io { path: cache.into(), source })?;
    let partial = cache.join(format!("proposals-{key}.partial"));
    tracing::info!("searching {} pictures for proposals, kept in {}", ids.len(), path.display());
    let SearchResult { proposals, left_out, .. } =
        search(settings, ids, |index| set.image(index), Some(&partial))?;
    if let Some((id, reason)) = left_out.first() {
        let reason = format!(
            "{reason} ({} of {} pictures have no proposals for such a reason); repair or remove it",
            left_out.len(),
            ids.len()
        );
        return Err(DataError::Image { name: id.clone(), reason });
    }
    proposals.write(&path, &format!("Selective Search {json}"))?;
    // A leftover partial file is harmless: the complete file takes precedence.
    let _ = fs::remove_file(&partial);
    Ok(proposals)
}

/// Checks that every image of the set has proposals inside its bounds.
fn inside(proposals: Proposals, set: &dyn Annotated, path: &Path) -> Result<Proposals, DataError> {
    let table = |reason: String| DataError::Table { path: path.into(), reason };
    for index in 0..set.len() {
        let (id, (width, height)) = (set.id(index), set.size(index));
        let boxes = proposals.of(id).ok_or_else(|| {
            table(format!("has no proposals for image `{id}`; give the file of this image set"))
        })?;
        let (right, bottom) = (width as f32 - 1.0 + OVER, height as f32 - 1.0 + OVER);
        let out = boxes.iter().find(|b| b.x1 < -OVER || b.y1 < -OVER || b.x2 > right || b.y2 > bottom);
        if let Some(out) = out {
            return Err(table(format!(
                "{out} is outside of picture `{id}` of {width} × {height} pixels; the columns may be others, or the \
                 pictures of another size"
            )));
        }
    }
    Ok(proposals)
}

#[cfg(test)]
mod tests {
    use super::{super::selective_search::SearchMode, *};

    fn spec(json: &str) -> Result<ProposalSpec, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn specs_have_defaults_and_refuse_what_they_do_not_know() {
        let fast = spec(r#"{"selective_search": {}}"#).unwrap();
        assert_eq!(fast, ProposalSpec::SelectiveSearch(SelectiveSearch::default()));
        let quality = spec(r#"{"selective_search": {"mode": "quality"}}"#).unwrap();
        assert!(matches!(
            quality,
            ProposalSpec::SelectiveSearch(SelectiveSearch { mode: SearchMode::Quality, .. })
        ));
        let mat = spec(r#"{"mat": {"train": "a.mat", "columns": "xyxy_from_zero"}}"#).unwrap();
        let columns = BoxFormat::XyxyFromZero;
        assert_eq!(mat, ProposalSpec::Mat { train: "a.mat".into(), val: None, columns });
        for wrong in [
            r#"{"selective_search": {"modes": "fast"}}"#,
            r#"{"selective_search": {"smallest": 0}}"#,
            r#"{"file": {"val": "a"}}"#,
            r#"{"edge_boxes": {}}"#,
        ] {
            assert!(spec(wrong).is_err(), "{wrong}");
        }
    }
}
