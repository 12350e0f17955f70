//! Folding batch normalisation into the convolution before it, which turns the weights of a pretext network into
//! weights of the network without batch normalisation that transfer tests fine-tune.

use super::{BackboneSpec, Build, finite::check_finite, table::Layer};
use candle_core::{Result, Tensor, bail};
use std::collections::BTreeMap;

/// Weights of a network with batch normalisation → weights of the same network without: for each layer
/// W′ = γ·W / √(var + ε) and b′ = γ·(b − mean) / √(var + ε) + β, where the normalisation has a scale γ and a shift β, with ε 1e-5 as in training (the paper's own script leaves
/// it out). In evaluation the two networks compute the same function. `layers` is the table of the network with
/// batch normalisation; what belongs to no row of it stays as it is, and so does a normalisation that follows its
/// ReLU, which no convolution before it can take in.
///
/// # Errors
/// A layer whose weight, bias or statistics are not in `tensors`; a value that is not finite, before or after, and a
/// variance below 0.
pub fn absorb_batch_norm(
    layers: &[Layer],
    tensors: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    check_finite(tensors)?;
    let mut out = tensors.clone();
    for layer in layers {
        if let Some(norm) = layer.norm.as_ref().filter(|norm| !norm.after_relu) {
            absorb_layer(&layer.name, &norm.name, tensors, &mut out)?;
        }
    }
    check_finite(&out)?;
    Ok(out)
}

/// Weights of either kind → those of the graph `build`: a batch normalisation that the tensors hold and the graph does
/// not is absorbed; one that the graph keeps stays.
///
/// # Errors
/// As [`absorb_batch_norm`].
pub fn fitted(
    spec: &BackboneSpec,
    build: &Build,
    tensors: BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>> {
    if spec.table(build).iter().any(|layer| layer.norm.is_some()) {
        return Ok(tensors);
    }
    let layers = spec.table(&Build { batch_norm: true, ..build.clone() });
    let mut norms = layers.iter().filter_map(|layer| layer.norm.as_ref());
    let held = norms.any(|norm| tensors.contains_key(&format!("{}.running_mean", norm.name)));
    if held { absorb_batch_norm(&layers, &tensors) } else { Ok(tensors) }
}

const EPS: f64 = crate::nn::layers::BatchNormOptions::CAFFE.eps;

fn absorb_layer(
    layer: &str,
    norm: &str,
    tensors: &BTreeMap<String, Tensor>,
    out: &mut BTreeMap<String, Tensor>,
) -> Result<()> {
    let take = |name: String| match tensors.get(&name) {
        Some(tensor) => Ok((name, tensor)),
        None => bail!(
            "absorbing batch normalisation: `{name}` is missing: these are no weights of such a network"
        ),
    };
    let ((weight_name, weight), (bias_name, bias)) =
        (take(format!("{layer}.weight"))?, take(format!("{layer}.bias"))?);
    let (mean_name, mean) = take(format!("{norm}.running_mean"))?;
    let (var_name, var) = take(format!("{norm}.running_var"))?;
    let (sum_name, _) = take(format!("{norm}.weight_sum"))?;
    let mut scale = (var + EPS)?.sqrt()?.recip()?;
    let mut shifted = (bias - mean)?;
    let (gamma, beta) = (format!("{norm}.weight"), format!("{norm}.bias"));
    if let Some(gamma) = tensors.get(&gamma) {
        scale = (scale * gamma)?;
    }
    shifted = (shifted * &scale)?;
    if let Some(beta) = tensors.get(&beta) {
        shifted = (shifted + beta)?;
    }
    let rows = scale.reshape((scale.elem_count(), 1, 1, 1))?;
    out.insert(weight_name, weight.broadcast_mul(&rows)?);
    out.insert(bias_name, shifted);
    [mean_name, var_name, sum_name, gamma, beta].iter().for_each(|name| drop(out.remove(name)));
    Ok(())
}
