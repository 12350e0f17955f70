//! The pictures of all shards of a split as one data set.

use super::{
    class_names,
    index::{IndexCache, ShardIndex},
    labels,
    members::{self, Skipped},
    pattern,
    place::{LocalShard, PlaceError, ShardPlace},
    remote::{self, Prefetcher},
    source::ShardsSource,
};
use crate::{
    bounded::part_of,
    data::{
        content::add_files,
        dataset::{Dataset, RgbImage, Split},
        decode::decode,
        error::DataError,
        labels::{Labels, Relabel},
        shard_layout::ShardLayout,
    },
    spec_path::ShardPath,
    text::counted,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

const EXPECTED: &str = "WebDataset shards (tar files) with samples like 0007.jpg beside 0007.cls";
/// Folder of indexes in the cache folder.
const INDEXES: &str = "shard_indexes";

/// Shards of a server that are mixed unless told: with the next ones, twice as many are kept.
const REMOTE_MIX: usize = 16;

/// An indexed set of pictures in shards.
pub struct ShardSet {
    shards: Arc<[IndexedShard]>,
    /// Of each shard, the number of the picture behind its last one.
    ends: Vec<usize>,
    labels: Labels,
    mix: Option<usize>,
    /// Files of this machine.
    files: Vec<PathBuf>,
    /// hash of the files alone
    content: OnceLock<String>,
    /// of shards of a server
    prefetcher: Option<Prefetcher>,
}

struct IndexedShard {
    place: Box<dyn ShardPlace>,
    index: ShardIndex,
    /// Why none of its pictures can be read.
    fault: Option<String>,
}

/// The places of a split's shards, and the names of classes that are beside them.
struct Places {
    shards: Vec<Box<dyn ShardPlace>>,
    names: Option<Vec<String>>,
    files: Vec<PathBuf>,
    is_remote: bool,
}

impl ShardSet {
    /// Opens a split; shards without an index in the folder `cache` are read once. Missing ones of which no index is known are
    /// left out if they are no more than a share `max_bad` of all.
    ///
    /// # Errors
    /// No such split, no shards, a shard that is damaged, compressed or has keys twice, more missing shards, no pictures.
    /// What is wrong with labels matters to those who need them only.
    pub fn open(source: &ShardsSource, split: Split, max_bad: f64, cache: &Path) -> Result<Self, DataError> {
        let pattern = if split == Split::Train { Some(&source.train) } else { source.val.as_ref() };
        let pattern = pattern.ok_or(DataError::NoSplit { split: split.name() })?;
        let Places { shards, names, files, is_remote } = Places::of(pattern, cache)?;
        let shards = indexed(shards, &IndexCache::new(&cache.join(INDEXES)), &source.label, max_bad)?;
        report(pattern, &shards);
        let labels =
            labels::assemble(pattern, &shards.iter().map(|shard| &shard.index).collect::<Vec<_>>(), names);
        let mix = source.mix.map(|mix| mix.get()).or(is_remote.then_some(REMOTE_MIX));
        let ends = ends(&shards);
        if ends.last().is_none_or(|end| *end == 0) {
            return Err(DataError::Empty { path: pattern.to_path_buf(), expected: EXPECTED.into() });
        }
        let shards: Arc<[IndexedShard]> = shards.into();
        let prefetcher = mix.filter(|_| is_remote).map(|mix| prefetcher(mix, shards.clone())).transpose()?;
        Ok(Self { shards, ends, labels, mix, files, content: OnceLock::new(), prefetcher })
    }

    /// The shard of a picture, and its place there.
    fn find(&self, index: usize) -> (&IndexedShard, usize) {
        let shard = self.number(index);
        let first = shard.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.shards[shard], index - first)
    }

    /// The number of the shard of a picture.
    fn number(&self, index: usize) -> usize {
        self.ends.partition_point(|end| *end <= index)
    }

    fn read(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let (shard, at) = self.find(index);
        self.prefetcher.iter().for_each(|prefetcher| prefetcher.reached(self.number(index)));
        shard.read(at).map_err(|reason| DataError::Shard { name: shard.place.address(), reason })
    }
}

