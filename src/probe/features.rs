//! Feature extraction for whole data sets: a frozen network runs over every picture once, and each tap gives one
//! matrix, for probes that need all examples at once (support vector machines, nearest neighbors). FAIR's benchmark
//! (Goyal et al. 2019) squashes pictures to a square, without augmentation; see
//! [`crate::data::crop_policy::CropPolicy::Squash`]. Matrices are not stored on disk.

use super::downsample::{Protocol, downsample};
use crate::{
    backbones::{alexnet::CONVOLUTIONS, network::Network},
    bounded::{Count, Pixels},
    data::{
        Batch,
        annotated::{Annotated, Presence},
        crop_policy::CropPolicy,
        dataset::Dataset,
        loader::Loader,
    },
    nn::Mode,
    progress::Progress,
    text::counted,
};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How features are computed. The defaults are those of FAIR's linear SVMs on AlexNet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Features")]
pub struct FeatureSpec {
    /// Layers of the backbone (after their ReLU or pooling), all read in one pass.
    pub layers: Vec<String>,
    /// How maps are reduced to features.
    pub protocol: Protocol,
    /// Maximum number of features per layer after downsampling.
    pub dimensions: Count,
    /// Short side in pixels of an annotated picture before it is squashed to a square; `~`: its short side is scaled
    /// to the square's, and its center is cropped.
    pub squash: Option<Pixels>,
}

impl Default for FeatureSpec {
    fn default() -> Self {
        Self {
            layers: CONVOLUTIONS.map(String::from).to_vec(),
            protocol: Protocol::Avgpool,
            dimensions: Count::of(9600),
            squash: Some(Count::of(256)),
        }
    }
}

impl FeatureSpec {
    /// What the network sees of a picture: a square of `side` pixels.
    pub fn policy(&self, side: usize) -> CropPolicy {
        match self.squash {
            Some(short) => CropPolicy::Squash { short: short.get(), side },
            None => CropPolicy::Crop { resize: Some(side), crop: side },
        }
    }
}

/// A feature matrix `(n, d)`, one row per picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    values: Vec<f32>,
    width: usize,
    /// Data set index of each row's picture.
    indices: Vec<usize>,
}

impl Features {
    /// Concatenated rows of `width` features, for pictures 0, 1, ….
    ///
    /// # Errors
    /// An incomplete row; non-finite values.
    pub fn new(values: Vec<f32>, width: usize) -> Result<Self> {
        ensure!(
            width > 0 && values.len().is_multiple_of(width),
            "features: {} numbers are no rows of {width}",
            values.len()
        );
        let indices = (0..values.len() / width).collect();
        Self::of_pictures(values, width, indices)
    }

    fn of_pictures(values: Vec<f32>, width: usize, indices: Vec<usize>) -> Result<Self> {
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            anyhow::bail!(
                "features: picture {} gives {}; the network has diverged, or its weights are damaged",
                indices[at / width],
                values[at]
            )
        }
        Ok(Self { values, width, indices })
    }

    /// Number of rows, n.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Row length, d.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All rows, concatenated.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Data set index of each row's picture. Unreadable pictures have no row.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// Divides every row by (its L2 norm + `epsilon`). Rows of zeros are unchanged.
    pub fn normalized(&self, epsilon: f64) -> Self {
        let mut values = self.values.clone();
        values.par_chunks_exact_mut(self.width).for_each(|row| {
            let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() + epsilon;
            if norm > 0.0 {
                row.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
        });
        Self { values, ..self.clone() }
    }
}

/// Features with class annotations.
#[derive(Clone, Debug)]
pub struct Examples {
    features: Features,
    /// Presence by row and class.
    presence: Vec<Vec<Presence>>,
}

impl Examples {
    /// Joins features with one list of class annotations per row.
    ///
    /// # Errors
    /// No rows; a different number of lists; lists of different lengths.
    pub fn new(features: Features, presence: Vec<Vec<Presence>>) -> Result<Self> {
        ensure!(!features.is_empty(), "there are no pictures to take features from");
        ensure!(
            presence.len() == features.len(),
            "{} rows of features with labels for {}",
            features.len(),
            presence.len()
        );
        let classes = presence[0].len();
        ensure!(
            classes > 0 && presence.iter().all(|row| row.len() == classes),
            "the pictures have labels for different numbers of classes"
        );
        Ok(Self { features, presence })
    }

    /// Takes the annotations from the data set.
    ///
    /// # Errors
    /// As [`Examples::new`].
    pub fn annotated(features: Features, set: &dyn Annotated) -> Result<Self> {
        let presence = features.indices().iter().map(|&i| set.presence(i)).collect();
        Self::new(features, presence)
    }

    /// One label per row: its class is present, all others are absent.
    ///
    /// # Errors
    /// As [`Examples::new`], and labels that are not below `classes`.
    pub fn one_label(features: Features, labels: &[u32], classes: usize) -> Result<Self> {
        let row = |&label: &u32| {
            ensure!((label as usize) < classes, "label {label} with {classes} classes");
            let mut row = vec![Presence::Absent; classes];
            row[label as usize] = Presence::Present;
            Ok(row)
        };
        let presence = labels.iter().map(row).collect::<Result<_>>()?;
        Self::new(features, presence)
    }

    pub fn features(&self) -> &Features {
        &self.features
    }

