//! Layer names of third-party layouts and ours. Parts after the last dot (`weight`, `running_mean` …) are the same in
//! all.

use super::{
    Architecture, Layout,
    caffe_hints::{OF_HINTS, OF_LIGHTNESS},
};

/// torchvision's `vgg16`.
pub(super) const TORCHVISION_VGG16: [(&str, &str); 16] = [
    ("features.0", "conv1_1"),
    ("features.2", "conv1_2"),
    ("features.5", "conv2_1"),
    ("features.7", "conv2_2"),
    ("features.10", "conv3_1"),
    ("features.12", "conv3_2"),
    ("features.14", "conv3_3"),
    ("features.17", "conv4_1"),
    ("features.19", "conv4_2"),
    ("features.21", "conv4_3"),
    ("features.24", "conv5_1"),
    ("features.26", "conv5_2"),
    ("features.28", "conv5_3"),
    ("classifier.0", "fc6"),
    ("classifier.3", "fc7"),
    ("classifier.6", "fc8"),
];

/// timm's names of the fully connected layers of torchvision's `vgg16`.
const TIMM_VGG16: [(&str, &str); 3] =
    [("pre_logits.fc1", "fc6"), ("pre_logits.fc2", "fc7"), ("head.fc", "fc8")];

/// torchvision's `alexnet`.
pub(super) const TORCHVISION_ALEXNET: [(&str, &str); 8] = [
    ("features.0", "conv1"),
    ("features.3", "conv2"),
    ("features.6", "conv3"),
    ("features.8", "conv4"),
    ("features.10", "conv5"),
    ("classifier.1", "fc6"),
    ("classifier.4", "fc7"),
    ("classifier.6", "fc8"),
];

/// The released AlexNet colorizer's batch normalizations.
const CAFFE_ALEXNET: [(&str, &str); 7] = [
    ("conv1norm", "bn1"),
    ("conv2norm", "bn2"),
    ("conv3norm", "bn3"),
    ("conv4norm", "bn4"),
    ("conv5norm", "bn5"),
    ("fc6norm", "bn6"),
    ("fc7norm", "bn7"),
];

/// The released VGG colorizer's first layer.
const CAFFE_VGG: [(&str, &str); 1] = [("bw_conv1_1", "conv1_1")];

/// The convolutions of earlier blocks in the Caffe release of the colorizer with hints.
const CAFFE_SIGGRAPH17: [(&str, &str); 3] = [
    ("conv3_3_short", "conv3_short8"),
    ("conv2_2_short", "conv2_short9"),
    ("conv1_2_short", "conv1_short10"),
];

/// Number of convolutions in blocks 1 … 7 of the VGG colorizer.
const BLOCKS: [usize; 7] = [2, 2, 3, 3, 3, 3, 3];

/// Layers of the released prototxts with constant values: picture preprocessing, fixed upsampling, decoding.
const HELPERS: [(&str, &str); 12] = [
    ("img_lab", "conversion to Lab"),
    ("data_l", "centering of the lightness"),
    ("data_lab", "centering of Lab"),
    ("data_ab_ss", "subsampling of the labels"),
    ("conv1_2norm_ss", "subsampling"),
    ("conv2_2norm_ss", "subsampling"),
    ("conv3_3norm_ss", "subsampling"),
    ("conv5_us", "fixed upsampling"),
    ("conv6_us", "fixed upsampling"),
    ("conv7_us", "fixed upsampling"),
    ("conv8_313_rh", "temperature of the decoding"),
    ("class8_ab", "bin centers of the decoding"),
];

/// Suffix of the Caffe layer with the scale and shift of a batch normalization.
pub(super) const SCALE: &str = "_scale";

/// Description of a layer that is not part of the network.
pub(super) fn helper(layer: &str) -> Option<&'static str> {
    HELPERS.iter().find(|(name, _)| *name == layer).map(|(_, what)| *what)
}