/// Of each shard, the number of the picture behind its last one.
fn ends(shards: &[IndexedShard]) -> Vec<usize> {
    let mut end = 0;
    let mut behind = |shard: &IndexedShard| {
        end += shard.index.len();
        end
    };
    shards.iter().map(&mut behind).collect()
}

fn prefetcher(mix: usize, shards: Arc<[IndexedShard]>) -> Result<Prefetcher, DataError> {
    remote::check_room(&shards.iter().map(|shard| shard.index.stamp.size).collect::<Vec<_>>(), mix)?;
    Ok(Prefetcher::new(mix, move |shard| {
        let IndexedShard { place, index, fault } = &shards[shard];
        if fault.is_none() {
            // Who reads the shard reports the failure.
            let _ = place.open(&index.stamp);
        }
    }))
}

impl IndexedShard {
    fn read(&self, at: usize) -> Result<Vec<u8>, String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let file = self.place.open(&self.index.stamp)?;
        members::read(&file, self.index.offsets[at], self.index.sizes[at])
            .map_err(|error| format!("cannot be read: {error}"))
    }
}

impl Places {
    /// The shards that a pattern names; `cache` is the folder of what is kept of a server's.
    fn of(pattern: &Path, cache: &Path) -> Result<Self, DataError> {
        if ShardPath::is_remote(pattern) { Self::remote(pattern, cache) } else { Self::local(pattern) }
    }

    fn remote(pattern: &Path, cache: &Path) -> Result<Self, DataError> {
        let shards = remote::remote_shards(&pattern.to_string_lossy(), cache)?;
        let content =
            shards.first().map(|first| remote::beside(first, class_names::FILE)).transpose()?.flatten();
        let fault = |reason| DataError::Shard { name: pattern.display().to_string(), reason };
        let names = content.map(|json| class_names::parse(&json).map_err(fault)).transpose()?;
        let shards = shards.into_iter().map(|shard| Box::new(shard) as Box<dyn ShardPlace>).collect();
        Ok(Self { shards, names, files: vec![], is_remote: true })
    }

    fn local(pattern: &Path) -> Result<Self, DataError> {
        let fault = |reason| DataError::Table { path: pattern.into(), reason };
        let files = pattern::local(pattern).map_err(fault)?;
        if files.iter().all(|file| !file.exists()) {
            let expected = format!("{EXPECTED}; {}", pattern::FORM);
            return Err(DataError::Missing { path: pattern.into(), expected });
        }
        let beside = files.first().and_then(|file| file.parent()).unwrap_or(Path::new(""));
        let names = local_names(&beside.join(class_names::FILE))?;
        let shards =
            files.iter().map(|file| Box::new(LocalShard(file.clone())) as Box<dyn ShardPlace>).collect();
        Ok(Self { shards, names, files, is_remote: false })
    }
}

fn local_names(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    match fs::read(path) {
        Ok(json) => class_names::parse(&json)
            .map(Some)
            .map_err(|reason| DataError::Table { path: path.into(), reason }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io { path: path.into(), source }),
    }
}

/// The shards with their indexes, in order.
fn indexed(
    places: Vec<Box<dyn ShardPlace>>,
    cache: &IndexCache,
    label: &str,
    max_bad: f64,
) -> Result<Vec<IndexedShard>, DataError> {
    let all = places.len();
    let found: Vec<_> =
        places.into_par_iter().map(|place| index(place, cache, label)).collect::<Result<_, _>>()?;
    let missing: Vec<&String> = found.iter().filter_map(|shard| shard.as_ref().err()).collect();
    if let Some(first) = missing.first() {
        let reason = format!("is missing ({} of {all} are)", missing.len());
        if missing.len() > part_of(max_bad, all) {
            let reason = format!("{reason}; copy what is missing, leave it out, or raise `max_bad`");
            return Err(DataError::Shard { name: first.to_string(), reason });
        }
        tracing::warn!("{first} {reason} and was never indexed: its images are left out");
    }
    Ok(found.into_iter().flatten().collect())
}

