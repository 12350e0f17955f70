//! Samples of a pixel to 8-bit RGB over white.

use super::{
    faults::unread,
    tags::{JPEG, Tags},
};
use crate::data::decode::undecodable::Undecodable;

/// Photometric interpretation of a pixel's samples.
pub(super) struct Photometric {
    ink: Ink,
    /// Index of the alpha channel.
    alpha: Option<usize>,
    /// The colors are already multiplied by alpha.
    premultiplied: bool,
    /// Stored value of white.
    full: f64,
}

/// Color model of the samples.
enum Ink {
    Gray { white_is_zero: bool },
    Rgb,
    Palette(Vec<[f64; 3]>),
    Cmyk,
    YCbCr,
}

impl Ink {
    fn of(tags: &Tags) -> Result<Self, Undecodable> {
        Ok(match tags.photometric {
            0 | 1 => Self::Gray { white_is_zero: tags.photometric == 0 },
            2 => Self::Rgb,
            3 => Self::Palette(palette(tags)?),
            5 => Self::Cmyk,
            // JPEG strips are decoded to RGB
            6 if tags.compression == JPEG => Self::Rgb,
            6 => Self::YCbCr,
            4 => return Err(unread("a transparency mask for a first page")),
            8..=10 => return Err(unread("Lab colors")),
            32803 | 34892 => return Err(unread("raw sensor data")),
            other => return Err(unread(&format!("colors of kind {other}"))),
        })
    }

    fn channels(&self) -> usize {
        match self {
            Self::Gray { .. } | Self::Palette(_) => 1,
            Self::Rgb | Self::YCbCr => 3,
            Self::Cmyk => 4,
        }
    }

    /// RGB, 0 to 1, possibly slightly outside.
    fn rgb(&self, pixel: &[f64]) -> [f64; 3] {
        match self {
            Self::Gray { white_is_zero: true } => [1.0 - pixel[0]; 3],
            Self::Gray { .. } => [pixel[0]; 3],
            Self::Rgb => [pixel[0], pixel[1], pixel[2]],
            // An index beyond the palette is black, as in libtiff.
            Self::Palette(colors) => colors.get(pixel[0] as usize).copied().unwrap_or_default(),
            Self::Cmyk => [0, 1, 2].map(|i| (1.0 - pixel[i]) * (1.0 - pixel[3])),
            Self::YCbCr => ycbcr(pixel),
        }
    }
}

impl Photometric {
    pub(super) fn of(tags: &Tags) -> Result<Self, Undecodable> {
        let ink = Ink::of(tags)?;
        let channels = ink.channels();
        if tags.samples < channels {
            return Err(Undecodable(format!(
                "damaged: {} samples a pixel, where its colors need {channels}",
                tags.samples
            )));
        }
        if matches!(ink, Ink::Palette(_) | Ink::YCbCr) && tags.is_float() {
            return Err(unread("float samples for other than gray, RGB and CMYK"));
        }
        // An undeclared extra sample is treated as alpha, as all readers do.
        let unexplained = tags.extra.is_empty() && tags.samples == channels + 1;
        let kind = if unexplained { Some(2) } else { tags.extra.first().copied() };
        let alpha = (matches!(kind, Some(1 | 2)) && tags.samples > channels).then_some(channels);
        let full = if tags.is_float() { 1.0 } else { 2f64.powi(tags.bits.into()) - 1.0 };
        Ok(Self { ink, alpha, premultiplied: kind == Some(1), full })
    }

    /// Divisor of stored samples: white, or 1 for palette indices.
    pub(super) fn white(&self) -> f64 {
        if matches!(self.ink, Ink::Palette(_)) { 1.0 } else { self.full }
    }

    /// The pixel composited over white.
    pub(super) fn over_white(&self, pixel: &[f64]) -> [u8; 3] {
        let mut rgb = self.ink.rgb(pixel);
        if let Some(channel) = self.alpha {
            let alpha = (pixel[channel] * (self.white() / self.full)).clamp(0.0, 1.0);
            let share = if self.premultiplied { 1.0 } else { alpha };
            rgb = rgb.map(|v| v.clamp(0.0, 1.0) * share + (1.0 - alpha));
        }
        rgb.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8)
    }
}

/// The palette: red, green and blue tables of 16-bit entries, reduced to 8 bits. Some writers store 8-bit values,
/// which libtiff detects too.
fn palette(tags: &Tags) -> Result<Vec<[f64; 3]>, Undecodable> {
    let size = 1usize << tags.bits.min(16);
    if tags.bits > 16 || tags.palette.len() < 3 * size {
        return Err(Undecodable::new("damaged: its palette has fewer colors than its samples name"));
    }
    let shift = if tags.palette.iter().all(|v| *v < 256) { 0 } else { 8 };
    let level = |i: usize| f64::from(tags.palette[i] >> shift) / 255.0;
    Ok((0..size).map(|i| [level(i), level(size + i), level(2 * size + i)]).collect())
}

/// Full-range YCbCr with the weights of Rec. 601, the defaults of the format.
fn ycbcr(pixel: &[f64]) -> [f64; 3] {
    let (y, cb, cr) = (pixel[0], pixel[1] - 128.0 / 255.0, pixel[2] - 128.0 / 255.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb]
}
