//! Shards of an S3-compatible store, by the crate `object_store`. Credentials, region and endpoint are those of the usual
//! variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`,
//! `AWS_ALLOW_HTTP`, `AWS_SKIP_SIGNATURE` for public buckets.

use super::server::{FetchError, ShardServer, Sink};
use crate::{
    data::shards::index::Stamp,
    text::{causes, excerpt},
};
use object_store::{
    ClientConfigKey, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    path::Path,
};
use std::{env, future::Future, time::Duration};
use tokio::{runtime, time::timeout};

const SCHEME: usize = "s3://".len();
/// Bytes of a request.
const PART: u64 = 16 << 20;
/// Longest wait for a part.
const PATIENCE: Duration = Duration::from_secs(300);
const CREDENTIALS: &str = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or set \
                           AWS_SKIP_SIGNATURE=true for a public bucket";

pub(super) struct S3Store {
    store: AmazonS3,
    bucket: String,
    runtime: runtime::Runtime,
}

impl S3Store {
    /// The store with the bucket of an address, by the settings of the environment. Sends nothing.
    ///
    /// # Errors
    /// No bucket, settings that contradict one another.
    pub fn connect(address: &str) -> Result<Self, String> {
        let bucket = address[SCHEME..].split('/').next().unwrap_or_default();
        if bucket.is_empty() || bucket.contains(['{', '*']) {
            return Err("names no bucket; write s3://BUCKET/FOLDER/train-{000000..000146}.tar".into());
        }
        let client = |key, value: &str| (AmazonS3ConfigKey::Client(key), value.to_owned());
        // A request without an answer must end before the attempts at it do. Attempts are ours.
        let options =
            [client(ClientConfigKey::Timeout, "300 s"), client(ClientConfigKey::ConnectTimeout, "20 s")];
        let retry = RetryConfig { max_retries: 0, retry_timeout: PATIENCE, ..RetryConfig::default() };
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let builder =
            options.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
        check(&builder)?;
        let store = builder.build().map_err(|error| format!("cannot be reached: {error}"))?;
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot be reached: {error}"))?;
        Ok(Self { store, bucket: bucket.into(), runtime })
    }

    fn wait<T>(&self, request: impl Future<Output = object_store::Result<T>>) -> Result<T, FetchError> {
        let answer = self.runtime.block_on(async { timeout(PATIENCE, request).await });
        answer
            .map_err(|_| FetchError::Temporary("the store does not answer".into()))?
            .map_err(|error| failure(&error))
    }

    /// Whether the bucket is there, which a missing file leaves open.
    fn check_bucket(&self) -> Result<(), FetchError> {
        let nothing = Path::from("no such folder");
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&nothing)));
        match listed {
            Err(error) if causes(&error).contains("NoSuchBucket") => Err(FetchError::Final(format!(
                "cannot be fetched: there is no bucket `{}`",
                excerpt(&self.bucket)
            ))),
            _ => Ok(()),
        }
    }

    fn key(&self, address: &str) -> Result<Path, FetchError> {
        let key = address[SCHEME..].split_once('/').map_or("", |(_, key)| key);
        Path::parse(key).map_err(|error| FetchError::Final(format!("is no address: {error}")))
    }
}

/// Refuses settings whose errors would not say what to do.
fn check(builder: &AmazonS3Builder) -> Result<(), String> {
    let value = |key| builder.get_config_value(&key);
    let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
    let allowed =
        env::var("AWS_ALLOW_HTTP").is_ok_and(|value| ["1", "true", "yes", "on"].contains(&value.trim()));
    let is_address = |endpoint: &str| {
        reqwest::Url::parse(endpoint)
            .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
    };
    if let Some(endpoint) = endpoint.as_deref().filter(|endpoint| !is_address(endpoint)) {
        return Err(format!(
            "cannot be reached: AWS_ENDPOINT_URL={} is no address; write http://HOST:PORT or https://HOST",
            excerpt(endpoint)
        ));
    }
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) && !allowed {
        return Err(
            "cannot be reached: the endpoint is without encryption; set AWS_ALLOW_HTTP=true, or give an \
                    https:// address in AWS_ENDPOINT_URL"
                .into(),
        );
    }
    let known =
        [AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::SecretAccessKey].map(|key| value(key).is_some());
    if known[0] != known[1] {
        return Err(format!("cannot be reached: one half of the credentials is missing; {CREDENTIALS}"));
    }
    Ok(())
}

/// What an error of the store means. It tells the status of an answer in its text only.
fn failure(error: &Error) -> FetchError {
    let text = causes(error);
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let fails = |reason: &str| FetchError::Final(format!("cannot be fetched: {reason}"));
    match error {
        Error::NotFound { .. } => FetchError::Missing,
        Error::Precondition { .. } => FetchError::changed(),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            fails(&format!("access is denied; {CREDENTIALS}"))
        }
        Error::Generic { .. } if has(&["169.254.169.254", "redential"]) => {
            fails(&format!("no credentials were found; {CREDENTIALS}"))
        }
        Error::Generic { .. } if !has(&["status code: 400", "status code: 301", "status code: 405"]) => {
            FetchError::Temporary(excerpt(&text))
        }
        _ => fails(&excerpt(&text)),
    }
}

impl ShardServer for S3Store {
    fn list(&self, folder: &str) -> Result<Vec<String>, FetchError> {
        let prefix = self.key(folder)?;
        let listed = self.wait(self.store.list_with_delimiter(Some(&prefix)));
        let listed = listed.map_err(|error| self.check_bucket().err().unwrap_or(error))?;
        // Consoles keep folders as empty files.
        let files = listed.objects.into_iter().filter(|about| about.size > 0);
        Ok(files.filter_map(|about| about.location.filename().map(String::from)).collect())
    }

    fn stamp(&self, address: &str) -> Result<Stamp, FetchError> {
        let key = self.key(address)?;
        match self.wait(self.store.head(&key)) {
            Ok(about) => Ok(Stamp { size: about.size, version: version(&about) }),
            Err(FetchError::Missing) => self.check_bucket().and(Err(FetchError::Missing)),
            Err(error) => Err(error),
        }
    }

    fn fetch(&self, address: &str, stamp: &Stamp, from: u64, sink: &mut Sink) -> Result<(), FetchError> {
        let (key, mut from) = (self.key(address)?, from);
        while from < stamp.size {
            let range = Some(GetRange::Bounded(from..stamp.size.min(from + PART)));
            let part = async {
                let found: GetResult =
                    self.store.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await?;
                let version = version(&found.meta);
                Ok((version, found.bytes().await?))
            };
            let (version, bytes) = self.wait(part)?;
            if version != stamp.version {
                return Err(FetchError::changed());
            }
            from += bytes.len() as u64;
            sink(&bytes).map_err(|error| FetchError::local(&error))?;
            if bytes.is_empty() {
                return Err(FetchError::Temporary("the store sends nothing".into()));
            }
        }
        Ok(())
    }
}

fn version(about: &ObjectMeta) -> String {
    about.e_tag.clone().unwrap_or_else(|| about.last_modified.to_string())
}
