//! Caffe's models.
#![no_main]
use hueristic_fuzz::{seeds, start, weights};

libfuzzer_sys::fuzz_target!(
    init: start(64, || {
        let made = seeds::weights::caffe().expect("small tensors");
        [made, seeds::files("tests/fixtures/weights", &["caffemodel"])].concat()
    }),
    |data: &[u8]| weights("w.caffemodel", data)
);
