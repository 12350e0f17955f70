//! Converts third-party weights to ours: names, shapes, and the conventions of the released networks.

use super::{
    Architecture, Layout, Missing, absent, caffe_hints,
    names::{self, SCALE},
};
use crate::{
    color::bins::Bins,
    nn::weights::{Format, Named},
};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// Accumulated weight of Caffe's statistics after a long training, 1 / (1 − 0.999). Assigned to statistics without
/// one, so that continued training updates them as slowly as in Caffe.
const LONG_TRAINED: f32 = 1000.0;
/// Layers that center the input, with the values mapped to 0.
const CENTERINGS: [(&str, &[f64]); 2] = [("data_l", &[50.0]), ("data_lab", &[50.0, 0.0, 0.0])];
/// The released PyTorch network divides lightness by 100 and a, b by 110.
pub(super) const LIGHTNESS_UNIT: f64 = 100.0;
pub(super) const COLOR_UNIT: f64 = 110.0;
/// Tolerance between a stored bin center and ours, in ab units; bins are 10 apart.
const BIN_TOLERANCE: f32 = 0.5;

/// Tensors under our names, with notes on the conversion.
pub(super) struct Imported {
    pub tensors: Named,
    /// Temperature of the decoding, if the file has one.
    pub temperature: Option<f64>,
    pub notes: Vec<String>,
    pub renamed: Vec<(String, String)>,
}

pub(super) fn import(
    (format, layout, architecture): (Format, Layout, Architecture),
    tensors: Named,
    missing: Missing,
) -> Result<Imported> {
    let mut out = Imported { tensors: Named::new(), temperature: None, notes: vec![], renamed: vec![] };
    if layout == Layout::Ours {
        out.tensors = tensors;
        return Ok(out);
    }
    let all = names::layers(layout, architecture).into_iter().chain(names::aliases(layout, architecture));
    let layers: BTreeMap<String, String> = all.collect();
    let mut aside = Named::new();
    let mut heads = BTreeSet::new();
    for (name, tensor) in tensors {
        match ours(layout, &layers, &name) {
            None => drop(aside.insert(name, tensor)),
            Some(ours) if !names::belongs(layout, architecture, stem(&ours)) => {
                heads.extend([stem(&name).to_string()])
            }
            Some(ours) => {
                let before = out.tensors.insert(ours.clone(), tensor);
                ensure!(before.is_none(), "it holds `{ours}` twice, once as `{name}`");
                if ours != name {
                    out.renamed.push((name, ours));
                }
            }
        }
    }
    if !heads.is_empty() {
        let heads = heads.into_iter().collect::<Vec<_>>().join(", ");
        out.notes.push(format!("left out: {heads} (not a layer of {architecture})"));
    }
    out.set_aside(&aside)?;
    if layout == Layout::Eccv16 {
        out.scale("conv1_1.weight", 1.0 / LIGHTNESS_UNIT)?;
        out.temperature = Some(1.0);
        out.notes.push(format!(
            "conv1_1.weight divided by {LIGHTNESS_UNIT}: the input of the released network is (L − 50) / 100"
        ));
    }
    if (layout, architecture) == (Layout::Caffe, Architecture::Siggraph17) {
        out.notes.extend(caffe_hints::convert(&mut out.tensors)?);
    }
    out.flat_to_windows(architecture)?;
    out.head_of_colorizer(architecture)?;
    out.notes.extend(absent::completed(&mut out.tensors, (format, layout, architecture), missing)?);
    out.accumulated_weights()?;
    Ok(out)
}

/// The layer part of a tensor's name.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

/// Our name of a tensor; None if it is not a network parameter.
fn ours(layout: Layout, layers: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let (layer, part) = name.rsplit_once('.').unwrap_or((name, ""));
    let decoding = layer == "model_out" && layout == Layout::Eccv16;
    if part == "num_batches_tracked" || decoding || names::helper(layer).is_some() {
        return None;
    }
    let normalization = layer.strip_suffix(SCALE).filter(|_| layout == Layout::Caffe).unwrap_or(layer);
    Some(
        layers
            .get(normalization)
            .map_or_else(|| format!("{normalization}.{part}"), |ours| format!("{ours}.{part}")),
    )
}

