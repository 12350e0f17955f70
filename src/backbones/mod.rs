//! Networks for representation learning. A backbone is one file that defines a table of rows; everything else (forward
//! pass, initialization, surgery, summaries) is derived from the table.

pub mod absorb;
pub mod alexnet;
pub mod alexnet_conventions;
pub mod bigan_networks;
mod build;
pub mod calibrate;
pub mod code_head;
pub mod dahl;
pub mod data_init;
pub mod decoder_head;
pub mod discriminator;
pub mod exchange;
pub mod finite;
pub mod iizuka;
pub mod input;
pub mod kinds;
pub mod larsson;
pub mod module;
pub mod network;
pub mod onnx;
mod plan;
mod profile;
pub mod projection_head;
#[cfg(test)]
mod random_graphs;
pub mod resnet;
pub mod siggraph17;
pub mod split;
pub mod summary;
pub mod surgery;
pub mod table;
pub mod task_head;
pub mod vgg;
pub mod vgg16;
pub mod view_head;

use crate::{
    nn::{init::Filler, params::Params},
    rng::Rng,
};
use alexnet::AlexNetSpec;
use build::Backbone;
pub use build::{Build, Variant};
use candle_core::Result;
use dahl::DahlSpec;
use iizuka::IizukaSpec;
use input::Input;
use larsson::LarssonSpec;
use network::{Interface, Network, PixelGrid};
pub use profile::RowTimes;
use resnet::ResNetSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use siggraph17::Siggraph17Spec;
use table::Layer;
use vgg::VggSpec;
use vgg16::Vgg16Spec;

/// Role names that select a layer of any backbone: the head, the first layer of the reader (fc6 of AlexNet), the first
/// layer of all.
pub const ROLES: [&str; 3] = ["head", "reader", "all"];

/// Declares the enum of specs from one line per backbone, and its dispatch to the backbone's file.
macro_rules! backbones {
    ($($(#[$about:meta])* $variant:ident($spec:ty),)*) => {
        /// A network spec, by name.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    Siggraph17(Siggraph17Spec),
    Dahl(DahlSpec),
    Iizuka(IizukaSpec),
    Larsson(LarssonSpec),
}

impl BackboneSpec {
    /// The rows of the network that [`BackboneSpec::build`] would build.
    pub fn table(&self, build: &Build) -> Vec<Layer> {
        self.backbone().table(build)
    }

    /// Adds the network's parameters to `params`, initialized from `rng`.
    ///
    /// # Errors
    /// A tensor that cannot be allocated on the device.
    pub fn build(&self, build: &Build, params: &mut Params, rng: &Rng) -> Result<Network> {
        Network::new(self.interface(), self.table(build), params, rng)
    }

    /// Checks that its largest variant fits into memory.
    ///
    /// # Errors
    /// The number of parameters.
    pub fn check_size(&self) -> std::result::Result<(), String> {
        table::check_size(&self.table(&Build { batch_norm: true, ..self.plain() }))
    }

    /// Build of the transfer variant without batch normalization and without a head, for preparing weights.
    pub fn plain(&self) -> Build {
        let input_channels = self.input().channels();
        Build { variant: Variant::Transfer, batch_norm: false, input_channels, outputs: None }
    }

    /// Name, input and prediction grid.
    pub fn interface(&self) -> Interface {
        self.backbone().interface()
    }

    /// Name in a spec.
    pub fn name(&self) -> &'static str {
        self.interface().name
    }

    /// The only task that trains it, for the network of one colorizer.
    pub fn task(&self) -> Option<&'static str> {
        match self {
            Self::Siggraph17(_) | Self::Dahl(_) | Self::Iizuka(_) | Self::Larsson(_) => Some(self.name()),
            _ => None,
        }
    }

    /// Alignment of predictions with the picture.
    pub fn grid(&self) -> PixelGrid {
        self.interface().grid
    }

    /// Input format of the weights.
    pub fn input(&self) -> Input {
        self.interface().input
    }

    /// Layers available to probes: all except the heads.
    pub fn taps(&self) -> Vec<String> {
        table::taps(&self.table(&self.plain())).map(String::from).collect()
    }

    /// Names of the heads.
    pub fn heads(&self) -> Vec<String> {
        table::heads(&self.table(&self.classifier())).map(String::from).collect()
    }

    /// The names of [`ROLES`] that this backbone supports.
    fn roles(&self) -> impl Iterator<Item = &'static str> {
        let has_reader = table::reader(&self.table(&self.classifier())).is_some();
        ROLES.into_iter().filter(move |role| *role != "reader" || has_reader)
    }

    /// Whether `name` is one of its layers or a supported role.
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

    /// Resolves a name of [`ROLES`] to its layer; returns other names unchanged.
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

    /// Build of the transfer variant with a head.
    fn classifier(&self) -> Build {
        Build { outputs: Some(1), ..self.plain() }
    }

    /// The same network for another input format. The VGG colorizer's input format is fixed.
    pub fn with_input(&self, input: Input) -> Self {
        let mut spec = self.clone();
        spec.backbone_mut().set_input(input);
        spec
    }

    /// Side in pixels of the square pictures from which the transfer variant computes one vector.
    pub fn crop(&self) -> usize {
        self.backbone().crop()
    }

    /// The same network with another initialization of the hidden weights.
    pub fn with_init(&self, init: Filler) -> Self {
        let mut spec = self.clone();
        spec.backbone_mut().set_init(init);
        spec
    }
}
