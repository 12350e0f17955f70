//! Finds the dict with the network's weights in a checkpoint.
//!
//! Training scripts save a state dict alone, or under a key of their own together with an optimizer, counters, a best
//! accuracy (sometimes as a tensor), averages of the weights, or a second network. Every dict with tensors is
//! therefore collected with its path of keys, and these are ranked. If several have the same rank, the user must
//! choose.

use super::{
    pickle::{Id, Pickle, PickleNode},
    tensor::Strided,
};
use crate::nn::weights::key::{NetworkCandidate, SeveralNetworks, begins_with};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashSet};

/// Words in keys of networks, alone or joined by `_`: `state_dict`, `model_ema`, `netG`.
const WORDS: [&str; 31] = [
    "state",
    "dict",
    "statedict",
    "model",
    "net",
    "network",
    "params",
    "param",
    "parameters",
    "weights",
    "weight",
    "generator",
    "gen",
    "g",
    "netg",
    "colorizer",
    "teacher",
    "student",
    "ema",
    "swa",
    "avg",
    "averaged",
    "target",
    "online",
    "module",
    "backbone",
    "encoder",
    "best",
    "last",
    "checkpoint",
    "ckpt",
];
/// Prefixes that PyTorch wrappers add to every name: data-parallel and sharded training, compiled modules.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module."];
/// Maximum depth of nested dicts that are searched.
const DEEPEST: usize = 8;

/// The tensors of a network.
pub(super) struct Chosen {
    pub tensors: Vec<(String, Strided)>,
    /// Tensors of unsupported types, with the reason.
    pub unread: BTreeMap<String, String>,
    pub notes: Vec<String>,
}

/// The tensors below `key`, or of the highest-ranked dict if there is no key. Prefixes of PyTorch wrappers are removed
/// from the names.
///
/// # Errors
/// [`SeveralNetworks`]; no dict of tensors, with a description of the contents; an invalid tensor.
pub(super) fn chosen(pickle: &Pickle, key: Option<&str>) -> Result<Chosen> {
    let all = collected(pickle, pickle.root);
    let Some(key) = key.filter(|key| !key.is_empty()) else { return picked(pickle, all, "") };
    if key == "." {
        return taken(pickle, pickle.root, "");
    }
    match found(pickle, pickle.root, key) {
        Some((id, "")) => picked(pickle, collected(pickle, id), key),
        Some((id, prefix)) => taken(pickle, id, prefix),
        None => {
            let shown = all.iter().map(|dict| format!("`{}`", dict.name())).take(12).collect::<Vec<_>>();
            let inside = picked(pickle, all, "").ok().and_then(|chosen| chosen.below(key));
            inside.with_context(|| {
                format!("it holds nothing under `{key}`; it holds tensors under {}", shown.join(", "))
            })
        }
    }
}

impl Chosen {
    /// Those whose names begin with `prefix`, if any.
    fn below(self, prefix: &str) -> Option<Self> {
        let bare = |name: &str| begins_with(name, prefix).map(String::from);
        let tensors: Vec<_> =
            self.tensors.into_iter().filter_map(|(name, t)| Some((bare(&name)?, t))).collect();
        let unread = self.unread.into_iter().filter_map(|(name, why)| Some((bare(&name)?, why))).collect();
        (!tensors.is_empty()).then_some(Self { tensors, unread, notes: self.notes })
    }
}

/// A dict with tensors.
struct Dict {
    id: Id,
    path: Vec<String>,
    tensors: usize,
    parameters: u64,
    /// At least half of its keys are parameter names, with dots between modules.
    dotted: bool,
}

impl Dict {
    fn name(&self) -> String {
        if self.path.is_empty() { ".".into() } else { self.path.join(".") }
    }

    /// Whether its keys are typical keys of networks.
    fn known(&self) -> bool {
        let word = |word: &str| WORDS.contains(&word) || word.chars().all(|c| c.is_ascii_digit());
        self.path.iter().all(|key| key.to_lowercase().split(['_', '-', ' ']).all(word))
    }

    /// Lower ranks are more likely networks.
    fn rank(&self) -> usize {
        match (self.dotted, self.known()) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        }
    }

    /// Whether `other` is inside this dict and more likely the network: single tensors next to a state dict are not a
    /// network.
    fn yields_to(&self, other: &Self) -> bool {
        let inside = other.path.len() > self.path.len() && other.path.starts_with(&self.path);
        inside && other.known() && (!self.dotted || other.tensors >= self.tensors)
    }
}

