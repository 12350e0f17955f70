//! The cache of released weights: a folder beside the hub's cache. Files in it are verified whenever they are used, those
//! without a published checksum against the checksum of their first download.

use super::catalog::{Release, ReleaseError};
use crate::{atomic_write, hub};
use sha2::{Digest, Sha256};
use std::{
    env, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Name of the folder.
const FOLDER: &str = "hueristic";

/// The cache and whether it may be filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightCache {
    pub folder: PathBuf,
    /// The variable that forbids downloads, if one does.
    pub offline: Option<&'static str>,
}

impl WeightCache {
    /// The user's cache: `hueristic` beside the folder that `HF_HUB_CACHE` names, else in `HF_HOME`, else in
    /// `~/.cache/huggingface`.
    pub fn from_env() -> Self {
        Self { folder: cache_folder(), offline: hub::offline() }
    }

    /// Where the file of a release is, or will be.
    pub fn path(&self, release: &Release) -> PathBuf {
        self.folder.join(&release.file)
    }

    /// Whether files that are not there can be downloaded, as far as that is known without a request.
    pub fn can_download(&self) -> bool {
        cfg!(feature = "hub") && self.offline.is_none()
    }

    /// The verified file of the release `name`; downloads it unless it is there.
    ///
    /// # Errors
    /// A file with another checksum; no download: offline, a build without the feature `hub`, no connection.
    pub fn locate(&self, name: &str, release: &Release) -> Result<PathBuf, ReleaseError> {
        let path = self.path(release);
        if !path.exists() {
            self.fetch(name, release)?;
            return Ok(path);
        }
        let fault = |reason| ReleaseError::Cache { path: path.clone(), reason };
        let found = sha256(&path).map_err(|error| fault(error.to_string()))?;
        let checked = self.check(release, &found);
        checked.map_err(|reason| {
            fault(format!("{reason}; delete it and repeat the command to download it anew"))
        })?;
        Ok(path)
    }

    /// Compares a checksum with the published one, else with that on record, else puts it on record.
    fn check(&self, release: &Release, found: &str) -> Result<(), String> {
        let record = self.record(release);
        let kept = || fs::read_to_string(&record).ok()?.split_whitespace().next().map(String::from);
        match release.sha256.clone().or_else(kept) {
            Some(expected) if expected == found => Ok(()),
            Some(expected) => Err(format!("its SHA-256 is {found}, expected {expected}")),
            None => {
                tracing::warn!(
                    "{}: no checksum is published; it has SHA-256 {found}, kept for comparison",
                    release.file
                );
                let line = format!("{found}  {}\n", release.file);
                let written = atomic_write::write(&record, line.as_bytes());
                written.map_err(|error| format!("cannot write {}: {error}", record.display()))
            }
        }
    }

    /// The file with the checksum of a first download, as `sha256sum` writes it.
    fn record(&self, release: &Release) -> PathBuf {
        self.folder.join(format!("{}.sha256", release.file))
    }

    /// Downloads the file from the first address that has it.
    #[cfg(feature = "hub")]
    fn fetch(&self, name: &str, release: &Release) -> Result<(), ReleaseError> {
        let refused = |reason| self.absent(name, release, reason);
        if let Some(variable) = self.offline {
            return Err(refused(format!("{variable} forbids the download; unset it once")));
        }
        let mut reasons = vec![];
        for address in &release.addresses {
            tracing::info!("downloading {name} ({}) from {address}", release.size());
            match self.fetch_from(address, release) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(format!("{address}: {reason}")),
            }
        }
        Err(refused(reasons.join("\n  ")))
    }

    #[cfg(feature = "hub")]
    fn fetch_from(&self, address: &str, release: &Release) -> Result<(), String> {
        let fault = |error: io::Error| format!("cannot write {}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(fault)?;
        let (path, partial) = (self.path(release), self.folder.join(format!("{}.partial", release.file)));
        let found = hub::download(address, &release.file, &partial).inspect_err(|_| {
            if partial.metadata().is_ok_and(|about| about.len() == 0) {
                let _ = fs::remove_file(&partial); // else the next download says why it cannot write
            }
        })?;
        if let Err(reason) = self.check(release, &found) {
            fs::remove_file(&partial).map_err(fault)?;
            return Err(reason);
        }
        atomic_write::publish(&partial, &path).map_err(fault)?;
        tracing::info!("saved {}", path.display());
        Ok(())
    }

    #[cfg(not(feature = "hub"))]
    fn fetch(&self, name: &str, release: &Release) -> Result<(), ReleaseError> {
        let reason = "this program was built without downloads: build with `--features hub`";
        Err(self.absent(name, release, reason.into()))
    }

    fn absent(&self, name: &str, release: &Release, reason: String) -> ReleaseError {
        let addresses = release.addresses.join(" or ");
        ReleaseError::Absent { name: name.into(), reason, addresses, path: self.path(release) }
    }
}

