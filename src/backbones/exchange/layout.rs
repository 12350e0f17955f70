//! Identifies the network and the naming layout of a file from its tensor names.

use super::{
    caffe_hints::OF_HINTS,
    names::{TORCHVISION_ALEXNET, TORCHVISION_VGG16},
};
use crate::{
    backbones::{
        BackboneSpec, Build, Variant,
        kinds::LayerKind,
        table::{Layer, heads},
    },
    nn::weights::{Format, Named},
};
use anyhow::{Result, bail};
use std::{collections::BTreeSet, fmt};

/// Naming layout and conventions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Names of our layer tables.
    Ours,
    /// The PyTorch release of the VGG colorizer: `model1.0.weight`; lightness divided by 100, a and b by 110.
    Eccv16,
    /// The PyTorch release of the colorizer with hints: `model1.0.weight`, `model9up.0.weight`.
    Siggraph17,
    /// Caffe: the released colorizers (`bw_conv1_1`, `conv1norm`), VGG-16, CaffeNet.
    Caffe,
    /// torchvision's classifiers: `features.0.weight`, `layer1.0.conv1.weight`.
    Torchvision,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "ours",
            Self::Eccv16 => "eccv16",
            Self::Siggraph17 => "siggraph17",
            Self::Caffe => "caffe",
            Self::Torchvision => "torchvision",
        })
    }
}

/// A network that exists in several layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// conv1_1 … conv8_3 and a head.
    VggColorizer,
    /// conv1 … conv5, fc6 … fc8: the colorizer, with or without batch normalization, or a classifier.
    Alexnet,
    /// conv1_1 … conv5_3, fc6 … fc8.
    Vgg16,
    /// conv1, layer1 … layer4, fc.
    Resnet,
    /// conv1_1 … conv10_2 and two heads.
    Siggraph17,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VggColorizer => "VGG colorizer",
            Self::Alexnet => "AlexNet",
            Self::Vgg16 => "VGG-16",
            Self::Resnet => "ResNet",
            Self::Siggraph17 => "colorizer siggraph17",
        })
    }
}

impl Architecture {
    /// Its layer table with that many outputs; the names are those of every size.
    fn layers(self, outputs: usize) -> Vec<Layer> {
        let spec = match self {
            Self::VggColorizer => BackboneSpec::Vgg(Default::default()),
            Self::Alexnet => BackboneSpec::Alexnet(Default::default()),
            Self::Vgg16 => BackboneSpec::Vgg16(Default::default()),
            Self::Resnet => BackboneSpec::Resnet(Default::default()),
            Self::Siggraph17 => BackboneSpec::Siggraph17(Default::default()),
        };
        let variant = Variant::Transfer;
        spec.table(&Build { variant, batch_norm: true, outputs: Some(outputs), ..spec.plain() })
    }

    /// Whether it has a layer of this name.
    pub(super) fn has(self, layer: &str) -> bool {
        self.layers(1).iter().any(|own| own.name == layer)
    }

    fn names(self, wanted: impl Fn(&Layer) -> bool) -> Vec<String> {
        self.layers(1).into_iter().filter(|layer| wanted(layer)).map(|layer| layer.name).collect()
    }

    /// Fully connected layers that are convolutions here, in order.
    pub(super) fn fully_connected(self) -> Vec<String> {
        self.names(Layer::is_fully_connected)
    }

    /// Transposed convolutions.
    pub(super) fn transposed(self) -> Vec<String> {
        self.names(|layer| matches!(layer.kind, LayerKind::ConvTranspose(_)))
    }

    /// The last convolution before the fully connected layers.
    pub(super) fn last_conv(self) -> Option<String> {
        self.names(|layer| layer.is_hidden() && !layer.is_fully_connected()).pop()
    }

    /// Names of its head: that of classes and bins, that of two regressed channels.
    pub(super) fn heads(self) -> Vec<String> {
        let head = |outputs| heads(&self.layers(outputs)).last().map(String::from);
        [1, 2].into_iter().filter_map(head).collect()
    }

    /// Recognizes our names, which are Caffe's with few exceptions.
    pub fn of_ours(tensors: &Named) -> Option<Self> {
        let has = |name: &str| tensors.contains_key(name);
        let vgg = has("conv1_1.weight") || has("bw_conv1_1.weight");
        match () {
            () if vgg && has("conv10_1.weight") => Some(Self::Siggraph17),
            () if vgg && (has("conv6_1.weight") || has("conv8_1.weight")) => Some(Self::VggColorizer),
            () if vgg && has("conv5_3.weight") => Some(Self::Vgg16),
            () if has("conv1.weight") && has("conv5.weight") => Some(Self::Alexnet),
            () if has("conv1.weight") && has("layer1.0.conv1.weight") => Some(Self::Resnet),
            () => None,
        }
    }
}

