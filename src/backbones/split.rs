//! Split networks (Zhang, Isola and Efros, "Split-Brain Autoencoders", CVPR 2017, section 3): two disjoint sub-networks,
//! each with half of the channels of every layer, one of which sees L of a Lab picture and the other a and b. Side by
//! side they are a backbone that sees Lab: the features are the concatenation of those of the halves, and a weight is
//! block-diagonal, with zeros between the halves. A layer of two groups is two layers of one.
//!
//! Both sets of weights describe one function. [`SplitNetwork`] holds the tables of both and converts weights either way.

use super::{
    BackboneSpec, Build, Variant,
    input::Input,
    kinds::{BatchNormRow, ConvRow, LayerKind, LinearRow, SelectChannelsRow},
    network::{Interface, Network, PixelGrid},
    table::{Layer, Role, TableBuilder, lattice},
};
use crate::{
    nn::{params::Params, weights::Named},
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// A half: the name that precedes those of its layers (`ab.conv1`), and the channels of Lab that it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half {
    pub name: &'static str,
    sees: SelectChannelsRow,
}

/// The halves, in the order of their channels in the merged network.
pub const HALVES: [Half; 2] = [
    Half { name: "lightness", sees: SelectChannelsRow { first: 0, count: 1 } },
    Half { name: "ab", sees: SelectChannelsRow { first: 1, count: 2 } },
];

impl Half {
    /// Name of a layer of this half.
    pub fn layer(self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// Whether a layer or tensor is of this half, by its name.
    pub fn holds(self, name: &str) -> bool {
        name.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('.'))
    }
}

/// A backbone for Lab, and the same as two halves.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitNetwork {
    whole: Vec<Layer>,
    halves: Vec<Layer>,
}

impl SplitNetwork {
    /// The variant for predictions at pixels; the head of each half has its own number of `outputs`.
    ///
    /// # Errors
    /// As [`SplitNetwork::of`].
    pub fn pretext(backbone: &BackboneSpec, outputs: [usize; 2]) -> Result<Self> {
        Self::of(backbone, Build { variant: Variant::Pretext, batch_norm: true, ..backbone.plain() }, outputs)
    }

    /// Splits the network that `build` describes, except for its input and its head.
    ///
    /// # Errors
    /// A backbone that cannot see Lab; a layer that cannot be split, by name: an odd number of channels or of groups, a
    /// normalization across channels.
    pub fn of(backbone: &BackboneSpec, build: Build, outputs: [usize; 2]) -> Result<Self> {
        let lab = backbone.with_input(Input::Lab);
        if lab.input() != Input::Lab {
            bail!(
                "`{}` sees {} only, but the halves of a split network see Lab: use `alexnet` or `resnet`",
                lab.name(),
                lab.input().describe()
            )
        }
        let build = Build { input_channels: Input::Lab.channels(), outputs: Some(1), ..build };
        let whole = lab.table(&build);
        let mut table = TableBuilder::new(build.input_channels);
        for (half, outputs) in HALVES.into_iter().zip(outputs) {
            half.append(&mut table, &whole, outputs)?;
        }
        Ok(Self { whole, halves: table.rows() })
    }

    /// Both halves in one table. The last row is the head of the second.
    pub fn table(&self) -> &[Layer] {
        &self.halves
    }

    /// Taps of the heads, in the order of [`HALVES`].
    pub fn heads(&self) -> [String; 2] {
        let head = self.whole.last().map_or("", Layer::label);
        HALVES.map(|half| half.layer(head))
    }

    /// The interface of a split `backbone`: it sees Lab, and its labels are at the centers of the cells of its output
    /// maps.
    pub fn interface(&self, backbone: &BackboneSpec) -> Interface {
        let stride = lattice(&self.whole, self.whole.len()).stride as usize;
        let own = backbone.interface();
        Interface { input: Input::Lab, grid: PixelGrid { stride, ..own.grid }, ..own }
    }

    /// Adds the parameters of the halves to `params`, initialized from `rng`.
    ///
    /// # Errors
    /// A tensor that cannot be allocated on the device.
    pub fn build(&self, backbone: &BackboneSpec, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(self.interface(backbone), self.halves.clone(), params, rng)
    }

