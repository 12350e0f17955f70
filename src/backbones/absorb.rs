//! Absorbs batch normalization into the preceding row. This converts the weights of a pretext network to those of the
//! network without batch normalization that transfer tests fine-tune.

use super::{
    BackboneSpec, Build,
    finite::check_finite,
    kinds::{BatchNormRow, LayerKind},
    table::{Layer, tap},
};
use crate::nn::weights::Named;
use candle_core::{Result, bail};

/// Converts weights of a network with batch normalization to weights of the same network without it. For each row with
/// a weight W and a bias b (0 if absent) before a normalization with scale γ and shift β: W′ = γ·W / √(var + ε) and b′
/// = γ·(b − mean) / √(var + ε) + β, with ε 1e-5 as in training (the paper's own script omits it). In evaluation both
/// networks compute the same function. `rows` is the table of the network with batch normalization. Tensors of no row
/// are unchanged, and so is a normalization after a ReLU, which no preceding row can absorb.
///
/// # Errors
/// A row whose weight, bias or statistics are missing in `tensors`; a value that is not finite, before or after; a
/// variance below 0.
pub fn absorb_batch_norm(rows: &[Layer], tensors: &Named) -> Result<Named> {
    check_finite(tensors)?;
    let mut out = tensors.clone();
    for norm in norms(rows) {
        if let Some(row) = absorber(rows, norm) {
            absorb(norm, row, tensors, &mut out)?;
        }
    }
    check_finite(&out)?;
    Ok(out)
}

fn norms(rows: &[Layer]) -> impl Iterator<Item = &Layer> {
    rows.iter().filter(|row| matches!(row.kind, LayerKind::BatchNorm(_)))
}

/// The row that can absorb a normalization: its input row, if that has a weight.
fn absorber<'a>(rows: &'a [Layer], norm: &Layer) -> Option<&'a Layer> {
    norm.from[0].checked_sub(1).map(|at| &rows[at]).filter(|row| row.kind.has_weights())
}

/// The first normalization that no row can absorb, because it follows an activation or the input.
pub fn unabsorbable(rows: &[Layer]) -> Option<&Layer> {
    norms(rows).find(|norm| absorber(rows, norm).is_none())
}

/// Converts weights with or without batch normalization to those of the network that `build` describes: batch
/// normalization that the network lacks is absorbed, otherwise kept.
///
/// # Errors
/// As [`absorb_batch_norm`].
pub fn fitted(spec: &BackboneSpec, build: &Build, tensors: Named) -> Result<Named> {
    fitted_through(spec, build, tensors, None)
}

/// As [`fitted`], for weights that end with the tap `through`.
///
/// # Errors
/// As [`fitted`]; an unknown tap.
pub fn fitted_through(
    spec: &BackboneSpec,
    build: &Build,
    tensors: Named,
    through: Option<&str>,
) -> Result<Named> {
    if norms(&spec.table(build)).next().is_some() {
        return Ok(tensors);
    }
    let mut rows = spec.table(&Build { batch_norm: true, ..build.clone() });
    if let Some(through) = through {
        let Some(last) = tap(&rows, through) else { bail!("there is no layer `{through}`") };
        rows.truncate(last + 1);
    }
    let held = norms(&rows).any(|norm| tensors.contains_key(&format!("{}.running_mean", norm.name)));
    if held { absorb_batch_norm(&rows, &tensors) } else { Ok(tensors) }
}

fn absorb(norm: &Layer, row: &Layer, tensors: &Named, out: &mut Named) -> Result<()> {
    let LayerKind::BatchNorm(BatchNormRow { options, .. }) = norm.kind else { return Ok(()) };
    let (layer, norm) = (&row.name, &norm.name);
    let take = |name: &str| match tensors.get(name) {
        Some(tensor) => Ok(tensor),
        None => bail!(
            "absorbing batch normalization: `{name}` is missing: the weights are not those of this network"
        ),
    };
    let [weight, bias] = ["weight", "bias"].map(|which| format!("{layer}.{which}"));
    let [mean, var, sum] =
        ["running_mean", "running_var", "weight_sum"].map(|which| format!("{norm}.{which}"));
    let [gamma, beta] = ["weight", "bias"].map(|which| format!("{norm}.{which}"));
    let (own, _) = (take(&weight)?, take(&sum)?);
    let mut scale = (take(&var)? + options.eps)?.sqrt()?.recip()?;
    let mut shift = match row.kind.has_bias() {
        true => (take(&bias)? - take(&mean)?)?,
        false => take(&mean)?.neg()?,
    };
    if let Some(gamma) = tensors.get(&gamma) {
        scale = (scale * gamma)?;
    }
    shift = (shift * &scale)?;
    if let Some(beta) = tensors.get(&beta) {
        shift = (shift + beta)?;
    }
    let per_output = row.kind.per_output(scale.elem_count()).unwrap_or_default();
    out.insert(weight.clone(), own.broadcast_mul(&scale.reshape(per_output)?)?);
    out.insert(bias, shift);
    [mean, var, sum, gamma, beta].iter().for_each(|name| drop(out.remove(name)));
    Ok(())
}
