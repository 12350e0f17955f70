//! Writes a data set as shards, with `classes.json` for the names of its classes and `pack.json` for what was asked, which
//! lets a run that was interrupted continue.

pub use super::writer::ShardLimit;
use super::{
    class_names,
    picture::packed,
    writer::{SplitWriter, Written, numbered},
};
use crate::{
    atomic_write,
    bounded::part_of,
    data::{
        dataset::{Dataset, Split},
        error::DataError,
        open::open,
        source::{DataSpec, Locations},
    },
    progress::Progress,
    rng::Rng,
    text::counted,
};
use rand::seq::SliceRandom;
use serde::Serialize;
use std::{
    fmt, fs, io,
    path::{self, Path, PathBuf},
    sync::Arc,
};

const RECORD: &str = "pack.json";

/// What is asked of the shards.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PackOptions {
    /// Short side in pixels; None: files as they are stored.
    pub size: Option<usize>,
    /// Of JPEG files that are written, 1 to 100.
    pub quality: u8,
    pub limit: ShardLimit,
    /// Shuffles the training pictures; None: the order of the set.
    pub shuffle: Option<u64>,
}

/// What was packed.
#[derive(Debug)]
pub struct Packed {
    folder: PathBuf,
    splits: Vec<(Split, Written)>,
}

/// Writes both splits of a data set (or the only one) to the folder `out`.
///
/// # Errors
/// A data set that cannot be opened, more unreadable images than its `max_bad`, a folder that holds something else, a full
/// disk.
pub fn pack(spec: &DataSpec, at: &Locations, out: &Path, options: &PackOptions) -> Result<Packed, DataError> {
    let spec = DataSpec { cache: false, limit: None, ..spec.clone() };
    let mut sets = vec![(Split::Train, open(&spec, Split::Train, at)?)];
    match open(&spec, Split::Val, at) {
        Ok(val) => sets.push((Split::Val, val)),
        Err(DataError::NoSplit { .. }) => {}
        Err(error) => return Err(error),
    }
    prepare(out, &sets, options)?;
    // For a spec anywhere.
    let folder = path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
    let pack = |(split, set): (Split, Arc<dyn Dataset>)| {
        Ok((split, split_of(&*set, split, out, options, spec.max_bad.get())?))
    };
    Ok(Packed { folder, splits: sets.into_iter().map(pack).collect::<Result<_, DataError>>()? })
}

fn split_of(
    set: &dyn Dataset,
    split: Split,
    out: &Path,
    options: &PackOptions,
    max_bad: f64,
) -> Result<Written, DataError> {
    if let Some(reason) = set.why_unlabeled() {
        tracing::warn!("the {} images are packed without labels: {reason}", split.name());
    }
    let mut order: Vec<usize> = (0..set.len()).collect();
    if let (Some(seed), Split::Train) = (options.shuffle, split) {
        order.shuffle(&mut Rng::new(seed).split("pack").at(0, 0));
    }
    let writer = SplitWriter {
        set,
        order,
        stem: out.join(split.name()),
        limit: options.limit,
        allowed: part_of(max_bad, set.len()),
        max_bad,
        encode: &|index| packed(set, index, options.size, options.quality),
    };
    let progress = Progress::new(set.len(), &format!("packing {}", split.name()));
    let written = writer.write(&progress)?;
    progress.done();
    Ok(written)
}

/// Makes the folder and writes what stands beside the shards, or sees that they are there.
fn prepare(out: &Path, sets: &[(Split, Arc<dyn Dataset>)], options: &PackOptions) -> Result<(), DataError> {
    let fault = |source: io::Error| DataError::Unwritable { path: out.into(), source };
    fs::create_dir_all(out).map_err(fault)?;
    let record = record(sets, options);
    match fs::read_to_string(out.join(RECORD)) {
        Ok(known) if known == record => {}
        Ok(_) => return Err(taken(out, "was packed from another data set or with other options")),
        Err(_) if fs::read_dir(out).map_err(fault)?.next().is_some() => {
            return Err(taken(out, "is not empty"));
        }
        Err(_) => atomic_write::write(&out.join(RECORD), record.as_bytes()).map_err(fault)?,
    }
    atomic_write::remove_partials(out).map_err(fault)?;
    match sets.iter().map(|(_, set)| set.classes()).find(|classes| !classes.is_empty()) {
        Some(names) => {
            let content = class_names::content(names);
            atomic_write::write(&out.join(class_names::FILE), content.as_bytes()).map_err(fault)
        }
        None => Ok(()),
    }
}

fn taken(out: &Path, why: &str) -> DataError {
    DataError::Spec(format!("{} {why}; give another --out, or remove it", out.display()))
}

/// All that the bytes of the shards depend on.
fn record(sets: &[(Split, Arc<dyn Dataset>)], options: &PackOptions) -> String {
    let sets: serde_json::Map<_, _> =
        sets.iter().map(|(split, set)| (split.name().into(), set.fingerprint().into())).collect();
    format!("{:#}\n", serde_json::json!({ "format": 1, "data": sets, "options": options }))
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (split, written) in &self.splits {
            let (pictures, shards) = (counted(written.pictures, "picture"), counted(written.shards, "shard"));
            write!(f, "{}: {pictures} in {shards}, {} bytes", split.name(), written.bytes)?;
            match written.kept {
                0 => writeln!(f)?,
                kept => writeln!(f, " ({kept} from an earlier run)")?,
            }
            for (name, reason) in &written.faults {
                writeln!(f, "  left out {name}: {reason}")?;
            }
        }
        writeln!(f, "In a spec:\n  source:\n    shards:")?;
        for (split, written) in &self.splits {
            let first = numbered(&self.folder.join(split.name()), 0).display().to_string();
            let pattern = match written.shards {
                0 | 1 => first,
                shards => first.replace("000000.tar", &format!("{{000000..{:06}}}.tar", shards - 1)),
            };
            writeln!(f, "      {}: {}", split.name(), serde_json::Value::from(pattern))?;
        }
        Ok(())
    }
}