impl Imported {
    /// Tensors that are not parameters: used or checked if they describe the network, then left out.
    fn set_aside(&mut self, aside: &Named) -> Result<()> {
        for decoding in ["model_out.weight", "class8_ab.weight"] {
            if let Some(centers) = aside.get(decoding) {
                let unit = if decoding == "model_out.weight" { COLOR_UNIT } else { 1.0 };
                check_bins(centers, unit).with_context(|| format!("`{decoding}`"))?;
            }
        }
        if let Some(sharpness) = aside.get("conv8_313_rh.weight") {
            self.temperature = temperature(sharpness)?;
        }
        self.fold_centering(aside)?;
        let counters = aside.keys().filter(|name| name.ends_with("num_batches_tracked")).count();
        if counters > 0 {
            self.notes.push(format!("left out: {counters} × num_batches_tracked (an unused counter)"));
        }
        for name in aside.keys() {
            let layer = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
            let what =
                if layer == "model_out" { Some("bin centers of the decoding") } else { names::helper(layer) };
            if let Some(what) = what {
                self.notes.push(format!("left out: {name} ({what}; not a network parameter)"));
            }
        }
        Ok(())
    }

    /// The layers `data_l` and `data_lab` compute s·x + t for each channel. Our networks take L − 50, a and b, so t
    /// must be −50 s for lightness and 0 for a and b, and s is folded into the first convolution. This is exact with
    /// zero padding too, since 0 stays 0.
    fn fold_centering(&mut self, aside: &Named) -> Result<()> {
        for (layer, centers) in CENTERINGS {
            let part = |part: &str| aside.get(&format!("{layer}.{part}")).map(values).transpose();
            let (Some(scale), Some(shift)) = (part("weight")?, part("bias")?) else { continue };
            ensure!(
                scale.len() == centers.len() && shift.len() == centers.len(),
                "`{layer}` is not a 1×1 convolution of only {}",
                if centers.len() == 1 { "L" } else { "L, a and b, each" }
            );
            let off = |((scale, shift), center): ((&f32, &f32), &f64)| {
                let (scale, shift) = (f64::from(*scale), f64::from(*shift));
                (shift + center * scale).abs() > 1e-3 * (50.0 * scale).abs()
            };
            ensure!(
                !scale.iter().zip(&shift).zip(centers).any(off),
                "`{layer}` computes {scale:?}·x + {shift:?} of the input x, which is no multiple of x − {centers:?}: \
                 these weights expect another input than these networks take"
            );
            if scale.iter().any(|scale| *scale != 1.0) {
                self.scale_inputs(&scale)?;
            }
        }
        Ok(())
    }

    /// Multiplies the input channels of the first convolution by `factors`.
    fn scale_inputs(&mut self, factors: &[f32]) -> Result<()> {
        let first = ["conv1_1.weight", "conv1.weight"].into_iter().find(|n| self.tensors.contains_key(*n));
        let first = first.context("it has a centering layer but no first convolution")?;
        let tensor = self.tensors.get_mut(first).with_context(|| format!("`{first}` is missing"))?;
        let inputs = tensor.dims().last().copied().unwrap_or(0);
        ensure!(
            inputs == factors.len(),
            "`{first}` takes {inputs} channels, its centering {}",
            factors.len()
        );
        *tensor = tensor.to_dtype(DType::F32)?.broadcast_mul(&Tensor::new(factors, &Device::Cpu)?)?;
        let factors = factors.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        self.notes.push(format!("{first} multiplied by {factors}, the scale of its input in the file"));
        Ok(())
    }

    fn scale(&mut self, name: &str, factor: f64) -> Result<()> {
        let tensor = self.tensors.get_mut(name).with_context(|| format!("`{name}` is missing"))?;
        *tensor = (tensor.to_dtype(DType::F32)? * factor)?;
        Ok(())
    }

