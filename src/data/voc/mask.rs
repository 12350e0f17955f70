//! Masks as PASCAL VOC stores them: a PNG whose pixels are class indices and whose palette is the VOC colour map, so that
//! a viewer shows colours and a reader gets classes.
//!
//! The index is what counts: the palette of a file is not looked at. Grey PNGs of 8 bits are read too, whose levels are
//! then the indices, since augmented sets come so. Does not know how many classes there are.

use crate::{
    data::{annotated::Mask, decode::MAX_BYTES, error::DataError},
    whole_file,
};
use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};
use std::{
    fs::File,
    io::{self, BufReader},
    path::Path,
};

/// VOC's colour of every index: the bits of the index, dealt in turn to red, green and blue from the highest bit down.
pub fn colour_map() -> [[u8; 3]; 256] {
    std::array::from_fn(|index| {
        std::array::from_fn(|channel| {
            (0..8).fold(0, |colour, bit| {
                let dealt = index >> (3 * bit + channel) & 1;
                colour | (dealt as u8) << (7 - bit)
            })
        })
    })
}

/// The indices of a mask's file.
///
/// # Errors
/// A file that cannot be read, is no PNG or is cut short; a PNG of colours, of grey with other than 8 bits, or of over
/// 512 MiB of pixels.
pub fn read_indices(path: &Path) -> Result<Mask, DataError> {
    let bytes = File::open(path).map_err(|source| DataError::Io { path: path.into(), source })?;
    decode(bytes).map_err(|reason| DataError::Image { name: path.display().to_string(), reason })
}

fn decode(file: File) -> Result<Mask, String> {
    let limits = Limits { bytes: MAX_BYTES };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| format!("not a PNG that can be read: {e}"))?;
    let (color, depth) = reader.output_color_type();
    if color != ColorType::Indexed && (color, depth) != (ColorType::Grayscale, BitDepth::Eight) {
        return Err(format!(
            "a PNG of {color:?} pixels of {} bits, not of class indices; save the mask with a palette",
            depth as u8
        ));
    }
    let size =
        reader.output_buffer_size().filter(|&bytes| bytes <= MAX_BYTES).ok_or("the picture is too large")?;
    let mut packed = vec![0; size];
    let frame = reader.next_frame(&mut packed).map_err(|e| format!("cannot be decoded: {e}"))?;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let rows = packed.chunks_exact(frame.line_size).take(height);
    let labels = rows.flat_map(|row| unpack(row, depth as usize, width)).collect();
    Ok(Mask { width, height, labels })
}

/// The first `width` samples of 1, 2, 4 or 8 bits, the highest bits of a byte first.
fn unpack(row: &[u8], bits: usize, width: usize) -> impl Iterator<Item = u8> {
    let per_byte = 8 / bits;
    (0..width).map(move |x| {
        let shift = 8 - bits * (x % per_byte + 1);
        row[x / per_byte] >> shift & (0xff >> (8 - bits))
    })
}

/// Writes a mask with the VOC colour map; a file that is there is replaced whole or not at all.
///
/// # Errors
/// A mask whose labels are not width × height, or of no pixels; a file that cannot be written.
pub fn write_indices(path: &Path, mask: &Mask) -> Result<(), DataError> {
    let fault = |reason: String| DataError::Image { name: path.display().to_string(), reason };
    let Mask { width, height, labels } = mask;
    if labels.is_empty() || width.checked_mul(*height) != Some(labels.len()) {
        return Err(fault(format!("a mask of {width}×{height} pixels with {} labels", labels.len())));
    }
    let bytes = encode(mask).map_err(|error| fault(format!("cannot be encoded: {error}")))?;
    whole_file::write(path, &bytes).map_err(|error| fault(format!("cannot be written: {error}")))
}

fn encode(mask: &Mask) -> Result<Vec<u8>, png::EncodingError> {
    let side = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a side of more than 2^32 pixels"));
    let mut bytes = vec![];
    let mut encoder = Encoder::new(&mut bytes, side(mask.width)?, side(mask.height)?);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(colour_map().as_flattened().to_vec());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&mask.labels)?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_map_is_vocs() {
        let map = colour_map();
        // background, aeroplane, bicycle, bird, boat, bottle, person, tvmonitor, the border
        let known = [
            (0, [0, 0, 0]),
            (1, [128, 0, 0]),
            (2, [0, 128, 0]),
            (3, [128, 128, 0]),
            (4, [0, 0, 128]),
            (5, [128, 0, 128]),
            (15, [192, 128, 128]),
            (20, [0, 64, 128]),
            (255, [224, 224, 192]),
        ];
        for (index, colour) in known {
            assert_eq!(map[index], colour, "index {index}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_shows_in_colours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let mask = Mask { width: 3, height: 2, labels: vec![0, 1, 255, 20, 15, 7] };
        write_indices(&path, &Mask { labels: vec![9; 6], ..mask.clone() }).unwrap();
        write_indices(&path, &mask).unwrap();
        assert_eq!(read_indices(&path).unwrap(), mask);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "a partial file was left behind");
        let shown = image::open(&path).unwrap().into_rgb8();
        assert_eq!(shown.get_pixel(2, 0).0, [224, 224, 192]);
        assert_eq!(shown.get_pixel(0, 1).0, [0, 64, 128]);
    }

    fn write_png(path: &Path, color: ColorType, depth: BitDepth, (width, height): (u32, u32), data: &[u8]) {
        let mut encoder = Encoder::new(File::create(path).unwrap(), width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(colour_map()[..1 << (depth as u8)].as_flattened().to_vec());
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
    }

    #[test]
    fn packed_palettes_and_grey_masks_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let read = || read_indices(&path).unwrap().labels;
        write_png(
            &path,
            ColorType::Indexed,
            BitDepth::Two,
            (5, 2),
            &[0b00_01_10_11, 0b01 << 6, 0, 0b11 << 6],
        );
        assert_eq!(read(), [0, 1, 2, 3, 1, 0, 0, 0, 0, 3]);
        write_png(&path, ColorType::Indexed, BitDepth::One, (9, 1), &[0b1010_0001, 0b1000_0000]);
        assert_eq!(read(), [1, 0, 1, 0, 0, 0, 0, 1, 1]);
        write_png(&path, ColorType::Indexed, BitDepth::Four, (3, 1), &[0x0f, 0x20]);
        assert_eq!(read(), [0, 15, 2]);
        write_png(&path, ColorType::Grayscale, BitDepth::Eight, (3, 1), &[0, 20, 255]);
        assert_eq!(read(), [0, 20, 255]);
    }

    #[test]
    fn what_is_no_mask_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let refused = |part: &str| {
            let error = read_indices(&path).unwrap_err().to_string();
            assert!(error.contains("a.png") && error.contains(part), "{error}");
        };
        refused("No such file");
        write_png(&path, ColorType::Rgb, BitDepth::Eight, (1, 1), &[1, 2, 3]);
        refused("save the mask with a palette");
        write_png(&path, ColorType::Grayscale, BitDepth::One, (1, 1), &[0]);
        refused("of 1 bits");
        std::fs::write(&path, "no picture").unwrap();
        refused("not a PNG");
        write_indices(
            &path,
            &Mask { width: 64, height: 64, labels: (0..64 * 64).map(|i| (i * i) as u8).collect() },
        )
        .unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2 + 400]).unwrap();
        refused("cannot be decoded");
        let short = Mask { width: 3, height: 2, labels: vec![0; 5] };
        assert!(write_indices(&path, &short).unwrap_err().to_string().contains("3×2 pixels with 5 labels"));
    }
}
