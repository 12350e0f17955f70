//! Pooling on a GPU: one block per output row. In the backward pass each input pixel gathers from the windows that
//! cover it, so that the summation order is fixed and no atomics are needed.

use super::{PoolGeometry, PoolKind, PoolOp};
use crate::{
    device::cuda::{Arg, Grid, alloc_uninit, launch, modules},
    op::{CudaInput, CudaOutput},
};
use candle_core::{DType, Result, Shape, bail};

/// Extents of the maps of one call.
struct Maps {
    input: Shape,
    output: Shape,
}

impl Maps {
    fn new(g: PoolGeometry, input: &Shape) -> Result<Self> {
        let (batch, height, width, channels) = input.dims4()?;
        Ok(Self { input: input.clone(), output: (batch, g.out(height), g.out(width), channels).into() })
    }

    fn channels(&self) -> Result<usize> {
        Ok(self.input.dims4()?.3)
    }

    /// The common kernel arguments after the pointers.
    fn arguments(&self, g: PoolGeometry) -> Result<[Arg<'static>; 8]> {
        let (_, height, width, channels) = self.input.dims4()?;
        let (_, out_height, out_width, _) = self.output.dims4()?;
        Ok([height, width, out_height, out_width, channels, g.kernel, g.stride, g.pad].map(Arg::length))
    }
}

/// One block per row of a map, one thread per pack of channels.
fn over_rows(map: &Shape, pack: usize) -> Result<Grid> {
    let (batch, height, width, channels) = map.dims4()?;
    let threads = (width * channels / pack).next_multiple_of(32).clamp(32, 256);
    Ok(Grid::blocks(batch * height, threads as u32))
}

/// Channels per thread, and the corresponding kernel-name infix.
fn packs(kind: PoolKind, dtype: DType, channels: usize, addresses: &[u64]) -> (usize, &'static str) {
    let wide = 16 / dtype.size_in_bytes();
    let aligned = addresses.iter().all(|a| a.is_multiple_of(16));
    match kind {
        PoolKind::Max if aligned && channels.is_multiple_of(wide) => (wide, "packs_"),
        _ => (1, ""),
    }
}

impl PoolOp {
    fn kernel(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool",
            PoolKind::Average => "average_pool",
        }
    }

    pub(super) fn forward_cuda(&self, x: CudaInput) -> Result<CudaOutput> {
        let maps = Maps::new(self.geometry, x.shape())?;
        let (y, result) = alloc_uninit(x.device(), &maps.output, x.dtype())?;
        let at = [x.address()?, result];
        let (pack, packs) = packs(self.kind, x.dtype(), maps.channels()?, &at);
        let args = [&at.map(Arg::Pointer)[..], &maps.arguments(self.geometry)?].concat();
        let kernel = format!("{}_{packs}{}", self.kernel(), x.element()?);
        launch(x.device(), modules::POOL, &kernel, over_rows(&maps.output, pack)?, &args)?;
        Ok((y, maps.output))
    }

    /// (x, y, dy) → dx.
    pub(super) fn backward_cuda(&self, [x, y, dy]: [CudaInput; 3]) -> Result<CudaOutput> {
        let (op, device, dtype) = (x.op, x.device(), x.dtype());
        if y.dtype() != dtype || dy.dtype() != dtype {
            bail!("{op}: x is {dtype:?} and the gradient {:?}: one type wanted", dy.dtype());
        }
        let maps = Maps::new(self.geometry, x.shape())?;
        let (dx, result) = alloc_uninit(device, &maps.input, dtype)?;
        let read = match self.kind {
            PoolKind::Max => vec![x, y, dy],
            PoolKind::Average => vec![dy],
        };
        let mut at = read.iter().map(CudaInput::address).collect::<Result<Vec<_>>>()?;
        at.push(result);
        let (pack, packs) = packs(self.kind, dtype, maps.channels()?, &at);
        let mut args: Vec<Arg> = at.into_iter().map(Arg::Pointer).collect();
        args.extend(maps.arguments(self.geometry)?);
        let kernel = format!("{}_gradient_{packs}{}", self.kernel(), x.element()?);
        launch(device, modules::POOL, &kernel, over_rows(&maps.input, pack)?, &args)?;
        Ok((dx, maps.input))
    }
}
