//! Decoding: every format and variant found in photo collections, and files that are not images.

mod tiffs;

use hueristic::data::{
    decode::{decode, stored},
    source::RgbImage,
};
use image::{
    DynamicImage, ExtendedColorType, ImageBuffer, ImageEncoder, ImageFormat, Luma, LumaA, Rgb, Rgba, codecs,
};
use proptest::prelude::*;
use std::{io::Cursor, path::PathBuf};
use tiff::encoder::{TiffEncoder, colortype};

const WIDTH: u32 = 24;
const HEIGHT: u32 = 16;
/// The quadrant colors of every test image: upper left, upper right, lower left, lower right.
const COLORS: [[u8; 3]; 4] = [[200, 30, 40], [20, 160, 60], [30, 50, 180], [250, 250, 250]];

fn color_at(x: u32, y: u32) -> [u8; 3] {
    COLORS[(2 * (y / (HEIGHT / 2)) + x / (WIDTH / 2)) as usize]
}

fn quadrants() -> image::RgbImage {
    ImageBuffer::from_fn(WIDTH, HEIGHT, |x, y| Rgb(color_at(x, y)))
}

fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    match format {
        ImageFormat::Tiff => tiff(image, TiffEncoder::new(&mut bytes).unwrap()),
        _ => image.write_to(&mut bytes, format).unwrap(),
    }
    bytes.into_inner()
}

/// Written with `tiff`: `image` would need a feature that the program is built without.
fn tiff(image: &DynamicImage, mut to: TiffEncoder<&mut Cursor<Vec<u8>>>) {
    let (width, height) = (image.width(), image.height());
    match image {
        DynamicImage::ImageRgb8(rgb) => to.write_image::<colortype::RGB8>(width, height, rgb),
        DynamicImage::ImageRgba8(rgba) => to.write_image::<colortype::RGBA8>(width, height, rgba),
        DynamicImage::ImageLuma16(gray) => to.write_image::<colortype::Gray16>(width, height, gray),
        other => panic!("{:?} is not written here", other.color()),
    }
    .unwrap()
}

fn jpeg() -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.write_image(&quadrants(), WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name);
    std::fs::read(path).unwrap()
}

/// The middle pixel of each quadrant is within `tolerance` of its color.
fn assert_quadrants(image: &RgbImage, tolerance: u8, what: &str) {
    assert_eq!((image.width, image.height), (WIDTH as usize, HEIGHT as usize), "{what}");
    assert_eq!(image.pixels.len(), 3 * image.width * image.height, "{what}");
    for (x, y) in [(6, 4), (18, 4), (6, 12), (18, 12)] {
        let at = 3 * (y * image.width + x);
        let (got, want) = (&image.pixels[at..at + 3], color_at(x as u32, y as u32));
        let near = got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= tolerance);
        assert!(near, "{what}: {got:?} at ({x}, {y}) instead of {want:?}");
    }
}

#[test]
fn lossless_formats_give_the_stored_pixels() {
    let picture = DynamicImage::from(quadrants());
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let image = decode(&encode(&picture, format)).unwrap();
        assert_eq!(image.pixels, quadrants().into_raw(), "{format:?}");
    }
}

#[test]
fn lossy_and_unusual_forms_give_the_colors() {
    assert_quadrants(&decode(&jpeg()).unwrap(), 6, "JPEG");
    for (name, tolerance) in
        [("progressive.jpg", 6), ("lossy.webp", 30), ("palette.png", 2), ("cmyk.jpg", 8), ("cmyk.tif", 2)]
    {
        assert_quadrants(&decode(&fixture(name)).unwrap(), tolerance, name);
    }
}

#[test]
fn exif_orientation_is_applied() {
    assert_quadrants(&decode(&fixture("turned.jpg")).unwrap(), 6, "turned.jpg");
}

/// EXIF with only an orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    tiff.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    tiff
}