/// Layout and network of a file's tensors; None if no layout matches.
///
/// # Errors
/// Names that partly match a layout: a related network, which would load incorrectly or not at all.
pub fn recognize(format: Format, tensors: &Named) -> Result<Option<(Layout, Architecture)>> {
    let has = |name: &str| tensors.contains_key(name);
    if has("model1.0.weight") {
        if has("model9up.0.weight") || has("model_class.0.weight") || has("model9.0.weight") {
            return Ok(Some((Layout::Siggraph17, Architecture::Siggraph17)));
        }
        return Ok(Some((Layout::Eccv16, Architecture::VggColorizer)));
    }
    if has("conv1.0.weight") && has("layer1.0.conv1.weight") {
        bail!(
            "it is a ResNet with a stem of three convolutions (timm's resnet18d, resnet50d, …), which is not supported: \
             take weights of a plain ResNet, such as resnet18 or resnet50"
        )
    }
    if has("features.0.weight") {
        return torchvision(tensors).map(|architecture| Some((Layout::Torchvision, architecture)));
    }
    let flat = ["fc6.weight", "fc7.weight"].iter().any(|fc| tensors.get(*fc).is_some_and(|t| t.rank() == 2));
    // Statistics without an accumulated weight are PyTorch's.
    let means = tensors.keys().filter_map(|name| name.strip_suffix(".running_mean"));
    let foreign = means.into_iter().any(|norm| !has(&format!("{norm}.weight_sum")));
    let caffe = format == Format::Caffe
        || flat
        || foreign
        || ["bw_conv1_1.weight", "conv1norm.running_mean", "conv8_313_rh.weight", "data_l.weight"]
            .map(has)
            .contains(&true);
    let architecture = Architecture::of_ours(tensors);
    if architecture == Some(Architecture::Resnet)
        && let Some(part) = strange_part(tensors)
    {
        bail!(
            "it is a variant of a ResNet with layers that a plain one lacks (`{part}`), which is not supported: take weights \
             of a plain ResNet, such as resnet18 or resnet50"
        )
    }
    Ok(architecture.map(|architecture| match architecture {
        Architecture::Resnet if foreign => (Layout::Torchvision, architecture),
        Architecture::Siggraph17 if has(&format!("{OF_HINTS}.weight")) => (Layout::Caffe, architecture),
        Architecture::Resnet | Architecture::Siggraph17 => (Layout::Ours, architecture),
        _ if caffe => (Layout::Caffe, architecture),
        _ => (Layout::Ours, architecture),
    }))
}

/// A tensor within the stages that belongs to no layer of a residual block: attention, antialiasing.
fn strange_part(tensors: &Named) -> Option<&str> {
    let known = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        let [stage, _, layer @ .., _] = parts.as_slice() else { return true };
        let plain = ["conv1", "conv2", "conv3", "bn1", "bn2", "bn3"];
        !stage.starts_with("layer")
            || matches!(layer, [only] if plain.contains(only))
            || matches!(layer, ["downsample", "0" | "1"])
    };
    tensors.keys().map(String::as_str).find(|name| !known(name))
}

/// Recognized by layer numbers: variants of other depths or with batch normalization have others.
fn torchvision(tensors: &Named) -> Result<Architecture> {
    let prefix = |name: &String| Some(name.strip_suffix(".weight")?.strip_prefix("features.")?.to_string());
    let numbers: BTreeSet<String> = tensors.keys().filter_map(prefix).collect();
    let is = |stems: &[(&str, &str)]| {
        let wanted = stems.iter().filter_map(|(theirs, _)| theirs.strip_prefix("features."));
        wanted.map(String::from).collect::<BTreeSet<_>>() == numbers
    };
    match () {
        () if is(&TORCHVISION_VGG16) => Ok(Architecture::Vgg16),
        () if is(&TORCHVISION_ALEXNET) => Ok(Architecture::Alexnet),
        () => bail!(
            "it is a torchvision network with weights at features.{}: only vgg16 (without batch \
             normalization) and alexnet are supported",
            numbers.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    fn file(names: &[&str]) -> Named {
        let zero = Tensor::zeros((1, 1, 1, 1), DType::F32, &Device::Cpu).unwrap();
        names.iter().map(|name| (name.to_string(), zero.clone())).collect()
    }

    /// The names of timm's resnet18d, seresnet50, and resnetblur50, and those of torchvision's resnet18.
    #[test]
    fn variants_of_resnets_are_refused_by_name() {
        let plain = [
            "conv1.weight",
            "bn1.running_mean",
            "layer1.0.conv1.weight",
            "layer1.0.bn1.running_mean",
            "layer2.0.downsample.0.weight",
            "layer2.0.downsample.1.running_var",
            "fc.weight",
        ];
        let known = recognize(Format::Pytorch, &file(&plain)).unwrap();
        assert_eq!(known, Some((Layout::Torchvision, Architecture::Resnet)));
        let deep = ["conv1.0.weight", "conv1.3.weight", "bn1.running_mean", "layer1.0.conv1.weight"];
        let error = recognize(Format::Pytorch, &file(&deep)).unwrap_err().to_string();
        assert!(error.contains("stem of three convolutions") && error.contains("resnet18d"), "{error}");
        for strange in ["layer1.0.se.fc1.weight", "layer2.0.aa.filt", "layer2.0.downsample.2.weight"] {
            let error = recognize(Format::Pytorch, &file(&[&plain[..], &[strange]].concat()));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(strange) && error.contains("plain ResNet"), "{error}");
        }
    }
}
