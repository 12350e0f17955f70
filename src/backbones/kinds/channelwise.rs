//! A layer that is fully connected within each channel of a map, and not across channels (Pathak, Krähenbühl, Donahue,
//! Darrell and Efros 2016, section 3.2): every cell of a channel reads all cells of that channel.

use super::rule::{LayerModule, LayerRule, MapSize, only};
use crate::{
    nn::{
        Mode,
        init::Filler,
        layers::LayerCall,
        params::{ParamKind, Params},
    },
    ops::tape::{Evaluated, Gradient, LayerGradients},
    rng::Rng,
};
use candle_core::{DType, Result, Tensor, TensorId, Var};
use std::sync::Arc;

/// `NAME.weight` is `(channels, cells, cells)`, to and from the cells of a square map in rows. No bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelwiseRow {
    pub channels: usize,
    /// Side of the map.
    pub side: usize,
    pub filler: Filler,
}

impl ChannelwiseRow {
    fn cells(&self) -> usize {
        self.side.saturating_mul(self.side)
    }
}

impl LayerRule for ChannelwiseRow {
    fn word(&self) -> &'static str {
        "channelwise"
    }

    fn size(&self, inputs: &[MapSize]) -> Option<MapSize> {
        inputs.first().copied().filter(|size| *size == (self.side, self.side))
    }

    fn parameters(&self) -> usize {
        self.cells().saturating_mul(self.cells()).saturating_mul(self.channels)
    }

    fn macs(&self, _from: MapSize, _to: MapSize) -> usize {
        self.parameters()
    }

    fn weight(&self) -> Option<Vec<usize>> {
        Some(vec![self.channels, self.cells(), self.cells()])
    }

    fn build(&self, name: &str, params: &mut Params, rng: &Rng) -> Result<Arc<dyn LayerModule>> {
        let (name, device) = (format!("{name}.weight"), params.device().clone());
        let shape = (self.channels, self.cells(), self.cells()).into();
        let weight = params.add_filled(&name, &shape, ParamKind::Weight, || {
            self.filler.fill(shape.clone(), &rng.split(&name), &device)
        })?;
        Ok(Arc::new(Channelwise { weight }))
    }
}

#[derive(Debug)]
struct Channelwise {
    weight: Var,
}

impl LayerModule for Channelwise {
    /// Products in f32 at least.
    fn evaluate(&self, inputs: &[Tensor], call: LayerCall) -> Result<Evaluated> {
        let x = only(inputs)?;
        let (dims, dtype) = (x.dims4()?, x.dtype());
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let weight = self.weight.as_detached_tensor().to_dtype(wide)?;
        let x = by_channel(&x.to_dtype(wide)?)?;
        let y = by_cell(&x.matmul(&weight.t()?)?, dims)?.to_dtype(dtype)?;
        let (learns, wants) = (call.mode.learns(), call.wants.first() == Some(&true));
        let id = self.weight.id();
        let backward = move |dy: Gradient| {
            let dy = by_channel(&dy.tensor().to_dtype(wide)?)?;
            let dx = wants.then(|| by_cell(&dy.matmul(&weight)?, dims)?.to_dtype(dtype));
            let dw = learns.then(|| dy.t()?.matmul(&x)?.to_dtype(DType::F32));
            let dx = dx.transpose()?.map(Gradient::from);
            let params = dw.transpose()?.map(|dw| (id, dw.into())).into_iter().collect();
            Ok(LayerGradients { inputs: vec![dx], params })
        };
        Ok(Evaluated { y, backward: Box::new(backward) })
    }

    fn learned(&self, mode: &Mode) -> Vec<TensorId> {
        mode.tape().map(|_| self.weight.id()).into_iter().collect()
    }

    fn weight(&self) -> Option<&Var> {
        Some(&self.weight)
    }
}

/// `(B, H, W, C)` → `(C, B, H·W)`
fn by_channel(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    x.reshape((b, h * w, c))?.permute((2, 0, 1))?.contiguous()
}

/// `(C, B, H·W)` → `(B, H, W, C)`
fn by_cell(x: &Tensor, dims: (usize, usize, usize, usize)) -> Result<Tensor> {
    x.permute((1, 2, 0))?.contiguous()?.reshape(dims)
}
