//! Shards of a web server. Ranges, ETags and HEAD requests are used where the server knows them.

use super::server::{FetchError, ShardServer, Sink};
use crate::{data::shards::index::Stamp, text::causes};
use reqwest::{
    Method, StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE},
};
use std::{io::Read, time::Duration};

/// Longest wait for a connection, and for more of a file.
const PATIENCE: Duration = Duration::from_secs(60);
const CHUNK_BYTES: usize = 1 << 16;

pub(super) struct WebServer {
    client: Client,
}

impl WebServer {
    /// A client with the proxies of the environment.
    ///
    /// # Errors
    /// No certificates to trust.
    pub fn new() -> Result<Self, String> {
        let client =
            Client::builder().user_agent(concat!("hueristic/", env!("CARGO_PKG_VERSION"))).timeout(PATIENCE);
        Ok(Self { client: client.build().map_err(|error| causes(&error))? })
    }

    fn send(
        &self,
        method: Method,
        address: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, FetchError> {
        let request = self.client.request(method, address);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = request.send().map_err(|error| match error.is_builder() {
            true => FetchError::Final(format!("is no address: {}", causes(&error.without_url()))),
            false => FetchError::Temporary(causes(&error.without_url())),
        })?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(FetchError::Missing),
            status if may_pass(status) => Err(FetchError::Temporary(format!("the server answers {status}"))),
            status => Err(FetchError::Final(format!("cannot be fetched: the server answers {status}"))),
        }
    }
}

fn may_pass(status: StatusCode) -> bool {
    let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED || busy.contains(&status)
}

impl ShardServer for WebServer {
    fn stamp(&self, address: &str) -> Result<Stamp, FetchError> {
        if let Ok(response) = self.send(Method::HEAD, address, &[])
            && let Some(size) = header(&response, &CONTENT_LENGTH).and_then(|length| length.parse().ok())
        {
            return Ok(Stamp { size, version: version(&response) });
        }
        // A server that knows no HEAD, or tells no size there.
        let response = self.send(Method::GET, address, &[(RANGE, "bytes=0-0".into())])?;
        let total =
            header(&response, &CONTENT_RANGE).and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let length = || header(&response, &CONTENT_LENGTH)?.parse().ok();
        let size = if response.status() == StatusCode::PARTIAL_CONTENT { total } else { length() };
        let unknown =
            "has no known size: the server sends neither Content-Length nor Content-Range; copy the shards";
        let size = size.ok_or_else(|| FetchError::Final(unknown.into()))?;
        Ok(Stamp { size, version: version(&response) })
    }

    fn fetch(&self, address: &str, stamp: &Stamp, from: u64, sink: &mut Sink) -> Result<(), FetchError> {
        let mut headers = vec![];
        if from > 0 {
            headers.push((RANGE, format!("bytes={from}-")));
        }
        if from > 0 && stamp.version.starts_with('"') {
            headers.push((IF_RANGE, stamp.version.clone()));
        }
        let mut response = match self.send(Method::GET, address, &headers) {
            Err(FetchError::Final(_)) if from > 0 => self.send(Method::GET, address, &[])?,
            response => response?,
        };
        if version(&response) != stamp.version {
            return Err(FetchError::changed());
        }
        // What comes whole is read past what is there.
        let mut known = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { from };
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = response.read(&mut chunk).map_err(|error| FetchError::Temporary(causes(&error)))?;
            if read == 0 {
                return Ok(());
            }
            let skipped = known.min(read as u64);
            known -= skipped;
            sink(&chunk[skipped as usize..read]).map_err(|error| FetchError::local(&error))?;
        }
    }
}

fn header<'a>(response: &'a Response, name: &HeaderName) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// What tells this version of a file from others, if the server says so.
fn version(response: &Response) -> String {
    header(response, &ETAG).or_else(|| header(response, &LAST_MODIFIED)).unwrap_or_default().into()
}
