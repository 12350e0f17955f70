//! Downloads from any web server, for files that are not on the hub: resumed where an earlier attempt ended, hashed as they
//! arrive, with the progress bar of hub downloads. The proxies of the environment are used.

use crate::{progress, text::causes};
use indicatif::ProgressBar;
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_RANGE, RANGE},
};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

/// Attempts at a file whose connection is cut.
const ATTEMPTS: usize = 4;
/// Longest wait for a connection, and for more of a file.
const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK_BYTES: usize = 1 << 16;

/// Why a file did not arrive.
#[derive(Debug)]
enum Failure {
    /// The rest may still arrive.
    Cut(String),
    Final(String),
}

/// Downloads `address` to `partial` and returns the file's SHA-256 in hexadecimal. What `partial` already holds is kept if
/// the server can continue it. The bar shows `name`.
///
/// # Errors
/// No connection, an answer other than the file, a full disk, another process that writes `partial`.
pub fn download(address: &str, name: &str, partial: &Path) -> Result<String, String> {
    let file = opened(partial)?;
    let client = Client::builder()
        .user_agent(concat!("hueristic/", env!("CARGO_PKG_VERSION")))
        .https_only(address.starts_with("https:"))
        .timeout(PATIENCE)
        .build();
    let client = client.map_err(|error| causes(&error))?;
    let bar = progress::byte_bar(name);
    let mut cut = String::new();
    for _ in 0..ATTEMPTS {
        match attempt(&client, address, &file, &bar) {
            Ok(hash) => return Ok(hash),
            Err(Failure::Final(reason)) => return Err(reason),
            Err(Failure::Cut(reason)) => {
                tracing::debug!("{address}: {reason}; continuing");
                cut = reason;
            }
        }
    }
    Err(format!("{cut}; the same command continues where it ended"))
}

/// Opens the file for this process alone.
fn opened(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(format!("another process is writing {}", path.display())),
        // Not every network file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Requests what `file` lacks and appends it.
fn attempt(client: &Client, address: &str, mut file: &File, bar: &ProgressBar) -> Result<String, Failure> {
    let mut hash = Sha256::new();
    let mut length = io::copy(&mut rewound(file)?, &mut hash).map_err(local)?;
    let mut response = request(client, address, length)?;
    if length > 0 && !continues(&response, length) {
        if response.status() != StatusCode::OK {
            response = request(client, address, 0)?;
        }
        (hash, length) = (Sha256::new(), 0);
        rewound(file)?.set_len(0).map_err(local)?;
    }
    bar.set_position(length);
    response.content_length().into_iter().for_each(|rest| bar.set_length(length + rest));
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = response.read(&mut chunk).map_err(|error| Failure::Cut(causes(&error)))?;
        if read == 0 {
            bar.finish_and_clear();
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        file.write_all(&chunk[..read]).map_err(local)?;
        hash.update(&chunk[..read]);
        bar.inc(read as u64);
    }
}

/// The file from the byte `from` on, the whole file, or the answer that there is no such part.
fn request(client: &Client, address: &str, from: u64) -> Result<Response, Failure> {
    let request = client.get(address);
    let request = if from > 0 { request.header(RANGE, format!("bytes={from}-")) } else { request };
    let response = request.send().map_err(|error| Failure::Final(causes(&error.without_url())))?;
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(response),
        status => Err(Failure::Final(format!("the server answers {status}"))),
    }
}

fn rewound(mut file: &File) -> Result<&File, Failure> {
    file.seek(SeekFrom::Start(0)).map_err(local)?;
    Ok(file)
}

/// Whether the answer is the part of the file from `length` on.
fn continues(response: &Response, length: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {length}-")))
}

fn local(error: io::Error) -> Failure {
    Failure::Final(format!("cannot write the file: {error}"))
}
