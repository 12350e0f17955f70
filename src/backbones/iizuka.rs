//! The colorizer with a local and a global stream of Iizuka, Simo-Serra and Ishikawa, "Let there be Color!" (SIGGRAPH
//! 2016). Both streams read the same low-level features. The global one sees the whole picture at a fixed size and gives a
//! vector, which is fused with every cell of the local one; a classifier reads it too. The colorization network puts out a
//! and b at every pixel; its sigmoid and scale are in the task ([`crate::pretext::iizuka`]), and so are the two sizes.
//!
//! All convolutions are 3×3, followed by batch normalization and a ReLU, and so are the fully connected layers.

use super::{
    build::{Backbone, Build},
    input::Input,
    kinds::{FuseRow, LayerKind, NearestRow},
    network::{Interface, PixelGrid},
    table::{Layer, Role, TableBuilder, channels},
};
use crate::{
    bounded::{Count, Fraction, Pixels, Positive},
    nn::{
        init::Filler,
        layers::{BatchNormOptions, Fillers},
    },
    ops::batch_norm::Momentum,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network of local and global features of Iizuka, Simo-Serra and Ishikawa (2016), for the task of the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Iizuka network")]
pub struct IizukaSpec {
    /// Factor on all hidden channel counts (rounded to a multiple of 8).
    pub width: Positive,
    /// Side in pixels of the copy of the picture that the global stream sees.
    pub crop: Pixels,
    /// Initialization of the hidden weights; biases are zero.
    pub init: Filler,
    /// Decay of batch normalization's running statistics per step.
    pub norm_decay: Fraction,
}

impl Default for IizukaSpec {
    fn default() -> Self {
        Self {
            width: Positive::of(1.0),
            crop: Count::of(224),
            init: Filler::Msra,
            norm_decay: Fraction::of(0.9),
        }
    }
}

/// End of the local stream.
pub const LOCAL: &str = "mid2";
/// End of the global stream.
pub const GLOBAL: &str = "global7";
/// First row after the two streams.
pub const FUSION: &str = "fusion";
/// Head of the classifier.
pub const CLASS_HEAD: &str = "classes";
/// Head of the colorization network.
pub const COLOR_HEAD: &str = "ab";

/// Channels and stride of the low-level features.
const LOW: [(usize, usize); 6] = [(64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1)];
/// Channels and stride of the convolutions of the global stream, and channels of its fully connected layers.
const GLOBAL_CONVS: [(usize, usize); 4] = [(512, 2), (512, 1), (512, 2), (512, 1)];
const GLOBAL_FULL: [usize; 3] = [1024, 512, 256];
/// The fully connected layer that the classifier reads.
const CLASSIFIED: usize = 6;

impl Backbone for IizukaSpec {
    fn interface(&self) -> Interface {
        let grid = PixelGrid { stride: 1, align_corners: false, multiple: 8 };
        Interface { name: "iizuka", input: Input::Luma, grid, region: None }
    }

    /// For pictures of [`Backbone::crop`] pixels: other sizes are computed in parts. `build.outputs` is the number of
    /// classes, 0 for none. `build.variant` is ignored.
    fn table(&self, build: &Build) -> Vec<Layer> {
        let mut table = TableBuilder::new(build.input_channels);
        let norm = build.batch_norm;
        for (number, (full, stride)) in (1..).zip(LOW) {
            self.conv(&mut table, (&format!("low{number}"), norm), (3, stride), full);
        }
        let low = table.value();
        self.conv(&mut table, ("mid1", norm), (3, 1), 512);
        self.conv(&mut table, (LOCAL, norm), (3, 1), 256);
        let local = table.value();
        table.read(low);
        let global = self.global(&mut table, build.outputs.filter(|classes| *classes > 0), norm);
        if build.outputs.is_some() {
            table.join("fuse", LayerKind::Fuse(FuseRow), vec![local, global]);
            self.colorization(&mut table, norm);
        }
        table.rows()
    }

    fn crop(&self) -> usize {
        self.crop.get()
    }

    /// No effect: the input format is fixed.
    fn set_input(&mut self, _input: Input) {}

    fn set_init(&mut self, init: Filler) {
        self.init = init;
    }
}

impl IizukaSpec {
    /// The global stream and its classifier; the value of the stream's end.
    fn global(&self, table: &mut TableBuilder, classes: Option<usize>, norm: bool) -> usize {
        for (number, (full, stride)) in (1..).zip(GLOBAL_CONVS) {
            self.conv(table, (&format!("global{number}"), norm), (3, stride), full);
        }
        let mut end = table.value();
        // The map after five strides of 2.
        let map = (0..5).fold(self.crop.get(), |side, _| side.div_ceil(2));
        for (number, full) in (GLOBAL_CONVS.len() + 1..).zip(GLOBAL_FULL) {
            table.read(end);
            let kernel = if number == GLOBAL_CONVS.len() + 1 { map } else { 1 };
            self.full(table, (&format!("global{number}"), norm), kernel, full);
            end = table.value();
            if let (CLASSIFIED, Some(classes)) = (number, classes) {
                self.full(table, ("classes_hidden", norm), 1, 256);
                table.role(Role::Head);
                let fillers = Fillers { weight: Filler::Zero, bias: Some(Filler::Zero) };
                table.fully_connected(CLASS_HEAD, [1, 1, 0, 1, 1], classes, fillers).tap(CLASS_HEAD);
                table.role(Role::Trunk);
            }
        }
        end
    }

    /// From the fused map to a and b at every pixel.
    fn colorization(&self, table: &mut TableBuilder, norm: bool) {
        self.full(table, (FUSION, norm), 1, 256);
        self.conv(table, ("color1", norm), (3, 1), 128);
        let twice = |table: &mut TableBuilder, name: &str| {
            table.push(name, LayerKind::Nearest(NearestRow { factor: 2 }));
        };
        twice(table, "up1");
        self.conv(table, ("color2", norm), (3, 1), 64);
        self.conv(table, ("color3", norm), (3, 1), 64);
        twice(table, "up2");
        self.conv(table, ("color4", norm), (3, 1), 32);
        table.role(Role::Head);
        table.conv("ab_conv", [3, 1, 1, 1, 1], 2, Fillers { weight: self.init, bias: Some(Filler::Zero) });
        twice(table, COLOR_HEAD);
        table.tap(COLOR_HEAD);
    }

    fn conv(
        &self,
        table: &mut TableBuilder,
        (name, norm): (&str, bool),
        (kernel, stride): (usize, usize),
        full: usize,
    ) {
        table.conv(name, [kernel, stride, kernel / 2, 1, 1], channels(full, self.width), self.fillers());
        self.normalized(table, name, norm);
    }

    fn full(&self, table: &mut TableBuilder, (name, norm): (&str, bool), kernel: usize, full: usize) {
        let outputs = channels(full, self.width);
        table.fully_connected(name, [kernel, 1, 0, 1, 1], outputs, self.fillers());
        self.normalized(table, name, norm);
    }

    /// [Batch normalization] → ReLU.
    fn normalized(&self, table: &mut TableBuilder, name: &str, norm: bool) {
        if norm {
            let momentum = Momentum::PyTorch(1.0 - self.norm_decay.get());
            let options = BatchNormOptions { momentum, ..BatchNormOptions::PYTORCH };
            table.batch_norm(&format!("{name}_bn"), options);
        }
        table.relu(&format!("{name}_relu"), 0.0).tap(name);
    }

    fn fillers(&self) -> Fillers {
        Fillers { weight: self.init, bias: Some(Filler::Zero) }
    }
}
