//! Filters from patches. Each group of a convolution has its own patches, covariance and filters.
//!
//! Each method defines a matrix in whitened coordinates. Its rows, mapped back by S·Vᵀ and scaled to responses of
//! standard deviation 1, are the filters. If the data have fewer components than there are filters, the rest are
//! random directions of the whitened space.

use super::{DataInitSpec, Filters, Target, kmeans::centroids, patches::Patches, spectrum::Spectrum};
use crate::{
    backbones::kinds::{ConvRow, LayerKind},
    rng::Rng,
};
use candle_core::{DType, Device, Result, Tensor};
use rand::seq::index;
use rand_distr::{Distribution, StandardNormal};

/// Largest patch size whose covariance is decomposed, at cubic cost: conv3 of AlexNet has 2304 numbers, fc6 9216.
const LARGEST: usize = 4096;
/// A filter with a smaller response to whitened coordinates of unit length has no direction.
const SILENT: f64 = 1e-12;

/// The filters of a layer.
pub(super) struct FoundFilters {
    /// In the shape of the layer's weight.
    pub weight: Tensor,
    pub filters: Filters,
    pub instead: Option<String>,
    pub patches: usize,
    pub fan_in: usize,
}

/// Filters for the inputs `maps` of a row by the method of `spec`; Gaussian filters, with the reason, if the data do
/// not yield them.
pub(super) fn find(
    spec: &DataInitSpec,
    target: &Target<'_>,
    maps: &[Tensor],
    rng: &Rng,
) -> Result<FoundFilters> {
    let dims = target.weight()?.dims();
    let gaussian = |instead: Option<String>| -> Result<FoundFilters> {
        let values = normal(dims.iter().product(), &rng.split("gaussian"));
        let weight = Tensor::from_vec(values, dims, &Device::Cpu)?.to_dtype(DType::F32)?;
        let (filters, fan_in) = (Filters::Gaussian, fan_in(&target.row.kind));
        Ok(FoundFilters { weight: like(&weight, target)?, filters, instead, patches: 0, fan_in })
    };
    if spec.filters == Filters::Gaussian {
        return gaussian(None);
    }
    let conv = match patchable(&target.row.kind) {
        Ok(conv) => conv,
        Err(reason) => return gaussian(Some(reason)),
    };
    let patches = Patches::sample(conv, maps, spec.patches.get(), &rng.split("patches"))?;
    match of_groups(spec.filters, conv, &patches, rng)? {
        Err(reason) => gaussian(Some(reason)),
        Ok(rows) => {
            let weight = Tensor::cat(&rows, 0)?.to_dtype(DType::F32)?.reshape(dims)?;
            let (filters, patches, fan_in) = (spec.filters, patches.count(), fan_in(&target.row.kind));
            Ok(FoundFilters { weight: like(&weight, target)?, filters, instead: None, patches, fan_in })
        }
    }
}

/// Converts to the device and dtype of the row's weight.
fn like(weight: &Tensor, target: &Target<'_>) -> Result<Tensor> {
    let old = target.weight()?;
    weight.to_device(old.device())?.to_dtype(old.dtype())
}

/// Inputs of each output's weighted sum.
fn fan_in(kind: &LayerKind) -> usize {
    match kind {
        LayerKind::Conv(conv) => conv.window.kernel.pow(2) * conv.inputs / conv.groups,
        LayerKind::ConvTranspose(conv) => conv.shape.kernel.pow(2) * conv.inputs,
        LayerKind::Linear(linear) => linear.inputs,
        _ => 0,
    }
}

/// The convolution whose filters can be computed from its patches, or the reason against it.
fn patchable(kind: &LayerKind) -> std::result::Result<&ConvRow, String> {
    let LayerKind::Conv(conv) = kind else { return Err(format!("a {} row has no patches", kind.word())) };
    let fan_in = fan_in(kind);
    if fan_in > LARGEST {
        return Err(format!("patches have {fan_in} numbers, more than {LARGEST}"));
    }
    Ok(conv)
}

/// The filters of every group, f64 `(filters, fan-in)`, or the reason that there are none.
fn of_groups(
    kind: Filters,
    conv: &ConvRow,
    patches: &Patches<'_>,
    rng: &Rng,
) -> Result<std::result::Result<Vec<Tensor>, String>> {
    let count = conv.outputs / conv.groups;
    if patches.count() < count {
        return Ok(Err(format!("{} patches are fewer than {count} filters", patches.count())));
    }
    let mut groups = vec![];
    for group in 0..conv.groups {
        let spectrum = Spectrum::of(patches, group, count)?;
        if spectrum.inverse_roots.iter().all(|root| *root == 0.0) {
            return Ok(Err("all patches are alike".into()));
        }
        let rng = rng.split(&format!("group {group}"));
        let directions = directions(kind, count, &spectrum, || spectrum.whitened(patches, group), &rng)?;
        groups.push(filters(directions, &spectrum, &rng)?);
    }
    Ok(Ok(groups))
}

/// At most `count` filters in whitened coordinates.
fn directions(
    kind: Filters,
    count: usize,
    spectrum: &Spectrum,
    whitened: impl FnOnce() -> Result<Tensor>,
    rng: &Rng,
) -> Result<Vec<Vec<f64>>> {
    let (components, fan_in) = spectrum.vectors.dims2()?;
    let mut directions = match kind {
        Filters::Gaussian => vec![],
        Filters::Pca => (0..components).map(|i| unit(components, i)).collect(),
        Filters::Zca => {
            let elements = index::sample(&mut rng.at(0, 0), fan_in, count.min(fan_in)).into_vec();
            let vectors = spectrum.vectors.to_vec2::<f64>()?;
            elements.into_iter().map(|at| vectors.iter().map(|vector| vector[at]).collect()).collect()
        }
        Filters::Kmeans => centroids(&whitened()?, count, rng)?,
        Filters::Patches => {
            let points = whitened()?;
            let chosen = index::sample(&mut rng.at(0, 0), points.dim(0)?, count);
            let chosen: Vec<u32> = chosen.into_iter().map(|i| i as u32).collect();
            points.index_select(&Tensor::new(chosen, &Device::Cpu)?, 0)?.to_dtype(DType::F64)?.to_vec2()?
        }
    };
    directions.resize(count, vec![0.0; components]);
    Ok(directions)
}

fn unit(n: usize, at: usize) -> Vec<f64> {
    let mut vector = vec![0.0; n];
    vector[at] = 1.0;
    vector
}

/// Maps whitened coordinates to filters `(filters, fan-in)` whose responses to the patches have standard deviation 1.
fn filters(mut directions: Vec<Vec<f64>>, spectrum: &Spectrum, rng: &Rng) -> Result<Tensor> {
    let rng = rng.split("directions");
    for (i, direction) in directions.iter_mut().enumerate() {
        let mut response = spectrum.response(direction);
        if response < SILENT {
            *direction = normal(direction.len(), &rng.split(&i.to_string()));
            response = spectrum.response(direction);
        }
        direction.iter_mut().for_each(|v| *v /= response);
    }
    let (count, components) = (directions.len(), spectrum.values.len());
    let directions = Tensor::from_vec(directions.concat(), (count, components), &Device::Cpu)?;
    directions.matmul(&spectrum.whitening()?)
}

fn normal(count: usize, rng: &Rng) -> Vec<f64> {
    let mut stream = rng.at(0, 0);
    (0..count).map(|_| StandardNormal.sample(&mut stream)).collect()
}
