//! Parquet files from a dataset repository of the Hugging Face hub, through hf-hub, kept in its cache.
//!
//! The environment decides as it does for Hugging Face's own tools: `HF_ENDPOINT` names another server, `HF_HOME` or
//! `HF_HUB_CACHE` the cache, `HF_TOKEN` opens gated repositories, and `HF_HUB_OFFLINE=1` forbids every request, so
//! that only files fetched before are found.

use super::error::DataError;
use hf_hub::{
    HFClient, HFError, HFRepositorySync, RepoTypeDataset,
    progress::{DownloadEvent, ProgressEvent, ProgressHandler},
    split_id,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};

/// How the hub is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hub {
    /// None: `HF_ENDPOINT`, else the public hub
    pub endpoint: Option<String>,
    /// None: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`
    pub cache: Option<PathBuf>,
    /// no requests: only what is in the cache
    pub offline: bool,
}

impl Hub {
    /// As the environment says.
    pub fn from_env() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
        Self { offline: is_on(&offline), ..Self::default() }
    }

    /// Local paths of `files` in dataset `repo` (`owner/name`) at `revision` (default `main`), downloading those
    /// that are not cached.
    ///
    /// Errors: no such repository or file, no connection, or offline and not cached; each says what to do.
    pub fn fetch(
        &self,
        repo: &str,
        revision: Option<&str>,
        files: &[String],
    ) -> Result<Vec<PathBuf>, DataError> {
        let fault =
            |file: &str, reason: String| DataError::Hub { repo: repo.into(), file: file.into(), reason };
        let mut client = HFClient::builder();
        if let Some(endpoint) = &self.endpoint {
            client = client.endpoint(endpoint);
        }
        if let Some(cache) = &self.cache {
            client = client.cache_dir(cache);
        }
        let client = client.build_sync().map_err(|e| fault("", e.to_string()))?;
        let (owner, name) = split_id(repo);
        let remote = client.dataset(owner, name);
        let get =
            |file: &String| self.get(&remote, revision, file).map_err(|e| fault(file, self.explain(&e)));
        files.iter().map(get).collect()
    }

    fn get(
        &self,
        remote: &HFRepositorySync<RepoTypeDataset>,
        revision: Option<&str>,
        file: &str,
    ) -> Result<PathBuf, HFError> {
        let request = remote.download_file().filename(file).maybe_revision(revision);
        let path = request.local_files_only(self.offline).progress(Bar::new(file)).send()?;
        tracing::info!("{file}: {}", path.display());
        Ok(path)
    }

    fn explain(&self, error: &HFError) -> String {
        match error {
            HFError::LocalEntryNotFound { .. } if self.offline => {
                "not in the cache, and HF_HUB_OFFLINE forbids the download; unset HF_HUB_OFFLINE once to fetch it, \
                 or point --data at a local copy"
                    .into()
            }
            HFError::AuthRequired { .. } | HFError::Forbidden { .. } => {
                format!("{error}; the repository is gated: accept its terms on the hub and set HF_TOKEN")
            }
            HFError::RepoNotFound { .. } | HFError::EntryNotFound { .. } | HFError::RevisionNotFound { .. } => {
                format!("{error}; check the names in the spec")
            }
            other => format!("{other}; check the connection and HF_ENDPOINT, or point --data at a local copy"),
        }
    }
}

/// The values that Hugging Face's Python tools take for "on".
fn is_on(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

/// A download's progress on standard error; silent when that is not a terminal, or when nothing is downloaded.
struct Bar(ProgressBar);

impl Bar {
    fn new(file: &str) -> Self {
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {eta}");
        let bar = ProgressBar::no_length().with_message(name);
        Self(if let Ok(style) = style { bar.with_style(style) } else { bar })
    }
}

impl ProgressHandler for Bar {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        match event {
            DownloadEvent::Start { total_bytes, .. } => self.0.set_length(*total_bytes),
            DownloadEvent::Progress { files } => {
                files.iter().for_each(|file| self.0.set_position(file.bytes_completed));
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => self.0.set_position(*bytes_completed),
            DownloadEvent::Complete => self.0.finish_and_clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_on;

    #[test]
    fn offline_reads_the_usual_spellings() {
        assert!(["1", "ON", "yes", " True "].iter().all(|v| is_on(v)));
        assert!(["", "0", "off", "no", "false"].iter().all(|v| !is_on(v)));
    }
}
