//! The network of a task that classifies views of pictures: a backbone up to one of its layers, shared by all views, and
//! a small head. The same design serves every backbone: the map of that layer is read as a whole by a fully connected
//! layer, the features of the views of a group are concatenated, and hidden layers lead to the logits (Noroozi and
//! Favaro 2016; Doersch, Gupta and Efros 2015).
//!
//! At the usual layer of an AlexNet, pool5, the head of a single view is fc6, fc7 and fc8 of Gidaris, Singh and
//! Komodakis (2018); at 64 pixels and stride 2 that of nine views is the column and the head of the jigsaw network.

use super::{
    kinds::{GroupViewsRow, LayerKind, PoolRow},
    table::TableBuilder,
    task_head::{Head, hidden_layer},
};
use crate::{
    bounded::{Channels, Count},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
    text::counted,
};
use candle_core::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// Head of a task on views. In YAML: `head: { embedding: 1024, hidden: [4096] }`. Absent values are those of the task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "View head")]
pub struct ViewHeadSpec {
    /// Layer of the backbone that the head reads; absent: the last before any fully connected layer (pool5 of an
    /// AlexNet, avgpool of a ResNet).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// Largest side of the map that the head reads; larger maps are averaged.
    pub cells: Count,
    /// Channels of the layer that reads the map of one view.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Channels>,
    /// Channels of the layers between the concatenated views and the logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<Channels>>,
    /// Dropout of 0.5 after these layers.
    pub dropout: bool,
}

impl Default for ViewHeadSpec {
    fn default() -> Self {
        Self { tap: None, cells: Count::of(7), embedding: None, hidden: None, dropout: false }
    }
}

/// Views of a picture, and the head that classifies them.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewHead {
    /// Side of a view in pixels.
    pub side: usize,
    /// Views of a picture.
    pub views: usize,
    /// Numbers of the views of each group; a group is one example.
    pub groups: Arc<[Vec<usize>]>,
    /// Number of classes.
    pub classes: usize,
    /// Share of the most frequent class: the accuracy of one who does not look.
    pub chance: f64,
    /// Layer of the backbone that the head reads.
    pub tap: Option<String>,
    pub cells: usize,
    pub embedding: usize,
    pub hidden: Vec<usize>,
    pub dropout: bool,
    /// Batch normalization in the backbone, where it can have one, and in the head, which normalizes as the backbone
    /// does.
    pub batch_norm: bool,
}

/// One view in one group; a task sets the rest.
impl Default for ViewHead {
    fn default() -> Self {
        Self {
            side: 1,
            views: 1,
            groups: [vec![0]].into(),
            classes: 1,
            chance: 1.0,
            tap: None,
            cells: 1,
            embedding: 1,
            hidden: vec![],
            dropout: false,
            batch_norm: true,
        }
    }
}

impl ViewHead {
    /// The head as `spec` says, with the channels of the task where it says nothing.
    pub fn with(self, spec: &ViewHeadSpec) -> Self {
        let ViewHeadSpec { tap, cells, embedding, hidden, dropout } = spec;
        let hidden = hidden.as_ref().map(|hidden| hidden.iter().map(|channels| channels.get()).collect());
        Self {
            tap: tap.clone(),
            cells: cells.get(),
            embedding: embedding.map_or(self.embedding, Count::get),
            hidden: hidden.unwrap_or(self.hidden),
            dropout: *dropout,
            ..self
        }
    }

    /// A hidden layer, with dropout if the spec asks for it.
    fn hidden(
        &self,
        table: &mut TableBuilder,
        name: &str,
        shape: (usize, usize),
        norm: Option<BatchNormOptions>,
    ) {
        hidden_layer(table, name, shape, norm);
        if self.dropout {
            table.dropout(&format!("{name}_drop"), name);
        }
        table.tap(name);
    }
}

impl Head for ViewHead {
    fn side(&self) -> usize {
        self.side
    }

    fn views(&self) -> usize {
        self.views
    }

    fn batch_norm(&self) -> bool {
        self.batch_norm
    }

    fn examples(&self) -> usize {
        self.groups.len()
    }

    fn reads(&self) -> Option<&str> {
        self.tap.as_deref()
    }

    fn append(&self, table: &mut TableBuilder, map: usize, norm: Option<BatchNormOptions>) -> Result<()> {
        let window = map.div_ceil(self.cells);
        if window > 1 {
            table.pool("head_pool", PoolRow::average(window, window, 0));
        }
        self.hidden(table, "embed", (map.div_ceil(window), self.embedding), norm);
        if self.groups.iter().any(|group| group.len() > 1) {
            let row = GroupViewsRow { views: self.views, groups: self.groups.clone() };
            table.push("group", LayerKind::GroupViews(row));
        }
        for (number, channels) in (1..).zip(&self.hidden) {
            self.hidden(table, &format!("hidden{number}"), (1, *channels), norm);
        }
        let zero = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
        table.fully_connected("logits", [1, 1, 0, 1, 1], self.classes, zero).tap("logits");
        Ok(())
    }
}

