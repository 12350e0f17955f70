//! PASCAL VOC masks: PNGs whose pixels are class indices into a palette of the VOC colors.
//!
//! Labels are determined by color, since PNG optimizers and editors reorder the palette or write RGB. 8-bit gray
//! PNGs, whose levels are labels, are read too, as used by augmented sets. Independent of the number of classes.

pub use super::palette::color_map;

use super::palette::{Color, Palette};
use crate::{
    atomic_write,
    data::{
        annotated::{Mask, VOID},
        decode::MAX_BYTES,
        error::DataError,
    },
    guarded,
};
use png::{BitDepth, ColorType, Decoder, DecodingError, Encoder, Limits, Transformations};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Cursor, Read},
    path::Path,
};

const ADVICE: &str = "save the mask with VOC's colors, or name its colors with `palette:` in the source";

/// A decoded mask with what its file reveals about errors of the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedMask {
    pub mask: Mask,
    /// The highest label that the file's bit depth can represent, if it occurs: a writer may have clipped void to it.
    pub narrow: Option<u8>,
    /// Whether the labels are gray levels.
    pub gray: bool,
}

/// Reads the labels of a mask with VOC's colors.
///
/// # Errors
/// As [`read`].
pub fn read_indices(path: &Path) -> Result<Mask, DataError> {
    Ok(read(path, &Palette::Voc)?.mask)
}

/// Reads the labels of a mask.
///
/// # Errors
/// An unreadable file, not a PNG, a truncated PNG; colors that are not in `palette`; gray of a bit depth
/// other than 8; indices beyond the palette (clipped by a writer); over 512 MiB of pixels.
pub fn read(path: &Path, palette: &Palette) -> Result<DecodedMask, DataError> {
    let io = |source| DataError::Io { path: path.into(), source };
    let mut bytes = vec![];
    // a file over the limit is truncated, so it fails to decode
    File::open(path).map_err(io)?.take(MAX_BYTES as u64).read_to_end(&mut bytes).map_err(io)?;
    let pixels = guarded::call(|| decode(&bytes)).unwrap_or_else(|e| Err(e.to_string()));
    let found = pixels.and_then(|pixels| pixels.labeled(palette));
    found.map_err(|reason| DataError::Image { name: path.display().to_string(), reason })
}

/// A decoded PNG: row-major samples without padding.
struct PngSamples {
    size: (usize, usize),
    samples: Vec<u8>,
    kind: SampleFormat,
}

enum SampleFormat {
    /// One index per pixel.
    Indices { bits: usize, colors: Vec<Color> },
    /// One level per pixel.
    Gray,
    /// Red, green and blue per pixel.
    Colors,
}

fn decode(bytes: &[u8]) -> Result<PngSamples, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_BYTES });
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| format!("not a PNG that can be read: {}", why(&e)))?;
    let (color, depth) = reader.output_color_type();
    let info = reader.info();
    let (width, height) = (info.width as usize, info.height as usize);
    let colors = info.palette.as_deref().unwrap_or_default().as_chunks().0.to_vec();
    let kind = match (color, depth) {
        (ColorType::Indexed, _) => SampleFormat::Indices { bits: depth as usize, colors },
        (ColorType::Grayscale, BitDepth::Eight) => SampleFormat::Gray,
        (ColorType::Rgb | ColorType::Rgba, BitDepth::Eight) => SampleFormat::Colors,
        _ => return Err(other(color, depth)),
    };
    let count = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(color.samples()));
    let count = count.filter(|&count| count <= MAX_BYTES).ok_or("the picture is too large")?;
    let mut packed = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let frame = reader.next_frame(&mut packed).map_err(|e| format!("cannot be decoded: {}", why(&e)))?;
    let rows = packed.chunks_exact(frame.line_size).take(height);
    let samples: Vec<u8> =
        rows.flat_map(|row| unpack(row, depth as usize, width * color.samples())).collect();
    if samples.len() != count {
        return Err(format!("cannot be decoded: it has not all of its {width}×{height} pixels"));
    }
    let samples = if color == ColorType::Rgba { opaque(&samples)? } else { samples };
    Ok(PngSamples { size: (width, height), samples, kind })
}

