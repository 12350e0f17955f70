//! PyTorch state dicts, as written by `torch.save(model.state_dict(), path)`: a zip archive (since 1.6) or the format
//! before it, alone or inside a checkpoint ([`dicts`]). Whole models, other pickles and compressed archives are
//! rejected. [`pickle`] explains why no file can run code.

mod dicts;
mod globals;
mod pickle;
mod rebuild;
mod scalars;
mod tensor;
mod write;

pub use write::write;

use super::{foreign, found::RawWeights};
use anyhow::{Context, Result, bail, ensure};
use dicts::Chosen;
use pickle::{Pickle, PickleNode};
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};
use tensor::{Storage, Strided};
use write::HEADER;
use zip::{
    CompressionMethod, ZipArchive,
    read::{ArchiveOffset, Config},
};

/// Size limit of a pickle, without its storages; a network of a thousand tensors needs about 100 kB.
const LONGEST_PICKLE: u64 = 16 << 20;
/// Tensors may share storages, but all tensors together are limited to this multiple of the file size plus
/// [`EXPANDED`].
const MOST_SHARING: u64 = 4;
/// Additional bytes allowed for tensors that repeat a few values (strides of 0).
const EXPANDED: u64 = 64 << 20;
/// Magic number at the beginning of files in the older format, as encoded in the pickle.
const LEGACY_MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Version of the older format.
const LEGACY_VERSION: i64 = 1001;
/// Tensors of a zip archive, in memory layout: those below `key`, or those of its only network with the metadata, if this
/// program wrote it.
pub(super) fn read_zip(file: impl Read + Seek, length: u64, key: Option<&str>) -> Result<RawWeights> {
    let damaged = "its zip archive cannot be read: it is truncated or corrupt; copy or download it again";
    // The archive starts at the beginning of the file. Detecting the offset fails for some name lengths because of
    // PyTorch's records for large archives, which small archives have too.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, file).context(damaged)?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    if let Some(other) = foreign::archive(&names) {
        bail!("it is {other}")
    }
    let mut pickles = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        bail!("it is a zip archive without one `data.pkl`: not written by torch.save")
    };
    if names.iter().any(|name| *name == format!("{folder}byteorder")) {
        let order = entry(&mut archive, &format!("{folder}byteorder"), 16)?;
        ensure!(
            order.starts_with(b"little"),
            "its numbers are big-endian: save it on a little-endian machine"
        );
    }
    let text = entry(&mut archive, &format!("{folder}data.pkl"), length.min(LONGEST_PICKLE))?;
    let pickle = pickle::read(&mut text.as_slice(), text.len() as u64)?;
    let mut tensors = Tensors::of(&pickle, length, key)?;
    let about = format!("{folder}{HEADER}");
    if key.is_none() && names.contains(&about) {
        let text = entry(&mut archive, &about, length.min(LONGEST_PICKLE))?;
        tensors.done.metadata = serde_json::from_slice(&text).ok().context("its header is damaged")?;
    }
    for (index, storage) in pickle.storages.iter().enumerate() {
        if !tensors.needs(index) {
            continue;
        }
        let wanted = tensors.claim(storage.bytes()?)?;
        let bytes = entry(&mut archive, &format!("{folder}data/{}", storage.key), wanted)?;
        ensure!(
            bytes.len() as u64 == wanted,
            "storage `{}` has {} bytes, but its pickle says {wanted}: it is corrupt",
            storage.key,
            bytes.len()
        );
        tensors.take_from(index, &bytes)?;
    }
    Ok(tensors.done)
}

/// Reads an entry of the archive, which must be uncompressed and at most `most` bytes long.
fn entry(archive: &mut ZipArchive<impl Read + Seek>, name: &str, most: u64) -> Result<Vec<u8>> {
    let file = archive.by_name(name).with_context(|| format!("its archive has no readable `{name}`"))?;
    let size = file.size();
    ensure!(
        file.compression() == CompressionMethod::Stored && file.compressed_size() == size,
        "`{name}` is compressed, which torch.save does not do: not supported"
    );
    ensure!(size <= most, "`{name}` claims {size} bytes, but at most {most} are possible: it is corrupt");
    let mut bytes = vec![];
    file.take(most).read_to_end(&mut bytes).with_context(|| format!("`{name}` is truncated or corrupt"))?;
    ensure!(bytes.len() as u64 == size, "`{name}` is truncated; copy or download the file again");
    Ok(bytes)
}

/// Whether these are the first bytes of the format that `torch.save` wrote before 1.6.
pub(super) fn is_legacy(start: &[u8]) -> bool {
    start.first() == Some(&0x80) && start.windows(LEGACY_MAGIC.len()).take(16).any(|w| w == LEGACY_MAGIC)
}

