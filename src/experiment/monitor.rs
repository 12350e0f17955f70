//! Measurements of a representation during training, as planned and at run time.

use crate::{
    backbones::{
        alexnet::CONVOLUTIONS,
        table::{Layer, Role, sizes, tap},
    },
    data::{crop_policy::CropPolicy, source::DataSpec},
    evaluation::monitor::{MonitorPictures, MonitorSpec, bytes},
    key_error::KeyError,
    spec::Diagnostic,
    text::counted,
};
use anyhow::Result;
use std::fmt::{self, Display, Formatter};

/// Layers that linear probes and the stages of a ResNet are known by.
const USUAL: [&[&str]; 2] = [&CONVOLUTIONS, &["layer1", "layer2", "layer3", "layer4"]];
/// Number of layers that are read where none of these are there.
const SPREAD: usize = 5;

/// The plan of a monitor. It does not affect the result.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorPlan {
    pub spec: MonitorSpec,
    pub layers: Vec<String>,
    /// The bank is drawn from the training split, the test from the validation split.
    pub data: DataSpec,
}

impl MonitorPlan {
    /// The plan for a network of these rows, trained on the pictures of `stage`; pictures are padded to a `multiple`.
    ///
    /// # Errors
    /// A layer that the network does not have; more neighbors than pictures; pictures too small for a layer.
    pub fn new(spec: &MonitorSpec, rows: &[Layer], stage: &DataSpec, multiple: usize) -> Result<Self> {
        let known = rows.iter().filter(|row| row.role != Role::Head).filter_map(|row| row.tap.as_deref());
        let known: Vec<&str> = known.collect();
        let layers = spec.layers.clone().unwrap_or_else(|| usual_layers(&known));
        if let Some(at) = layers.iter().position(|layer| !known.contains(&layer.as_str())) {
            let Diagnostic { message, note, .. } = Diagnostic::unknown("layer", &layers[at], &known);
            return Err(KeyError::new(["monitor", "layers", &at.to_string()], message).advice(note).into());
        }
        let neighbors = spec.knn.and_then(|knn| knn.neighbors);
        if let Some(neighbors) = neighbors.filter(|neighbors| neighbors.get() > spec.pictures.bank.get()) {
            let reason = format!(
                "{neighbors} neighbors of a bank of {}",
                counted(spec.pictures.bank.get(), "picture")
            );
            let wrong = KeyError::new(["monitor", "knn", "neighbors"], reason).at_value();
            return Err(wrong.advice("give fewer, or a larger `pictures.bank`").into());
        }
        let MonitorPictures { bank, test } = spec.pictures;
        if let Some((key, _)) =
            [("bank", bank), ("test", test)].into_iter().find(|(_, count)| count.get() < 2)
        {
            let wrong =
                KeyError::new(["monitor", "pictures", key], "one picture has no others to compare it with");
            return Err(wrong.at_value().advice("give at least 2, better hundreds").into());
        }
        let own = spec.own_data(stage);
        let keys = own.as_ref().map_or(&["data", "crop"][..], |_| &["monitor", "data", "crop"]);
        let misfit = |reason: String| KeyError::new(keys.iter().copied(), reason);
        let data = own.unwrap_or_else(|| stage.clone());
        let framing = CropPolicy::from_spec(&data).map_err(|error| misfit(error.to_string()))?;
        let side = framing.side().next_multiple_of(multiple);
        let last = layers.iter().filter_map(|layer| tap(rows, layer)).max().unwrap_or(0);
        sizes(&rows[..=last], 0, (side, side)).map_err(|error| misfit(error.to_string()))?;
        Ok(Self { spec: spec.clone(), layers, data })
    }

    /// Number of pictures that a measurement takes through the network.
    pub fn passes(&self) -> usize {
        self.spec.pictures.bank.get() + 3 * self.spec.pictures.test.get()
    }
}

/// The usual layers of which most are `known` (a ResNet has a `conv1` too), else some of all, evenly spread, the last of
/// them included.
pub fn usual_layers(known: &[&str]) -> Vec<String> {
    let found =
        USUAL.map(|usual| usual.iter().copied().filter(|name| known.contains(name)).collect::<Vec<_>>());
    let spread =
        (1..=SPREAD).filter_map(|i| known.get((i * known.len()).div_ceil(SPREAD).checked_sub(1)?).copied());
    let most = found.into_iter().filter(|found| !found.is_empty()).max_by_key(Vec::len);
    let mut layers = most.unwrap_or_else(|| spread.collect());
    layers.dedup();
    layers.into_iter().map(String::from).collect()
}

impl Display for MonitorPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { spec: MonitorSpec { every, pictures, budget, .. }, layers, data } = self;
        let megabytes = bytes(*pictures, data.crop.get()) as f64 / 1e6;
        writeln!(f, "monitor  {}, every {every}, in at most {budget} of the time", layers.join(", "))?;
        write!(
            f,
            "         at most {} pictures of {} as a bank and {} as a test, {megabytes:.1} MB",
            pictures.bank, data.source, pictures.test
        )
    }
}

#[cfg(test)]
mod tests {
    use super::usual_layers;

    #[test]
    fn usual_layers_come_first_and_others_are_spread() {
        assert_eq!(usual_layers(&["conv1", "norm1", "conv2", "pool5"]), ["conv1", "conv2"]);
        assert_eq!(usual_layers(&["conv1", "maxpool", "layer1.0", "layer1", "layer2"]), ["layer1", "layer2"]);
        let many: Vec<String> = (1..14).map(|i| format!("c{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(usual_layers(&many), ["c3", "c6", "c8", "c11", "c13"]);
        assert_eq!(usual_layers(&["a", "b"]), ["a", "b"]);
    }
}
