//! Results of the calls in a pickle, without calling anything.

use super::{
    globals::{Global, Numbers, Rebuild},
    pickle::{Id, Pickle, PickleNode},
    tensor::Strided,
};
use crate::element::Element;
use anyhow::{Context, Result, bail};

/// Maximum number of axes of a tensor.
const MOST_AXES: usize = 8;
/// Maximum nesting of functions that create tensors; PyTorch nests two.
const DEEPEST: usize = 4;

impl Pickle {
    pub(super) fn made(&self, function: &Global, arguments: &[Id]) -> Result<PickleNode> {
        Ok(match (function, arguments) {
            (Global::OrderedDict, []) => PickleNode::Dict(vec![]),
            (Global::OrderedDict, [pairs]) => PickleNode::Dict(self.pairs(*pairs)?),
            (Global::Size, [sizes]) => self.nodes[*sizes].clone(),
            (Global::Rebuild(how), _) => self.tensor(*how, arguments, DEEPEST)?,
            _ => PickleNode::Object(self.class(function, arguments), vec![]),
        })
    }

    /// The class of a call's result; Python's own object constructors have it as their first argument.
    fn class(&self, function: &Global, arguments: &[Id]) -> String {
        let name = function.name();
        let makes =
            ["copy_reg._reconstructor", "copyreg._reconstructor", "copyreg.__newobj__"].contains(&name);
        match arguments.first().map(|id| &self.nodes[*id]) {
            Some(PickleNode::Global(class)) if makes => class.name().into(),
            _ => name.into(),
        }
    }

    fn pairs(&self, list: Id) -> Result<Vec<(Id, Id)>> {
        let list = match &self.nodes[list] {
            PickleNode::List(list) => list,
            PickleNode::Dict(pairs) => return Ok(pairs.clone()),
            _ => bail!("an ordered dict is created from a value that is not a list"),
        };
        let pair = |id: &Id| match &self.nodes[*id] {
            PickleNode::Tuple(pair) | PickleNode::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => bail!("an ordered dict is created from items that are not pairs"),
        };
        list.iter().map(pair).collect()
    }

    fn tensor(&self, how: Rebuild, arguments: &[Id], depth: usize) -> Result<PickleNode> {
        let node = |place: usize| arguments.get(place).map(|id| &self.nodes[*id]);
        let tensor = match (how, arguments) {
            (Rebuild::Tensor, [_, _, _, _, ..]) => self.strided(arguments, None, node(6)),
            (Rebuild::Typed, [_, _, _, _, _, _, _, ..]) => self.strided(arguments, node(6), node(7)),
            (Rebuild::Around, [tensor, ..]) => Ok(match &self.nodes[*tensor] {
                inner @ (PickleNode::Tensor(_) | PickleNode::Unread(_) | PickleNode::Broken(_)) => {
                    inner.clone()
                }
                _ => unread("of an unknown form"),
            }),
            (Rebuild::Subclass, [inner, _, inner_arguments, ..]) => {
                match (&self.nodes[*inner], &self.nodes[*inner_arguments]) {
                    (PickleNode::Global(Global::Rebuild(how)), PickleNode::Tuple(inner)) if depth > 0 => {
                        self.tensor(*how, inner, depth - 1)
                    }
                    _ => Ok(unread("of an unknown class")),
                }
            }
            (Rebuild::Unread(what), _) => Ok(unread(what)),
            _ => Ok(PickleNode::Broken("it is created with too few arguments: it is corrupt".into())),
        };
        Ok(tensor.unwrap_or_else(|error| PickleNode::Broken(format!("{error:#}"))))
    }

    fn strided(
        &self,
        arguments: &[Id],
        dtype: Option<&PickleNode>,
        metadata: Option<&PickleNode>,
    ) -> Result<PickleNode> {
        let node = |place: usize| &self.nodes[arguments[place]];
        let (storage, numbers) = match node(0) {
            PickleNode::Storage(storage, numbers) => (*storage, *numbers),
            PickleNode::Object(what, _) => return Ok(unread(&format!("made of {what}"))),
            _ => bail!("a tensor is created from a value that is not a storage"),
        };
        let element = match element(numbers, dtype) {
            Ok(element) => element,
            Err(what) => return Ok(unread(&what)),
        };
        let bits = self.bits(metadata);
        if bits.conjugate {
            return Ok(unread("conjugated (complex)"));
        }
        let (shape, strides) = match (self.sizes(node(2), "shape")?, self.sizes(node(3), "stride")?) {
            (Some(shape), Some(strides)) => (shape, strides),
            _ => return Ok(unread(&format!("of more than {MOST_AXES} axes"))),
        };
        let offset = node(1).size("offset")?;
        let of = &self.storages[storage];
        let tensor = Strided::checked((storage, of), element, offset, shape, strides)?;
        Ok(PickleNode::Tensor(tensor.negated(bits.negative)))
    }

    /// None for more axes than are supported.
    fn sizes(&self, node: &PickleNode, what: &str) -> Result<Option<Vec<usize>>> {
        match node {
            PickleNode::Tuple(items) if items.len() > MOST_AXES => Ok(None),
            PickleNode::Tuple(items) => {
                items.iter().map(|id| self.nodes[*id].size(what)).collect::<Result<_>>().map(Some)
            }
            _ => bail!("the {what} of a tensor is not a tuple"),
        }
    }

    /// `{'neg': True, 'conj': False}`: operations that PyTorch has deferred on the values of the storage.
    fn bits(&self, metadata: Option<&PickleNode>) -> Bits {
        let Some(PickleNode::Dict(pairs)) = metadata else { return Bits::default() };
        let set = |bit: &str| {
            pairs.iter().any(|(key, value)| match (&self.nodes[*key], &self.nodes[*value]) {
                (PickleNode::Text(key), PickleNode::Bool(true)) => key == bit,
                _ => false,
            })
        };
        Bits { negative: set("neg"), conjugate: set("conj") }
    }
}

#[derive(Clone, Copy, Default)]
struct Bits {
    negative: bool,
    conjugate: bool,
}

/// The dtype of a storage, or the dtype given with it; else a description of the unsupported type.
fn element(numbers: Numbers, dtype: Option<&PickleNode>) -> Result<Element, String> {
    match (dtype, numbers) {
        (Some(PickleNode::Global(Global::Type(element))), _) => Ok(*element),
        (Some(PickleNode::Global(other)), _) => Err(format!("of the type `{}`", other.name())),
        (_, Numbers::Known(element)) => Ok(element),
        (_, Numbers::Untyped) => Err("of an unknown type".into()),
        (_, Numbers::Unread(what, _)) => Err(what.into()),
    }
}

fn unread(what: &str) -> PickleNode {
    PickleNode::Unread(format!("it is {what}; store plain float32 numbers"))
}

impl PickleNode {
    pub(super) fn text(&self) -> Result<&str> {
        match self {
            Self::Text(text) => Ok(text),
            _ => bail!("a name is not a text: it is corrupt"),
        }
    }

    fn size(&self, what: &str) -> Result<usize> {
        match self {
            Self::Int(value) => usize::try_from(*value)
                .with_context(|| format!("the {what} of a tensor is negative ({value})")),
            _ => bail!("the {what} of a tensor is not an integer of 64 bits"),
        }
    }
}
