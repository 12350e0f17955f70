//! The hypercolumn colorizer of Larsson, Maire and Shakhnarovich, "Learning Representations for Automatic Colorization"
//! (ECCV 2016): a fully convolutional VGG-16 on one gray channel. The picture and all layers, brought to every fourth pixel,
//! form a column of 12,417 numbers, from which one hidden layer predicts distributions over 32 hues and 32 chromas.
//!
//! The table is the authors' graph for whole pictures, which averages finer maps and resizes coarser ones. Training looks
//! the columns up at single pixels and gives them to the rows from `column` on ([`crate::pretext::larsson`]). As in the
//! authors' training file, every layer is normalized before its ReLU, without scale and shift; `batch_norm: false` takes
//! weights of a plain VGG-16 on one gray channel, as the paper's model does.

use super::{
    build::{Backbone, Build},
    input::Input,
    kinds::{ConcatenateRow, LayerKind, PoolRow, ResizeRow},
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::{Channels, Count, Fraction, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The VGG-16 with hypercolumns of Larsson, Maire and Shakhnarovich (2016), for the task of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Larsson network")]
pub struct LarssonSpec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// Channels of fc6 and fc7; default: 4096·width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fc: Option<Channels>,
    /// Channels of the layer that reads the columns; default: 1024·width.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Channels>,
    /// Batch normalization before every ReLU of VGG-16.
    pub batch_norm: bool,
    /// Deviation of the Gaussian from which the weights of the layer that reads the columns start.
    pub column_std: Positive,
    /// Initialization of the hidden weights; biases are zero.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step (Caffe's moving average fraction).
    pub norm_decay: Fraction,
}

impl Default for LarssonSpec {
    fn default() -> Self {
        Self {
            width: Positive::of(1.0),
            fc: None,
            hidden: None,
            batch_norm: true,
            column_std: Positive::of(1e-4),
            init: Filler::Xavier,
            norm_decay: Fraction::of(0.999),
        }
    }
}

/// Channels, number of convolutions and stride of the blocks of VGG-16.
const BLOCKS: [(usize, usize, usize); 5] = [(64, 2, 1), (128, 2, 2), (256, 3, 4), (512, 3, 8), (512, 3, 16)];
/// Stride of fc6 and fc7.
const LAST_STRIDE: usize = 32;
/// Pixels between the columns of a whole picture.
pub const COLUMN_STRIDE: usize = 4;
/// The layer that reads the columns.
pub const COLUMN: &str = "column";
/// Name of the head that puts out both distributions, hues first.
pub const HEAD: &str = "hue_chroma";

/// The layers of a column after the picture itself, with their strides.
pub fn column_layers() -> Vec<(String, usize)> {
    let convs = (1..).zip(BLOCKS).flat_map(|(block, (_, convs, stride))| {
        (1..=convs).map(move |conv| (format!("conv{block}_{conv}"), stride))
    });
    convs.chain(["fc6", "fc7"].map(|name| (name.to_string(), LAST_STRIDE))).collect()
}

impl Backbone for LarssonSpec {
    /// One column at every fourth pixel.
    fn interface(&self) -> Interface {
        let grid = PixelGrid { stride: COLUMN_STRIDE, align_corners: false, multiple: LAST_STRIDE };
        Interface { name: "larsson", input: Input::Gray, grid, region: None }
    }

    /// `build.variant` and `build.batch_norm` are ignored. `build.outputs` are the bins of one distribution.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let mut table = TableBuilder::new(build.input_channels);
        let mut values = vec![(0, 1)];
        for (block, (full, convs, stride)) in (1..).zip(BLOCKS) {
            for conv in 1..=convs {
                let name = format!("conv{block}_{conv}");
                table.conv(&name, [3, 1, 1, 1, 1], channels(full, self.width), self.fillers());
                values.push((self.activated(&mut table, &name), stride));
            }
            table.pool(&format!("pool{block}"), PoolRow::max(2, 2, 0)).tap(&format!("pool{block}"));
        }
        let fc = self.fc.map_or_else(|| channels(4096, self.width), Count::get);
        for (name, kernel) in [("fc6", 7), ("fc7", 1)] {
            table.fully_connected(name, [kernel, 1, kernel / 2, 1, 1], fc, self.fillers());
            values.push((self.activated(&mut table, name), LAST_STRIDE));
        }
        if let Some(bins) = build.outputs {
            self.columns(&mut table, &values);
            self.heads(&mut table, bins);
        }
        table.rows()
    }

    fn crop(&self) -> usize {
        352
    }

    /// No effect: the input format is fixed.
    fn set_input(&mut self, _input: Input) {}

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

impl LarssonSpec {
    /// [Batch normalization] → ReLU → [dropout on fc6 and fc7]; the value.
    fn activated(&self, table: &mut TableBuilder, name: &str) -> usize {
        if self.batch_norm {
            table.batch_norm(&format!("{name}_bn"), BatchNormOptions::caffe(self.norm_decay.get()));
        }
        table.relu(&format!("{name}_relu"), 0.0);
        if name.starts_with("fc") {
            table.dropout(&format!("{name}_drop"), name);
        }
        table.tap(name).value()
    }

    /// Brings all values, given with their strides, to every fourth pixel and joins them.
    fn columns(&self, table: &mut TableBuilder, values: &[(usize, usize)]) {
        let names =
            std::iter::once("data".to_string()).chain(column_layers().into_iter().map(|(name, _)| name));
        let mut parts = vec![];
        for (name, &(value, stride)) in names.zip(values) {
            table.read(value);
            let name = format!("{name}_full");
            if stride < COLUMN_STRIDE {
                let cells = COLUMN_STRIDE / stride;
                table.pool(&name, PoolRow::average(cells, cells, 0));
            } else if stride > COLUMN_STRIDE {
                let row = ResizeRow { factor: stride / COLUMN_STRIDE, align_corners: false };
                table.push(&name, LayerKind::Resize(row));
            }
            parts.push(table.value());
        }
        table.join("columns", LayerKind::Concatenate(ConcatenateRow), parts);
    }

    fn heads(&self, table: &mut TableBuilder, bins: usize) {
        let hidden = self.hidden.map_or_else(|| channels(1024, self.width), Count::get);
        let gaussian = Filler::Gaussian { std: self.column_std };
        table.role(Role::Head);
        table.fully_connected(
            COLUMN,
            [1, 1, 0, 1, 1],
            hidden,
            Fillers { weight: gaussian, ..self.fillers() },
        );
        table.relu("column_relu", 0.0).dropout("column_drop", COLUMN).tap(COLUMN);
        let column = table.value();
        let fillers = Fillers { weight: Filler::Xavier, bias: Some(Filler::Zero) };
        let hue = table.fully_connected("hue", [1, 1, 0, 1, 1], bins, fillers).value();
        table.read(column);
        let chroma = table.fully_connected("chroma", [1, 1, 0, 1, 1], bins, fillers).value();
        table.join(HEAD, LayerKind::Concatenate(ConcatenateRow), vec![hue, chroma]).tap(HEAD);
    }

    fn fillers(&self) -> Fillers {
        Fillers { weight: self.init, bias: Some(Filler::Zero) }
    }
}
