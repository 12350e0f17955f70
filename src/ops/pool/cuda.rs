//! The same on a GPU: one block for each row of the result. Backward, each input pixel gathers from the windows that cover
//! it, so that the sum has an order and no two threads write one place.

use super::{Kind, Pool, PoolGeometry};
use crate::device::cuda::{Arg, Grid, address, element, empty, launch, modules};
use candle_core::{CudaStorage, Layout, Result, Shape, backend::BackendStorage, bail};

type Argument<'a> = (&'a CudaStorage, &'a Layout);

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

    /// What all kernels are told after their pointers.
    fn arguments(&self, g: PoolGeometry) -> Result<[Arg<'static>; 8]> {
        let (_, height, width, channels) = self.input.dims4()?;
        let (_, out_height, out_width, _) = self.output.dims4()?;
        Ok([height, width, out_height, out_width, channels, g.kernel, g.stride, g.pad].map(Arg::length))
    }
}

/// A block for each row of a map.
fn over_rows(map: &Shape) -> Result<Grid> {
    let (batch, height, width, channels) = map.dims4()?;
    let threads = (width * channels).next_multiple_of(32).clamp(32, 256);
    Ok(Grid::blocks(batch * height, threads as u32))
}

impl Pool {
    fn kernel(&self) -> &'static str {
        match self.kind {
            Kind::Max => "max_pool",
            Kind::Average => "average_pool",
        }
    }

    pub(super) fn forward_cuda(&self, op: &str, (s, l): Argument) -> Result<(CudaStorage, Shape)> {
        let maps = Maps::new(self.geometry, l.shape())?;
        let (y, result) = empty(s.device(), maps.output.clone(), s.dtype())?;
        let pointers = [Arg::Pointer(address(op, s, l)?), Arg::Pointer(result)];
        let args = [&pointers[..], &maps.arguments(self.geometry)?].concat();
        let kernel = format!("{}_{}", self.kernel(), element(op, s.dtype())?);
        launch(s.device(), modules::POOL, &kernel, over_rows(&maps.output)?, &args)?;
        Ok((y, maps.output))
    }

    /// (x, y, dy) → dx.
    pub(super) fn backward_cuda(
        &self,
        op: &str,
        x: Argument,
        y: Argument,
        dy: Argument,
    ) -> Result<(CudaStorage, Shape)> {
        let (device, dtype) = (x.0.device(), x.0.dtype());
        if y.0.dtype() != dtype || dy.0.dtype() != dtype {
            bail!("{op}: x is {dtype:?} and the gradient {:?}: one type wanted", dy.0.dtype());
        }
        let maps = Maps::new(self.geometry, x.1.shape())?;
        let (dx, result) = empty(device, maps.input.clone(), dtype)?;
        let read = match self.kind {
            Kind::Max => vec![x, y, dy],
            Kind::Average => vec![dy],
        };
        let mut args =
            read.into_iter().map(|(s, l)| address(op, s, l).map(Arg::Pointer)).collect::<Result<Vec<_>>>()?;
        args.push(Arg::Pointer(result));
        args.extend(maps.arguments(self.geometry)?);
        let kernel = format!("{}_gradient_{}", self.kernel(), element(op, dtype)?);
        launch(device, modules::POOL, &kernel, over_rows(&maps.input)?, &args)?;
        Ok((dx, maps.input))
    }
}
