//! The catalog, `configs/weights.yaml`, compiled in.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

const TEXT: &str = include_str!("../../configs/weights.yaml");
const MEGABYTE: f64 = 1e6;

/// Entries by name, or why the file is not a catalog.
static RELEASES: LazyLock<Result<BTreeMap<String, Release>, String>> =
    LazyLock::new(|| serde_yaml::from_str(TEXT).map_err(|error| error.to_string()));

/// Weights that their authors released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub description: String,
    /// The network, as in `hueristic model`.
    pub architecture: String,
    /// SPDX identifier.
    pub license: String,
    /// Name of the file in the cache.
    pub file: String,
    /// Addresses of the same file, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// SHA-256 of the file in hexadecimal. None if none is published.
    #[serde(default)]
    pub sha256: Option<String>,
    /// None if not known.
    #[serde(default)]
    pub bytes: Option<u64>,
}

impl Release {
    /// `129 MB`, or that the size is not known.
    pub fn size(&self) -> String {
        self.bytes.map_or("size unknown".into(), |bytes| format!("{:.0} MB", bytes as f64 / MEGABYTE))
    }
}

/// Why released weights cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    #[error("configs/weights.yaml: {0}")]
    Catalog(String),
    #[error(
        "`{name}` is not downloaded, and cannot be:\n  {reason}\n  or download {addresses} elsewhere and save it as {}",
        path.display()
    )]
    Absent { name: String, reason: String, addresses: String, path: PathBuf },
    #[error("{}: {reason}", path.display())]
    Cache { path: PathBuf, reason: String },
}

/// All releases, by name.
///
/// # Errors
/// None unless the program was built with a damaged catalog.
pub fn releases() -> Result<&'static BTreeMap<String, Release>, ReleaseError> {
    RELEASES.as_ref().map_err(|reason| ReleaseError::Catalog(reason.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_downloaded_and_compared() {
        let releases = releases().unwrap();
        assert!(releases.contains_key("eccv16") && releases.contains_key("siggraph17"));
        for (name, release) in releases {
            assert!(!release.addresses.is_empty(), "{name} has no address");
            // Without a checksum only one source can be trusted to have the same file again.
            assert!(release.sha256.is_some() || release.addresses.len() == 1, "{name}");
            let hash = release.sha256.iter().flat_map(|hash| hash.chars());
            assert!([0, 64].contains(&hash.clone().count()), "{name}");
            assert!(hash.into_iter().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{name}");
            assert!(!release.file.contains(['/', '\\']), "{name}: {}", release.file);
            // PyTorch puts the first digits of the hash into the names of its files.
            let digits = release.file.strip_suffix(".pth").and_then(|stem| stem.rsplit_once('-'));
            let begins = |digits: &str| release.sha256.as_ref().is_some_and(|hash| hash.starts_with(digits));
            assert!(digits.is_none_or(|(_, digits)| begins(digits)), "{name}: {}", release.file);
        }
    }
}