    /// Weights of the backbone, without a head, from those of the halves. In evaluation, its features are the
    /// concatenation of theirs.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape.
    pub fn merged(&self, halves: &Named) -> Result<Named> {
        let mut merged = Named::new();
        for row in self.hidden() {
            for which in TENSORS {
                let names = HALVES.map(|half| half.layer(&format!("{}.{which}", row.name)));
                let [first, second] = names.each_ref().map(|name| halves.get(name));
                let whole = match (first, second) {
                    (None, None) => continue,
                    (Some(first), Some(second)) => merge(row, which, [first, second])?,
                    _ => bail!("of `{}` and `{}`, one is missing", names[0], names[1]),
                };
                merged.insert(format!("{}.{which}", row.name), whole);
            }
        }
        Ok(merged)
    }

    /// The inverse of [`SplitNetwork::merged`]. Tensors of other layers, such as a head's, are left out.
    ///
    /// # Errors
    /// A weight that connects the halves or does not fit the backbone.
    pub fn split(&self, merged: &Named) -> Result<Named> {
        let mut halves = Named::new();
        for row in self.hidden() {
            for which in TENSORS {
                let name = format!("{}.{which}", row.name);
                let Some(whole) = merged.get(&name) else { continue };
                for (at, half) in HALVES.into_iter().enumerate() {
                    let part = part(row, which, whole, at).map_err(|error| error.context(name.clone()))?;
                    halves.insert(half.layer(&name), part);
                }
            }
        }
        Ok(halves)
    }

    fn hidden(&self) -> impl Iterator<Item = &Layer> {
        self.whole.iter().filter(|row| row.role != Role::Head)
    }
}

/// Names of all tensors that a layer may have.
const TENSORS: [&str; 5] = ["weight", "bias", "running_mean", "running_var", WEIGHT_SUM];
/// The accumulated weight of the running statistics, equal in both halves.
const WEIGHT_SUM: &str = "weight_sum";

impl Half {
    /// Appends this half of `whole`, which reads value 0 of the table.
    fn append(self, table: &mut TableBuilder, whole: &[Layer], outputs: usize) -> Result<()> {
        table.read(0);
        table.role(Role::Trunk);
        table.push(self.name, LayerKind::SelectChannels(self.sees));
        let entry = table.value();
        for row in whole {
            table.role(row.role);
            // Value 0 of the whole is the input; the others follow it as they do there.
            table.read(entry + row.from[0]);
            let inputs = table.channels();
            let outputs = if row.role == Role::Head { outputs } else { halved(row)? };
            let Some(kind) = resized(&row.kind, inputs, outputs) else {
                bail!("`{}` would mix the halves of a split network{}", row.name, advice(&row.kind))
            };
            let from = row.from.iter().map(|value| entry + value).collect();
            table.join(&self.layer(&row.name), kind, from);
            if let Some(tap) = &row.tap {
                table.tap(&self.layer(tap));
            }
        }
        Ok(())
    }
}

/// Half of the row's outputs.
fn halved(row: &Layer) -> Result<usize> {
    if !row.outputs.is_multiple_of(2) {
        bail!(
            "`{}` has {} channels, which cannot be split into halves: use an even number",
            row.name,
            row.outputs
        )
    }
    Ok(row.outputs / 2)
}

/// The same operation on half of the channels; None if it is not one of each half alone.
fn resized(kind: &LayerKind, inputs: usize, outputs: usize) -> Option<LayerKind> {
    let groups = |groups: usize| match groups {
        1 => Some(1),
        even if even % 2 == 0 => Some(even / 2),
        _ => None,
    };
    Some(match kind {
        LayerKind::Conv(conv) => {
            LayerKind::Conv(ConvRow { inputs, outputs, groups: groups(conv.groups)?, ..*conv })
        }
        LayerKind::Linear(linear) => LayerKind::Linear(LinearRow { inputs, outputs, ..*linear }),
        LayerKind::BatchNorm(norm) => LayerKind::BatchNorm(BatchNormRow { channels: inputs, ..*norm }),
        LayerKind::Pool(_)
        | LayerKind::GlobalPool(_)
        | LayerKind::Activation(_)
        | LayerKind::Dropout(_)
        | LayerKind::Add(_)
        | LayerKind::Resize(_) => kind.clone(),
        _ => return None,
    })
}

