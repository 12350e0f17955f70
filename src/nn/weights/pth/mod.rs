//! PyTorch state dicts: what `torch.save(model.state_dict(), path)` writes, as a zip archive (since 1.6) or in the
//! form before it. Whole models, other pickles and compressed archives are refused; see [`pickle`] for why no file
//! can run code.

mod pickle;
mod tensor;
mod write;

pub use write::write;

use super::Named;
use anyhow::{Context, Result, bail, ensure};
use pickle::{Node, Pickle};
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};
use tensor::Strided;
use zip::{CompressionMethod, ZipArchive};

/// A pickle beside its storages; a network of a thousand tensors takes about 100 kB.
const LONGEST_PICKLE: u64 = 16 << 20;
/// Tensors may share storages, but in all take no more than this many times the file.
const MOST_SHARING: u64 = 4;
/// The integer that begins files of the older form, as the pickle has it.
const LEGACY_MAGIC: [u8; 12] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Its version.
const LEGACY_VERSION: i64 = 1001;
/// Keys that training scripts put a state dict under.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Tensors of a zip archive, in memory layout.
pub(super) fn read_zip(file: impl Read + Seek, length: u64) -> Result<Named> {
    let damaged = "its zip archive cannot be read: it is truncated or corrupt; copy or download it again";
    let mut archive = ZipArchive::new(file).context(damaged)?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let mut pickles = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        bail!("it is a zip archive without one `data.pkl`: not a file of torch.save")
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
    let mut named = Tensors::of(&pickle, length)?;
    for (index, storage) in pickle.storages.iter().enumerate() {
        if !named.needs(index) {
            continue;
        }
        let wanted = named.claim(storage.bytes()?)?;
        let bytes = entry(&mut archive, &format!("{folder}data/{}", storage.key), wanted)?;
        ensure!(
            bytes.len() as u64 == wanted,
            "storage `{}` has {} bytes where its pickle says {wanted}: it is corrupt",
            storage.key,
            bytes.len()
        );
        named.take_from(index, &bytes, storage.dtype)?;
    }
    Ok(named.done)
}

/// The bytes of an entry of the archive, which must be stored as they are and no longer than `most`.
fn entry(archive: &mut ZipArchive<impl Read + Seek>, name: &str, most: u64) -> Result<Vec<u8>> {
    let file = archive.by_name(name).with_context(|| format!("its archive has no readable `{name}`"))?;
    let size = file.size();
    ensure!(
        file.compression() == CompressionMethod::Stored && file.compressed_size() == size,
        "`{name}` is compressed, which torch.save does not do: not read"
    );
    ensure!(size <= most, "`{name}` claims {size} bytes where at most {most} are possible: it is corrupt");
    let mut bytes = vec![];
    file.take(most).read_to_end(&mut bytes).with_context(|| format!("`{name}` is truncated or corrupt"))?;
    ensure!(bytes.len() as u64 == size, "`{name}` is truncated; copy or download the file again");
    Ok(bytes)
}

/// Whether these are the first bytes of the form that `torch.save` wrote before 1.6.
pub(super) fn is_legacy(start: &[u8]) -> bool {
    start.first() == Some(&0x80) && start.windows(LEGACY_MAGIC.len()).take(16).any(|w| w == LEGACY_MAGIC)
}

/// Tensors of the older form: five pickles (a magic number, a version, facts of the machine, the state dict, the
/// order of the storages), then the storages, each a count and its numbers.
pub(super) fn read_legacy(file: &mut (impl Read + Seek), length: u64) -> Result<Named> {
    pickle::read(file, 64)?;
    let version = pickle::read(file, 64)?;
    ensure!(
        matches!(version.nodes.get(version.root), Some(Node::Int(LEGACY_VERSION))),
        "its version of PyTorch's older form is not {LEGACY_VERSION}"
    );
    let machine = pickle::read(file, 4096)?;
    ensure!(is_little_endian(&machine), "its numbers are big-endian: save it on a little-endian machine");
    let pickle = pickle::read(file, length.min(LONGEST_PICKLE))?;
    let order = pickle::read(file, length.min(LONGEST_PICKLE))?;
    let mut named = Tensors::of(&pickle, length)?;
    for key in texts(&order)? {
        let index = pickle.keys.get(key).copied();
        let index = index.with_context(|| format!("storage `{key}` belongs to no tensor: it is corrupt"))?;
        let storage = &pickle.storages[index];
        let wanted = named.claim(storage.bytes()?)?;
        let mut count = [0; 8];
        file.read_exact(&mut count).context("it ends before its numbers: it is truncated")?;
        ensure!(
            u64::from_le_bytes(count) == storage.count as u64,
            "storage `{key}` has two sizes: it is corrupt"
        );
        let mut bytes = vec![];
        file.by_ref().take(wanted).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == wanted, "it ends within storage `{key}`: it is truncated");
        named.take_from(index, &bytes, storage.dtype)?;
    }
    named.finished()
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Some(Node::Dict(facts)) = machine.nodes.get(machine.root) else { return true };
    let big = |&(key, value): &(usize, usize)| {
        matches!((&machine.nodes[key], &machine.nodes[value]),
            (Node::Text(key), Node::Bool(false)) if key == "little_endian")
    };
    !facts.iter().any(big)
}

