//! numpy's arrays, and priors with the record beside them: what follows a zero line is `NAME.json`.
#![no_main]
use hueristic::{
    color::{bins::Bins, prior_file::Prior},
    npy,
};
use hueristic_fuzz::{checked, file, folder, seeds, start};
use std::{fs, sync::LazyLock};

static BINS: LazyLock<Bins> = LazyLock::new(|| Bins::new(10.0));
const BORDER: &[u8] = b"\n\0\n";

fn array(descr: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], text.as_bytes(), &vec![0; bytes]].concat()
}

fn made() -> Vec<Vec<u8>> {
    let kinds = ["<f2", "<f4", "<f8", "<i4", "<i8", "|u1", "<u4", "|i1", "|b1", ">f4"];
    let mut made: Vec<_> = kinds.iter().map(|descr| array(descr, "(2, 3)", 48)).collect();
    made.extend([array("<f4", "()", 4), array("<f4", "(3,)", 12), array("<f4", "(0, 7)", 0)]);
    let probabilities = vec![1.0 / BINS.len() as f64; BINS.len()];
    let prior = Prior { probabilities, record: None };
    let written = seeds::written("prior.npy", |path| prior.write(path));
    let record =
        br#"{"dataset": "d", "fingerprint": "00", "images": 3, "pixels": 48, "grid": 10.0, "sigma": 5.0,
"zero_rule": "z", "crate_version": "0.1.0", "sha256": ""}"#;
    made.extend([[&written, BORDER, record].concat(), written]);
    made
}

libfuzzer_sys::fuzz_target!(
    init: start(64, made),
    |data: &[u8]| {
        let border = data.windows(BORDER.len()).position(|window| window == BORDER);
        let (array, record) = border.map_or((data, None), |at| (&data[..at], Some(&data[at + BORDER.len()..])));
        let path = file("prior.npy", array);
        match record {
            Some(record) => drop(file("prior.json", record)),
            None => drop(fs::remove_file(folder().join("prior.json"))),
        }
        checked(npy::read(&path));
        checked(Prior::read(&path, &BINS));
    }
);