/// Other names, for reading only: (theirs, ours).
pub(super) fn aliases(layout: Layout, architecture: Architecture) -> Vec<(String, String)> {
    match (layout, architecture) {
        (Layout::Torchvision, Architecture::Vgg16) => {
            TIMM_VGG16.map(|(theirs, ours)| (theirs.into(), ours.into())).into()
        }
        _ => vec![],
    }
}

/// Whether a name is that of a layer with parameters of the network, except heads of other tasks; only third-party
/// AlexNets and the Caffe release of the colorizer with hints have such heads.
pub(super) fn belongs(layout: Layout, architecture: Architecture, layer: &str) -> bool {
    if (layout, architecture) == (Layout::Caffe, Architecture::Siggraph17) {
        return [OF_LIGHTNESS, OF_HINTS].contains(&layer) || architecture.has(layer);
    }
    let number = |stem: &str, last: char| {
        layer
            .strip_prefix(stem)
            .is_some_and(|n| n.len() == 1 && ('1'..=last).contains(&n.chars().next().unwrap_or('0')))
    };
    architecture != Architecture::Alexnet
        || number("conv", '5')
        || number("bn", '7')
        || ["fc6", "fc7", "fc8"].contains(&layer)
}

/// Renamed layers, or all layers for layouts that share no names with ours: (theirs, ours).
pub(super) fn layers(layout: Layout, architecture: Architecture) -> Vec<(String, String)> {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(t, o)| (t.to_string(), o.to_string())).collect();
    match (layout, architecture) {
        (Layout::Eccv16, _) => eccv16(),
        (Layout::Siggraph17, _) => siggraph17(),
        (Layout::Torchvision, Architecture::Vgg16) => owned(&TORCHVISION_VGG16),
        (Layout::Torchvision, Architecture::Resnet) => vec![],
        (Layout::Torchvision, _) => owned(&TORCHVISION_ALEXNET),
        (Layout::Caffe, Architecture::Alexnet) => owned(&CAFFE_ALEXNET),
        (Layout::Caffe, Architecture::VggColorizer) => owned(&CAFFE_VGG),
        (Layout::Caffe, Architecture::Siggraph17) => owned(&CAFFE_SIGGRAPH17),
        (Layout::Caffe | Layout::Ours, _) => vec![],
    }
}

/// Blocks 1 … 7 of both releases. Convolutions have even indices in their block, each followed by a ReLU; the
/// normalization follows the last.
fn blocks() -> Vec<(String, String)> {
    let mut out = vec![];
    for (block, convs) in (1..).zip(BLOCKS) {
        out.extend((0..convs).map(|i| (format!("model{block}.{}", 2 * i), format!("conv{block}_{}", i + 1))));
        out.push((format!("model{block}.{}", 2 * convs), format!("conv{block}_{convs}norm")));
    }
    out
}

/// Blocks 8 … 10 begin with a ReLU, after the sum of two convolutions of their own.
fn siggraph17() -> Vec<(String, String)> {
    let upward = [
        ("model8up.0", "conv8_1"),
        ("model3short8.0", "conv3_short8"),
        ("model8.1", "conv8_2"),
        ("model8.3", "conv8_3"),
        ("model8.5", "conv8_3norm"),
        ("model9up.0", "conv9_1"),
        ("model2short9.0", "conv2_short9"),
        ("model9.1", "conv9_2"),
        ("model9.3", "conv9_2norm"),
        ("model10up.0", "conv10_1"),
        ("model1short10.0", "conv1_short10"),
        ("model10.1", "conv10_2"),
        ("model_class.0", "conv8_529"),
        ("model_out.0", "conv10_ab"),
    ];
    let owned = upward.map(|(theirs, ours)| (theirs.to_string(), ours.to_string()));
    blocks().into_iter().chain(owned).collect()
}

fn eccv16() -> Vec<(String, String)> {
    let mut out = blocks();
    let last = ["conv8_1", "conv8_2", "conv8_3", "conv8_313"];
    out.extend((0..).zip(last).map(|(i, ours): (usize, _)| (format!("model8.{}", 2 * i), ours.to_string())));
    out
}
