//! The first layer's filters as a picture: a grid of tiles, each enlarged without smoothing and scaled to its own range.

use crate::{
    backbones::input::Input,
    color::lab::lab_to_srgb8,
    train::panel::{RgbTile, panel},
};
use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

/// Approximate side of a tile, in pixels.
const TILE: usize = 64;
/// Largest distance of a or b from gray in the picture of a filter on Lab, in ab units.
const CHROMA: f32 = 80.0;

/// Draws the filters `(O, KH, KW, I)` of a network with this input.
///
/// One channel is drawn in gray and three channels in color, from the filter's least value (black) to its largest (white). Of
/// filters on Lab the largest absolute value is mapped to the end of the range instead, so that 0 is gray of L 50; filters on ab
/// are drawn at L 50.
///
/// # Errors
/// Another number of channels than that of the input.
pub fn filters(weight: &Tensor, input: Input) -> Result<RgbTile> {
    let (count, height, width, channels) = weight.dims4()?;
    if channels != input.channels() {
        bail!("filters of {channels} channels cannot be drawn for an input of {}", input.channels())
    }
    let values = weight.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let tiles: Vec<RgbTile> = values
        .chunks_exact(height * width * channels)
        .map(|filter| (width, height, colors(filter, input)))
        .collect();
    let columns = (1..=count).find(|columns| columns * columns >= count).unwrap_or(1);
    let rows: Vec<Vec<RgbTile>> = tiles.chunks(columns).map(<[RgbTile]>::to_vec).collect();
    panel(&rows, &[], (TILE / height.max(width)).max(1))
}

/// The pixels of one filter.
fn colors(filter: &[f32], input: Input) -> Vec<u8> {
    let (least, most) = filter.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    let byte = |value: f32| match most > least {
        true => (255.0 * (value - least) / (most - least)).round() as u8,
        false => 128,
    };
    let largest = least.abs().max(most.abs());
    let share = |value: f32| if largest > 0.0 { value / largest } else { 0.0 };
    let pixel = |of: &[f32]| match (input, of) {
        (Input::Lab, [l, a, b]) => {
            lab_to_srgb8([50.0 + 50.0 * share(*l), CHROMA * share(*a), CHROMA * share(*b)]).0
        }
        (_, [a, b]) => lab_to_srgb8([50.0, CHROMA * share(*a), CHROMA * share(*b)]).0,
        (Input::RgbUnit, [r, g, b]) => [*r, *g, *b].map(byte),
        (_, [b, g, r]) => [*r, *g, *b].map(byte),
        _ => [byte(of[0]); 3],
    };
    filter.chunks_exact(input.channels()).flat_map(pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_its_whole_range() {
        assert_eq!(colors(&[-1.0, 0.0, 3.0], Input::Lightness), [[0; 3], [64; 3], [255; 3]].concat());
        assert_eq!(colors(&[0.5, 0.5], Input::Lightness), [128; 6]);
        assert_eq!(colors(&[0.0, 1.0, 2.0], Input::RgbUnit), [0, 128, 255]);
        assert_eq!(colors(&[0.0, 1.0, 2.0], Input::BgrMean), [255, 128, 0]);
    }

    #[test]
    fn filters_on_lab_are_gray_at_zero() {
        assert_eq!(colors(&[2.0, 0.0, 0.0, 0.0, 0.0, 0.0], Input::Lab), [255, 255, 255, 119, 119, 119]);
        let red = colors(&[1.0, 0.0], Input::Ab);
        assert!(red[0] > 150 && red[1] < 100, "{red:?}");
    }

    #[test]
    fn tiles_are_enlarged_with_gaps() -> Result<()> {
        let weight =
            Tensor::new(&[0f32, 1.0, 1.0, 0.0, 7.0, 7.0, 7.0, 7.0], &Device::Cpu)?.reshape((2, 2, 2, 1))?;
        let (width, height, pixels) = filters(&weight, Input::Lightness)?;
        assert_eq!((width, height), (2 * 64 + 3 * 8, 64 + 2 * 8));
        let at = |x: usize, y: usize| pixels[3 * (y * width + x)];
        assert_eq!([at(8, 8), at(39, 39), at(40, 39), at(71, 8), at(8, 71)], [0, 0, 255, 255, 255]);
        assert_eq!([at(7, 8), at(72, 8), at(80, 8), at(143, 71)], [255, 255, 128, 128]);
        assert!(filters(&weight, Input::Lab).is_err());
        Ok(())
    }
}
