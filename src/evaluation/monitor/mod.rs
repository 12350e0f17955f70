//! Measures the layers of a network while a pretext task trains it: nearest neighbors and a linear probe where there are
//! labels, and effective rank, spread, alignment and uniformity without any. Neighbors alone mislead on networks of
//! pretext tasks, whose linear probes can be good where neighbors are at 15 % (MoCo's and MMSelfSup's benchmarks), so each
//! layer gets both.
//!
//! Features are those of frozen statistics, without augmentation: the bank of the neighbors is embedded anew each time,
//! and is not a queue of past batches. RankMe, spread and uniformity are measured on the bank, alignment between two
//! augmented views of the test pictures: squares at a random scale and place, mirrored at random.

mod pictures; // decoded once, kept as bytes
mod spec;

pub use pictures::{MonitorSets, bytes};
pub use spec::{MonitorDataSpec, MonitorKnnSpec, MonitorPictures, MonitorSpec, Share};

use crate::{
    metrics::representation::{alignment, mean_deviation, rank_me, uniformity},
    probe::{
        downsample::{Protocol, downsample},
        features::Features,
        knn,
        softmax::Softmax,
    },
    progress::Progress,
    train::{
        monitor::{Measurement, Measures, Monitor},
        task::Task,
    },
};
use anyhow::{Context, Result};
use candle_core::Tensor;
use pictures::{Pictures, PicturesInMemory};
use std::sync::Arc;

/// Names of the measures of a layer: the first two need labels.
pub const MEASURES: [&str; 6] = ["knn", "probe", "rankme", "std", "alignment", "uniformity"];
/// A RankMe below this is that of features that differ in nothing but their length.
const COLLAPSED_RANK: f64 = 1.05;
/// Share of 1/√d below which the spread is that of features that are all the same; random convolutions of an AlexNet are at
/// a tenth and above.
const COLLAPSED_SPREAD: f64 = 0.02;

/// Measures the layers of a task on pictures that are decoded once.
pub struct RepresentationMonitor {
    spec: MonitorSpec,
    layers: Vec<String>,
    sets: MonitorSets,
    pictures: Option<Arc<Pictures>>,
}

impl RepresentationMonitor {
    /// A monitor of these layers; nothing is read before it is prepared.
    pub fn new(spec: MonitorSpec, layers: Vec<String>, sets: MonitorSets) -> Self {
        Self { spec, layers, sets, pictures: None }
    }

