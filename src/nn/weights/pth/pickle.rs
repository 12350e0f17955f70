//! A reader of the pickles written by `torch.save`. It runs no code: a pickle is a program, and the only supported
//! calls are those that create an ordered dict, a tensor or a parameter. Everything else stored with the weights
//! (numpy scalars, sizes, optimizers, classes of a training script) becomes an object of which only the class name is
//! stored. (candle's reader supports fewer opcodes and uses the first tensors as the network.)
//!
//! Values are stored in one arena and refer to each other by index, so deep nesting cannot overflow the stack on drop.
//! Their number is limited.

use super::{
    globals::{Global, Numbers},
    tensor::{Storage, Strided},
};
use anyhow::{Context, Result, bail, ensure};
use std::{collections::HashMap, io::Read};

/// Maximum number of values in one pickle, including copied references.
const MOST_VALUES: usize = 1 << 20;
/// Maximum length of a storage name, in bytes.
const LONGEST_KEY: usize = 64;
/// Maximum length of a text line in the oldest protocols, in bytes.
const LONGEST_LINE: usize = 1 << 16;

/// Index of a value in [`Pickle::nodes`].
pub(super) type Id = usize;

#[derive(Clone, Debug)]
pub(super) enum PickleNode {
    /// Values that weights do not need: none, floats, bytes, integers beyond 64 bits.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    Global(Global),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// An object of any other class or function: its name, and the dict items set on it.
    Object(String, Vec<(Id, Id)>),
    /// Index into [`Pickle::storages`], and the element type.
    Storage(usize, Numbers),
    Tensor(Strided),
    /// A tensor of an unsupported type, and the reason.
    Unread(String),
    /// An invalid tensor, and the reason.
    Broken(String),
}

/// Result of a pickle.
#[derive(Debug, Default)]
pub(super) struct Pickle {
    pub nodes: Vec<PickleNode>,
    pub storages: Vec<Storage>,
    /// Indices into `storages` by key.
    pub keys: HashMap<String, usize>,
    pub root: Id,
}

/// Reads one pickle of at most `limit` bytes and nothing after it.
///
/// # Errors
/// See the module; also a pickle that is truncated, or that creates too many values.
pub(super) fn read(file: &mut impl Read, limit: u64) -> Result<Pickle> {
    let mut machine = PickleMachine::new(file.take(limit));
    loop {
        let at = limit - machine.file.limit();
        let step = machine.step().with_context(|| format!("in its pickle, at byte {at}"))?;
        if step == PickleStep::Stop {
            return Ok(machine.pickle);
        }
    }
}

#[derive(PartialEq)]
enum PickleStep {
    Go,
    Stop,
}

/// Python's stack machine for pickles.
pub(super) struct PickleMachine<R> {
    file: std::io::Take<R>,
    pickle: Pickle,
    stack: Vec<Id>,
    /// Stack heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    made: usize,
}

impl<R: Read> PickleMachine<R> {
    fn new(file: std::io::Take<R>) -> Self {
        let (pickle, stack, marks, memo) = Default::default();
        Self { file, pickle, stack, marks, memo, made: 0 }
    }

