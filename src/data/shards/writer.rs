//! One split of a data set as tar files: `train-000000.tar`, `train-000001.tar`, … The same pictures give the same bytes, and
//! a shard has its name only when it is complete, so that an interrupted run continues behind the last one.

use super::{
    index::{ShardIndex, Stamp},
    members,
    picture::PackedPicture,
};
use crate::{
    atomic_write,
    data::{dataset::Dataset, error::DataError},
    progress::Progress,
};
use rayon::prelude::*;
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// Pictures that are encoded side by side.
const CHUNK: usize = 256;
/// What a member takes beside its content, at most.
const MEMBER: u64 = 1024;

/// How much is written to one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardLimit {
    Bytes(u64),
    Pictures(usize),
}

/// The shards of a split.
pub(super) struct SplitWriter<'a> {
    pub set: &'a dyn Dataset,
    /// images of the set in the order of the shards
    pub order: Vec<usize>,
    /// folder and name of the shards up to their number
    pub stem: PathBuf,
    pub limit: ShardLimit,
    /// number of unreadable images that are tolerated
    pub allowed: usize,
    pub max_bad: f64,
    pub encode: &'a (dyn Fn(usize) -> Result<PackedPicture, DataError> + Sync),
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub shards: usize,
    pub pictures: usize,
    pub bytes: u64,
    /// shards of an earlier run
    pub kept: usize,
    pub faults: Vec<(String, String)>,
}

/// A picture and its place in the order.
struct Numbered(usize, PackedPicture);

/// Why a shard was not filled.
enum Unfilled {
    File(io::Error),
    Images(DataError),
}

impl From<io::Error> for Unfilled {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<DataError> for Unfilled {
    fn from(error: DataError) -> Self {
        Self::Images(error)
    }
}

impl SplitWriter<'_> {
    /// Writes the shards that are not there yet.
    ///
    /// # Errors
    /// A full disk, too many unreadable images, a shard in the folder that is none of these.
    pub fn write(&self, progress: &Progress) -> Result<Written, DataError> {
        let (mut done, next) = self.written_before()?;
        progress.add(next);
        let (bad, ready, faults) = (next - done.pictures, VecDeque::new(), Vec::new());
        let mut queue = Queue { writer: self, progress, next, bad, ready, faults };
        while queue.peek()?.is_some() {
            let path = self.path(done.shards);
            let filled = atomic_write::write_with(&path, |out| self.fill(out, &mut queue, &mut done));
            filled.map_err(|error| match error {
                Unfilled::File(source) => DataError::Unwritable { path, source },
                Unfilled::Images(error) => error,
            })?;
            done.shards += 1;
        }
        Ok(Written { faults: queue.faults, ..done })
    }

    /// Fills one shard.
    fn fill(
        &self,
        out: &mut BufWriter<&File>,
        queue: &mut Queue,
        done: &mut Written,
    ) -> Result<(), Unfilled> {
        let (mut builder, mut pictures, mut bytes) = (Builder::new(out), 0, 0);
        while let Some(Numbered(_, next)) = queue.peek()? {
            let added = next.bytes.len() as u64 + 2 * MEMBER;
            let is_full = match self.limit {
                ShardLimit::Bytes(most) => bytes + added > most,
                ShardLimit::Pictures(most) => pictures >= most,
            };
            if is_full && pictures > 0 {
                break;
            }
            let Some(Numbered(place, picture)) = queue.ready.pop_front() else { break };
            append(&mut builder, place, &picture)?;
            (pictures, bytes) = (pictures + 1, bytes + added);
            (done.pictures, done.bytes) = (done.pictures + 1, done.bytes + picture.bytes.len() as u64);
        }
        builder.into_inner()?;
        Ok(())
    }

    /// The shards that are there, as many as follow one another, and the place in the order behind their last picture.
    fn written_before(&self) -> Result<(Written, usize), DataError> {
        let (mut done, mut next) = (Written::default(), 0);
        while self.path(done.shards).exists() {
            let path = self.path(done.shards);
            let fault = |reason: String| DataError::Shard { name: path.display().to_string(), reason };
            let file = members::open(&path).map_err(fault)?;
            let index = ShardIndex::build(&file, Stamp::default(), "").map_err(fault)?;
            let last =
                index.keys.last().filter(|_| index.cut.is_none()).and_then(|key| key.parse::<usize>().ok());
            let last = last.filter(|last| *last < self.order.len());
            next = last.ok_or_else(|| fault("was not written by this command; remove it".into()))? + 1;
            done.pictures += index.len();
            done.bytes += index.sizes.iter().sum::<u64>();
            done.shards += 1;
        }
        done.kept = done.shards;
        Ok((done, next))
    }

    fn path(&self, number: usize) -> PathBuf {
        numbered(&self.stem, number)
    }
}

/// `train-000007.tar`.
pub(super) fn numbered(stem: &Path, number: usize) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(format!("-{number:06}.tar"));
    name.into()
}

/// Encodes ahead of the shard that is written.
struct Queue<'a> {
    writer: &'a SplitWriter<'a>,
    progress: &'a Progress,
    /// place in the order of the first image that is not encoded
    next: usize,
    /// number of unreadable images, with those that an earlier run left out
    bad: usize,
    ready: VecDeque<Numbered>,
    faults: Vec<(String, String)>,
}

impl Queue<'_> {
    /// The next readable picture; None at the end.
    fn peek(&mut self) -> Result<Option<&Numbered>, DataError> {
        while self.ready.is_empty() && self.next < self.writer.order.len() {
            self.encode()?;
        }
        Ok(self.ready.front())
    }

    fn encode(&mut self) -> Result<(), DataError> {
        let SplitWriter { set, order, allowed, max_bad, encode, .. } = self.writer;
        let places = self.next..order.len().min(self.next + CHUNK);
        let encoded: Vec<_> =
            places.clone().into_par_iter().map(|place| (place, encode(order[place]))).collect();
        self.next = places.end;
        self.progress.add(encoded.len());
        for (place, picture) in encoded {
            match picture {
                Ok(picture) => self.ready.push_back(Numbered(place, picture)),
                Err(error) => {
                    self.faults.push(named(error, &set.name(order[place]))?);
                    self.bad += 1;
                }
            }
        }
        if self.bad <= *allowed && self.bad < order.len() {
            return Ok(());
        }
        let first = self.faults.clone();
        Err(DataError::TooManyBad { bad: self.bad, len: order.len(), allowed: *max_bad, first })
    }
}

/// Name and reason of an unreadable image; other errors are passed on.
fn named(error: DataError, name: &str) -> Result<(String, String), DataError> {
    let reason = match error {
        DataError::Image { reason, .. } => reason,
        DataError::Shard { .. } => error.to_string(),
        other => return Err(other),
    };
    tracing::warn!("{name}: {reason}; left out");
    Ok((name.into(), reason))
}

/// Adds the members of a picture: `00000007.cls`, `00000007.jpg`.
fn append<W: Write>(builder: &mut Builder<W>, place: usize, picture: &PackedPicture) -> io::Result<()> {
    if let Some(label) = picture.label {
        member(builder, &format!("{place:08}.cls"), label.to_string().as_bytes())?;
    }
    member(builder, &format!("{place:08}.{}", picture.extension), &picture.bytes)
}

fn member<W: Write>(builder: &mut Builder<W>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o444);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content)
}
