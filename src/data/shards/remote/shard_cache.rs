//! Downloaded shards: a folder in which those that were used last are kept, up to a size.

use super::{
    download::{Patience, download},
    server::{FetchError, ShardServer},
};
use crate::{atomic_write, data::shards::index::Stamp, text};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    env,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// The variable with the size of the folder, and what it is without.
const VARIABLE: &str = "HUERISTIC_SHARD_CACHE";
const DEFAULT: u64 = 64 << 30;

/// How often other processes are told that a file is in use, by its time of change.
const TOLD: Duration = Duration::from_secs(10);

/// The folder, shared by all shards of a data set.
pub(super) struct ShardCache {
    folder: PathBuf,
    most: u64,
    /// When this process used a file last.
    used: Mutex<HashMap<PathBuf, SystemTime>>,
    /// Held by the thread that downloads a file.
    downloads: Mutex<HashMap<PathBuf, Arc<Mutex<()>>>>,
    /// Sizes of the files that are being downloaded.
    arriving: Mutex<HashMap<PathBuf, u64>>,
}

/// The size of the folder that the environment asks for.
///
/// # Errors
/// Not a size.
pub(super) fn limit() -> Result<u64, String> {
    match env::var(VARIABLE) {
        Ok(value) => text::byte_count(&value).map_err(|reason| format!("{VARIABLE}={value}: {reason}")),
        Err(_) => Ok(DEFAULT),
    }
}

/// Whether the folder has room for the shards of these sizes that are wanted at a time: `mix`, and the next ones.
///
/// # Errors
/// What to change.
pub(super) fn check_room(sizes: &[u64], mix: usize) -> Result<(), String> {
    let (most, mut largest) = (limit()?, sizes.to_vec());
    largest.sort_unstable_by(|a, b| b.cmp(a));
    let needed: u64 = largest.iter().take(2 * mix).sum();
    if needed <= most {
        return Ok(());
    }
    Err(format!(
        "{mix} shards and the next {mix} have up to {needed} bytes, more than the {most} that are kept of a server's: set \
         {VARIABLE} to that number, or lower `mix`"
    ))
}

impl ShardCache {
    /// A folder of at most `most` bytes.
    pub fn new(folder: PathBuf, most: u64) -> Self {
        let (used, downloads, arriving) = Default::default();
        Self { folder, most, used, downloads, arriving }
    }

    /// Opens the local copy of a version of a shard, which is downloaded unless it is there.
    ///
    /// # Errors
    /// A failed download; a full disk.
    pub fn open(
        &self,
        server: &dyn ShardServer,
        address: &str,
        stamp: &Stamp,
        patience: Patience,
    ) -> Result<File, FetchError> {
        let path = self.path(address, stamp);
        let turn = locked(&self.downloads).entry(path.clone()).or_default().clone();
        let _turn = locked(&turn);
        let before = locked(&self.used).insert(path.clone(), SystemTime::now());
        if let Some(file) = complete(&path, stamp) {
            if before.is_none_or(|before| before.elapsed().is_ok_and(|since| since > TOLD)) {
                let _ = file.set_modified(SystemTime::now());
            }
            return Ok(file);
        }
        let filled = self.fill(server, address, stamp, (&path, patience));
        locked(&self.arriving).remove(&path);
        filled?;
        complete(&path, stamp)
            .ok_or_else(|| FetchError::Final("was removed from the cache while it was read".into()))
    }

    fn fill(
        &self,
        server: &dyn ShardServer,
        address: &str,
        stamp: &Stamp,
        (path, patience): (&Path, Patience),
    ) -> Result<(), FetchError> {
        let local = |error: io::Error| {
            FetchError::Final(format!(
                "cannot be kept in {}: {error}; {VARIABLE} limits its size",
                self.folder.display()
            ))
        };
        fs::create_dir_all(&self.folder).map_err(local)?;
        self.make_room(stamp.size, path).map_err(local)?;
        let partial = path.with_extension("partial");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
        let file = file.map_err(local)?;
        // Another process may be downloading it. Not every network file system has locks.
        let _ = file.lock();
        if complete(path, stamp).is_none() {
            download(server, address, stamp, &file, patience)?;
            atomic_write::publish(&partial, path).map_err(local)?;
        }
        Ok(())
    }