/// The test image in every format that stores an orientation, with this one.
fn oriented(orientation: u8) -> Vec<(&'static str, Vec<u8>)> {
    let picture = quadrants();
    let (mut jpeg, mut png, mut webp) = (vec![], vec![], vec![]);
    let mut encoder = codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(&picture, WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    let mut encoder = codecs::png::PngEncoder::new(&mut png);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(&picture, WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    let mut encoder = codecs::webp::WebPEncoder::new_lossless(&mut webp);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.write_image(&picture, WIDTH, HEIGHT, ExtendedColorType::Rgb8).unwrap();
    let mut tiff = Cursor::new(vec![]);
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut tiff).unwrap();
    let mut image = encoder.new_image::<tiff::encoder::colortype::RGB8>(WIDTH, HEIGHT).unwrap();
    image.encoder().write_tag(tiff::tags::Tag::Orientation, u16::from(orientation)).unwrap();
    image.write_data(&picture).unwrap();
    vec![("JPEG", jpeg), ("PNG", png), ("WebP", webp), ("TIFF", tiff.into_inner())]
}

/// The expected rotation: where each pixel of the upright image is stored.
fn turned(orientation: u8) -> image::RgbImage {
    let picture = quadrants();
    let (w, h) = (WIDTH - 1, HEIGHT - 1);
    let size = if orientation < 5 { (WIDTH, HEIGHT) } else { (HEIGHT, WIDTH) };
    ImageBuffer::from_fn(size.0, size.1, |x, y| {
        let (x, y) = match orientation {
            1 => (x, y),
            2 => (w - x, y),
            3 => (w - x, h - y),
            4 => (x, h - y),
            5 => (y, x),
            6 => (y, h - x),
            7 => (w - y, h - x),
            _ => (w - y, x),
        };
        *picture.get_pixel(x, y)
    })
}

#[test]
fn photographs_are_turned_and_stored_pixels_are_not() {
    for orientation in 1..=8 {
        for (format, bytes) in oriented(orientation) {
            let (seen, kept) = (decode(&bytes).unwrap(), stored(&bytes).unwrap());
            let what = format!("{format}, orientation {orientation}");
            assert_quadrants(&kept, 6, &what);
            let upright = turned(orientation);
            assert_eq!(
                (seen.width, seen.height),
                (upright.width() as usize, upright.height() as usize),
                "{what}"
            );
            let near = seen.pixels.iter().zip(upright.as_raw()).all(|(x, y)| x.abs_diff(*y) < 90);
            let exact = seen.pixels == *upright.as_raw();
            assert!(exact || (format == "JPEG" && near), "{what}");
        }
    }
}

#[test]
fn gray_is_repeated_over_the_channels() {
    let ramp = ImageBuffer::from_fn(16, 16, |x, y| Luma([(16 * y + x) as u8]));
    let image = decode(&encode(&DynamicImage::from(ramp), ImageFormat::Png)).unwrap();
    let expected: Vec<u8> = (0..=255u8).flat_map(|v| [v; 3]).collect();
    assert_eq!(image.pixels, expected);
}

#[test]
fn sixteen_bits_are_rounded_to_eight() {
    let values = [0u16, 128, 129, 257, 32768, 65535];
    let row: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_raw(6, 1, values.to_vec()).unwrap();
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let image = decode(&encode(&DynamicImage::from(row.clone()), format)).unwrap();
        let got: Vec<u8> = image.pixels.chunks_exact(3).map(|p| p[0]).collect();
        let want = values.map(|v| (f64::from(v) / 257.).round() as u8);
        assert_eq!(got, want, "{format:?}");
    }
}

#[test]
fn transparency_lies_over_white() {
    let row = ImageBuffer::from_raw(3, 1, vec![200, 0, 0, 0, 200, 0, 0, 255, 200, 0, 0, 51]).unwrap();
    let row: ImageBuffer<Rgba<u8>, Vec<u8>> = row;
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
        let image = decode(&encode(&DynamicImage::from(row.clone()), format)).unwrap();
        // 51/255 is a fifth: 200/5 + 255·4/5 = 244, 255·4/5 = 204
        assert_eq!(image.pixels, [255, 255, 255, 200, 0, 0, 244, 204, 204], "{format:?}");
    }
    let gray: ImageBuffer<LumaA<u8>, Vec<u8>> = ImageBuffer::from_raw(1, 1, vec![0, 51]).unwrap();
    let image = decode(&encode(&DynamicImage::from(gray), ImageFormat::Png)).unwrap();
    assert_eq!(image.pixels, [204; 3]);
}

