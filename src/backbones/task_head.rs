//! Networks of pretext tasks that keep a backbone up to one of its layers and add rows of their own: a classifier of
//! views, a projection, a decoder. The same heads serve every backbone.

use super::{
    BackboneSpec, Build, Variant,
    code_head::CodeHead,
    decoder_head::DecoderHead,
    kinds::LayerKind,
    network::Network,
    projection_head::ProjectionHead,
    table::{Layer, Role, TableBuilder, sizes, tap, taps},
    view_head::ViewHead,
};
use crate::{
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
        params::Params,
    },
    rng::Rng,
};
use candle_core::{Result, bail};
use std::fmt;

/// The rows that a task adds.
pub(super) trait Head: fmt::Display {
    /// Side in pixels of the square pictures that the network sees.
    fn side(&self) -> usize;

    /// Inputs to the network for each picture of a batch.
    fn views(&self) -> usize {
        1
    }

    /// Examples for each picture of a batch, over which the head normalizes.
    fn examples(&self) -> usize {
        self.views()
    }

    /// Whether it compares the pictures of a batch with one another.
    fn compares_pictures(&self) -> bool {
        false
    }

    /// Batch normalization in the backbone, where it can have one, and in the head, which normalizes as the backbone
    /// does.
    fn batch_norm(&self) -> bool;

    /// Layer of the backbone that the head reads; absent: the last before any fully connected layer (pool5 of an
    /// AlexNet, avgpool of a ResNet).
    fn reads(&self) -> Option<&str>;

    /// Whether the head needs a map: of a ResNet it then reads layer4, not avgpool.
    fn needs_map(&self) -> bool {
        false
    }

    /// Appends its rows to a table that ends with a map of `map` × `map` cells. `norm` are the options of its
    /// normalizations, if it has any.
    ///
    /// # Errors
    /// Options that do not fit the map.
    fn append(&self, table: &mut TableBuilder, map: usize, norm: Option<BatchNormOptions>) -> Result<()>;
}

/// The head of a pretext task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskHead {
    Views(ViewHead),
    Projection(ProjectionHead),
    Decoder(DecoderHead),
    Code(CodeHead),
}

impl TaskHead {
    fn head(&self) -> &dyn Head {
        match self {
            Self::Views(head) => head,
            Self::Projection(head) => head,
            Self::Decoder(head) => head,
            Self::Code(head) => head,
        }
    }

    /// Side in pixels of the square pictures that the network sees.
    pub fn side(&self) -> usize {
        self.head().side()
    }

    /// Layer of the backbone that it is told to read.
    pub fn reads(&self) -> Option<&str> {
        self.head().reads()
    }

    /// Inputs to the network for each picture of a batch.
    pub fn views(&self) -> usize {
        self.head().views()
    }

    /// Whether batch normalization of a batch of `pictures` would have only one example.
    pub fn normalizes_one_example(&self, pictures: usize) -> bool {
        self.head().batch_norm() && pictures * self.head().examples() < 2
    }

    /// Whether it compares the pictures of a batch with one another.
    pub fn compares_pictures(&self) -> bool {
        self.head().compares_pictures()
    }

    /// Build options of the backbone below it.
    pub fn build(&self, backbone: &BackboneSpec) -> Build {
        Build { variant: Variant::Transfer, batch_norm: self.head().batch_norm(), ..backbone.plain() }
    }

    /// Adds the network's parameters to `params`, initialized from `rng`.
    ///
    /// # Errors
    /// As [`Self::attach`]; a tensor that cannot be allocated on the device.
    pub fn network(&self, backbone: &BackboneSpec, params: &mut Params, rng: &Rng) -> Result<Network> {
        let table = self.attach(backbone.table(&self.build(backbone)))?;
        Network::new(backbone.interface(), table, params, rng)
    }

    /// The rows of a backbone up to the layer that the head reads, and the head.
    ///
    /// # Errors
    /// An unknown layer; pictures that are too small for the backbone.
    pub fn attach(&self, mut rows: Vec<Layer>) -> Result<Vec<Layer>> {
        let (head, last) = (self.head(), self.last(&rows)?);
        let input = rows.first().map_or(0, |row| row.inputs);
        rows.truncate(last + 1);
        let map = sizes(&rows, 0, (head.side(), head.side()))?[last + 1].map_or(1, |(height, _)| height);
        let norm = head.batch_norm().then(|| normalization(&rows));
        let mut table = TableBuilder::after(rows, input);
        table.role(Role::Head);
        head.append(&mut table, map, norm)?;
        Ok(table.rows())
    }

    /// The layer that the head reads, if layers with weights follow it in the backbone: they are not trained.
    pub fn trained_through(&self, backbone: &BackboneSpec) -> Result<Option<String>> {
        let rows = backbone.table(&self.build(backbone));
        let last = self.last(&rows)?;
        let more = rows[last + 1..].iter().any(|row| row.kind.has_weights());
        Ok(rows[last].tap.clone().filter(|_| more))
    }

    /// The row of a backbone that the head reads.
    ///
    /// # Errors
    /// A layer that is not there.
    pub fn last(&self, rows: &[Layer]) -> Result<usize> {
        if let Some(name) = self.head().reads() {
            let Some(row) = tap(rows, name) else {
                let names = taps(rows).collect::<Vec<_>>().join(", ");
                bail!("`tap`: there is no layer `{name}`; the layers are {names}")
            };
            return Ok(row);
        }
        let ends_maps = |row: &Layer| {
            row.is_fully_connected()
                || self.head().needs_map() && matches!(row.kind, LayerKind::GlobalPool(_))
        };
        let end = rows.iter().position(ends_maps).unwrap_or(rows.len());
        match rows[..end].iter().rposition(|row| row.tap.is_some()) {
            Some(row) => Ok(row),
            None => bail!("the backbone has no layer that a head can read"),
        }
    }
}

impl fmt::Display for TaskHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head().fmt(f)
    }
}

impl From<ViewHead> for TaskHead {
    fn from(head: ViewHead) -> Self {
        Self::Views(head)
    }
}

impl From<CodeHead> for TaskHead {
    fn from(head: CodeHead) -> Self {
        Self::Code(head)
    }
}

impl From<DecoderHead> for TaskHead {
    fn from(head: DecoderHead) -> Self {
        Self::Decoder(head)
    }
}

impl From<ProjectionHead> for TaskHead {
    fn from(head: ProjectionHead) -> Self {
        Self::Projection(head)
    }
}

/// A fully connected layer over a map of `side` cells → [batch normalization] → ReLU.
pub(super) fn hidden_layer(
    table: &mut TableBuilder,
    name: &str,
    (side, channels): (usize, usize),
    norm: Option<BatchNormOptions>,
) {
    let fillers = Fillers { weight: Filler::Msra, bias: Some(Filler::Zero) };
    table.fully_connected(name, [side, 1, 0, 1, 1], channels, fillers);
    if let Some(options) = norm {
        table.batch_norm(&format!("{name}_bn"), options);
    }
    table.relu(&format!("{name}_relu"), 0.0);
}

/// Options of the last normalization of `rows`; without any, no scale and shift.
fn normalization(rows: &[Layer]) -> BatchNormOptions {
    let norms = rows.iter().rev().filter_map(|row| match &row.kind {
        LayerKind::BatchNorm(norm) => Some(norm.options),
        _ => None,
    });
    norms.into_iter().next().unwrap_or(BatchNormOptions { affine: false, ..BatchNormOptions::PYTORCH })
}