    /// Classifiers flatten `(C, H, W)` before fc6, so its matrix is a convolution over the whole map: `(O, C·K·K)`
    /// becomes `(O, K, K, C)`. fc7 and fc8 become 1×1.
    fn flat_to_windows(&mut self, architecture: Architecture) -> Result<()> {
        let before = architecture.last_conv().and_then(|conv| self.tensors.get(&format!("{conv}.weight")));
        let Some(channels) = before.and_then(|weight| weight.dims().first().copied()) else { return Ok(()) };
        for (i, layer) in architecture.fully_connected().into_iter().enumerate() {
            let (name, channels) = (format!("{layer}.weight"), (i == 0).then_some(channels));
            let Some(weight) = self.tensors.get(&name).filter(|weight| weight.rank() == 2) else { continue };
            let (outputs, inputs) = weight.dims2()?;
            let channels = channels.unwrap_or(inputs).max(1);
            let side = (inputs / channels).isqrt();
            ensure!(
                side * side * channels == inputs,
                "`{name}` takes {inputs} inputs, which is not a square map of {channels} channels"
            );
            let window =
                weight.reshape((outputs, channels, side, side))?.permute((0, 2, 3, 1))?.contiguous()?;
            self.tensors.insert(name, window);
        }
        Ok(())
    }

    /// The head of a residual colorizer is a 1×1 convolution, which torchvision's layout holds as a matrix.
    fn head_of_colorizer(&mut self, architecture: Architecture) -> Result<()> {
        let reads = self.tensors.get("conv1.weight").and_then(|weight| weight.dims().last().copied());
        if architecture != Architecture::Resnet || reads != Some(1) {
            return Ok(());
        }
        if let Some(head) = self.tensors.get_mut("fc.weight").filter(|weight| weight.rank() == 2) {
            *head = head.unsqueeze(1)?.unsqueeze(1)?;
        }
        Ok(())
    }

    /// Adds the accumulated weights, which Caffe's statistics have and PyTorch's lack.
    fn accumulated_weights(&mut self) -> Result<()> {
        let norms = self.tensors.keys().filter_map(|name| name.strip_suffix(".running_mean"));
        let names: Vec<String> = norms.map(|norm| format!("{norm}.weight_sum")).collect();
        for name in names {
            if let Entry::Vacant(entry) = self.tensors.entry(name) {
                entry.insert(Tensor::new(&[LONG_TRAINED], &Device::Cpu)?);
            }
        }
        Ok(())
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}

/// Compares bin centers `(2, 1, 1, Q)` in units of ab with ours, bin by bin: in another order every color would be
/// wrong.
fn check_bins(centers: &Tensor, unit: f64) -> Result<()> {
    let bins = Bins::new(10.0);
    let values = values(centers)?;
    if values.iter().all(|value| *value == 0.0) {
        return Ok(()); // never filled in, as in models whose users fill it
    }
    let count = bins.len();
    ensure!(
        values.len() == 2 * count,
        "it decodes {} bins but the paper's grid has {count}: this colorizer predicts other colors",
        values.len() / 2
    );
    for (bin, ours) in bins.centers().iter().enumerate() {
        let theirs = [bin, bin + count].map(|i| values[i] * unit as f32);
        let off = ours.iter().zip(theirs).any(|(ours, theirs)| {
            let gap = (ours - theirs).abs();
            gap.is_nan() || gap > BIN_TOLERANCE
        });
        ensure!(
            !off,
            "bin {bin} has the color ab = ({:.1}, {:.1}) in the file and ({:.1}, {:.1}) here: its bins are not \
             the paper's or are in another order",
            theirs[0],
            theirs[1],
            ours[0],
            ours[1]
        );
    }
    Ok(())
}

/// Temperature of a layer that multiplies all logits by one number; None if the layer was never filled.
fn temperature(sharpness: &Tensor) -> Result<Option<f64>> {
    let values = values(sharpness)?;
    let first = f64::from(values.first().copied().unwrap_or(0.0));
    if first == 0.0 {
        return Ok(None);
    }
    let same = values.iter().all(|&value| f64::from(value) == first);
    ensure!(
        same && first > 0.0 && first.is_finite(),
        "`conv8_313_rh` does not scale all logits by one temperature"
    );
    Ok(Some(1.0 / first))
}