/// All dicts of tensors reachable from `root` through dicts, lists and tuples.
fn collected(pickle: &Pickle, root: Id) -> Vec<Dict> {
    let (mut found, mut seen) = (vec![], HashSet::new());
    let mut waiting = vec![(root, vec![])];
    while let Some((id, path)) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let below = below(pickle, id);
        found.extend(dict(pickle, id, &path));
        if path.len() < DEEPEST {
            let inner = below.into_iter().rev().map(|(key, id)| (id, [path.as_slice(), &[key]].concat()));
            waiting.extend(inner);
        }
    }
    found
}

/// Containers in a container, with their keys.
fn below(pickle: &Pickle, id: Id) -> Vec<(String, Id)> {
    let contains = |id: &Id| {
        matches!(
            pickle.nodes[*id],
            PickleNode::Dict(_) | PickleNode::Object(..) | PickleNode::List(_) | PickleNode::Tuple(_)
        )
    };
    match &pickle.nodes[id] {
        PickleNode::Dict(pairs) | PickleNode::Object(_, pairs) => {
            let inner = pairs.iter().filter(|(_, value)| contains(value));
            inner.filter_map(|(key, value)| Some((pickle.key(*key)?, *value))).collect()
        }
        PickleNode::List(items) | PickleNode::Tuple(items) => {
            let inner = items.iter().enumerate().filter(|(_, id)| contains(id));
            inner.map(|(place, id)| (place.to_string(), *id)).collect()
        }
        _ => vec![],
    }
}

fn dict(pickle: &Pickle, id: Id, path: &[String]) -> Option<Dict> {
    let pairs = pickle.pairs_of(id)?;
    let (mut tensors, mut parameters, mut dotted) = (0, 0u64, 0);
    for (key, value) in pairs {
        let PickleNode::Text(name) = &pickle.nodes[*key] else { continue };
        match &pickle.nodes[*value] {
            PickleNode::Tensor(tensor) => parameters = parameters.saturating_add(tensor.count() as u64),
            PickleNode::Unread(_) | PickleNode::Broken(_) => {}
            _ => continue,
        }
        tensors += 1;
        dotted += usize::from(name.contains('.'));
    }
    let dotted = 2 * dotted >= pairs.len();
    (tensors > 0).then(|| Dict { id, path: path.to_vec(), tensors, parameters, dotted })
}

/// The most likely network of `dicts`, which are below `key`.
fn picked(pickle: &Pickle, dicts: Vec<Dict>, key: &str) -> Result<Chosen> {
    let Some(best) = dicts.iter().map(Dict::rank).min() else { bail!("{}", pickle.without_tensors(key)) };
    let ranked: Vec<&Dict> = dicts.iter().filter(|dict| dict.rank() == best).collect();
    let fit: Vec<&Dict> =
        ranked.iter().copied().filter(|dict| !ranked.iter().any(|other| dict.yields_to(other))).collect();
    let name = |dict: &Dict| {
        if key.is_empty() {
            dict.name()
        } else {
            [&[key.to_string()], dict.path.as_slice()].concat().join(".")
        }
    };
    let candidate = |dict: &Dict| NetworkCandidate {
        key: name(dict),
        tensors: dict.tensors,
        parameters: dict.parameters,
    };
    let [one] = fit[..] else { return Err(SeveralNetworks(fit.into_iter().map(candidate).collect()).into()) };
    let mut chosen = taken(pickle, one.id, "")?;
    let others = dicts.iter().filter(|dict| dict.id != one.id && dict.rank() < 2);
    let others: Vec<_> = others.map(|dict| candidate(dict).to_string()).take(4).collect();
    if !one.path.is_empty() {
        chosen.notes.push(format!("the weights are those of `{}` in the checkpoint", name(one)));
    }
    if !others.is_empty() {
        chosen.notes.push(format!("the file also holds {}: choose with FILE#KEY", others.join(", ")));
    }
    Ok(chosen)
}

/// The dict that `key` leads to, and the rest of the key, which is a prefix of names in it.
fn found<'k>(pickle: &Pickle, id: Id, key: &'k str) -> Option<(Id, &'k str)> {
    for (name, inner) in below(pickle, id).iter().filter(|(name, _)| !name.is_empty()) {
        if name == key {
            return Some((*inner, ""));
        }
        let rest = key.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix(['.', '/']));
        if let Some(place) = rest.and_then(|rest| found(pickle, *inner, rest)) {
            return Some(place);
        }
    }
    let named = pickle.pairs_of(id)?.iter().any(|(name, value)| {
        let tensor = matches!(pickle.nodes[*value], PickleNode::Tensor(_) | PickleNode::Unread(_));
        tensor && pickle.nodes[*name].text().is_ok_and(|name| begins_with(name, key).is_some())
    });
    named.then_some((id, key))
}

