//! Pictures: JPEG, PNG, WebP and BMP. TIFF has a target of its own.
#![no_main]
use hueristic::data::decode::decode;
use hueristic_fuzz::{checked, seeds, start};
use image::ImageFormat::{Bmp, Jpeg, Png, WebP};

libfuzzer_sys::fuzz_target!(
    init: start(600, || {
        let made = seeds::images::encoded(&[Bmp, Jpeg, Png, WebP]);
        [made, seeds::files("tests/fixtures/images", &["jpg", "png", "webp"])].concat()
    }),
    |data: &[u8]| {
        if !matches!(data, [b'I', b'I', ..] | [b'M', b'M', ..]) && let Some(picture) = checked(decode(data)) {
            assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
        }
    }
);
