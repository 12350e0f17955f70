//! A shard of a server as a place to read from.

use super::{
    connect::connect,
    download::{Patience, retried},
    server::{FetchError, ShardServer},
    shard_cache::{self, ShardCache},
};
use crate::data::{
    error::DataError,
    shards::{
        index::Stamp,
        pattern::{self, RemoteShards},
        place::{PlaceError, ShardPlace},
    },
};
use std::{fs::File, path::Path, sync::Arc};

/// Folder of downloaded shards in the cache folder.
const FOLDER: &str = "shards";

/// One shard of a server.
pub(in crate::data::shards) struct RemoteShard {
    server: Arc<dyn ShardServer>,
    cache: Arc<ShardCache>,
    address: String,
}

/// The shards that a pattern names on a server; `cache` is the folder of what the program keeps.
///
/// # Errors
/// A malformed pattern, a build without the feature, unusable settings.
pub(in crate::data::shards) fn remote_shards(
    pattern: &str,
    cache: &Path,
) -> Result<Vec<RemoteShard>, DataError> {
    let fault = |reason| DataError::Shard { name: pattern.into(), reason };
    let named = pattern::remote(pattern).map_err(fault)?;
    let server = connect(pattern)?;
    let addresses = match named {
        RemoteShards::At(addresses) => addresses,
        RemoteShards::Listed { folder, names } => listed(&*server, &folder, &names).map_err(fault)?,
    };
    let most = shard_cache::limit().map_err(DataError::Spec)?;
    let cache = Arc::new(ShardCache::new(cache.join(FOLDER), most));
    let shard = |address| RemoteShard { server: server.clone(), cache: cache.clone(), address };
    Ok(addresses.into_iter().map(shard).collect())
}

/// The addresses of the shards in a folder of a server, in the order of their names.
fn listed(server: &dyn ShardServer, folder: &str, names: &glob::Pattern) -> Result<Vec<String>, String> {
    let found = retried(folder, Patience::ASKING, || server.list(folder)).map_err(|error| error.reason())?;
    let mut shards: Vec<String> = found.into_iter().filter(|name| names.matches(name)).collect();
    shards.sort();
    match shards.is_empty() {
        true => Err(format!("names no file that is there; {}", pattern::FORM)),
        false => Ok(shards.iter().map(|name| format!("{folder}/{name}")).collect()),
    }
}

/// Checks that the cache holds the shards that are wanted at a time.
///
/// # Errors
/// What to change.
pub(in crate::data::shards) fn check_room(sizes: &[u64], mix: usize) -> Result<(), DataError> {
    shard_cache::check_room(sizes, mix).map_err(DataError::Spec)
}

/// The content of the small file `name` beside a shard; None if there is none.
///
/// # Errors
/// A failed request.
pub(in crate::data::shards) fn beside(shard: &RemoteShard, name: &str) -> Result<Option<Vec<u8>>, DataError> {
    let folder = shard.address.rsplit_once('/').map_or("", |(folder, _)| folder);
    let address = format!("{folder}/{name}");
    let read = || {
        let (stamp, mut content) = (shard.server.stamp(&address)?, Vec::new());
        shard.server.fetch(&address, &stamp, 0, &mut |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(content)
    };
    match retried(&address, Patience::ASKING, read) {
        Ok(content) => Ok(Some(content)),
        Err(FetchError::Missing) => Ok(None),
        Err(error) => Err(DataError::Shard { name: address, reason: error.reason() }),
    }
}

impl ShardPlace for RemoteShard {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn stamp(&self) -> Result<Stamp, PlaceError> {
        retried(&self.address, Patience::ASKING, || self.server.stamp(&self.address)).map_err(|error| {
            match error {
                FetchError::Missing => PlaceError::Missing,
                other => PlaceError::Other(other.reason()),
            }
        })
    }

    fn open(&self, stamp: &Stamp) -> Result<File, String> {
        let opened = self.cache.open(&*self.server, &self.address, stamp, Patience::READING);
        opened.map_err(|error| error.reason())
    }
}