    /// Features of the pictures at each layer; None where they are not finite.
    fn features(&self, task: &dyn Task, pictures: &PicturesInMemory) -> Result<Vec<Option<Features>>> {
        let layers: Vec<&str> = self.layers.iter().map(String::as_str).collect();
        let mut matrices = vec![(vec![], 0); layers.len()];
        let progress = Progress::new(pictures.batches().len(), "  monitor");
        for batch in pictures.batches() {
            progress.add(1);
            let maps = task.embed(&batch.to_device(task.params().device())?, &layers)?;
            for ((values, width), map) in matrices.iter_mut().zip(&maps) {
                let rows = self.pooled(map)?;
                *width = rows.dim(1)?;
                values.extend(rows.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(matrices.into_iter().map(|(values, width)| Features::new(values, width).ok()).collect())
    }

    /// `(B, h, w, C)` → `(B, D)`: the mean over the map, or the grid of a linear probe.
    fn pooled(&self, map: &Tensor) -> candle_core::Result<Tensor> {
        match self.spec.dimensions {
            None => map.mean((1, 2)),
            Some(dimensions) => downsample(map, dimensions.get(), Protocol::Bilinear),
        }
    }
}

impl Monitor for RepresentationMonitor {
    fn prepare(&mut self) -> Result<()> {
        self.pictures = Some(Arc::new(self.sets.read()?));
        Ok(())
    }

    fn read(&mut self, task: &dyn Task) -> Result<Measures> {
        let pictures = self.pictures.clone().context("the monitor has no pictures: it was not prepared")?;
        let [bank, test, one, other] =
            [&pictures.bank, &pictures.test, &pictures.views[0], &pictures.views[1]]
                .map(|pictures| self.features(task, pictures));
        let layers = bank?.into_iter().zip(test?).zip(one?).zip(other?).zip(self.layers.clone());
        let layers: Vec<_> = layers
            .map(|((((bank, test), one), other), layer)| {
                (layer, LayerFeatures::new([bank, test, one, other]))
            })
            .collect();
        let spec = self.spec.clone();
        Ok(Box::new(move || measurement(&layers, &spec, &pictures)))
    }
}

/// Measures named layers; without features where those are not finite.
fn measurement(
    layers: &[(String, Option<LayerFeatures>)],
    spec: &MonitorSpec,
    pictures: &Pictures,
) -> Result<Measurement> {
    let mut measurement = Measurement::default();
    let mut best: Option<(f64, String)> = None;
    for (layer, features) in layers {
        let found = match features {
            Some(features) => features.measure(spec, pictures)?,
            None => LayerValues::not_finite(pictures.classes.is_some()),
        };
        measurement.collapsed.extend(found.collapse().map(|what| (layer.clone(), what)));
        let score = found.score();
        if best.as_ref().is_none_or(|(most, _)| score > *most || most.is_nan()) {
            best = Some((score, format!("{layer} {}", found.summary())));
        }
        measurement.values.extend(found.named(layer));
    }
    measurement.summary = best.map_or(String::new(), |(_, summary)| summary);
    Ok(measurement)
}

/// Features of one layer.
struct LayerFeatures {
    bank: Features,
    test: Features,
    views: [Features; 2],
}

impl LayerFeatures {
    /// Features of the bank, the test, and two views of the test; None unless all are finite.
    fn new(features: [Option<Features>; 4]) -> Option<Self> {
        let [Some(bank), Some(test), Some(one), Some(other)] = features else { return None };
        Some(Self { bank, test, views: [one, other] })
    }

    fn measure(&self, spec: &MonitorSpec, pictures: &Pictures) -> Result<LayerValues> {
        let width = self.bank.width();
        let [bank, one, other] =
            [&self.bank, &self.views[0], &self.views[1]].map(|rows| rows.normalized(0.0));
        let labeled = pictures.classes.map(|classes| self.top1(spec, pictures, classes)).transpose()?;
        Ok(LayerValues {
            width,
            labeled,
            rank: rank_me(self.bank.values(), width)?,
            deviation: mean_deviation(bank.values(), width)?,
            alignment: alignment(one.values(), other.values(), width)?,
            uniformity: uniformity(bank.values(), width)?,
        })
    }

    /// Top-1 accuracy of nearest neighbors and of a linear probe.
    fn top1(&self, spec: &MonitorSpec, pictures: &Pictures, classes: usize) -> Result<[f64; 2]> {
        let (labels, truth) = (&pictures.bank.labels, &pictures.test.labels);
        let neighbors = knn::top1(&spec.neighbors(labels.len()), (&self.bank, labels), (&self.test, truth))?;
        let probe = Softmax::fit(&spec.probe.unwrap_or_default(), &self.bank, labels, classes)?;
        let predicted = probe.predict(&self.test)?;
        let hits = predicted.iter().zip(truth).filter(|(predicted, label)| predicted == label).count();
        let neighbors = neighbors.first().context("one number of neighbors gives one result")?.value;
        Ok([neighbors, hits as f64 / truth.len() as f64])
    }
}

/// Measures of one layer.
struct LayerValues {
    width: usize,
    /// Top-1 accuracy of nearest neighbors and of a linear probe.
    labeled: Option<[f64; 2]>,
    rank: f64,
    deviation: f64,
    alignment: f64,
    uniformity: f64,
}

impl LayerValues {
    /// Of features that are not finite.
    fn not_finite(labeled: bool) -> Self {
        let nan = f64::NAN;
        let labeled = labeled.then_some([nan; 2]);
        Self { width: 1, labeled, rank: nan, deviation: nan, alignment: nan, uniformity: nan }
    }

    fn named(&self, layer: &str) -> Vec<(String, f64)> {
        let without = [self.rank, self.deviation, self.alignment, self.uniformity];
        let values = self.labeled.into_iter().flatten().chain(without);
        let names = MEASURES.iter().skip(if self.labeled.is_some() { 0 } else { 2 });
        names.zip(values).map(|(name, value)| (format!("{layer}/{name}"), value)).collect()
    }

    /// Why the layer looks collapsed.
    fn collapse(&self) -> Option<String> {
        let spread = self.deviation * (self.width as f64).sqrt();
        if spread < COLLAPSED_SPREAD {
            return Some(format!(
                "their spread is {:.2} % of that of features spread evenly over the sphere",
                100.0 * spread
            ));
        }
        let flat = self.rank < COLLAPSED_RANK;
        flat.then(|| format!("their effective rank (RankMe) is {:.3} of {}", self.rank, self.width))
    }

    /// What ranks layers in the summary.
    fn score(&self) -> f64 {
        self.labeled.map_or(self.rank, |[_, probe]| probe)
    }

    fn summary(&self) -> String {
        match self.labeled {
            Some([neighbors, probe]) => format!("kNN {neighbors:.3} probe {probe:.3}"),
            None => format!("RankMe {:.1}", self.rank),
        }
    }
}
