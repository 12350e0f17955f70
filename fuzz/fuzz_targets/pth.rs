//! PyTorch's state dicts, as zip archives and in the older form.
#![no_main]
use hueristic_fuzz::{seeds, start, weights};

libfuzzer_sys::fuzz_target!(
    init: start(64, || {
        let made = seeds::weights::pytorch().expect("small tensors");
        [made, seeds::files("tests/fixtures/weights", &["pth"])].concat()
    }),
    |data: &[u8]| weights("w.pth", data)
);