fn advice(kind: &LayerKind) -> &'static str {
    match kind {
        LayerKind::ResponseNorm(_) => ": it normalizes across channels; use `lrn: none`, as the original",
        LayerKind::Conv(_) => ": use 1 or an even number of `groups`",
        _ => "",
    }
}

/// Whether the halves of the row's weight are blocks of a larger one, rather than whole groups.
fn has_blocks(row: &Layer) -> bool {
    row.kind.has_weights() && row.conv().is_none_or(|conv| conv.groups == 1)
}

/// Concatenates tensors of the halves along the outputs, the first axis; a weight of blocks is zero beside them.
fn merge(row: &Layer, which: &str, [first, second]: [&Tensor; 2]) -> Result<Tensor> {
    if which == WEIGHT_SUM {
        return Ok(first.clone());
    }
    if which != "weight" || !has_blocks(row) {
        return Tensor::cat(&[first, second], 0);
    }
    let axis = first.rank() - 1;
    let [before, after] = [first.dim(axis)?, second.dim(axis)?];
    let blocks = [first.pad_with_zeros(axis, 0, after)?, second.pad_with_zeros(axis, before, 0)?];
    Tensor::cat(&blocks, 0)
}

/// The part of half `at` in a tensor of the merged network.
fn part(row: &Layer, which: &str, whole: &Tensor, at: usize) -> Result<Tensor> {
    if which == WEIGHT_SUM {
        return Ok(whole.clone());
    }
    let count = whole.dim(0)? / 2;
    let own = whole.narrow(0, at * count, count)?;
    if which != "weight" || !has_blocks(row) {
        return own.contiguous();
    }
    let axis = whole.rank() - 1;
    if whole.dim(axis)? != row.inputs {
        bail!("it takes {} channels, and this backbone's {}", whole.dim(axis)?, row.inputs)
    }
    let [own_inputs, others] = [at, 1 - at].map(|half| inputs(row, half));
    let cross = own.narrow(axis, others.start, others.len())?;
    if cross.abs()?.max_all()?.to_scalar::<f32>()? != 0.0 {
        bail!(
            "it connects the halves, as weights of a split network do not: start from a `split_brain` stage"
        )
    }
    own.narrow(axis, own_inputs.start, own_inputs.len())?.contiguous()
}

