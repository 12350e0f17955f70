//! Weights as safetensors.
#![no_main]
use hueristic_fuzz::{seeds, start, weights};

libfuzzer_sys::fuzz_target!(
    init: start(64, || {
        let made = seeds::weights::safetensors().expect("small tensors");
        [made, seeds::files("tests/fixtures/weights", &["safetensors"])].concat()
    }),
    |data: &[u8]| weights("w.safetensors", data)
);
