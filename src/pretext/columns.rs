//! Hypercolumns at single pixels: all layers of a network, read by bilinear interpolation at a pixel's place in their maps
//! (Hariharan et al. 2015; Larsson, Maire and Shakhnarovich 2016). The gradient goes to the four cells read.

use crate::{
    backbones::{larsson::column_layers, network::Network},
    device::{keep_layouts, table},
    nn::Mode,
};
use candle_core::{Result, Tensor};

/// A pixel of a batch of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pixel {
    pub picture: usize,
    pub y: usize,
    pub x: usize,
}

/// The columns of `pixels` of the inputs `(B, H, W, 1)`: `(N, 1, 1, C)`, the input first.
///
/// # Errors
/// Pictures that are too small for the network.
pub(super) fn columns(net: &Network, input: &Tensor, pixels: &[Pixel], mode: &Mode) -> Result<Tensor> {
    let _layouts = keep_layouts(input.device());
    let layers = column_layers();
    let names: Vec<&str> = layers.iter().map(|(name, _)| name.as_str()).collect();
    let maps = net.forward(input, &names, mode)?;
    let strides = layers.iter().map(|(_, stride)| *stride);
    let mut parts = vec![looked_up(input, 1, pixels)?];
    for (map, stride) in maps.iter().zip(strides) {
        parts.push(looked_up(map, stride, pixels)?);
    }
    Tensor::cat(&parts, 1)?.unsqueeze(1)?.unsqueeze(1)
}

/// Reads a map `(B, h, w, C)` of stride s at (y / s, x / s), clamped to its cells: `(N, C)`.
fn looked_up(map: &Tensor, stride: usize, pixels: &[Pixel]) -> Result<Tensor> {
    let (batch, height, width, channels) = map.dims4()?;
    let cells = map.reshape((batch * height * width, channels))?;
    if stride == 1 {
        let of = |p: &Pixel| {
            (p.picture * height * width + p.y.min(height - 1) * width + p.x.min(width - 1)) as u32
        };
        return cells.index_select(&table(&pixels.iter().map(of).collect::<Vec<_>>(), map.device())?, 0);
    }
    let mut total: Option<Tensor> = None;
    for corner in 0..4 {
        let (indices, shares): (Vec<u32>, Vec<f32>) =
            pixels.iter().map(|pixel| cell(*pixel, stride, (height, width), corner)).unzip();
        let shares = table(&shares, map.device())?.unsqueeze(1)?.to_dtype(map.dtype())?;
        let part = cells.index_select(&table(&indices, map.device())?, 0)?.broadcast_mul(&shares)?;
        total = Some(match total {
            Some(total) => (total + part)?,
            None => part,
        });
    }
    total.map_or_else(|| cells.narrow(0, 0, 0), Ok)
}

/// Index of a corner of the cell around a pixel's place, and its share.
fn cell(pixel: Pixel, stride: usize, (height, width): (usize, usize), corner: usize) -> (u32, f32) {
    let axis = |at: usize, cells: usize, upper: bool| {
        let place = (at as f32 / stride as f32).min((cells - 1) as f32);
        let (lower, share) = (place.floor(), place.fract());
        if upper { ((lower as usize + 1).min(cells - 1), share) } else { (lower as usize, 1.0 - share) }
    };
    let (y, down) = axis(pixel.y, height, corner / 2 == 1);
    let (x, right) = axis(pixel.x, width, corner % 2 == 1);
    (((pixel.picture * height + y) * width + x) as u32, down * right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn pixel(picture: usize, y: usize, x: usize) -> Pixel {
        Pixel { picture, y, x }
    }

    /// A map that is linear in its place is read exactly; beyond the last cell it is that cell.
    #[test]
    fn places_between_cells_are_interpolated() -> Result<()> {
        let values: Vec<f32> = (0..24).map(|i| (1000 * (i / 12) + 10 * (i / 4 % 3) + i % 4) as f32).collect();
        let map = Tensor::from_vec(values, (2, 3, 4, 1), &Device::Cpu)?;
        let pixels = [pixel(0, 0, 0), pixel(1, 6, 10), pixel(0, 7, 7), pixel(1, 11, 15)];
        let got = looked_up(&map, 4, &pixels)?.flatten_all()?.to_vec1::<f32>()?;
        for (got, wanted) in got.into_iter().zip([0.0, 1015.0 + 2.5, 17.5 + 1.75, 1020.0 + 3.0]) {
            assert!((got - wanted).abs() < 1e-4, "{got} and {wanted}");
        }
        let own = looked_up(&map, 1, &[pixel(1, 2, 3)])?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(own, [1023.0]);
        Ok(())
    }

    #[test]
    fn gradients_go_to_the_cells_read() -> Result<()> {
        let map = Var::from_tensor(&Tensor::zeros((1, 3, 3, 1), candle_core::DType::F32, &Device::Cpu)?)?;
        let read = looked_up(&map, 4, &[pixel(0, 2, 5), pixel(0, 0, 4)])?;
        let gradient = read.sum_all()?.backward()?.remove(&map).expect("a gradient");
        let wanted = [0.0, 1.0 + 0.375, 0.125, 0.0, 0.375, 0.125, 0.0, 0.0, 0.0];
        for (got, wanted) in gradient.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-6, "{got} and {wanted}");
        }
        Ok(())
    }
}