/// Input channels of half `at`: of the first layer those that it sees, of others one half.
fn inputs(row: &Layer, at: usize) -> Range<usize> {
    let SelectChannelsRow { first, count } = match row.from[0] {
        0 => HALVES[at].sees,
        _ => SelectChannelsRow { first: at * row.inputs / 2, count: row.inputs / 2 },
    };
    first..first + count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{absorb::fitted, table::taps},
        bounded::Positive,
        extremes::{between, largest_of},
        nn::{Mode, init::Filler},
    };
    use candle_core::Device;

    const OUTPUTS: [usize; 2] = [7, 5];

    fn backbone(yaml: &str) -> BackboneSpec {
        serde_json::from_value(crate::yaml::read(yaml).unwrap()).unwrap()
    }

    fn noise(dims: &[usize], seed: u64) -> Tensor {
        Filler::Gaussian { std: Positive::of(1.0) }.fill(dims, &Rng::new(seed), &Device::Cpu).unwrap()
    }

    /// Halves with random weights, biases, and statistics.
    fn random(split: &SplitNetwork, backbone: &BackboneSpec) -> (Network, Params) {
        let mut params = Params::new(&Device::Cpu);
        let net = split.build(backbone, &mut params, &Rng::new(1)).unwrap();
        for (seed, (name, var)) in params.all().enumerate() {
            let drawn = noise(var.dims(), seed as u64);
            let drawn = match name.rsplit_once('.').expect("a layer").1 {
                "weight_sum" => continue,
                "running_var" => (drawn.abs().unwrap() + 0.5).unwrap(),
                "weight" => {
                    (drawn * (2.0 / (var.elem_count() as f64 / var.dims()[0] as f64)).sqrt()).unwrap()
                }
                _ => (drawn * 0.1).unwrap(),
            };
            var.set(&drawn).unwrap();
        }
        (net, params)
    }

    fn loaded(backbone: &BackboneSpec, build: &Build, tensors: &Named) -> Network {
        let mut params = Params::with_values(&Device::Cpu, tensors.clone());
        let net = backbone.build(build, &mut params, &Rng::new(2)).unwrap();
        let report = crate::nn::weights::finish_load(&mut params).unwrap();
        assert!(report.missing.is_empty() && report.mismatched.is_empty(), "{report}");
        net
    }

    /// Features of all taps of `whole` at `x`, against the concatenated ones of `halves`.
    fn compare(whole: &Network, halves: &Network, x: &Tensor) {
        let features = |net: &Network, tap: &str| net.forward(x, &[tap], &Mode::Frozen).unwrap().remove(0);
        let mut seen = 0;
        for tap in taps(whole.layers()) {
            let [first, second] = HALVES.map(|half| features(halves, &half.layer(tap)));
            let both = Tensor::cat(&[first, second], 3).unwrap();
            let whole = features(whole, tap);
            let (apart, scale) = (between(&whole, &both).unwrap(), largest_of(&both).unwrap());
            assert!(scale > 1e-3 && apart <= 1e-5 * scale, "{tap}: {apart} of {scale}");
            seen += 1;
        }
        assert!(seen >= 6);
    }

    const BACKBONES: [(&str, usize); 8] = [
        ("{ alexnet: { width: 0.1, fc: 34, norm_decay: 0.9 } }", 67),
        ("{ alexnet: { stem: small, width: 0.1, fc: 16, groups: 4, leak: 0.2, batch_norm: affine } }", 29),
        ("{ alexnet: { stem: small, width: 0.1, fc: 16, groups: 1, batch_norm: kept } }", 29),
        ("{ resnet: { depth: 18, width: 0.1 } }", 64),
        ("{ resnet: { depth: 18, stem: small, width: 0.13 } }", 16),
        ("{ resnet: { depth: 50, width: 0.1 } }", 64),
        ("{ resnet: { depth: 50, stem: small, width: 0.1, keep_batch_norm: true } }", 16),
        ("{ vgg16: { width: 0.05, fc: 16, crop: 32 } }", 32),
    ];

    #[test]
    fn merged_features_are_those_of_the_halves_side_by_side() {
        for (yaml, side) in BACKBONES {
            let (spec, x) = (backbone(yaml).with_input(Input::Lab), noise(&[2, side, side, 3], 9));
            let split = SplitNetwork::pretext(&spec, OUTPUTS).unwrap();
            let (halves, params) = random(&split, &spec);
            let own: Named = params.state().into_iter().collect();
            let merged = split.merged(&own).unwrap();
            let build = Build { variant: Variant::Pretext, batch_norm: true, ..spec.plain() };
            compare(&loaded(&spec, &build, &merged), &halves, &x);

            // and back
            let again = split.split(&merged).unwrap();
            let hidden: Vec<_> = own.keys().filter(|name| again.contains_key(*name)).collect();
            assert_eq!((hidden.len(), hidden.len() % 2), (again.len(), 0), "{yaml}");
            let heads = own.keys().filter(|name| !again.contains_key(*name)).count();
            assert_eq!(heads, 4, "{yaml}: weight and bias of two heads");
            assert!(again.iter().all(|(name, value)| between(value, &own[name]).unwrap() == 0.0), "{yaml}");
        }
    }

    /// Probes read the transfer variant with batch normalization absorbed.
    #[test]
    fn absorbed_weights_are_those_of_the_halves_too() {
        for (yaml, _) in [BACKBONES[0], BACKBONES[3], BACKBONES[5]] {
            let spec = backbone(yaml).with_input(Input::Lab);
            let x = noise(&[1, spec.crop(), spec.crop(), 3], 9);
            let kept = Build { batch_norm: true, ..spec.plain() };
            let split = SplitNetwork::of(&spec, kept, OUTPUTS).unwrap();
            let (halves, params) = random(&split, &spec);
            let merged = split.merged(&params.state().into_iter().collect()).unwrap();
            let absorbed = fitted(&spec, &spec.plain(), merged.clone()).unwrap();
            assert!(absorbed.len() < merged.len());
            compare(&loaded(&spec, &spec.plain(), &absorbed), &halves, &x);
        }
    }

    /// The numbers of the paper's table: 48, 128, 192, 192, 128 channels, 2048 of fc6 and fc7, outputs of 12×12.
    #[test]
    fn halves_of_an_alexnet_are_those_of_the_paper() {
        let spec = backbone("{ alexnet: {} }");
        let split = SplitNetwork::pretext(&spec, [313, 50]).unwrap();
        let convs: Vec<[usize; 3]> = split
            .table()
            .iter()
            .filter_map(Layer::conv)
            .map(|conv| [conv.inputs / conv.groups, conv.outputs, conv.groups])
            .collect();
        let half = |sees: usize, outputs: usize| {
            let trunk = [[sees, 48, 1], [48, 128, 1], [128, 192, 1], [192, 192, 1], [192, 128, 1]];
            [&trunk[..], &[[128, 2048, 1], [2048, 2048, 1], [2048, outputs, 1]]].concat()
        };
        assert_eq!(convs, [half(1, 313), half(2, 50)].concat());
        let sizes = crate::backbones::table::sizes(split.table(), 0, (180, 180)).unwrap();
        for head in split.heads() {
            let at = crate::backbones::table::tap(split.table(), &head).unwrap();
            assert_eq!(sizes[at + 1], Some((12, 12)), "{head}");
        }
        let grid = split.interface(&spec).grid;
        assert_eq!((grid.stride, grid.labels(180)), (16, 12));
        assert_eq!(lattice(&split.whole, split.whole.len()).origin, 0.0);
        let resnet = backbone("{ resnet: {} }");
        assert_eq!(SplitNetwork::pretext(&resnet, OUTPUTS).unwrap().interface(&resnet).grid, resnet.grid());
    }

    #[test]
    fn what_would_mix_the_halves_is_refused_by_name() {
        for (yaml, parts) in [
            ("{ alexnet: { lrn: pool_norm } }", ["`norm1`", "`lrn: none`"]),
            ("{ alexnet: { fc: 33 } }", ["`fc6` has 33 channels", "even number"]),
            ("{ alexnet: { groups: 3 } }", ["`conv2`", "even number of `groups`"]),
            ("{ vgg: {} }", ["`vgg` sees lightness", "`alexnet` or `resnet`"]),
        ] {
            let error = SplitNetwork::pretext(&backbone(yaml), OUTPUTS).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{yaml}: {error}");
        }
    }

    #[test]
    fn weights_that_connect_the_halves_are_refused() {
        let spec = backbone("{ alexnet: { stem: small, width: 0.1, fc: 16 } }").with_input(Input::Lab);
        let split = SplitNetwork::pretext(&spec, OUTPUTS).unwrap();
        let mut params = Params::new(&Device::Cpu);
        let build = Build { variant: Variant::Pretext, batch_norm: true, ..spec.plain() };
        spec.build(&build, &mut params, &Rng::new(1)).unwrap();
        let mut whole: Named = params.state().into_iter().collect();
        let error = split.split(&whole).unwrap_err().to_string();
        assert!(error.contains("conv1.weight") && error.contains("connects the halves"), "{error}");
        whole.insert("conv1.weight".into(), noise(&[16, 5, 5, 1], 1));
        let error = split.split(&whole).unwrap_err().to_string();
        assert!(error.contains("takes 1 channels, and this backbone's 3"), "{error}");
        let lost: Named = [("ab.conv1.bias".to_string(), noise(&[8], 1))].into();
        let error = split.merged(&lost).unwrap_err().to_string();
        assert!(error.contains("`lightness.conv1.bias`") && error.contains("is missing"), "{error}");
    }
}
