//! The section `monitor:` of a pretext stage.

use crate::{
    bounded::{Count, Pixels, Positive},
    data::source::{DataSpec, SourceSpec},
    nn::length::Length,
    old_key::OldKey,
    probe::{
        knn::{KnnSpec, Vote},
        softmax::SoftmaxSpec,
    },
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Visitor};
use std::{borrow::Cow, fmt};

/// Neighbors that vote by default.
const NEIGHBORS: usize = 20;

/// Measurements of the representation during training. In YAML: `monitor: { every: 500 }`. Not part of a stage's
/// hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSpec {
    /// Length between measurements, in updates or as `1 epoch`; also before the first update and after the last.
    pub every: Length,
    /// Pictures; default: those of the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<MonitorDataSpec>,
    /// Largest numbers of pictures.
    pub pictures: MonitorPictures,
    /// Layers; default: those that linear probes read, else at most five, spread over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<String>>,
    /// Nearest neighbors; default: if the pictures have labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn: Option<MonitorKnnSpec>,
    /// Linear probe; default: if the pictures have labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<SoftmaxSpec>,
    /// Maximum number of features per layer, on the grid of a linear probe; default: the mean over the map, one for
    /// each channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Count>,
    /// Most time that measurements take, as a share of the time of the updates: `0.05` or `5 %`. The last is always
    /// made, the others if they fit beside it.
    pub budget: Share,
}

impl Default for MonitorSpec {
    fn default() -> Self {
        Self {
            every: Length::Steps(Count::of(500)),
            data: None,
            pictures: MonitorPictures::default(),
            layers: None,
            knn: None,
            probe: None,
            dimensions: None,
            budget: Share(0.05),
        }
    }
}

impl MonitorSpec {
    /// Whether labels are asked for by name.
    pub fn needs_labels(&self) -> bool {
        self.knn.is_some() || self.probe.is_some()
    }

    /// Options of the vote in a bank of so many pictures: weighted, with one number of neighbors.
    pub fn neighbors(&self, bank: usize) -> KnnSpec {
        let MonitorKnnSpec { neighbors, temperature } = self.knn.unwrap_or_default();
        let neighbors = neighbors.unwrap_or(Count::of(NEIGHBORS.min(bank)));
        KnnSpec { neighbors: vec![neighbors], vote: Vote::Weighted, temperature }
    }

    /// The pictures of its own section, framed as those of the `stage` unless it says otherwise; None without a section.
    pub fn own_data(&self, stage: &DataSpec) -> Option<DataSpec> {
        let MonitorDataSpec { source, resize, crop } = self.data.clone()?;
        let (resize, crop) = match crop {
            Some(crop) => (resize, crop),
            None => (resize.or(stage.resize), stage.crop),
        };
        let (max_bad, threads) = (stage.max_bad, stage.threads);
        // Each picture is decoded once, so that decoded ones need not be kept.
        Some(DataSpec { resize, max_bad, threads, cache: false, ..DataSpec::new(source, crop) })
    }
}

/// Labeled pictures that were held out. In YAML: `data: { source: { catalog: cifar10 } }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Pictures of a monitor")]
pub struct MonitorDataSpec {
    /// The training split is the bank, the validation split the test.
    pub source: SourceSpec,
    /// Short side in pixels after resizing; default: that of the stage, unless `crop` is given.
    #[serde(default)]
    pub resize: Option<Pixels>,
    /// Side of the central crop in pixels; default: that of the stage.
    #[serde(default)]
    pub crop: Option<Pixels>,
}

/// Largest numbers of pictures of a monitor. They are drawn evenly over the classes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Numbers of pictures of a monitor")]
pub struct MonitorPictures {
    /// Neighbors, and pictures that the probe is fitted on; of the training split.
    pub bank: Count<65_535>,
    /// Pictures that are classified; of the validation split.
    pub test: Count<65_535>,
}

