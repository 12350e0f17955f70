//! A reader of the pickles that `torch.save` writes for state dicts. It runs nothing: a pickle is a program, and the
//! only calls that are understood are those that make an ordered dict, a tensor or a parameter; any other name, call
//! or opcode is an error that says which. (candle's reader takes any name and any call, and keeps them as objects.)
//!
//! Values lie in one arena and refer to one another by number, so that no pickle can nest deeply enough to overflow
//! the stack when it is dropped, and their number is limited.

use super::tensor::{Storage, Strided};
use anyhow::{Context, Result, bail, ensure};
use candle_core::DType;
use std::{collections::HashMap, io::Read};

/// Values, and copies of references to them, that one pickle may make.
const MOST_VALUES: usize = 1 << 20;
/// Axes of a tensor.
const MOST_AXES: usize = 8;
/// Bytes of the name of a storage.
const LONGEST_KEY: usize = 64;

/// A value's place in [`Pickle::nodes`].
pub(super) type Id = usize;

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// What weights do not need: none, floats, integers beyond 64 bits.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// Index into [`Pickle::storages`].
    Storage(usize),
    Tensor(Strided),
}

/// The names that a state dict may mention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::Storage(DType::F32),
            ("torch", "DoubleStorage") => Self::Storage(DType::F64),
            ("torch", "HalfStorage") => Self::Storage(DType::F16),
            ("torch", "BFloat16Storage") => Self::Storage(DType::BF16),
            ("torch", "LongStorage") => Self::Storage(DType::I64),
            ("torch", other) if other.ends_with("Storage") => {
                bail!("it holds numbers of the type `torch.{other}`: convert them to float32 and save again")
            }
            _ => bail!(
                "its pickle asks for `{module}.{name}`, which a state dict does not need: nothing was run; \
                 in PyTorch save `model.state_dict()` and nothing else"
            ),
        })
    }
}

/// What a pickle made.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    pub nodes: Vec<Node>,
    pub storages: Vec<Storage>,
    /// Places in `storages` by key.
    pub keys: HashMap<String, usize>,
    pub root: Id,
}

/// Reads one pickle of at most `limit` bytes and no byte behind it.
///
/// # Errors
/// See the module; also a pickle that is truncated, or that makes too many values.
pub(super) fn read(file: &mut impl Read, limit: u64) -> Result<Pickle> {
    let mut machine = Machine::new(file.take(limit));
    loop {
        let at = limit - machine.file.limit();
        let step = machine.step().with_context(|| format!("in its pickle, at byte {at}"))?;
        if step == Step::Stop {
            return Ok(machine.pickle);
        }
    }
}

#[derive(PartialEq)]
enum Step {
    Go,
    Stop,
}

/// The stack machine of Python's pickles.
struct Machine<R> {
    file: std::io::Take<R>,
    pickle: Pickle,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    made: usize,
}

impl<R: Read> Machine<R> {
    fn new(file: std::io::Take<R>) -> Self {
        let (pickle, stack, marks, memo) = Default::default();
        Self { file, pickle, stack, marks, memo, made: 0 }
    }

    /// One opcode. Those of protocols 2 to 4 that `torch.save` writes; letters are the protocol's own.
    fn step(&mut self) -> Result<Step> {
        let [opcode] = self.bytes()?;
        match opcode {
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(Step::Stop);
            }
            0x80 => self.protocol()?,
            0x95 => drop(self.bytes::<8>()?), // a frame's length
            b'(' => self.mark()?,
            b'0' => drop(self.pop()?),
            b'N' => self.push(Node::Other)?,
            0x88 | 0x89 => self.push(Node::Bool(opcode == 0x88))?,
            b'G' => self.bytes::<8>().and_then(|_| self.push(Node::Other))?,
            b'J' | b'K' | b'M' | 0x8a => self.integer(opcode)?,
            b'X' | b'U' | b'T' | 0x8c | 0x8d => self.text(opcode)?,
            b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
            b']' => self.push(Node::List(vec![]))?,
            b'}' => self.push(Node::Dict(vec![]))?,
            b'a' | b'e' | b's' | b'u' => self.fill(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memory(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            b'b' => self.build()?,
            other => bail!(
                "opcode {other:#04x}{} is not one that a state dict needs: nothing was run",
                if other.is_ascii_graphic() { format!(" (`{}`)", other as char) } else { String::new() }
            ),
        }
        Ok(Step::Go)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file
            .read_exact(&mut bytes)
            .context("it ends in the middle: the file is truncated or corrupt")?;
        Ok(bytes)
    }

    /// `length` bytes, which are there before memory is taken for them.
    fn block(&mut self, length: u64) -> Result<Vec<u8>> {
        ensure!(
            length <= self.file.limit(),
            "a text of {length} bytes is longer than the pickle: it is corrupt"
        );
        let mut bytes = vec![];
        self.file.by_ref().take(length).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == length, "it ends in the middle: the file is truncated or corrupt");
        Ok(bytes)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = vec![];
        loop {
            match self.bytes()? {
                [b'\n'] => return Ok(String::from_utf8(line)?),
                [byte] => line.push(byte),
            }
            ensure!(line.len() <= 256, "a name has no end: it is corrupt");
        }
    }

