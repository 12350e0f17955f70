//! Writes our weights in third-party layouts, in any of the three formats.

use super::{
    Architecture, LAYOUT, Layout, WeightFile,
    import::{COLOR_UNIT, LIGHTNESS_UNIT},
    names::{self, SCALE},
};
use crate::{
    color::bins::Bins,
    nn::weights::{self, Format, Named, caffe, pth},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Names the section in errors.
const COLORIZATION: &str = "the header's `colorization`";

/// Writes a weight file atomically in a layout and a format; returns notes on what was changed or left out. The metadata
/// is stored in safetensors in our own layout, and in state dicts. Caffe models always have Caffe's layout.
///
/// # Errors
/// A network without names in the layout, a layout that the format cannot store, a file that cannot be written.
pub fn save(file: &WeightFile, layout: Layout, format: Format, path: &Path) -> Result<Vec<String>> {
    ensure!(
        format != Format::Caffe || layout == Layout::Caffe,
        "a .caffemodel stores only the layout `caffe`, not `{layout}`: use another extension, or `--layout caffe`"
    );
    let (tensors, mut notes) =
        exported(file, layout).with_context(|| format!("cannot write the layout `{layout}`"))?;
    let list: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata = match format {
        Format::Safetensors if layout == Layout::Ours => file.metadata.clone(),
        Format::Pytorch => state_dict_metadata(file, layout)?,
        Format::Safetensors | Format::Caffe => BTreeMap::new(),
    };
    if metadata.is_empty() && !file.metadata.is_empty() {
        let keys = file.metadata.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        notes.push(format!("left out: the header ({keys}), which this format and layout cannot store"));
    }
    match format {
        Format::Safetensors => weights::write(&list, &metadata, path)?,
        Format::Pytorch => pth::write(&list, &metadata, path)?,
        Format::Caffe => {
            let transposed = file.architecture.map(Architecture::transposed).unwrap_or_default();
            let transposed: Vec<&str> = transposed.iter().map(String::as_str).collect();
            caffe::write("hueristic", &list, &transposed, path)?;
        }
    }
    Ok(notes)
}

/// The metadata for tensors in this layout, so that the network in the state dict is read as the same one.
fn state_dict_metadata(file: &WeightFile, layout: Layout) -> Result<BTreeMap<String, String>> {
    let mut metadata = file.metadata.clone();
    if metadata.is_empty() || layout == Layout::Ours {
        return Ok(metadata);
    }
    metadata.insert(LAYOUT.into(), layout.to_string());
    if let (Layout::Eccv16, Some(yaml)) = (layout, metadata.get_mut("colorization")) {
        // The head's weights are divided by it.
        let mut section: serde_yaml::Mapping = crate::yaml::read(yaml).context(COLORIZATION)?;
        section.insert("temperature".into(), 1.0.into());
        *yaml = crate::yaml::write(&section)?;
    }
    Ok(metadata)
}

fn exported(file: &WeightFile, layout: Layout) -> Result<(Named, Vec<String>)> {
    let mut out = Exported { tensors: file.tensors.clone(), notes: vec![] };
    if layout == Layout::Ours {
        return Ok((out.tensors, out.notes));
    }
    let architecture = file.architecture.context("the file holds no network with a third-party layout")?;
    match (layout, architecture) {
        (Layout::Eccv16, Architecture::VggColorizer) => out.eccv16(file)?,
        (Layout::Siggraph17, Architecture::Siggraph17) => out.counters()?,
        (Layout::Siggraph17, _) => {
            bail!("this layout is for the colorizer siggraph17; the file holds {architecture}")
        }
        (_, Architecture::Siggraph17) => bail!("the colorizer siggraph17 has only the layout `siggraph17`"),
        (Layout::Eccv16, _) => bail!("this layout is for the VGG colorizer; the file holds {architecture}"),
        (Layout::Torchvision, Architecture::VggColorizer) => bail!("torchvision has no colorizer"),
        (Layout::Torchvision, _) => out.torchvision(architecture)?,
        (Layout::Caffe, Architecture::VggColorizer) => out.caffe_colorizer(file)?,
        (Layout::Caffe, Architecture::Resnet) => bail!("this layout is not supported for residual networks"),
        (Layout::Caffe, _) => out.caffe_flat(architecture)?,
        (Layout::Ours, _) => {}
    }
    let tensors = out.renamed(layout, architecture)?;
    Ok((tensors, out.notes))
}

struct Exported {
    tensors: Named,
    notes: Vec<String>,
}

impl Exported {
    /// The PyTorch release: adds scale, shift and counters, removes the accumulated weights, rescales the input and
    /// divides by the temperature.
    fn eccv16(&mut self, file: &WeightFile) -> Result<()> {
        let bins = Bins::new(10.0);
        self.colors(&bins)?;
        self.scale("conv1_1.weight", LIGHTNESS_UNIT)?;
        self.notes.push(format!(
            "conv1_1.weight multiplied by {LIGHTNESS_UNIT}: the input of the released network is (L − 50) / 100"
        ));
        match temperature(file)? {
            Some(1.0) => {}
            Some(t) => {
                self.scale("conv8_313.weight", 1.0 / t)?;
                self.scale("conv8_313.bias", 1.0 / t)?;
                self.notes.push(format!(
                    "conv8_313 divided by the temperature {t}, which this layout cannot store separately"
                ));
            }
            None => self.notes.push("the file specifies no temperature: the decoding uses 1".into()),
        }
        for norm in self.norms() {
            let channels = self.get(&format!("{norm}.running_mean"))?.elem_count();
            for (part, value) in [("weight", 1f32), ("bias", 0.0)] {
                let full = Tensor::full(value, channels, &Device::Cpu)?;
                self.tensors.entry(format!("{norm}.{part}")).or_insert(full);
            }
            self.tensors.remove(&format!("{norm}.weight_sum"));
            self.tensors.insert(format!("{norm}.num_batches_tracked"), Tensor::new(0i64, &Device::Cpu)?);
        }
        let centers = centers(&bins, 1.0 / COLOR_UNIT)?;
        self.tensors.insert("model_out.weight".into(), centers);
        Ok(())
    }

    /// The Caffe release: decoding with a temperature, bin centers, scale and shift in separate layers.
    fn caffe_colorizer(&mut self, file: &WeightFile) -> Result<()> {
        for norm in self.norms() {
            for part in ["weight", "bias"] {
                if let Some(tensor) = self.tensors.remove(&format!("{norm}.{part}")) {
                    self.tensors.insert(format!("{norm}{SCALE}.{part}"), tensor);
                }
            }
        }
        if self.norms().iter().any(|norm| self.tensors.contains_key(&format!("{norm}{SCALE}.weight"))) {
            self.notes.push(format!(
                "scale and shift of batch normalization are stored in Scale layers named NAME{SCALE}"
            ));
        }
        let bins = Bins::new(10.0);
        if self.colors(&bins).is_ok() {
            self.tensors.insert("class8_ab.weight".into(), centers(&bins, 1.0)?);
            self.tensors.insert("class8_ab.bias".into(), Tensor::zeros(2, DType::F32, &Device::Cpu)?);
            if let Some(t) = temperature(file)? {
                let sharpness = Tensor::full((1.0 / t) as f32, bins.len(), &Device::Cpu)?;
                self.tensors.insert("conv8_313_rh.weight".into(), sharpness);
            }
            self.notes.push(
                "added: class8_ab, the bin centers, and conv8_313_rh, the temperature if there is one".into(),
            );
        }
        Ok(())
    }

    /// In Caffe, classifiers (three input channels) end in inner products, colorizers in convolutions.
    fn caffe_flat(&mut self, architecture: Architecture) -> Result<()> {
        let color = self.tensors.get("conv1.weight").is_some_and(|weight| weight.dims().last() == Some(&3));
        if architecture == Architecture::Vgg16 || (color && self.norms().is_empty()) {
            self.windows_to_flat(architecture)?;
        }
        Ok(())
    }

    /// Replaces the statistics' accumulated weights by counters, and reshapes the head to a matrix.
    fn resnet(&mut self) -> Result<()> {
        ensure!(
            !self.norms().is_empty(),
            "the layout's ResNets have batch normalization, this one has absorbed it: convert the weights of the run"
        );
        self.counters()?;
        if let Some(head) = self.tensors.get_mut("fc.weight").filter(|weight| weight.rank() == 4) {
            *head = head.flatten_from(1)?;
        }
        Ok(())
    }

    /// Replaces the statistics' accumulated weights by counters.
    fn counters(&mut self) -> Result<()> {
        for norm in self.norms() {
            self.tensors.remove(&format!("{norm}.weight_sum"));
            self.tensors.insert(format!("{norm}.num_batches_tracked"), Tensor::new(0i64, &Device::Cpu)?);
        }
        Ok(())
    }

    fn torchvision(&mut self, architecture: Architecture) -> Result<()> {
        if architecture == Architecture::Resnet {
            return self.resnet();
        }
        ensure!(
            self.norms().is_empty(),
            "the layout's {architecture} has no batch normalization, but this one has"
        );
        if architecture == Architecture::Alexnet {
            let (first, second) = (self.get("conv1.weight")?.dims4()?, self.get("conv2.weight")?.dims4()?);
            ensure!(
                first.0 == second.3,
                "the layout's AlexNet has no groups, but this one splits conv2 into {}",
                first.0 / second.3.max(1)
            );
        }
        self.windows_to_flat(architecture)
    }

    /// `(O, K, K, C)` to `(O, C·K·K)`.
    fn windows_to_flat(&mut self, architecture: Architecture) -> Result<()> {
        for layer in architecture.fully_connected() {
            if let Some(weight) = self.tensors.get_mut(&format!("{layer}.weight")).filter(|w| w.rank() == 4) {
                *weight = weight.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?;
            }
        }
        Ok(())
    }

    /// Converts names; for layouts that share no names with ours, drops the tensors without a name there.
    fn renamed(&mut self, layout: Layout, architecture: Architecture) -> Result<Named> {
        if architecture == Architecture::Resnet {
            return Ok(std::mem::take(&mut self.tensors)); // the same names
        }
        let layers: BTreeMap<String, String> =
            names::layers(layout, architecture).into_iter().map(|(theirs, ours)| (ours, theirs)).collect();
        let (mut out, mut left_out) = (Named::new(), BTreeSet::new());
        for (name, tensor) in std::mem::take(&mut self.tensors) {
            let (layer, part) = name.rsplit_once('.').unwrap_or((&name, ""));
            match layers.get(layer) {
                Some(theirs) => drop(out.insert(format!("{theirs}.{part}"), tensor)),
                None if layout == Layout::Caffe || layer == "model_out" => drop(out.insert(name, tensor)),
                None => drop(left_out.insert(name)),
            }
        }
        if !left_out.is_empty() {
            let names = left_out.into_iter().collect::<Vec<_>>().join(", ");
            self.notes.push(format!("left out, since the layout has no name for it: {names}"));
        }
        Ok(out)
    }

    fn norms(&self) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_suffix(".running_mean").map(String::from)).collect()
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).with_context(|| format!("`{name}` is missing"))
    }

    fn scale(&mut self, name: &str, factor: f64) -> Result<()> {
        let scaled = (self.get(name)?.to_dtype(DType::F32)? * factor)?;
        self.tensors.insert(name.into(), scaled);
        Ok(())
    }

    /// Checks that the head predicts the paper's bins.
    fn colors(&self, bins: &Bins) -> Result<()> {
        let outputs = self.get("conv8_313.weight")?.dim(0)?;
        ensure!(
            outputs == bins.len(),
            "the layout's head has the paper's {} colors, but this one has {outputs}",
            bins.len()
        );
        Ok(())
    }
}