impl Default for MonitorPictures {
    fn default() -> Self {
        Self { bank: Count::of(2000), test: Count::of(500) }
    }
}

/// Nearest neighbors of a monitor; defaults of DINO's evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Nearest neighbors of a monitor", transform = OldKey("neighbours", "neighbors"))]
pub struct MonitorKnnSpec {
    /// Number of neighbors that vote; default: 20, or the whole bank if it is smaller.
    #[serde(alias = "neighbours", skip_serializing_if = "Option::is_none")]
    pub neighbors: Option<Count>,
    /// Temperature τ of the weights exp(similarity / τ).
    pub temperature: Positive,
}

impl Default for MonitorKnnSpec {
    fn default() -> Self {
        Self { neighbors: None, temperature: Positive::of(0.07) }
    }
}

/// A share, 0 to 1. In YAML: `0.05` or `5 %`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share(f64);

impl Share {
    /// The share itself.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the digits that a binary fraction adds: 7 %, not 7.000000000000001 %.
        write!(f, "{} %", (1e8 * self.0).round() / 1e6)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ShareVisitor)
    }
}

impl JsonSchema for Share {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let percent = r"^\s*(100(\.0*)?|[0-9]{1,2}(\.[0-9]*)?)\s*%$";
        json_schema!({
            "oneOf": [
                { "type": "number", "minimum": 0, "maximum": 1 },
                { "type": "string", "pattern": percent },
            ],
        })
    }
}

struct ShareVisitor;

impl ShareVisitor {
    fn within<E: serde::de::Error>(value: f64) -> Result<Share, E> {
        let share = (0.0..=1.0).contains(&value).then_some(Share(value));
        share.ok_or_else(|| E::custom(format!("expected a share from 0 to 1, or 0 % to 100 %, got {value}")))
    }
}

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as 0.05 or 5 %")
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Share, E> {
        Self::within(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Share, E> {
        Self::within(value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Share, E> {
        Self::within(value as f64)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Share, E> {
        let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let Some(percent) = percent else {
            return Err(E::custom(format!("expected a share such as 0.05 or 5 %, got `{text}`")));
        };
        Self::within(percent / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_numbers_or_percentages() {
        let read = |text: &str| serde_json::from_str::<Share>(text).map_err(|error| error.to_string());
        for (text, share) in [("0.05", 0.05), ("\"5 %\"", 0.05), ("\"12.5%\"", 0.125), ("0", 0.0), ("1", 1.0)]
        {
            assert_eq!(read(text).map(Share::get), Ok(share), "{text}");
        }
        for text in ["2", "-1", "\"120 %\"", "\"five\"", "\"5\"", "true", "\"-1 %\""] {
            let error = read(text).unwrap_err();
            assert!(error.contains("share"), "{text}: {error}");
        }
        assert_eq!(Share(0.07).to_string(), "7 %");
    }

    #[test]
    fn own_pictures_are_framed_as_those_of_the_stage_unless_told() {
        let stage: DataSpec = serde_json::from_str(
            r#"{"source": {"scenes": {"train": 9, "val": 9}}, "resize": 80, "crop": 64, "max_bad": 0.5}"#,
        )
        .unwrap();
        let own = |data: &str| {
            let text = format!(r#"{{"data": {{"source": {{"catalog": "cifar10"}} {data}}}}}"#);
            let own = serde_json::from_str::<MonitorSpec>(&text).unwrap().own_data(&stage).unwrap();
            (own.resize.map(Count::get), own.crop.get(), own.max_bad.get(), own.cache)
        };
        assert_eq!(own(""), (Some(80), 64, 0.5, false));
        assert_eq!(own(r#", "resize": 72"#), (Some(72), 64, 0.5, false));
        assert_eq!(own(r#", "crop": 32"#), (None, 32, 0.5, false));
        assert!(MonitorSpec::default().own_data(&stage).is_none());
    }
}
