//! Networks stored inside another: under a prefix (`net.conv1`, `encoder.features.0`), or as one of several columns
//! that share their weights (`conv1_s1` … `conv1_s9` of the jigsaw network).

use crate::nn::weights::Named;

/// Names that begin every network known here.
const FIRST: [&str; 4] = ["conv1.weight", "conv1_1.weight", "features.0.weight", "model1.0.weight"];

/// The tensors of the network inside, under its own names, and what was done, in sentences; None where there is nothing
/// to take off. What does not belong to it keeps its name, or is left out if it repeats it.
pub(super) fn unwrapped(tensors: &Named) -> Option<(Named, Vec<String>)> {
    if FIRST.iter().any(|first| tensors.contains_key(*first)) {
        return None;
    }
    column(tensors).or_else(|| prefixed(tensors))
}

fn prefixed(tensors: &Named) -> Option<(Named, Vec<String>)> {
    let prefixes = tensors.keys().flat_map(|name| FIRST.iter().filter_map(|first| name.strip_suffix(first)));
    let prefix = prefixes.filter(|prefix| prefix.ends_with('.')).min_by_key(|prefix| prefix.len())?;
    let bare = |name: &String| name.strip_prefix(prefix).unwrap_or(name).to_string();
    let inside = tensors.iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect();
    Some((inside, vec![format!("`{prefix}` taken off the names")]))
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
        "the first of several columns: `_s1` taken off the names, {repeated} tensors of others left out"
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
            let got = unwrapped(&named(names)?);
            let got = got.map(|(inside, _)| inside.into_keys().collect::<Vec<_>>());
            assert_eq!(
                got.as_deref().map(|names| names.iter().map(String::as_str).collect()),
                wanted.map(<[&str]>::to_vec)
            );
        }
        Ok(())
    }
}