    /// Removes the files that were used least recently until `bytes` of the file `path` fit.
    fn make_room(&self, bytes: u64, path: &Path) -> io::Result<()> {
        let mut arriving = locked(&self.arriving);
        arriving.insert(path.into(), bytes);
        let used = locked(&self.used).clone();
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let (path, about) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
            if !arriving.contains_key(&path) && path.extension().is_some_and(|end| end == "tar") {
                let last = used.get(&path).copied().max(about.modified().ok());
                files.push((last.unwrap_or(SystemTime::UNIX_EPOCH), about.len(), path));
            }
        }
        files.sort();
        let mut total = arriving.values().chain(files.iter().map(|(_, size, _)| size)).sum::<u64>();
        for (_, size, path) in files {
            if total <= self.most {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= size,
            }
        }
        Ok(())
    }

    /// A name for each version, so that two are not mistaken for one another.
    fn path(&self, address: &str, stamp: &Stamp) -> PathBuf {
        let hash = format!("{:x}", Sha256::digest(format!("{address}\n{}\n{}", stamp.size, stamp.version)));
        self.folder.join(format!("{}.tar", &hash[..32]))
    }
}

/// The file, if it is there and complete.
fn complete(path: &Path, stamp: &Stamp) -> Option<File> {
    File::open(path).ok().filter(|file| file.metadata().is_ok_and(|about| about.len() == stamp.size))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::shards::remote::server::Sink;
    use std::{
        io::Read,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        thread,
        time::Duration,
    };

    const ONCE: Patience = Patience { first: Duration::ZERO, longest: Duration::ZERO, total: Duration::ZERO };

    /// Files of ten bytes that count how often they are fetched.
    struct Counting(AtomicUsize);
    impl ShardServer for Counting {
        fn stamp(&self, _: &str) -> Result<Stamp, FetchError> {
            Err(FetchError::Missing)
        }
        fn fetch(&self, address: &str, _: &Stamp, _: u64, sink: &mut Sink) -> Result<(), FetchError> {
            self.0.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_millis(5));
            sink(address.repeat(10).as_bytes()).map_err(|error| FetchError::local(&error))
        }
    }

    #[test]
    fn what_was_used_last_is_kept_and_each_file_is_fetched_once() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, server) = (ShardCache::new(dir.path().join("new"), 30), Counting(AtomicUsize::new(0)));
        let open = |address: &str| {
            let (stamp, mut text) = (Stamp { size: 10, version: "1".into() }, String::new());
            cache.open(&server, address, &stamp, ONCE).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, address.repeat(10));
        };
        thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(|| open("a")))));
        assert_eq!(server.0.load(Relaxed), 1, "threads that want one file");
        for (address, fetched) in
            [("b", 2), ("c", 3), ("a", 3), ("d", 4), ("a", 4), ("c", 4), ("b", 5), ("d", 6)]
        {
            open(address);
            assert_eq!(server.0.load(Relaxed), fetched, "{address}");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(fs::read_dir(dir.path().join("new")).unwrap().count(), 3);
        // another version is another file; a damaged one is fetched anew
        let other = Stamp { size: 10, version: "2".into() };
        cache.open(&server, "d", &other, ONCE).unwrap();
        fs::write(cache.path("d", &other), "short").unwrap();
        cache.open(&server, "d", &other, ONCE).unwrap();
        assert_eq!(server.0.load(Relaxed), 8);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let cache = ShardCache::new(dir.path().join("file"), 30);
        let error =
            cache.open(&Counting(AtomicUsize::new(0)), "a", &Stamp::default(), ONCE).unwrap_err().reason();
        assert!(error.contains("file") && error.contains(VARIABLE), "{error}");
    }
}
