//! Where shards are read from: files of this machine, or a server by way of the cache folder.

use super::{index::Stamp, members};
use std::{
    fs::{self, File},
    io,
    path::{self, PathBuf},
    time::UNIX_EPOCH,
};

/// Why nothing is known of a shard.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// There is none.
    Missing,
    Other(String),
}

/// A place of one shard.
pub(super) trait ShardPlace: Send + Sync {
    /// Its name in messages.
    fn address(&self) -> String;
    /// Its name among the indexes, the same from every working directory.
    fn key(&self) -> String {
        self.address()
    }
    /// The version that is there now.
    ///
    /// # Errors
    /// There is none; it cannot be reached.
    fn stamp(&self) -> Result<Stamp, PlaceError>;
    /// Opens that version of it.
    ///
    /// # Errors
    /// Why not, as the rest of a sentence: another version is there, it cannot be read or fetched.
    fn open(&self, stamp: &Stamp) -> Result<File, String>;
}

/// A file of this machine.
pub(super) struct LocalShard(pub PathBuf);

impl ShardPlace for LocalShard {
    fn address(&self) -> String {
        self.0.display().to_string()
    }

    fn key(&self) -> String {
        path::absolute(&self.0).unwrap_or_else(|_| self.0.clone()).display().to_string()
    }

    fn stamp(&self) -> Result<Stamp, PlaceError> {
        match fs::metadata(&self.0).and_then(|about| stamp(&about)) {
            Ok(stamp) => Ok(stamp),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PlaceError::Missing),
            Err(error) => Err(PlaceError::Other(format!("cannot be read: {error}"))),
        }
    }

    fn open(&self, known: &Stamp) -> Result<File, String> {
        let file = members::open(&self.0)?;
        let now =
            file.metadata().and_then(|about| stamp(&about)).map_err(|e| format!("cannot be read: {e}"))?;
        match now == *known {
            true => Ok(file),
            false => Err(format!(
                "has changed since it was indexed ({} bytes, then {}); run the command again",
                now.size, known.size
            )),
        }
    }
}

fn stamp(about: &fs::Metadata) -> io::Result<Stamp> {
    let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Stamp { size: about.len(), version: changed.as_nanos().to_string() })
}