/// The decoder's message, unless it prints Rust structures.
fn why(error: &DecodingError) -> String {
    let text = error.to_string();
    if text.contains('{') { "it is damaged".into() } else { crate::text::excerpt(&text) }
}

fn other(color: ColorType, depth: BitDepth) -> String {
    let kind = match color {
        ColorType::Grayscale => "gray",
        ColorType::GrayscaleAlpha => "gray with transparency",
        ColorType::Indexed => "palette",
        ColorType::Rgb | ColorType::Rgba => "color",
    };
    format!("a PNG of {kind} pixels of {} bits, which say no classes; {ADVICE}", depth as u8)
}

fn opaque(samples: &[u8]) -> Result<Vec<u8>, String> {
    let (pixels, _) = samples.as_chunks::<4>();
    match pixels.iter().all(|[.., alpha]| *alpha == u8::MAX) {
        true => Ok(pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()),
        false => Err(format!("a PNG with transparent pixels, which say no classes; {ADVICE}")),
    }
}

/// The first `count` samples of 1, 2, 4 or 8 bits, the highest bits of a byte first.
fn unpack(row: &[u8], bits: usize, count: usize) -> impl Iterator<Item = u8> {
    let per_byte = 8 / bits;
    (0..count).map(move |x| {
        let shift = 8 - bits * (x % per_byte + 1);
        row[x / per_byte] >> shift & (0xff >> (8 - bits))
    })
}

impl PngSamples {
    fn labeled(self, palette: &Palette) -> Result<DecodedMask, String> {
        let labels = match (&self.kind, palette) {
            (SampleFormat::Gray, Palette::Voc | Palette::Indices) => {
                return Ok(DecodedMask { gray: true, ..self.found(None, |level| level) });
            }
            (SampleFormat::Indices { .. }, Palette::Indices) => return Ok(self.found(None, |index| index)),
            (SampleFormat::Colors, _) => {
                let known = palette.labels();
                self.samples
                    .as_chunks::<3>()
                    .0
                    .iter()
                    .map(|color| of(&known, *color))
                    .collect::<Result<_, _>>()?
            }
            (SampleFormat::Gray, Palette::Named(_)) => {
                let known = palette.labels();
                self.samples.iter().map(|&level| of(&known, [level; 3])).collect::<Result<_, _>>()?
            }
            (SampleFormat::Indices { bits, colors }, Palette::Voc | Palette::Named(_)) => {
                let (table, narrow) = table(&self.used(), *bits, colors, palette)?;
                return Ok(self.found(narrow, |index| table[usize::from(index)]));
            }
        };
        let mask = Mask { width: self.size.0, height: self.size.1, labels };
        Ok(DecodedMask { mask, narrow: None, gray: false })
    }

    fn found(self, narrow: Option<u8>, label: impl Fn(u8) -> u8) -> DecodedMask {
        let labels = self.samples.into_iter().map(label).collect();
        DecodedMask { mask: Mask { width: self.size.0, height: self.size.1, labels }, narrow, gray: false }
    }

    /// The indices that occur, ascending.
    fn used(&self) -> Vec<u8> {
        let mut seen = [false; 256];
        self.samples.iter().for_each(|&index| seen[usize::from(index)] = true);
        (0..=u8::MAX).filter(|index| seen[usize::from(*index)]).collect()
    }
}

fn of(known: &HashMap<Color, u8>, color: Color) -> Result<u8, String> {
    known.get(&color).copied().ok_or_else(|| unknown(color))
}

fn unknown([r, g, b]: Color) -> String {
    format!("the color [{r}, {g}, {b}] is not the color of any class; {ADVICE}")
}

