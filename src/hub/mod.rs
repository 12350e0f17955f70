//! The Hugging Face hub: data sets and weight files come from it, trained weights go to it.
//!
//! A file that a spec or the command line names may be an address, `hf://OWNER/REPO/FILE` ([`address`]); [`locate`]
//! turns such a name into a local path. The network is behind the feature `hub`; without it the same address is an
//! error that says so. Nothing here knows what is in a file.

pub mod address;
#[cfg(feature = "hub")]
mod client;
mod error;
#[cfg(feature = "hub")]
mod progress;

pub use address::{Address, AddressError, Repo, is_address};
#[cfg(feature = "hub")]
pub use client::Hub;
pub use error::HubError;

use std::path::{Path, PathBuf};

/// A file to be stored in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUpload {
    /// Its path in the repository.
    pub name: String,
    pub content: UploadBody,
}

/// Where an upload's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadBody {
    File(PathBuf),
    Text(String),
}

/// What a commit is called, and what kind of repository is made where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub message: String,
    /// Only for a repository that this push creates.
    pub private: bool,
}

/// The local path of a file that a user has named: an `hf://` address is fetched, unless its cached copy is current;
/// any other path is returned as it is, whether it exists or not. What follows a `#` in an address, before or behind the
/// revision, says which part of the file is meant and follows the local path.
///
/// # Errors
/// A malformed address, a build without the feature `hub`, and whatever keeps the file from being fetched.
pub fn locate(path: &Path) -> Result<PathBuf, HubError> {
    let whole = || address_in(path)?.map_or(Ok(path.into()), |address| fetch(&address));
    let Some((short, key)) = path.to_str().filter(|_| is_address(path)).and_then(keyed) else {
        return whole();
    };
    match short.parse().map_err(HubError::from).and_then(|address| fetch(&address)) {
        Ok(local) => Ok(format!("{}#{key}", local.display()).into()),
        // The file's own name may hold the sign.
        Err(error) => whole().map_err(|_| error),
    }
}

/// An address without its `#KEY`, and the key.
fn keyed(text: &str) -> Option<(String, String)> {
    let (address, rest) = text.split_once('#')?;
    let (key, revision) = match rest.split_once('@') {
        Some((key, revision)) => (key, format!("@{revision}")),
        None => (rest, String::new()),
    };
    Some((format!("{address}{revision}"), key.into()))
}

/// The address that `path` is, if it is one; makes no request.
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

/// Stores `files` in one commit on the hub that the environment names; creates the repository and the branch where
/// they are missing. The commit's page on the hub is returned.
///
/// # Errors
/// No token, no right to write, no connection, a build without the feature `hub`; each says what to do.
#[cfg(feature = "hub")]
pub fn push(to: &Repo, files: &[FileUpload], commit: &Commit) -> Result<String, HubError> {
    Hub::from_env().push(to, files, commit)
}

/// As with the feature `hub`, which this build lacks.
///
/// # Errors
/// Always: there is no network stack.
#[cfg(not(feature = "hub"))]
pub fn push(to: &Repo, _: &[FileUpload], _: &Commit) -> Result<String, HubError> {
    Err(HubError::NotBuilt { address: to.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

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