#[test]
fn what_is_not_an_image_says_so() {
    for (bytes, part) in [
        (&b""[..], "the file is empty"),
        (b"not a picture at all, whatever it is called", "not an image"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "Gif is not read; convert it"),
        (b"\xff\xd8\xff\xe0", "truncated"),
    ] {
        let error = decode(bytes).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn damage_is_told_without_the_readers_structures() {
    let mut png = encode(&DynamicImage::from(quadrants()), ImageFormat::Png);
    let data = png.windows(4).position(|four| four == b"IDAT").unwrap();
    let length = u32::from_be_bytes(png[data - 4..data].try_into().unwrap()) as usize;
    png[data + 4 + length] ^= 1;
    let error = decode(&png).unwrap_err().to_string();
    assert!(error.contains("CRC error") && error.contains("IDAT chunk") && !error.contains('{'), "{error}");
}

#[test]
fn bytes_between_the_segments_of_a_jpeg_are_passed_over() {
    let whole = jpeg();
    let first = 4 + usize::from(u16::from_be_bytes([whole[4], whole[5]]));
    for stray in [&b"\xff\xff\xff"[..], b"\x00\x01\x02"] {
        let file = [&whole[..first], stray, &whole[first..]].concat();
        assert_eq!(decode(&file).unwrap().pixels, decode(&whole).unwrap().pixels);
    }
    assert!(decode(&[&whole[..], b"what follows"].concat()).is_ok());
    let cut = [&whole[..whole.len() - 60], b"\xff\xd9"].concat();
    assert!(decode(&cut).unwrap_err().to_string().contains("truncated: the JPEG's data ends"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let picture = DynamicImage::from(quadrants());
    let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP];
    let mut files: Vec<(String, Vec<u8>)> =
        formats.iter().map(|&f| (format!("{f:?}"), encode(&picture, f))).collect();
    files.push(("JPEG".into(), jpeg()));
    files.extend(["progressive.jpg", "cmyk.jpg", "turned.jpg"].map(|name| (name.to_owned(), fixture(name))));
    for (name, bytes) in files {
        for tenth in 0..10 {
            let cut = &bytes[..bytes.len() * tenth / 10];
            assert!(decode(cut).is_err(), "{name} cut to {tenth} tenths was accepted");
        }
    }
}

#[test]
fn a_thumbnail_does_not_hide_a_truncated_photo() {
    // an EXIF block that holds a whole JPEG, end-of-image marker included
    let whole = jpeg();
    let mut thumbnail = b"Exif\0\0".to_vec();
    thumbnail.extend(&whole);
    let mut photo = vec![0xff, 0xd8, 0xff, 0xe1];
    photo.extend((thumbnail.len() as u16 + 2).to_be_bytes());
    photo.extend(thumbnail);
    photo.extend(&whole[2..]);
    assert_quadrants(&decode(&photo).unwrap(), 6, "with a thumbnail");
    let cut = &photo[..photo.len() - 40];
    assert!(decode(cut).unwrap_err().to_string().contains("truncated"));
}

#[test]
fn a_decompression_bomb_is_refused() {
    // a PNG header that claims 60,000 × 60,000 pixels
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = b"IHDR".to_vec();
    header.extend(60_000u32.to_be_bytes().repeat(2));
    header.extend([8, 2, 0, 0, 0]);
    png.extend(13u32.to_be_bytes());
    png.extend(&header);
    png.extend(crc32(&header).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let error = decode(&png).unwrap_err().to_string();
    assert!(error.contains("too large") || error.to_lowercase().contains("limit"), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(c & 1)))
    })
}

/// An image's bytes from an oracle file.
fn hex(text: &serde_json::Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// `scripts/oracles/jpeg.py`.
#[test]
fn jpegs_decode_as_libjpeg_turbo_does_level_for_level() {
    let oracle: serde_json::Value =
        serde_json::from_str(include_str!("../../scripts/oracles/jpeg.json")).unwrap();
    let files = oracle["files"].as_object().unwrap();
    assert_eq!(files.len(), 10);
    for (name, case) in files {
        let image = decode(&hex(&case["file"])).unwrap();
        assert_eq!((image.width, image.height), (19, 13), "{name}");
        assert_eq!(image.pixels, hex(&case["pixels"]), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Damage gives pixels or an error, never a panic and never a buffer of the wrong length.
    #[test]
    fn damage_is_survived(which in 0usize..8, at: prop::sample::Index, byte: u8, more in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let picture = DynamicImage::from(quadrants());
        let mut bytes = match which {
            0 => jpeg(),
            1 => encode(&picture, ImageFormat::Png),
            2 => encode(&picture, ImageFormat::Bmp),
            3 => encode(&picture, ImageFormat::Tiff),
            4 => encode(&picture, ImageFormat::WebP),
            5 => fixture("progressive.jpg"),
            6 => fixture("turned.jpg"),
            _ => fixture("lossy.webp"),
        };
        for (at, byte) in more.into_iter().chain([(at, byte)]) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(image) = decode(&bytes) {
            prop_assert_eq!(image.pixels.len(), 3 * image.width * image.height);
        }
    }
}
