//! Networks stored as part of another: under a prefix (`net.conv1`, `encoder.features.0`), or as one of several
//! columns with shared weights (`conv1_s1` … `conv1_s9` of the jigsaw network).

use crate::nn::weights::{Named, NetworkCandidate, SeveralNetworks};
use std::collections::BTreeSet;

/// First-layer names of all known networks.
const FIRST: [&str; 5] =
    ["conv1.weight", "conv1_1.weight", "bw_conv1_1.weight", "features.0.weight", "model1.0.weight"];

/// The tensors of the inner network under its own names, with notes; None if no prefix or suffix can be removed such
/// that the network `fits`. Other tensors keep their names, or are left out if they duplicate the network's.
///
/// # Errors
/// Several such networks under different prefixes.
pub(super) fn unwrapped(
    tensors: &Named,
    fits: impl Fn(&Named) -> bool,
) -> Result<Option<(Named, Vec<String>)>, SeveralNetworks> {
    if FIRST.iter().any(|first| tensors.contains_key(*first)) {
        return Ok(None);
    }
    if let Some(column) = column(tensors).filter(|(inside, _)| fits(inside)) {
        return Ok(Some(column));
    }
    let mut networks = prefixes(tensors);
    networks.retain(|prefix| fits(&below(tensors, prefix)));
    match networks[..] {
        [] => Ok(None),
        [prefix] => Ok(Some(without(prefix, tensors))),
        _ => Err(SeveralNetworks(networks.iter().map(|prefix| candidate(tensors, prefix)).collect())),
    }
}

/// Prefixes of first-layer names; of two nested prefixes only the outer one.
fn prefixes(tensors: &Named) -> Vec<&str> {
    let before = tensors.keys().flat_map(|name| FIRST.iter().filter_map(|first| name.strip_suffix(first)));
    let all: BTreeSet<&str> = before.filter(|prefix| prefix.ends_with('.')).collect();
    let outer = |prefix: &&str| !all.iter().any(|other| other != prefix && prefix.starts_with(other));
    all.iter().copied().filter(outer).collect()
}

/// The tensors whose names begin with `prefix`, with the prefix removed.
fn below(tensors: &Named, prefix: &str) -> Named {
    let bare =
        |(name, tensor): (&String, &_)| Some((name.strip_prefix(prefix)?.to_string(), Clone::clone(tensor)));
    tensors.iter().filter_map(bare).collect()
}

fn without(prefix: &str, tensors: &Named) -> (Named, Vec<String>) {
    let bare = |name: &String| name.strip_prefix(prefix).unwrap_or(name).to_string();
    let inside = tensors.iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect();
    (inside, vec![format!("prefix `{prefix}` removed from the names")])
}

fn candidate(tensors: &Named, prefix: &str) -> NetworkCandidate {
    let inside = below(tensors, prefix);
    let parameters = inside.values().map(|tensor| tensor.elem_count() as u64).sum();
    NetworkCandidate { key: prefix.trim_end_matches('.').into(), tensors: inside.len(), parameters }
}

fn column(tensors: &Named) -> Option<(Named, Vec<String>)> {
    let number = |name: &str| {
        let (layer, part) = name.rsplit_once('.')?;
        let (layer, number) = layer.rsplit_once("_s")?;
        Some((format!("{layer}.{part}"), number.parse::<usize>().ok()?))
    };
    tensors.get("conv1_s1.weight")?;
    let mut inside = Named::new();
    let mut repeated = 0;
    for (name, tensor) in tensors {
        match number(name) {
            Some((bare, 1)) => drop(inside.insert(bare, tensor.clone())),
            Some(_) => repeated += 1,
            None => drop(inside.insert(name.clone(), tensor.clone())),
        }
    }
    let note = format!(
        "the first of several columns: `_s1` removed from the names, {repeated} tensors of other columns left out"
    );
    Some((inside, vec![note]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    fn named(names: &[&str]) -> candle_core::Result<Named> {
        let zero = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        Ok(names.iter().map(|name| (name.to_string(), zero.clone())).collect())
    }

    #[test]
    fn prefixes_and_columns_come_off() -> candle_core::Result<()> {
        let cases: [(&[&str], Option<&[&str]>); 4] = [
            (&["conv1.weight", "net.conv1.weight"], None),
            (
                &["head.bias", "net.conv1.weight", "net.fc8.bias"],
                Some(&["conv1.weight", "fc8.bias", "head.bias"]),
            ),
            (&["conv1_s1.weight", "conv1_s2.weight", "fc8.bias"], Some(&["conv1.weight", "fc8.bias"])),
            (&["bw_conv1_1.weight"], None),
        ];
        for (names, wanted) in cases {
            let got = unwrapped(&named(names)?, |_| true).expect("one network");
            let got = got.map(|(inside, _)| inside.into_keys().collect::<Vec<_>>());
            assert_eq!(
                got.as_deref().map(|names| names.iter().map(String::as_str).collect()),
                wanted.map(<[&str]>::to_vec)
            );
        }
        Ok(())
    }

    #[test]
    fn two_networks_side_by_side_are_both_named() -> candle_core::Result<()> {
        let both = named(&["m.q.conv1.weight", "m.q.fc8.bias", "m.k.conv1.weight", "queue"])?;
        let Err(SeveralNetworks(networks)) = unwrapped(&both, |_| true) else { panic!("one was chosen") };
        let named =
            networks.iter().map(|network| (network.key.as_str(), network.tensors)).collect::<Vec<_>>();
        assert_eq!(named, [("m.k", 1), ("m.q", 2)]);
        let one = unwrapped(&both, |inside| inside.contains_key("fc8.bias")).expect("one fits");
        assert!(one.is_some_and(|(inside, _)| inside.contains_key("conv1.weight")));
        Ok(())
    }
}