    pub fn classes(&self) -> usize {
        self.presence[0].len()
    }

    /// Presence of `class` in each row.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn of_class(&self, class: usize) -> Vec<Presence> {
        self.presence.iter().map(|row| row[class]).collect()
    }
}

/// Features with one label per row.
#[derive(Clone, Debug)]
pub struct Labeled {
    features: Features,
    labels: Vec<u32>,
}

impl Labeled {
    /// Joins features with one label per row.
    ///
    /// # Errors
    /// No rows; a different number of labels.
    pub fn new(features: Features, labels: Vec<u32>) -> Result<Self> {
        ensure!(!features.is_empty(), "there are no pictures to take features from");
        ensure!(
            labels.len() == features.len(),
            "{} rows of features with {} labels",
            features.len(),
            labels.len()
        );
        Ok(Self { features, labels })
    }

    /// Takes the labels from the data set.
    ///
    /// # Errors
    /// As [`Labeled::new`]; a picture without a label.
    pub fn of(features: Features, set: &dyn Dataset) -> Result<Self> {
        let label = |i: &usize| set.label(*i).with_context(|| format!("{} has no label", set.name(*i)));
        let labels = features.indices().iter().map(label).collect::<Result<_>>()?;
        Self::new(features, labels)
    }

    pub fn features(&self) -> &Features {
        &self.features
    }

    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// Extracts the features of every readable picture of `loader` (one pass; it must be rewound), one matrix per layer of
/// `spec`, in that order. `what` is the label of the progress bar.
///
/// # Errors
/// An unknown layer, unreadable pictures, non-finite features.
pub fn extract(
    network: &Network,
    loader: &mut Loader,
    spec: &FeatureSpec,
    what: &str,
) -> Result<Vec<Features>> {
    let pictures = loader.dataset().len();
    let mut matrices = vec![(vec![], 0); spec.layers.len()];
    let mut indices = vec![];
    for_each_batch(network, loader, spec, what, |batch, rows| {
        for ((values, width), of_layer) in matrices.iter_mut().zip(rows) {
            *width = of_layer.len() / batch.len();
            // at once: a vector that grows is held twice while it is copied
            values.reserve_exact((*width * pictures).saturating_sub(values.len()));
            values.extend(of_layer);
        }
        indices.extend(batch);
        Ok(())
    })?;
    let pictures = counted(indices.len(), "picture");
    tracing::info!("{what}: features of {pictures} at {}", spec.layers.join(", "));
    ensure!(!indices.is_empty(), "{what}: there are no pictures to take features from");
    let matrix = |(values, width)| Features::of_pictures(values, width, indices.clone());
    matrices.into_iter().map(matrix).collect()
}

/// As [`extract`], a batch at a time: `take` gets the data set indices of its pictures, and for each layer of `spec` their
/// rows, concatenated.
///
/// # Errors
/// As [`extract`], and those of `take`.
pub fn for_each_batch(
    network: &Network,
    loader: &mut Loader,
    spec: &FeatureSpec,
    what: &str,
    mut take: impl FnMut(&[usize], Vec<Vec<f32>>) -> Result<()>,
) -> Result<()> {
    ensure!(!spec.layers.is_empty(), "features: no layer is named; give `layers:`");
    let taps: Vec<&str> = spec.layers.iter().map(String::as_str).collect();
    loader.watch(Progress::new(loader.dataset().len(), what));
    let measure = |batch: &Batch, _| {
        let maps = network.forward(&network.input().read(&batch.pixels)?, &taps, &Mode::Frozen)?;
        let rows = |map: &Tensor| -> candle_core::Result<Vec<f32>> {
            downsample(map, spec.dimensions.get(), spec.protocol)?.flatten_all()?.to_vec1()
        };
        Ok((batch.indices.clone(), maps.iter().map(rows).collect::<Result<Vec<_>, _>>()?))
    };
    loader.fold(measure, |(indices, rows): (Vec<usize>, Vec<Vec<f32>>)| take(&indices, rows))?;
    loader.unwatch();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_by_their_norm() -> Result<()> {
        let features = Features::new(vec![3.0, 4.0, 0.0, 0.0], 2)?;
        assert_eq!(features.normalized(0.0).values(), [0.6, 0.8, 0.0, 0.0]);
        assert_eq!(features.normalized(5.0).row(0), [0.3, 0.4]);
        Ok(())
    }

    #[test]
    fn what_is_no_matrix_is_refused() -> Result<()> {
        assert!(Features::new(vec![1.0; 5], 2).is_err());
        assert!(Features::new(vec![], 0).is_err());
        let Err(error) = Features::new(vec![1.0, 1.0, f32::NAN, 1.0], 2) else { panic!("NaN got in") };
        assert!(error.to_string().contains("picture 1 gives NaN"), "{error}");
        let rows = || Features::new(vec![1.0; 4], 2);
        assert!(Examples::one_label(rows()?, &[0], 2).is_err(), "one label for two rows");
        assert!(Examples::one_label(rows()?, &[0, 2], 2).is_err(), "label 2 of 2 classes");
        let examples = Examples::one_label(rows()?, &[0, 1], 2)?;
        assert_eq!(examples.of_class(1), [Presence::Absent, Presence::Present]);
        Ok(())
    }
}
