//! The Hugging Face hub: downloads data sets and weight files, uploads trained weights; and downloads from other servers.
//!
//! A file name in a spec or on the command line may be an address, `hf://OWNER/REPO/FILE` ([`address`]), which
//! [`locate`] resolves to a local path. Network access needs the feature `hub`; without it, an address is an error.
//! File contents are not interpreted.

pub mod address;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
mod error;
#[cfg(feature = "hub")]
mod progress;

pub use address::{Address, AddressError, Repo, is_address};
#[cfg(feature = "hub")]
pub use client::Hub;
#[cfg(feature = "hub")]
pub use download::download;
pub use error::HubError;

use std::{
    env,
    path::{Path, PathBuf},
};

/// Variables that disable requests in Hugging Face's libraries: huggingface_hub, transformers and datasets.
const OFFLINE: [&str; 3] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"];

/// The variable that disables all requests, if one is set.
pub fn offline() -> Option<&'static str> {
    forbidden(|name| env::var(name).ok())
}

fn forbidden(value: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    OFFLINE.into_iter().find(|name| value(name).is_some_and(|value| is_on(&value)))
}

/// The values that Hugging Face's Python tools treat as true.
fn is_on(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

/// A file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUpload {
    /// Its path in the repository.
    pub name: String,
    pub content: UploadBody,
}

/// Content of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadBody {
    File(PathBuf),
    Text(String),
}

/// Commit message, and visibility of a newly created repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub message: String,
    /// Applies only if this push creates the repository.
    pub private: bool,
}

/// Resolves a file name to a local path: an `hf://` address is downloaded unless its cached copy is current; any
/// other path is returned unchanged, whether it exists or not. A `#KEY` in an address, before or after the revision,
/// selects a part of the file and is appended to the local path.
///
/// # Errors
/// A malformed address, a build without the feature `hub`, a failed download.
pub fn locate(path: &Path) -> Result<PathBuf, HubError> {
    let whole = || address_in(path)?.map_or(Ok(path.into()), |address| fetch(&address));
    let Some((short, key)) = path.to_str().filter(|_| is_address(path)).and_then(keyed) else {
        return whole();
    };
    match short.parse().map_err(HubError::from).and_then(|address| fetch(&address)) {
        Ok(local) => Ok(format!("{}#{key}", local.display()).into()),
        // The file name itself may contain `#`.
        Err(error) => whole().map_err(|_| error),
    }
}

/// Splits off the `#KEY` of an address.
fn keyed(text: &str) -> Option<(String, String)> {
    let (address, rest) = text.split_once('#')?;
    let (key, revision) = match rest.split_once('@') {
        Some((key, revision)) => (key, format!("@{revision}")),
        None => (rest, String::new()),
    };
    Some((format!("{address}{revision}"), key.into()))
}

/// Parses `path` as an address, if it is one; makes no request.
///
/// # Errors
/// A malformed address.
pub fn address_in(path: &Path) -> Result<Option<Address>, AddressError> {
    if is_address(path) { path.to_string_lossy().parse().map(Some) } else { Ok(None) }
}

#[cfg(feature = "hub")]
fn fetch(address: &Address) -> Result<PathBuf, HubError> {
    Hub::from_env().fetch_weights(address)
}

#[cfg(not(feature = "hub"))]
fn fetch(address: &Address) -> Result<PathBuf, HubError> {
    Err(HubError::NotBuilt { address: address.to_string() })
}

/// Uploads `files` in one commit to the hub set by the environment; creates the repository and the branch if missing.
/// Returns the URL of the commit.
///
/// # Errors
/// No token, no write permission, no connection, a build without the feature `hub`; each says what to do.
#[cfg(feature = "hub")]
pub fn push(to: &Repo, files: &[FileUpload], commit: &Commit) -> Result<String, HubError> {
    Hub::from_env().push(to, files, commit)
}

/// Stub for builds without the feature `hub`.
///
/// # Errors
/// Always.
#[cfg(not(feature = "hub"))]
pub fn push(to: &Repo, _: &[FileUpload], _: &Commit) -> Result<String, HubError> {
    Err(HubError::NotBuilt { address: to.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offline_reads_the_usual_spellings() {
        assert!(["1", "ON", "yes", " True "].iter().all(|v| is_on(v)));
        assert!(["", "0", "off", "no", "false"].iter().all(|v| !is_on(v)));
    }

    #[test]
    fn any_of_the_three_variables_forbids_requests() {
        for name in OFFLINE {
            let set = |value: &'static str| move |asked: &str| (asked == name).then(|| value.to_string());
            assert_eq!(forbidden(set("YES")), Some(name));
            assert_eq!(forbidden(set("0")), None);
        }
    }

    #[test]
    fn other_paths_are_left_alone() {
        for path in ["weights.safetensors", "/a/b", "hf", "a/hf://b", "./hf:", ""] {
            assert_eq!(locate(Path::new(path)).unwrap(), Path::new(path));
        }
        assert!(matches!(locate(Path::new("hf://a/b")), Err(HubError::Address(_))));
    }

    #[test]
    fn keys_stand_before_or_behind_the_revision() {
        for (text, address, key) in [
            ("hf://a/b/c.pth#ema", "hf://a/b/c.pth", "ema"),
            ("hf://a/b/c.pth#model.0@v1/x", "hf://a/b/c.pth@v1/x", "model.0"),
            ("hf://a/b/c.pth@v1#ema", "hf://a/b/c.pth@v1", "ema"),
        ] {
            assert_eq!(keyed(text), Some((address.into(), key.into())), "{text}");
        }
        assert_eq!(keyed("hf://a/b/c.pth@v1"), None);
    }

    #[cfg(not(feature = "hub"))]
    #[test]
    fn without_the_feature_an_address_says_how_to_build() {
        let error = locate(Path::new("hf://a/b/c.safetensors@v1")).unwrap_err().to_string();
        for part in ["hf://a/b/c.safetensors@v1", "--features hub", "its path"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