/// One shard with its index; the inner error is the address of a missing one that was never indexed.
fn index(
    place: Box<dyn ShardPlace>,
    cache: &IndexCache,
    label: &str,
) -> Result<Result<IndexedShard, String>, DataError> {
    let address = place.address();
    let fault = |reason| DataError::Shard { name: address.clone(), reason };
    let key = place.key();
    let stamp = match place.stamp() {
        Ok(stamp) => stamp,
        Err(PlaceError::Other(reason)) => return Err(fault(reason)),
        Err(PlaceError::Missing) => {
            let known = cache.last(&key, label);
            let lost = |index| IndexedShard { place, index, fault: Some("is missing".into()) };
            return Ok(known.map(lost).ok_or(address));
        }
    };
    let build = || ShardIndex::build(&place.open(&stamp)?, stamp.clone(), label);
    let index = cache.get(&key, (&stamp, label), build).map_err(fault)?;
    let fault = index.cut.clone();
    Ok(Ok(IndexedShard { place, index, fault }))
}

/// Says what of the shards is not read.
fn report(pattern: &Path, shards: &[IndexedShard]) {
    let skipped = shards.iter().fold(Skipped::default(), |sum, shard| sum.plus(shard.index.skipped));
    let Some(shown) = skipped.shown() else { return };
    if skipped.may_lack_pictures() {
        tracing::warn!("{}: skipped {shown}; links have no content of their own", pattern.display());
    } else {
        tracing::info!("{}: skipped {shown}", pattern.display());
    }
}

impl Relabel for ShardSet {
    fn labels(&mut self) -> &mut Labels {
        &mut self.labels
    }
}

impl Dataset for ShardSet {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }
    fn classes(&self) -> &[String] {
        self.labels.classes()
    }
    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index)
    }
    fn why_unlabeled(&self) -> Option<&str> {
        self.labels.why_missing()
    }
    fn name(&self, index: usize) -> String {
        let (shard, at) = self.find(index);
        format!("{}: {}", shard.place.address(), shard.index.keys[at])
    }
    fn image(&self, index: usize) -> Result<RgbImage, DataError> {
        let fault = |reason| DataError::Image { name: self.name(index), reason };
        decode(&self.read(index)?).map_err(|error| fault(error.to_string()))
    }
    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.read(index).map(Some)
    }
    fn layout(&self) -> Option<ShardLayout> {
        self.mix.map(|mix| ShardLayout::new(self.ends.clone(), mix))
    }
    fn prefetch(&self, upcoming: &[usize]) {
        let shards = || upcoming.iter().map(|index| self.number(*index));
        self.prefetcher.iter().for_each(|prefetcher| prefetcher.announce(shards()));
    }
    /// Covers keys, labels, class names and sizes of the pictures, and sizes or contents of local shards: a copy elsewhere
    /// has the same fingerprint.
    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{} {}\n", counted(self.len(), "picture"), self.classes().join("\n")));
        for shard in self.shards.iter() {
            shard.index.keys.iter().for_each(|key| hash.update(format!("{key}\n")));
            shard.index.sizes.iter().for_each(|size| hash.update(size.to_le_bytes()));
        }
        (0..self.len()).for_each(|index| hash.update(format!("{:?}\n", self.label(index))));
        hash.update(self.content.get_or_init(|| {
            let mut hash = Sha256::new();
            add_files(&mut hash, &self.files);
            format!("{:x}", hash.finalize())
        }));
        format!("{:x}", hash.finalize())
    }
}