impl fmt::Display for ViewHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, views, groups, classes, chance, .. } = self;
        let (views, examples) = (counted(*views, "view"), counted(groups.len(), "example"));
        let chance = 100.0 * chance;
        write!(
            f,
            "{views} of {side}×{side} pixels and {examples} of each picture, {classes} classes, chance {chance:.1} %"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backbones::{
            BackboneSpec,
            input::Input,
            network::{Interface, Network, PixelGrid},
            summary::Summary,
            table::sizes,
            task_head::TaskHead,
        },
        bounded::Positive,
        nn::{Mode, TrainingPass, params::Params},
        rng::Rng,
    };
    use candle_core::{Device, Tensor};
    use std::collections::HashMap;

    fn backbone(yaml: &str) -> BackboneSpec {
        serde_yaml::from_str::<HashMap<String, AlexNet>>(&format!("alexnet: {yaml}"))
            .map(|mut specs| BackboneSpec::Alexnet(specs.remove("alexnet").expect("one")))
            .unwrap()
    }
    type AlexNet = crate::backbones::alexnet::AlexNetSpec;

    fn of(head: &ViewHead) -> TaskHead {
        TaskHead::Views(head.clone())
    }

    fn parameters(head: &ViewHead, backbone: &BackboneSpec) -> usize {
        let rows = of(head).attach(backbone.table(&of(head).build(backbone))).unwrap();
        Summary::of(&rows, (head.side, head.side)).unwrap().parameters()
    }

    /// The networks of the originals have, by their definitions, 46,544,232 (jigsaw), 63,561,096 (context) and 57,030,724
    /// (rotation) parameters.
    #[test]
    fn heads_on_an_alexnet_are_those_of_the_originals() {
        let nine = [(0..9).collect()].into();
        let jigsaw = ViewHead {
            side: 64,
            views: 9,
            groups: nine,
            classes: 1000,
            cells: 7,
            embedding: 1024,
            hidden: vec![4096],
            batch_norm: false,
            ..ViewHead::default()
        };
        let column = backbone("{ conv1_stride: 2, lrn: pool_norm, input: bgr_mean }");
        assert_eq!(parameters(&jigsaw, &column), 46_544_232);

        let context = ViewHead {
            side: 96,
            views: 4,
            groups: vec![vec![0, 1], vec![1, 0]].into(),
            classes: 8,
            embedding: 4096,
            hidden: vec![4096, 4096],
            batch_norm: true,
            ..jigsaw.clone()
        };
        let tower = backbone("{ conv1_pad: 5, groups: 1, lrn: pool_norm, input: bgr_mean }");
        assert_eq!(parameters(&context, &tower), 63_561_096);

        let rotation = ViewHead {
            side: 224,
            classes: 4,
            groups: vec![vec![0]].into(),
            views: 1,
            hidden: vec![4096],
            ..context
        };
        let torchvision = "{ conv1_pad: 2, groups: 1, channels: [64, 192, 384, 256, 256], input: rgb_unit, batch_norm: affine }";
        // and the biases of fc6 and fc7, which theirs lacks
        assert_eq!(parameters(&rotation, &backbone(torchvision)), 57_030_724 + 2 * 4096);
        assert_eq!(of(&rotation).trained_through(&backbone(torchvision)).unwrap().as_deref(), Some("pool5"));
    }

    #[test]
    fn every_backbone_has_a_layer_to_read_and_unknown_ones_are_refused() {
        for (name, side, through) in [
            ("alexnet", 96, Some("pool5")),
            ("vgg", 64, None),
            ("vgg16", 64, Some("pool5")),
            ("resnet", 64, None),
        ] {
            let spec: BackboneSpec =
                serde_json::from_str(&format!("{{\"{name}\": {{\"width\": 0.1}}}}")).unwrap();
            let head = ViewHead { side, classes: 4, cells: 3, ..ViewHead::default() };
            let rows = of(&head).attach(spec.table(&of(&head).build(&spec))).unwrap();
            assert_eq!(of(&head).trained_through(&spec).unwrap().as_deref(), through, "{name}");
            let sizes = sizes(&rows, 0, (side, side)).unwrap();
            assert_eq!(sizes[rows.len()], Some((1, 1)), "{name}");
            let unknown = ViewHead { tap: Some("conv9".into()), ..head };
            let error = of(&unknown).attach(spec.table(&of(&unknown).build(&spec))).unwrap_err().to_string();
            assert!(error.contains("no layer `conv9`") && error.contains("conv"), "{error}");
        }
    }

    /// A convolution on three views, embedded, paired in five ways; one view is in several groups, one in none.
    fn paired() -> Result<(Network, Params)> {
        let fillers = |std| Fillers {
            weight: Filler::Gaussian { std: Positive::of(std) },
            bias: Some(Filler::Gaussian { std: Positive::of(0.1) }),
        };
        let mut table = TableBuilder::new(2);
        table.conv("conv", [3, 2, 1, 1, 1], 4, fillers(0.4));
        table.relu("relu", 0.0).tap("conv");
        let head = ViewHead {
            side: 5,
            views: 4,
            groups: vec![vec![0, 1], vec![1, 0], vec![1, 2], vec![2, 2], vec![0, 2]].into(),
            classes: 3,
            cells: 3,
            embedding: 6,
            hidden: vec![5],
            ..ViewHead::default()
        };
        let mut rows = of(&head).attach(table.rows())?;
        if let Some(last) = rows.last_mut() {
            last.kind.fill(fillers(0.3));
        }
        let grid = PixelGrid { stride: 1, align_corners: false, multiple: 1 };
        let interface = Interface { name: "paired", input: Input::Lightness, grid, region: None };
        let mut params = Params::new(&Device::Cpu);
        let net = Network::new(interface, rows, &mut params, &Rng::new(1))?;
        Ok((net, params))
    }

    fn noise(dims: &[usize], seed: u64) -> Result<Tensor> {
        Filler::Gaussian { std: Positive::of(1.0) }.fill(dims, &Rng::new(seed), &Device::Cpu)
    }

    /// Through the shared tower, the groups and the hidden layers, against central differences along a random direction.
    #[test]
    fn gradients_through_shared_views_are_those_of_finite_differences() -> Result<()> {
        let (net, params) = paired()?;
        let (x, weights) = (noise(&[8, 5, 5, 2], 2)?, noise(&[10, 1, 1, 3], 3)?);
        let pass = || TrainingPass::new(Rng::new(4));
        let loss = |pass: &TrainingPass| -> Result<Tensor> {
            let logits = net.forward(&x, &["logits"], &Mode::Train(pass.clone()))?.remove(0);
            (logits * &weights)?.sum_all()
        };
        let (recorded, mut gradients) = (pass(), HashMap::new());
        recorded.tape.backward(loss(&recorded)?, &mut gradients)?;
        for param in params.iter() {
            let (name, var) = (&param.name, &param.var);
            let direction = noise(var.dims(), 5)?;
            let gradient = gradients.get(&var.id()).unwrap_or_else(|| panic!("{name} has no gradient"));
            let analytic = (gradient * &direction)?.sum_all()?.to_scalar::<f32>()?;
            let (start, step) = (var.as_detached_tensor().copy()?, 1e-3);
            let at = |sign: f64| -> Result<f32> {
                var.set(&(&start + (&direction * (sign * step))?)?)?;
                loss(&pass())?.to_scalar::<f32>()
            };
            let numeric = (at(1.0)? - at(-1.0)?) / (2.0 * step as f32);
            var.set(&start)?;
            let scale = analytic.abs().max(numeric.abs()).max(0.3);
            assert!((analytic - numeric).abs() < 0.03 * scale, "{name}: {analytic} and {numeric}");
        }
        Ok(())
    }

    /// Row g·B + i of the output holds the views of group g of picture i.
    #[test]
    fn groups_hold_the_views_of_their_picture() -> Result<()> {
        let (net, _) = paired()?;
        let x = noise(&[8, 5, 5, 2], 2)?;
        let [embedded, logits] = ["embed", "logits"].map(|tap| net.forward(&x, &[tap], &Mode::Frozen));
        assert_eq!((embedded?.remove(0).dims4()?, logits?.remove(0).dims4()?), ((8, 1, 1, 6), (10, 1, 1, 3)));
        let row = GroupViewsRow { views: 3, groups: vec![vec![2, 0], vec![1, 2]].into() };
        let mut table = TableBuilder::new(1);
        table.push("group", LayerKind::GroupViews(row)).tap("group");
        let interface = net.interface();
        let net = Network::new(interface, table.rows(), &mut Params::new(&Device::Cpu), &Rng::new(1))?;
        // view v of picture i is 10·v + i
        let x = Tensor::from_vec(vec![0f32, 1.0, 10.0, 11.0, 20.0, 21.0], (6, 1, 1, 1), &Device::Cpu)?;
        let y = net.forward(&x, &["group"], &Mode::Frozen)?.remove(0).reshape((4, 2))?.to_vec2::<f32>()?;
        assert_eq!(y, [[20.0, 0.0], [21.0, 1.0], [10.0, 20.0], [11.0, 21.0]]);
        let odd = Tensor::zeros((4, 1, 1, 1), candle_core::DType::F32, &Device::Cpu)?;
        let error = net.forward(&odd, &["group"], &Mode::Frozen).unwrap_err().to_string();
        assert!(error.contains("3 views"), "{error}");
        Ok(())
    }
}
