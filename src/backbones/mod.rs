//! Networks that learn representations. A backbone is one file that writes a table of rows; everything else (forward
//! pass, initialization, surgery, summaries) reads the table.

pub mod absorb;
pub mod alexnet;
pub mod alexnet_conventions;
pub mod calibrate;
pub mod data_init;
pub mod exchange;
pub mod finite;
pub mod input;
pub mod kinds;
pub mod network;
pub mod resnet;
pub mod summary;
pub mod surgery;
pub mod table;
pub mod vgg;
pub mod vgg16;

use crate::{
    nn::{init::Filler, params::Params},
    rng::Rng,
};
use alexnet::AlexNetSpec;
use candle_core::Result;
use input::Input;
use network::{Interface, Network, PixelGrid};
use resnet::ResNetSpec;
use serde::{Deserialize, Serialize};
use table::Layer;
use vgg::VggSpec;
use vgg16::Vgg16Spec;

/// Which of the networks that share their weights. They differ in padding and stride, and in what reads the trunk; the
/// VGG colorizer has one, VGG-16 three (its pretext variant is its transfer variant).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Fully convolutional, for predictions at pixels: padded pools, late strides traded for dilation. No dropout.
    Pretext,
    #[default]
    /// One vector for a picture of [`BackboneSpec::crop`] pixels; dropout where the architecture has it.
    Transfer,
    /// Padded so that cell j of the trunk is centered on pixel stride·j, since a detector pools its regions there and
    /// runs them through the reader (Girshick 2015).
    Regions,
    /// Scores on a map that covers the whole picture, for pictures of any size (Long, Shelhamer and Darrell 2015).
    Dense,
}

/// Names that stand for layers of any backbone by what they are for: the head, the first layer that reads a region (fc6 of
/// AlexNet), the first of all.
pub const ROLES: [&str; 3] = ["head", "reader", "all"];

/// What is built, beside the spec.
#[derive(Clone, Debug)]
pub struct Build {
    pub variant: Variant,
    pub batch_norm: bool,
    pub input_channels: usize,
    /// channels of the head (313 colors, 2 for ab itself, 1000 classes); None leaves it out
    pub outputs: Option<usize>,
}

/// What a backbone's file says of it.
trait Backbone {
    /// What it is called, reads and predicts.
    fn interface(&self) -> Interface;

    /// Its rows.
    fn table(&self, build: &Build) -> Vec<Layer>;

    /// Side of the square pictures, in pixels, of which the transfer variant makes one vector.
    fn crop(&self) -> usize;

    /// Makes it for another input, where it was not made for one alone.
    fn set_input(&mut self, input: Input);

    /// Fills its hidden weights in another way.
    fn set_init(&mut self, init: Filler);
}

/// One line a backbone: the enum of specs, and the way from it to the backbone's file.
macro_rules! backbones {
    ($($(#[$about:meta])* $variant:ident($spec:ty),)*) => {
        /// A network, by name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case", deny_unknown_fields)]
        pub enum BackboneSpec {
            $($(#[$about])* $variant($spec),)*
        }

        impl BackboneSpec {
            fn backbone(&self) -> &dyn Backbone {
                match self { $(Self::$variant(spec) => spec,)* }
            }

            fn backbone_mut(&mut self) -> &mut dyn Backbone {
                match self { $(Self::$variant(spec) => spec,)* }
            }
        }
    };
}

backbones! {
    Alexnet(AlexNetSpec),
    Vgg(VggSpec),
    Vgg16(Vgg16Spec),
    Resnet(ResNetSpec),
}

impl BackboneSpec {
    /// The rows of what [`BackboneSpec::build`] would make.
    pub fn table(&self, build: &Build) -> Vec<Layer> {
        self.backbone().table(build)
    }

    /// Adds the network's parameters to `params`, filled from `rng`.
    ///
    /// # Errors
    /// When a tensor cannot be made on the device.
    pub fn build(&self, build: &Build, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(self.interface(), self.table(build), params, rng)
    }

    /// Whether its largest variant fits into memory.
    ///
    /// # Errors
    /// How many parameters it would have.
    pub fn check_size(&self) -> std::result::Result<(), String> {
        table::check_size(&self.table(&Build { batch_norm: true, ..self.plain() }))
    }

    /// The transfer variant without batch normalization and without a head: what weights are prepared on.
    pub fn plain(&self) -> Build {
        let input_channels = self.input().channels();
        Build { variant: Variant::Transfer, batch_norm: false, input_channels, outputs: None }
    }

    /// What it is called, reads and predicts.
    pub fn interface(&self) -> Interface {
        self.backbone().interface()
    }

    /// As a spec names it.
    pub fn name(&self) -> &'static str {
        self.interface().name
    }

    /// Where the pixels of a prediction lie on the picture.
    pub fn grid(&self) -> PixelGrid {
        self.interface().grid
    }

    /// What its weights expect of a picture.
    pub fn input(&self) -> Input {
        self.interface().input
    }

    /// The layers that a probe can read: all but the heads.
    pub fn taps(&self) -> Vec<String> {
        table::taps(&self.table(&self.plain())).map(String::from).collect()
    }

    /// What its heads are called.
    pub fn heads(&self) -> Vec<String> {
        table::heads(&self.table(&self.classifier())).map(String::from).collect()
    }

    /// The names of [`ROLES`] that stand for one of its layers.
    fn roles(&self) -> impl Iterator<Item = &'static str> {
        let has_reader = table::reader(&self.table(&self.classifier())).is_some();
        ROLES.into_iter().filter(move |role| *role != "reader" || has_reader)
    }

    /// Whether it has a layer of this name, or one that the name stands for.
    pub fn knows(&self, name: &str) -> bool {
        let named = self.taps().into_iter().chain(self.heads()).any(|known| known == name);
        named || self.roles().any(|role| role == name)
    }

    /// Whether it is the same network but for how its weights start and what becomes of batch normalization.
    pub fn is_same_network(&self, other: &Self) -> bool {
        let build = Build { batch_norm: true, ..self.plain() };
        let table = |spec: &Self| spec.with_init(Filler::Zero).table(&build);
        self.input() == other.input() && table(self) == table(other)
    }

    /// The layer that a name of [`ROLES`] stands for; other names stand for themselves.
    pub fn layer(&self, name: &str) -> String {
        let table = self.table(&self.classifier());
        // Of a stage and its first block, the stage.
        let reads = |reader: usize| {
            table::taps(&table).filter(|tap| table::first_of(&table, tap) == Some(reader)).last()
        };
        let found = match name {
            "head" => table::heads(&table).last(),
            "reader" => table::reader(&table).and_then(reads),
            "all" => table::taps(&table).next(),
            _ => None,
        };
        found.unwrap_or(name).into()
    }

    /// The transfer variant with a head.
    fn classifier(&self) -> Build {
        Build { outputs: Some(1), ..self.plain() }
    }

    /// The same network for another input. The VGG colorizer sees what it was made for.
    pub fn with_input(&self, input: Input) -> Self {
        let mut spec = self.clone();
        spec.backbone_mut().set_input(input);
        spec
    }

    /// Side of the square pictures, in pixels, of which the transfer variant makes one vector.
    pub fn crop(&self) -> usize {
        self.backbone().crop()
    }

    /// The same network with its hidden weights filled in another way.
    pub fn with_init(&self, init: Filler) -> Self {
        let mut spec = self.clone();
        spec.backbone_mut().set_init(init);
        spec
    }
}