/// The folder of what the program keeps for its user.
pub fn cache_folder() -> PathBuf {
    folder(|name| env::var_os(name).map(PathBuf::from))
}

/// Hugging Face's rule for the hub's cache, of which this folder is the neighbor.
fn folder(value: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let hub = value("HF_HUB_CACHE").or_else(|| value("HUGGINGFACE_HUB_CACHE"));
    if let Some(parent) = hub.as_deref().and_then(Path::parent) {
        return parent.join(FOLDER);
    }
    let cache = || value("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    let home = value("HF_HOME").or_else(|| Some(cache()?.join("huggingface")));
    home.unwrap_or_default().join(FOLDER)
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(sha256: Option<&str>) -> Release {
        Release {
            description: "a release".into(),
            architecture: "vgg".into(),
            license: "MIT".into(),
            file: "a.pth".into(),
            addresses: vec!["https://localhost/a.pth".into()],
            sha256: sha256.map(String::from),
            bytes: None,
        }
    }

    /// FIPS 180-4's example: SHA-256("abc")
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn cache(folder: &Path) -> WeightCache {
        WeightCache { folder: folder.into(), offline: Some("HF_HUB_OFFLINE") }
    }

    #[test]
    fn the_folder_is_beside_the_hubs() {
        let set = |set: &'static [(&str, &str)]| {
            folder(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        assert_eq!(set(&[("HF_HUB_CACHE", "/a/hub"), ("HF_HOME", "/b")]), Path::new("/a/hueristic"));
        assert_eq!(set(&[("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c")]), Path::new("/b/hueristic"));
        assert_eq!(set(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hueristic"));
        assert!(set(&[]).ends_with(".cache/huggingface/hueristic"));
    }

    #[test]
    fn a_cached_file_is_verified_without_a_request() {
        let home = tempfile::tempdir().unwrap();
        let (cache, release) = (cache(home.path()), release(Some(ABC)));
        fs::write(home.path().join("a.pth"), "abc").unwrap();
        assert_eq!(cache.locate("a", &release).unwrap(), home.path().join("a.pth"));
        fs::write(home.path().join("a.pth"), "abd").unwrap();
        let error = cache.locate("a", &release).unwrap_err().to_string();
        for part in
            ["a.pth", "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9", ABC, "delete"]
        {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn without_a_published_checksum_the_first_one_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let (cache, release) = (cache(home.path()), release(None));
        fs::write(home.path().join("a.pth"), "abc").unwrap();
        cache.locate("a", &release).unwrap();
        let record = fs::read_to_string(home.path().join("a.pth.sha256")).unwrap();
        assert_eq!(record, format!("{ABC}  a.pth\n"));
        cache.locate("a", &release).unwrap();
        fs::write(home.path().join("a.pth"), "abd").unwrap();
        assert!(cache.locate("a", &release).unwrap_err().to_string().contains(ABC));
    }

    #[test]
    fn what_is_not_there_says_how_to_get_it() {
        let home = tempfile::tempdir().unwrap();
        let error = cache(home.path()).locate("a", &release(Some(ABC))).unwrap_err().to_string();
        let path = home.path().join("a.pth").display().to_string();
        let why = if cfg!(feature = "hub") { "HF_HUB_OFFLINE forbids" } else { "--features hub" };
        for part in ["`a`", why, "https://localhost/a.pth", &path] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!home.path().join("a.pth.partial").exists());
    }
}
