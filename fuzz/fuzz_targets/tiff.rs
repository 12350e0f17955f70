//! Pictures as TIFF.
#![no_main]
use hueristic::data::decode::decode;
use hueristic_fuzz::{checked, seeds, start};

libfuzzer_sys::fuzz_target!(
    init: start(600, || [seeds::images::tiffs(), seeds::files("tests/fixtures/images", &["tif"])].concat()),
    |data: &[u8]| {
        if matches!(data, [b'I', b'I', ..] | [b'M', b'M', ..]) && let Some(picture) = checked(decode(data)) {
            assert_eq!(picture.pixels.len(), 3 * picture.width * picture.height);
        }
    }
);