/// Bin centers `(2, 1, 1, Q)` as the weights of a 1×1 convolution.
fn centers(bins: &Bins, unit: f64) -> Result<Tensor> {
    let axis = |axis: usize| bins.centers().iter().map(move |center| center[axis]);
    let both: Vec<f32> = axis(0).chain(axis(1)).collect();
    Ok((Tensor::from_vec(both, (2, 1, 1, bins.len()), &Device::Cpu)? * unit)?)
}

fn temperature(file: &WeightFile) -> Result<Option<f64>> {
    let Some(yaml) = file.metadata.get("colorization") else { return Ok(None) };
    let section: serde_yaml::Value = crate::yaml::read(yaml).context(COLORIZATION)?;
    Ok(section.get("temperature").and_then(serde_yaml::Value::as_f64).filter(|t| *t > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{BackboneSpec, Build},
        bounded::Positive,
        nn::{Mode, init::Filler, params::Params},
        rng::Rng,
        skipping,
    };

    /// Writes a network with random weights under torchvision's names, an input, and our logits for it.
    fn write(folder: &Path, name: &str, yaml: &str, architecture: Architecture) -> Result<()> {
        let spec: BackboneSpec = serde_json::from_value(crate::yaml::read(yaml)?)?;
        let normalized = architecture == Architecture::Resnet;
        let build = Build { batch_norm: normalized, outputs: Some(7), ..spec.plain() };
        let (mut params, std) = (Params::new(&Device::Cpu), Positive::of(0.1));
        let net = spec.build(&build, &mut params, &Rng::new(1))?;
        // The head starts with zeros.
        for (seed, (_, var)) in params.all().enumerate().filter(|(_, (name, _))| name.starts_with("fc")) {
            if var.sqr()?.sum_all()?.to_scalar::<f32>()? == 0.0 {
                var.set(&Filler::Gaussian { std }.fill(var.dims(), &Rng::new(seed as u64), &Device::Cpu)?)?;
            }
        }
        let side = if normalized { 64 } else { spec.crop() };
        let x = Filler::Gaussian { std }.fill((2, side, side, 3), &Rng::new(9), &Device::Cpu)?;
        let logits = net.forward(&x, &[net.head().label()], &Mode::Frozen)?.remove(0).flatten_from(1)?;
        let answers = [("input", &x), ("logits", &logits)];
        weights::write(&answers, &BTreeMap::new(), &folder.join(name).with_extension("safetensors"))?;
        let file = WeightFile {
            tensors: params.state().into_iter().collect(),
            metadata: BTreeMap::new(),
            layout: Layout::Ours,
            architecture: Some(architecture),
            format: Format::Safetensors,
            notes: vec![],
            renamed: vec![],
        };
        save(&file, Layout::Torchvision, Format::Pytorch, &folder.join(name).with_extension("pth")).map(drop)
    }

    #[test]
    fn torchvision_loads_its_names_strictly() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let torchvision = "{ alexnet: { preset: torchvision } }";
        write(folder.path(), "alexnet", torchvision, Architecture::Alexnet)?;
        write(folder.path(), "resnet18", "{ resnet: { input: rgb_unit } }", Architecture::Resnet)?;
        let packages = "torch or torchvision";
        let Some(found) = skipping::answer_of_python("strict_loading.py", folder.path(), packages) else {
            return Ok(());
        };
        let found: BTreeMap<String, f64> = serde_json::from_slice(&found)?;
        println!("{found:?}");
        assert!(found.len() >= 2 && found.values().all(|apart| *apart < 1e-4), "{found:?}");
        Ok(())
    }
}