    /// Executes one opcode; letters are those of the protocols.
    fn step(&mut self) -> Result<PickleStep> {
        let [opcode] = self.bytes()?;
        match opcode {
            b'.' => {
                self.pickle.root = self.pop()?;
                return Ok(PickleStep::Stop);
            }
            0x80 => self.protocol()?,
            0x95 => drop(self.bytes::<8>()?), // a frame's length
            b'(' => self.mark()?,
            b'0' | b'1' | b'2' => self.rearrange(opcode)?,
            b'N' | b'G' | b'F' | 0x88 | 0x89 => self.simple(opcode)?,
            b'I' | b'J' | b'K' | b'L' | b'M' | 0x8a | 0x8b => self.integer(opcode)?,
            b'X' | b'U' | b'T' | b'V' | b'S' | 0x8c | 0x8d => self.text(opcode)?,
            b'B' | b'C' | 0x8e | 0x96 => self.binary(opcode)?,
            0x97 => self.push(PickleNode::Other)?, // a buffer outside the pickle
            0x98 => {}                             // made read-only
            b')' | b't' | 0x85..=0x87 => self.tuple(opcode)?,
            b']' | b'l' | 0x8f | 0x91 | b'}' | b'd' => self.container(opcode)?,
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode)?,
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(opcode)?,
            b'c' | 0x93 | 0x82..=0x84 => self.global(opcode)?,
            b'P' | b'Q' => self.persistent(opcode)?,
            b'R' | 0x81 | 0x92 | b'i' | b'o' => self.call(opcode)?,
            b'b' => drop(self.pop()?), // attributes, such as the versions of a state dict's modules
            other => bail!(
                "opcode {other:#04x}{} is not a pickle opcode: it is corrupt",
                if other.is_ascii_graphic() { format!(" (`{}`)", other as char) } else { String::new() }
            ),
        }
        Ok(PickleStep::Go)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file
            .read_exact(&mut bytes)
            .context("it ends in the middle: the file is truncated or corrupt")?;
        Ok(bytes)
    }

    /// Reads `length` bytes; checks that they exist before allocating memory for them.
    pub(super) fn block(&mut self, length: u64) -> Result<Vec<u8>> {
        ensure!(
            length <= self.file.limit(),
            "a text of {length} bytes is longer than the pickle: it is corrupt"
        );
        let mut bytes = vec![];
        self.file.by_ref().take(length).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 == length, "it ends in the middle: the file is truncated or corrupt");
        Ok(bytes)
    }

    pub(super) fn line(&mut self) -> Result<Vec<u8>> {
        let mut line = vec![];
        loop {
            match self.bytes()? {
                [b'\n'] => return Ok(line),
                [byte] => line.push(byte),
            }
            ensure!(line.len() <= LONGEST_LINE, "a line has no end: it is corrupt");
        }
    }

    fn line_of_text(&mut self) -> Result<String> {
        String::from_utf8(self.line()?).context("a name is not UTF-8: it is corrupt")
    }

    fn spend(&mut self, values: usize) -> Result<()> {
        self.made += values;
        ensure!(
            self.made <= MOST_VALUES,
            "it creates more than {MOST_VALUES} values, more than any state dict"
        );
        Ok(())
    }

    pub(super) fn push(&mut self, node: PickleNode) -> Result<()> {
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
        let mark = self.marks.pop().context("it closes a mark that is not open: it is corrupt")?;
        Ok(self.stack.split_off(mark))
    }

    fn protocol(&mut self) -> Result<()> {
        let [version] = self.bytes()?;
        ensure!(version <= 5, "protocol {version} is not supported; save with protocol 2 to 5");
        Ok(())
    }

    /// Opcodes that remove or duplicate stack values.
    fn rearrange(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            b'2' => {
                self.spend(1)?;
                let top = self.top()?;
                self.stack.push(top);
            }
            b'0' if self.marks.last() != Some(&self.stack.len()) => drop(self.pop()?),
            _ => drop(self.pop_to_mark()?),
        }
        Ok(())
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
        self.push(PickleNode::Tuple(items))
    }

    /// Creates a list, a set (as a list) or a dict, empty or from the values above the mark.
    fn container(&mut self, opcode: u8) -> Result<()> {
        let items = if matches!(opcode, b'l' | b'd' | 0x91) { self.pop_to_mark()? } else { vec![] };
        let node = if matches!(opcode, b'}' | b'd') {
            PickleNode::Dict(pairs(&items)?)
        } else {
            PickleNode::List(items)
        };
        self.push(node)
    }

    /// Adds items to the list or object, or pairs to the dict or object, below them on the stack.
    fn fill(&mut self, opcode: u8) -> Result<()> {
        let mut items = match opcode {
            b'e' | b'u' | 0x90 => self.pop_to_mark()?,
            b'a' => vec![self.pop()?],
            _ => vec![self.pop()?, self.pop()?],
        };
        if opcode == b's' {
            items.reverse();
        }
        let into = self.top()?;
        match (opcode, &mut self.pickle.nodes[into]) {
            (b'a' | b'e' | 0x90, PickleNode::List(list)) => list.append(&mut items),
            (b'a' | b'e' | 0x90, PickleNode::Object(..)) => {}
            (b's' | b'u', PickleNode::Dict(dict) | PickleNode::Object(_, dict)) => {
                dict.append(&mut pairs(&items)?)
            }
            _ => bail!("it adds items to a value that is not a list or dict: it is corrupt"),
        }
        Ok(())
    }

    fn memory(&mut self, opcode: u8) -> Result<()> {
        let key = match opcode {
            b'q' | b'h' => u32::from(self.bytes::<1>()?[0]),
            b'r' | b'j' => u32::from_le_bytes(self.bytes()?),
            b'p' | b'g' => self.line_of_text()?.parse().context("a memo has no number: it is corrupt")?,
            _ => self.memo.len() as u32,
        };
        self.spend(1)?;
        if matches!(opcode, b'g' | b'h' | b'j') {
            let known = self.memo.get(&key).copied();
            self.stack.push(known.context("it recalls a value that it did not memoize: it is corrupt")?);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let global = match opcode {
            b'c' => Global::named(&self.line_of_text()?, &self.line_of_text()?),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let nodes = &self.pickle.nodes;
                Global::named(nodes[module].text()?, nodes[name].text()?)
            }
            _ => {
                // Names registered outside the pickle, as a number of 1, 2 or 4 bytes.
                self.block(1 << (opcode - 0x82))?;
                Global::Other("a registered extension".into())
            }
        };
        self.push(PickleNode::Global(global))
    }

    /// A reference to data outside the pickle: a storage, or, in whole modules, a class with its source.
    fn persistent(&mut self, opcode: u8) -> Result<()> {
        if opcode == b'P' {
            self.line()?;
            return self.push(PickleNode::Object(
                "a reference in pickle protocol 0 (save with protocol 2)".into(),
                vec![],
            ));
        }
        let id = self.pop()?;
        let items = match &self.pickle.nodes[id] {
            PickleNode::Tuple(items) => items.iter().take(7).copied().collect(),
            _ => vec![],
        };
        match items.first().map(|id| &self.pickle.nodes[*id]) {
            Some(PickleNode::Text(kind)) if kind == "storage" => {
                let storage = self.storage(&items)?;
                self.push(storage)
            }
            Some(PickleNode::Text(kind)) if kind == "module" && items.len() > 1 => {
                self.spend(1)?;
                self.stack.push(items[1]);
                Ok(())
            }
            _ => self.push(PickleNode::Object("a reference to data outside the pickle".into(), vec![])),
        }
    }

    /// `('storage', type, key, device, count)`, followed by a view in the older format.
    fn storage(&mut self, items: &[Id]) -> Result<PickleNode> {
        let items: Vec<&PickleNode> = items.iter().map(|id| &self.pickle.nodes[*id]).collect();
        let [_, PickleNode::Global(kind), PickleNode::Text(key), _, PickleNode::Int(count), view @ ..] =
            &items[..]
        else {
            return Ok(PickleNode::Object("a storage of an unknown form".into(), vec![]));
        };
        let Global::Storage(numbers) = kind else {
            return Ok(PickleNode::Object(format!("numbers of the type `{}`", kind.name()), vec![]));
        };
        if !matches!(view, [] | [PickleNode::Other]) {
            return Ok(PickleNode::Object("a view of a storage".into(), vec![]));
        }
        ensure!(key.len() <= LONGEST_KEY, "a storage has a name of {} bytes: it is corrupt", key.len());
        let count = usize::try_from(*count).context("a storage has a negative size")?;
        let storage = Storage { key: key.clone(), width: numbers.width(), count };
        let numbers = *numbers;
        let Pickle { storages, keys, .. } = &mut self.pickle;
        let index = *keys.entry(storage.key.clone()).or_insert(storages.len());
        match storages.get(index) {
            None => storages.push(storage),
            Some(known) if known.bytes()? == storage.bytes()? => {}
            Some(_) => bail!("storage `{}` has two sizes: it is corrupt", storage.key),
        }
        Ok(PickleNode::Storage(index, numbers))
    }

    /// Calls, and objects created by their class.
    fn call(&mut self, opcode: u8) -> Result<()> {
        let (function, arguments) = match opcode {
            b'i' => {
                let global = Global::named(&self.line_of_text()?, &self.line_of_text()?);
                (global, self.pop_to_mark()?)
            }
            b'o' => {
                let items = self.pop_to_mark()?;
                let (class, arguments) =
                    items.split_first().context("it creates an object without a class")?;
                (self.function(*class), arguments.to_vec())
            }
            _ => {
                if opcode == 0x92 {
                    self.pop()?; // arguments by name
                }
                let (arguments, function) = (self.pop()?, self.pop()?);
                let PickleNode::Tuple(items) = &self.pickle.nodes[arguments] else {
                    bail!("it calls with arguments that are not a tuple: it is corrupt")
                };
                (self.function(function), items.clone())
            }
        };
        self.spend(arguments.len())?;
        let made = self.pickle.made(&function, &arguments)?;
        if let PickleNode::Dict(pairs) = &made {
            self.spend(pairs.len())?;
        }
        self.push(made)
    }

    /// The function called: a name, or the name of the object's class.
    fn function(&self, id: Id) -> Global {
        match &self.pickle.nodes[id] {
            PickleNode::Global(global) => global.clone(),
            PickleNode::Object(class, _) => Global::Other(class.clone()),
            _ => Global::Other("a value that is not a function".into()),
        }
    }
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>> {
    ensure!(items.len().is_multiple_of(2), "it fills a dict with half a pair: it is corrupt");
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
