//! MATLAB's files: any, published proposals, SBD's masks.
#![no_main]
use hueristic::data::{
    mat,
    proposals::matlab::{self, BoxFormat},
    voc::sbd,
};
use hueristic_fuzz::{checked, file, seeds, start};

libfuzzer_sys::fuzz_target!(
    init: start(256, || seeds::files("tests/fixtures/mat", &["mat"])),
    |data: &[u8]| {
        let path = file("m.mat", data);
        let ids = ["a".to_owned(), "b".to_owned()];
        if checked(mat::read(&path)).is_some() {
            checked(matlab::read(&path, BoxFormat::YxyxFromOne, &ids));
            checked(matlab::read(&path, BoxFormat::XyxyFromZero, &ids[..1]));
            if let Some(mask) = checked(sbd::read_mask(&path)) {
                assert_eq!(mask.labels.len(), mask.width * mask.height);
            }
        }
    }
);
