//! A backbone with trained weights as a module of candle, for programs that use this crate as a library.

use super::{
    BackboneSpec, Build, Variant,
    network::Network,
    table::{tap, taps},
};
use crate::{
    nn::{
        Mode,
        init::Filler,
        params::Params,
        weights::{dims_in_file, to_memory_layout},
    },
    rng::Rng,
};
use candle_core::{Result, Tensor, bail};
use candle_nn::{Module, VarBuilder};

/// A backbone with fixed weights, up to one of its layers.
///
/// As a [`Module`] it takes the network's input `(B, H, W, C)`, which [`Input::read`](super::input::Input::read) makes of
/// pictures, and returns that layer's output `(B, H', W', C')`, f32 for f32.
///
/// ```no_run
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{Module, VarBuilder};
/// use hueristic::backbones::{BackboneSpec, Variant, alexnet::AlexNetSpec, module::BackboneModule};
///
/// # fn main() -> candle_core::Result<()> {
/// let device = Device::Cpu;
/// // SAFETY: nobody changes the file meanwhile.
/// let weights = unsafe { VarBuilder::from_mmaped_safetensors(&["weights.safetensors"], DType::F32, &device)? };
/// let features = BackboneModule::new(&BackboneSpec::Alexnet(AlexNetSpec::default()), Variant::Pretext, "conv5", weights)?;
/// let pictures = Tensor::zeros((8, 224, 224, 3), DType::U8, &device)?;
/// let maps = features.forward(&features.network().input().read(&pictures)?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct BackboneModule {
    network: Network,
    layer: String,
}

impl BackboneModule {
    /// A backbone whose weights have the names of this crate's files (`conv1.weight`, …), with batch normalization if
    /// they have its statistics. A [`VarBuilder`] of such a file, or [`VarBuilder::pp`] of a larger one, gives them. What
    /// comes after the layer is not read.
    ///
    /// # Errors
    /// A layer that the backbone does not have; a tensor that is missing or has another shape.
    pub fn new(spec: &BackboneSpec, variant: Variant, layer: &str, weights: VarBuilder) -> Result<Self> {
        let build = |batch_norm| Build {
            variant,
            batch_norm,
            input_channels: spec.input().channels(),
            outputs: None,
        };
        let normalized = spec.table(&build(true)).iter().any(|row| {
            let statistics = format!("{}.running_mean", row.name);
            weights.contains_tensor(&statistics)
        });
        let spec = spec.with_init(Filler::Zero);
        let mut rows = spec.table(&build(normalized));
        let Some(last) = tap(&rows, layer) else {
            let names: Vec<&str> = taps(&rows).collect();
            bail!("{}: there is no layer `{layer}`; the layers are {}", spec.name(), names.join(", "))
        };
        rows.truncate(last + 1);
        let mut params = Params::new(weights.device());
        let network = Network::new(spec.interface(), rows, &mut params, &Rng::new(0))?;
        for (name, var) in params.all() {
            let value = weights.get(dims_in_file(var.dims()), name)?;
            var.set(&to_memory_layout(&value)?.to_dtype(var.dtype())?)?;
        }
        Ok(Self { network, layer: layer.into() })
    }

    /// The network, for its input format and its layers.
    pub fn network(&self) -> &Network {
        &self.network
    }
}

impl Module for BackboneModule {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.network.forward(x, &[&self.layer], &Mode::Frozen)?.remove(0))
    }
}
