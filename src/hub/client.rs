//! Requests to the hub through hf-hub, which caches downloads.
//!
//! Uses the environment variables of Hugging Face's tools: `HF_ENDPOINT` sets the server, `HF_HOME` or `HF_HUB_CACHE`
//! the cache, `HF_TOKEN` (or the token stored by their login) authorizes gated downloads and uploads, and
//! `HF_HUB_OFFLINE=1`, `TRANSFORMERS_OFFLINE=1` or `HF_DATASETS_OFFLINE=1` disables all requests, so that only cached
//! files are used.

use super::{
    Address, Commit, FileUpload, HubError, OFFLINE, Repo, UploadBody,
    address::{check_path, check_repository, check_revision},
    offline,
    progress::Bar,
};
use hf_hub::{
    HFClient, HFClientSync, HFError, HFRepositorySync, RepoType, RepoTypeModel, repository::CommitOperation,
    split_id,
};
use std::{env, fs, path::PathBuf};

const BRANCH: &str = "main";
/// Alternatives to a download, for data sets and for weights.
const LOCAL_DATA: &str = "point --data at a local copy";
const LOCAL_FILE: &str = "give the path of a local copy";

/// Settings of the hub client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hub {
    /// None: `HF_ENDPOINT`, else the public hub
    pub endpoint: Option<String>,
    /// None: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`
    pub cache: Option<PathBuf>,
    /// use cached files only
    pub offline: bool,
}

impl Hub {
    /// Settings from the environment.
    pub fn from_env() -> Self {
        Self { offline: offline().is_some(), ..Self::default() }
    }

    /// Local paths of `files` in dataset `repo` (`owner/name`) at `revision` (default `main`), downloading those
    /// that are not cached.
    ///
    /// # Errors
    /// No such repository or file, no connection, or offline and not cached; each says what to do.
    pub fn fetch_data(
        &self,
        repo: &str,
        revision: Option<&str>,
        files: &[String],
    ) -> Result<Vec<PathBuf>, HubError> {
        let fault =
            |file: &str, reason: String| HubError::Fetch { repo: repo.into(), file: file.into(), reason };
        check_repository(repo).map_err(|reason| fault("", reason))?;
        revision.map_or(Ok(String::new()), check_revision).map_err(|reason| fault("", reason))?;
        files.iter().try_for_each(|file| check_path(file).map_err(|reason| fault(file, reason)))?;
        let client = self.client(None).map_err(|e| fault("", e.to_string()))?;
        let (owner, name) = split_id(repo);
        let remote = client.dataset(owner, name);
        let get = |file: &String| {
            let got = self.get(&remote, revision, file);
            got.map_err(|e| fault(file, self.explain(&e, LOCAL_DATA)))
        };
        files.iter().map(get).collect()
    }

    /// Local path of a file in a model repository; downloads it unless the cached copy is current. For a commit
    /// revision, a cached copy is used without a request.
    ///
    /// # Errors
    /// As for [`Hub::fetch_data`].
    pub fn fetch_weights(&self, address: &Address) -> Result<PathBuf, HubError> {
        let (repo, file) = (&address.repo, &address.file);
        let fault = |reason| HubError::Fetch { repo: repo.to_string(), file: file.clone(), reason };
        let client = self.client(None).map_err(|e| fault(e.to_string()))?;
        let remote = client.model(&repo.owner, &repo.name);
        let got = self.get(&remote, repo.revision.as_deref(), file);
        got.map_err(|e| fault(self.explain(&e, LOCAL_FILE)))
    }

    /// Uploads `files` in one commit; creates the repository and the branch if missing. Returns the URL of the
    /// commit.
    ///
    /// # Errors
    /// Offline, no token, no write permission, no connection; each says what to do.
    pub fn push(&self, to: &Repo, files: &[FileUpload], commit: &Commit) -> Result<String, HubError> {
        if self.offline {
            return Err(HubError::Offline);
        }
        let token = token().ok_or(HubError::NoToken)?;
        self.send(to, files, commit, token)
            .map_err(|e| HubError::Push { repo: to.to_string(), reason: refusal(&e, to) })
    }