/// The label of every used index, and the value of [`DecodedMask::narrow`].
fn table(
    used: &[u8],
    bits: usize,
    colors: &[Color],
    palette: &Palette,
) -> Result<([u8; 256], Option<u8>), String> {
    let (map, known) = (color_map(), palette.labels());
    let color = |index: u8| colors.get(usize::from(index)).copied();
    // Void is also recognized by its index and needs no color of its own.
    let border = || color(VOID).and_then(|color| known.get(&color)).is_none_or(|label| *label == VOID);
    let vocs = |&index: &u8| match index {
        VOID => border(),
        _ => color(index) == Some(map[usize::from(index)]),
    };
    let in_order = palette.is_voc() && used.iter().all(vocs);
    // Gray palettes whose levels equal the indices.
    let gray = palette.is_voc() && used.iter().all(|&index| color(index) == Some([index; 3]));
    let mut table: [u8; 256] = std::array::from_fn(|index| index as u8);
    for &index in used.iter().filter(|_| !(in_order || gray)) {
        let color = color(index).ok_or_else(|| cut(index, colors.len(), bits))?;
        table[usize::from(index)] = of(&known, color)?;
    }
    let highest = 0xff >> (8 - bits);
    let counts = bits < 8 && used.contains(&highest) && (in_order || gray || !palette.is_voc());
    Ok((table, counts.then_some(table[usize::from(highest)])))
}

fn cut(index: u8, colors: usize, bits: usize) -> String {
    let narrow = if bits < 8 && usize::from(index) + 1 == 1 << bits {
        format!(
            ": a writer of {bits} bits a pixel has probably cut {VOID} (void) to it, and with it other labels"
        )
    } else {
        String::new()
    };
    format!(
        "has pixels of index {index}, but a palette of {colors} colors{narrow}; save the mask with a palette of 256 colors"
    )
}

impl DecodedMask {
    /// Why the labels are probably wrong: a black-and-white gray mask marks the object as void, or a writer with few
    /// bits has clipped void ([`Self::narrow`]). `shown` are the labels of the image's annotated objects, if it has
    /// an annotation.
    pub fn suspicion(&self, shown: Option<&[u8]>) -> Option<String> {
        if self.gray && is_two_levels(&self.mask.labels) {
            return Some(format!(
                "it holds nothing but background and void ({VOID}): a mask of two levels says no classes; save it again \
                 with the label of each object's class"
            ));
        }
        self.cut_void(shown)
    }

    /// Whether the highest label is probably clipped void: in VOC masks a void border separates adjacent objects.
    fn cut_void(&self, shown: Option<&[u8]>) -> Option<String> {
        let label = self.narrow?;
        let because = if shown.is_some_and(|shown| !shown.contains(&label)) {
            "no such object is annotated"
        } else if walls(&self.mask, label) {
            "it parts all objects from everything else"
        } else {
            return None;
        };
        Some(format!(
            "label {label} is suspected to be void ({VOID}), cut by a writer of few bits a pixel: {because}; save the mask \
             again, with a palette of 256 colors, from one that is whole"
        ))
    }
}

fn is_two_levels(labels: &[u8]) -> bool {
    labels.contains(&VOID) && labels.iter().all(|label| matches!(*label, 0 | VOID))
}

/// Whether there are several other labels and `label` separates all of them.
fn walls(mask: &Mask, label: u8) -> bool {
    let Mask { width, labels, .. } = mask;
    let apart = |a: u8, b: u8| a == b || a == label || b == label;
    let mut others = labels.iter().filter(|other| **other != label);
    let first = others.next();
    others.any(|other| Some(other) != first)
        && labels.chunks(*width).all(|row| row.windows(2).all(|pair| apart(pair[0], pair[1])))
        && labels.iter().zip(labels.iter().skip(*width)).all(|(a, b)| apart(*a, *b))
}

/// Writes a mask with the VOC colors, atomically.
///
/// # Errors
/// A label count that is not width × height, an empty mask; a file that cannot be written.
pub fn write_indices(path: &Path, mask: &Mask) -> Result<(), DataError> {
    let fault = |reason: String| DataError::Image { name: path.display().to_string(), reason };
    let Mask { width, height, labels } = mask;
    if labels.is_empty() || width.checked_mul(*height) != Some(labels.len()) {
        return Err(fault(format!("a mask of {width}×{height} pixels with {} labels", labels.len())));
    }
    let bytes = encode(mask).map_err(|error| fault(format!("cannot be encoded: {error}")))?;
    atomic_write::write(path, &bytes).map_err(|error| fault(format!("cannot be written: {error}")))
}

fn encode(mask: &Mask) -> Result<Vec<u8>, png::EncodingError> {
    let side = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a side of more than 2^32 pixels"));
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, side(mask.width)?, side(mask.height)?);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(color_map().as_flattened().to_vec());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&mask.labels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