/// Tensors of the older format: five pickles (a magic number, a version, system information, the state dict, the order
/// of the storages), then the storages, each a count and its values.
pub(super) fn read_legacy(
    file: &mut (impl Read + Seek),
    length: u64,
    key: Option<&str>,
) -> Result<RawWeights> {
    pickle::read(file, 64)?;
    let version = pickle::read(file, 64)?;
    ensure!(
        matches!(version.nodes.get(version.root), Some(PickleNode::Int(LEGACY_VERSION))),
        "its version of PyTorch's older format is not {LEGACY_VERSION}"
    );
    let machine = pickle::read(file, 4096)?;
    ensure!(is_little_endian(&machine), "its numbers are big-endian: save it on a little-endian machine");
    let pickle = pickle::read(file, length.min(LONGEST_PICKLE))?;
    let order = pickle::read(file, length.min(LONGEST_PICKLE))?;
    let mut tensors = Tensors::of(&pickle, length, key)?;
    for key in texts(&order)? {
        let index = pickle.keys.get(key).copied();
        let index = index.with_context(|| format!("storage `{key}` belongs to no tensor: it is corrupt"))?;
        let bytes = stored(file, &pickle.storages[index], &mut tensors)
            .with_context(|| format!("storage `{key}`"))?;
        tensors.take_from(index, &bytes)?;
    }
    tensors.finished()
}

/// Reads the next storage.
fn stored(file: &mut impl Read, storage: &Storage, tensors: &mut Tensors) -> Result<Vec<u8>> {
    let wanted = tensors.claim(storage.bytes()?)?;
    let mut count = [0; 8];
    file.read_exact(&mut count).context("it ends before its numbers: it is truncated")?;
    ensure!(u64::from_le_bytes(count) == storage.count as u64, "it has two sizes: it is corrupt");
    let mut bytes = vec![];
    file.by_ref().take(wanted).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == wanted, "it ends within its numbers: it is truncated");
    Ok(bytes)
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Some(PickleNode::Dict(facts)) = machine.nodes.get(machine.root) else { return true };
    let big = |&(key, value): &(usize, usize)| {
        matches!((&machine.nodes[key], &machine.nodes[value]),
            (PickleNode::Text(key), PickleNode::Bool(false)) if key == "little_endian")
    };
    !facts.iter().any(big)
}

fn texts(pickle: &Pickle) -> Result<Vec<&str>> {
    match pickle.nodes.get(pickle.root) {
        Some(PickleNode::List(items)) => items.iter().map(|id| pickle.nodes[*id].text()).collect(),
        _ => bail!("the order of its storages is not a list: it is corrupt"),
    }
}

/// The tensors of a state dict, copied from their storages one storage after the other.
struct Tensors {
    waiting: BTreeMap<usize, Vec<(String, Strided)>>,
    done: RawWeights,
    /// Bytes that further storages may claim.
    left: u64,
    /// Bytes that further tensors may allocate.
    room: u64,
}

impl Tensors {
    fn of(pickle: &Pickle, length: u64, key: Option<&str>) -> Result<Self> {
        let Chosen { tensors, unread, notes } = dicts::chosen(pickle, key)?;
        let mut waiting = BTreeMap::<usize, Vec<_>>::new();
        for (name, tensor) in tensors {
            waiting.entry(tensor.storage).or_default().push((name, tensor));
        }
        let room = length.saturating_mul(MOST_SHARING).saturating_add(EXPANDED);
        Ok(Self { waiting, done: RawWeights { unread, notes, ..RawWeights::default() }, left: length, room })
    }

    fn needs(&self, storage: usize) -> bool {
        self.waiting.contains_key(&storage)
    }

    /// Returns `bytes`, unless all storages so far would be longer than the file.
    fn claim(&mut self, bytes: u64) -> Result<u64> {
        let left = self.left.checked_sub(bytes);
        self.left = left.context("its storages are longer than the file: it is truncated or corrupt")?;
        Ok(bytes)
    }

    fn take_from(&mut self, storage: usize, bytes: &[u8]) -> Result<()> {
        for (name, strided) in self.waiting.remove(&storage).into_iter().flatten() {
            let room = self.room.checked_sub(strided.bytes());
            self.room = room.with_context(|| {
                format!("with `{name}` its tensors take far more memory than the file: it is corrupt")
            })?;
            self.done.add(name, strided.element(), strided.tensor(bytes))?;
        }
        Ok(())
    }

    fn finished(self) -> Result<RawWeights> {
        match self.waiting.values().flatten().next() {
            Some((name, _)) => bail!("the storage of `{name}` is not in the file: it is truncated"),
            None => Ok(self.done),
        }
    }
}