    fn spend(&mut self, values: usize) -> Result<()> {
        self.made += values;
        ensure!(
            self.made <= MOST_VALUES,
            "it makes more than {MOST_VALUES} values: no state dict has so many"
        );
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<()> {
        self.spend(1)?;
        self.stack.push(self.pickle.nodes.len());
        self.pickle.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        ensure!(self.stack.len() > floor, "its stack is empty where a value is needed: it is corrupt");
        self.stack.pop().context("its stack is empty")
    }

    fn top(&self) -> Result<Id> {
        self.stack.last().copied().context("its stack is empty where a value is needed: it is corrupt")
    }

    fn mark(&mut self) -> Result<()> {
        self.spend(1)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().context("it closes what it did not open: it is corrupt")?;
        Ok(self.stack.split_off(mark))
    }

    fn protocol(&mut self) -> Result<()> {
        let [version] = self.bytes()?;
        ensure!((2..=5).contains(&version), "protocol {version} is not read; save with protocol 2 to 5");
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'K' => i64::from(self.bytes::<1>()?[0]),
            b'M' => i64::from(u16::from_le_bytes(self.bytes()?)),
            b'J' => i64::from(i32::from_le_bytes(self.bytes()?)),
            _ => {
                let [length] = self.bytes()?;
                let mut bytes = self.block(u64::from(length))?;
                if bytes.len() > 8 {
                    return self.push(Node::Other);
                }
                let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
                bytes.resize(8, sign);
                bytes.iter().rev().fold(0, |value, &byte| value << 8 | i64::from(byte))
            }
        };
        self.push(Node::Int(value))
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let length = match opcode {
            b'U' | 0x8c => u64::from(self.bytes::<1>()?[0]),
            b'X' | b'T' => u64::from(u32::from_le_bytes(self.bytes()?)),
            _ => u64::from_le_bytes(self.bytes()?),
        };
        let text = String::from_utf8(self.block(length)?).context("a text is not UTF-8")?;
        self.push(Node::Text(text))
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b')' => vec![],
            b't' => self.pop_to_mark()?,
            _ => {
                let mut items = (0..=opcode - 0x85).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
                items.reverse();
                items
            }
        };
        self.push(Node::Tuple(items))
    }

    /// Items into the list, or pairs into the dict, that lies below them on the stack.
    fn fill(&mut self, opcode: u8) -> Result<()> {
        let mut items = match opcode {
            b'e' | b'u' => self.pop_to_mark()?,
            b'a' => vec![self.pop()?],
            _ => vec![self.pop()?, self.pop()?],
        };
        if opcode == b's' {
            items.reverse();
        }
        let into = self.top()?;
        match (opcode, &mut self.pickle.nodes[into]) {
            (b'a' | b'e', Node::List(list)) => list.append(&mut items),
            (b's' | b'u', Node::Dict(dict)) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => bail!("it fills what is no list or dict: it is corrupt"),
        }
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'q' | b'h' => u32::from(self.bytes::<1>()?[0]),
            b'r' | b'j' => u32::from_le_bytes(self.bytes()?),
            _ => self.memo.len() as u32,
        };
        self.spend(1)?;
        if opcode == b'h' || opcode == b'j' {
            let known = self.memo.get(&key).copied();
            self.stack.push(known.context("it recalls what it did not keep: it is corrupt")?);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let (module, name) = if opcode == b'c' {
            (self.line()?, self.line()?)
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            let nodes = &self.pickle.nodes;
            (nodes[module].text()?.to_string(), nodes[name].text()?.to_string())
        };
        let global = Global::named(&module, &name)?;
        self.push(Node::Global(global))
    }

    /// `('storage', type, key, device, count)`, with a view behind it in the older form.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        let node = |id: &Id| &self.pickle.nodes[*id];
        let foreign = "a reference to data outside the pickle is none that torch.save writes";
        let Node::Tuple(items) = node(&id) else { bail!(foreign) };
        let items: Vec<&Node> = items.iter().take(7).map(node).collect();
        let [
            Node::Text(kind),
            Node::Global(Global::Storage(dtype)),
            Node::Text(key),
            _,
            Node::Int(count),
            view @ ..,
        ] = &items[..]
        else {
            bail!(foreign)
        };
        let no_view = matches!(view, [] | [Node::Other]);
        ensure!(kind == "storage" && key.len() <= LONGEST_KEY && no_view, foreign);
        let count = usize::try_from(*count).context("a storage has a negative size")?;
        let storage = Storage { key: key.clone(), dtype: *dtype, count };
        let Pickle { storages, keys, .. } = &mut self.pickle;
        let index = *keys.entry(storage.key.clone()).or_insert(storages.len());
        match storages.get(index) {
            None => storages.push(storage),
            Some(known) if *known == storage => {}
            Some(_) => bail!("storage `{}` is described in two ways: it is corrupt", storage.key),
        }
        self.push(Node::Storage(index))
    }

    /// The few calls that are understood.
    fn call(&mut self) -> Result<()> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let nodes = &self.pickle.nodes;
        let (Node::Global(function), Node::Tuple(arguments)) = (&nodes[function], &nodes[arguments]) else {
            bail!("it calls what is no function of a state dict: nothing was run")
        };
        let made = match (function, &arguments[..]) {
            (Global::OrderedDict, []) => Node::Dict(vec![]),
            (Global::OrderedDict, [pairs]) => Node::Dict(self.pairs(*pairs)?),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                Node::Tensor(self.strided(*storage, *offset, *shape, *strides)?)
            }
            (Global::RebuildParameter, [tensor, ..]) => match &nodes[*tensor] {
                Node::Tensor(tensor) => Node::Tensor(tensor.clone()),
                _ => bail!("a parameter is made of what is no tensor"),
            },
            _ => bail!("it calls {function:?} with arguments that torch.save does not give it"),
        };
        if let Node::Dict(pairs) = &made {
            self.spend(pairs.len())?;
        }
        self.push(made)
    }

    fn pairs(&self, list: Id) -> Result<Vec<(Id, Id)>> {
        let nodes = &self.pickle.nodes;
        let Node::List(list) = &nodes[list] else { bail!("an ordered dict is made of what is no list") };
        ensure!(list.len() <= MOST_VALUES - self.made, "it makes too many values");
        let pair = |id: &Id| match &nodes[*id] {
            Node::Tuple(pair) | Node::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => bail!("an ordered dict is made of what are no pairs"),
        };
        list.iter().map(pair).collect()
    }

    fn strided(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<Strided> {
        let nodes = &self.pickle.nodes;
        let Node::Storage(storage) = nodes[storage] else { bail!("a tensor is made of what is no storage") };
        let sizes = |id: Id, what: &str| match &nodes[id] {
            Node::Tuple(items) if items.len() <= MOST_AXES => {
                items.iter().map(|id| nodes[*id].size(what)).collect::<Result<Vec<usize>>>()
            }
            Node::Tuple(items) => bail!("a tensor of {} axes is not read", items.len()),
            _ => bail!("the {what} of a tensor is no tuple"),
        };
        let (shape, strides) = (sizes(shape, "shape")?, sizes(strides, "stride")?);
        Strided::checked(
            storage,
            &self.pickle.storages[storage],
            nodes[offset].size("offset")?,
            shape,
            strides,
        )
    }

    /// Attributes of a state dict (versions of its modules) are left out.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let onto = self.top()?;
        ensure!(
            matches!(self.pickle.nodes[onto], Node::Dict(_)),
            "it sets the state of an object that is no dict: nothing was run"
        );
        Ok(())
    }
}

impl Node {
    pub(super) fn text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            _ => bail!("a name is no text: it is corrupt"),
        }
    }

    fn size(&self, what: &str) -> Result<usize> {
        match self {
            Self::Int(value) => usize::try_from(*value)
                .with_context(|| format!("the {what} of a tensor is negative ({value})")),
            _ => bail!("the {what} of a tensor is no whole number that fits 64 bits"),
        }
    }
}