    fn send(
        &self,
        to: &Repo,
        files: &[FileUpload],
        commit: &Commit,
        token: String,
    ) -> Result<String, HFError> {
        let client = self.client(Some(token))?;
        let (id, create) = (to.id(), client.create_repository());
        let made =
            create.repo_id(&id).repo_type(RepoTypeModel).private(commit.private).exist_ok(true).send()?;
        let remote = client.model(&to.owner, &to.name);
        let branch = to.revision.as_deref().filter(|branch| *branch != BRANCH);
        if let Some(branch) = branch {
            match remote.create_branch().branch(branch).send() {
                Ok(()) | Err(HFError::Conflict { .. }) => {} // created, or already exists
                Err(error) => return Err(error),
            }
        }
        let request = remote.create_commit().operations(files.iter().map(operation).collect());
        let request = request.commit_message(&commit.message).maybe_revision(branch);
        let done = request.progress(Bar::new(&to.name)).send()?;
        Ok(done.commit_url.unwrap_or(made.url))
    }

    fn client(&self, token: Option<String>) -> Result<HFClientSync, HFError> {
        let mut client = HFClient::builder();
        if let Some(endpoint) = &self.endpoint {
            client = client.endpoint(endpoint);
        }
        if let Some(cache) = &self.cache {
            client = client.cache_dir(cache);
        }
        if let Some(token) = token {
            client = client.token(token);
        }
        client.build_sync()
    }

    fn get<T: RepoType>(
        &self,
        remote: &HFRepositorySync<T>,
        revision: Option<&str>,
        file: &str,
    ) -> Result<PathBuf, HFError> {
        let request = remote.download_file().filename(file).maybe_revision(revision);
        let path = request.local_files_only(self.offline).progress(Bar::new(file)).send()?;
        tracing::info!("{file}: {}", path.display());
        Ok(path)
    }

    fn explain(&self, error: &HFError, local: &str) -> String {
        match error {
            HFError::LocalEntryNotFound { .. } if self.offline => {
                let name = offline().unwrap_or(OFFLINE[0]);
                format!(
                    "not in the cache, and {name} forbids the download; unset {name} once to fetch it, or {local}"
                )
            }
            HFError::AuthRequired { .. } | HFError::Forbidden { .. } => format!(
                "{error}; the repository is gated, private or not there: check its name, accept its terms on the hub \
                 and set HF_TOKEN"
            ),
            // The client reports a missing repository and a missing revision in the same way.
            HFError::RepoNotFound { .. }
            | HFError::EntryNotFound { .. }
            | HFError::RevisionNotFound { .. } => {
                format!("{error}; check the names in the spec: owner, repository, file and revision")
            }
            other => format!("{other}; check the connection and HF_ENDPOINT, or {local}"),
        }
    }
}

fn operation(file: &FileUpload) -> CommitOperation {
    match &file.content {
        UploadBody::File(path) => CommitOperation::add_file(&file.name, path),
        UploadBody::Text(text) => CommitOperation::add_bytes(&file.name, text.clone().into_bytes()),
    }
}

/// Why an upload failed, and what to do.
fn refusal(error: &HFError, to: &Repo) -> String {
    match error {
        HFError::AuthRequired { .. } => format!(
            "{error}; the hub refuses the token: make one with write permission at \
             https://huggingface.co/settings/tokens and set HF_TOKEN to it"
        ),
        HFError::Forbidden { .. } => {
            format!("{error}; the token has no write permission for `{}`", to.owner)
        }
        other => format!("{other}; check the connection and HF_ENDPOINT, then repeat the command"),
    }
}

/// The token that the client would use, checked before any request: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else
/// the one stored by Hugging Face's login.
fn token() -> Option<String> {
    let set = |text: String| Some(text.trim().to_string()).filter(|t| !t.is_empty());
    let stored = |path: PathBuf| fs::read_to_string(path).ok().and_then(set);
    if env::var("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_ok_and(|v| !v.is_empty()) {
        return None;
    }
    let given = env::var("HF_TOKEN").ok().and_then(set);
    let named = || env::var("HF_TOKEN_PATH").ok().and_then(|path| stored(path.into()));
    given.or_else(named).or_else(|| stored(hf_hub::hf_home().join("token")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_not_asked_for() {
        let hub = Hub { endpoint: Some("http://127.0.0.1:1".into()), ..Hub::default() };
        let said = |repo, revision, file: &str| {
            hub.fetch_data(repo, revision, &[file.to_string()]).unwrap_err().to_string()
        };
        assert!(said("a/b", None, "../../x.parquet").contains("`..`"));
        assert!(said("a/b", None, "/x.parquet").contains("absolute"));
        assert!(said("../b", None, "x.parquet").contains("owner"));
        assert!(said("a/b", Some("../x"), "x.parquet").contains("cannot be a branch"));
    }
}