/// The tensors of one dict whose names begin with `prefix`, with the prefix removed.
fn taken(pickle: &Pickle, id: Id, prefix: &str) -> Result<Chosen> {
    let mut chosen = Chosen { tensors: vec![], unread: BTreeMap::new(), notes: vec![] };
    let pairs = pickle.pairs_of(id).unwrap_or_default();
    let tensor = |value: &Id| {
        matches!(pickle.nodes[*value], PickleNode::Tensor(_) | PickleNode::Unread(_) | PickleNode::Broken(_))
    };
    let named: Vec<(&str, &PickleNode)> = pairs
        .iter()
        .filter(|(_, value)| tensor(value))
        .filter_map(|(key, value)| Some((pickle.nodes[*key].text().ok()?, &pickle.nodes[*value])))
        .filter_map(|(name, value)| Some((begins_with(name, prefix)?, value)))
        .collect();
    let off = wrapping(&named);
    for (name, value) in named {
        let name = &name[off..];
        match value {
            PickleNode::Tensor(tensor) => chosen.tensors.push((name.into(), tensor.clone())),
            PickleNode::Unread(why) => drop(chosen.unread.insert(name.into(), why.clone())),
            PickleNode::Broken(why) => bail!("tensor `{name}`: {why}"),
            _ => {}
        }
    }
    if let (true, Some((name, why))) = (chosen.tensors.is_empty(), chosen.unread.iter().next()) {
        bail!("tensor `{name}` cannot be read: {why}")
    }
    ensure!(!chosen.tensors.is_empty(), "{}", pickle.without_tensors(prefix));
    Ok(chosen)
}

/// Length of the wrapper prefix of every name, in bytes.
fn wrapping(named: &[(&str, &PickleNode)]) -> usize {
    let mut off = 0;
    while let Some(prefix) =
        PREFIXES.iter().find(|prefix| named.iter().all(|(name, _)| name[off..].starts_with(**prefix)))
    {
        if named.is_empty() {
            break;
        }
        off += prefix.len();
    }
    off
}

impl Pickle {
    fn pairs_of(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self.nodes[id] {
            PickleNode::Dict(pairs) | PickleNode::Object(_, pairs) => Some(pairs),
            _ => None,
        }
    }

    fn key(&self, id: Id) -> Option<String> {
        match &self.nodes[id] {
            PickleNode::Text(key) => Some(key.clone()),
            PickleNode::Int(key) => Some(key.to_string()),
            _ => None,
        }
    }

    /// Describes the contents if no dict has tensors, and what to do.
    fn without_tensors(&self, key: &str) -> String {
        let tensors = self
            .nodes
            .iter()
            .filter(|n| matches!(n, PickleNode::Tensor(_) | PickleNode::Unread(_) | PickleNode::Broken(_)))
            .count();
        let what = match &self.nodes[self.root] {
            PickleNode::Object(class, _) => {
                format!("an object of `{}`, which was not run", crate::text::excerpt(class))
            }
            PickleNode::Tensor(_) | PickleNode::Unread(_) | PickleNode::Broken(_) => {
                "one tensor without a name".into()
            }
            PickleNode::Dict(pairs) => match self.object_in(pairs) {
                Some((key, class)) if tensors > 0 => {
                    format!("`{key}`, an object of `{class}`, which was not run, with the tensors inside")
                }
                _ if tensors > 0 => format!("{tensors} tensors, but none with a name"),
                _ => {
                    return format!(
                        "it holds no tensors{}: in PyTorch save `model.state_dict()`",
                        within(key)
                    );
                }
            },
            PickleNode::List(_) | PickleNode::Tuple(_) if tensors > 0 => {
                format!("{tensors} tensors without names")
            }
            _ => "no dict".into(),
        };
        format!("it holds no state dict{}, but {what}: in PyTorch save `model.state_dict()`", within(key))
    }

    /// The first object of a class among the values.
    fn object_in(&self, pairs: &[(Id, Id)]) -> Option<(String, String)> {
        pairs.iter().find_map(|(key, value)| match &self.nodes[*value] {
            PickleNode::Object(class, _) => Some((self.key(*key)?, crate::text::excerpt(class))),
            _ => None,
        })
    }
}

fn within(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" under `{key}`") }
}