fn texts(pickle: &Pickle) -> Result<Vec<&str>> {
    match pickle.nodes.get(pickle.root) {
        Some(Node::List(items)) => items.iter().map(|id| pickle.nodes[*id].text()).collect(),
        _ => bail!("the order of its storages is no list: it is corrupt"),
    }
}

/// The tensors of a state dict, taken from their storages one storage after the other.
struct Tensors {
    waiting: BTreeMap<usize, Vec<(String, Strided)>>,
    done: Named,
    /// Bytes of storages that may still come.
    left: u64,
    /// Bytes that the tensors may still take.
    room: u64,
}

impl Tensors {
    fn of(pickle: &Pickle, length: u64) -> Result<Self> {
        let mut waiting = BTreeMap::<usize, Vec<_>>::new();
        for (name, tensor) in state_dict(pickle)? {
            waiting.entry(tensor.storage).or_default().push((name, tensor));
        }
        let room = length.saturating_mul(MOST_SHARING);
        Ok(Self { waiting, done: Named::new(), left: length, room })
    }

    fn needs(&self, storage: usize) -> bool {
        self.waiting.contains_key(&storage)
    }

    /// `bytes`, unless all storages until now would be longer than the file.
    fn claim(&mut self, bytes: u64) -> Result<u64> {
        let left = self.left.checked_sub(bytes);
        self.left = left.context("its storages are longer than the file: it is truncated or corrupt")?;
        Ok(bytes)
    }

    fn take_from(&mut self, storage: usize, bytes: &[u8], dtype: candle_core::DType) -> Result<()> {
        for (name, strided) in self.waiting.remove(&storage).into_iter().flatten() {
            let room = self.room.checked_sub(strided.bytes(dtype));
            self.room = room.context("its tensors share storages many times over: it is corrupt")?;
            let tensor = strided.tensor(bytes, dtype).with_context(|| format!("tensor `{name}`"))?;
            ensure!(self.done.insert(name.clone(), tensor).is_none(), "two tensors are called `{name}`");
        }
        Ok(())
    }

    fn finished(self) -> Result<Named> {
        match self.waiting.values().flatten().next() {
            Some((name, _)) => bail!("the storage of `{name}` is not in the file: it is truncated"),
            None => Ok(self.done),
        }
    }
}

/// The tensors by name: of the dict itself, or of the dict under a key that training scripts use. A `module.` that
/// begins every name (data-parallel training) is taken off.
fn state_dict(pickle: &Pickle) -> Result<Vec<(String, Strided)>> {
    let mut id = pickle.root;
    for _ in 0..=WRAPPERS.len() {
        let Some(Node::Dict(pairs)) = pickle.nodes.get(id) else {
            bail!("it holds no state dict: in PyTorch save `model.state_dict()`")
        };
        let tensors = tensors(pickle, pairs);
        if !tensors.is_empty() {
            let wrapped = tensors.iter().all(|(name, _)| name.starts_with("module."));
            let bare = |name: &str| if wrapped { name["module.".len()..].into() } else { name.into() };
            return Ok(tensors.into_iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect());
        }
        let keys = pairs.iter().filter_map(|(key, value)| Some((pickle.nodes[*key].text().ok()?, *value)));
        let mut keys = keys.filter(|(key, _)| WRAPPERS.contains(key));
        id = keys.next().context("it holds no tensors: in PyTorch save `model.state_dict()`")?.1;
    }
    bail!("its state dict lies too deep")
}

fn tensors<'a>(pickle: &'a Pickle, pairs: &[(usize, usize)]) -> Vec<(&'a str, &'a Strided)> {
    let pair = |(key, value): &(usize, usize)| match (&pickle.nodes[*key], &pickle.nodes[*value]) {
        (Node::Text(name), Node::Tensor(tensor)) => Some((name.as_str(), tensor)),
        _ => None,
    };
    pairs.iter().filter_map(pair).collect()
}
