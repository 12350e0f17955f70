//! Masks as PNG; one that is read is written and read again.
#![no_main]
use hueristic::data::{annotated::Mask, voc::mask};
use hueristic_fuzz::{checked, file, folder, seeds, start};
use image::ImageFormat::Png;

fn made() -> Vec<Vec<u8>> {
    let labels = (0..20).map(|i| if i == 19 { 255 } else { i }).collect();
    let voc = Mask { width: 5, height: 4, labels };
    let mut made = seeds::images::encoded(&[Png]);
    made.push(seeds::written("mask.png", |path| mask::write_indices(path, &voc)));
    made.extend(seeds::files("tests/fixtures/images", &["png"]));
    made
}

libfuzzer_sys::fuzz_target!(
    init: start(600, made),
    |data: &[u8]| {
        if let Some(read) = checked(mask::read_indices(&file("mask.png", data))) && !read.labels.is_empty() {
            let again = folder().join("again.png");
            mask::write_indices(&again, &read).expect("a mask that was read can be written");
            assert_eq!(mask::read_indices(&again).expect("our own mask"), read);
        }
    }
);
