//! Tables of pictures as parquet, with and without labels, kept in memory and read page by page.
#![no_main]
use hueristic::data::{
    parquet::{ColumnNames, Parquet},
    source::Dataset,
};
use hueristic_fuzz::{checked, file, seeds, start};

/// More rows than a seed has need not be looked at.
const ROWS: usize = 3;

fn made() -> Vec<Vec<u8>> {
    let picture = seeds::images::encoded(&[image::ImageFormat::Png]);
    seeds::tables::parquet(&picture[0]).expect("small tables")
}

fn look(set: &Parquet) {
    for row in 0..set.len().min(ROWS) {
        drop((set.name(row), set.label(row)));
        checked(set.image(row));
    }
}

libfuzzer_sys::fuzz_target!(
    init: start(600, made),
    |data: &[u8]| {
        let paths = [file("t.parquet", data)];
        for label in [Some("label"), None] {
            let open = || Parquet::open(&paths, ColumnNames { image: "image", label });
            if let Some(set) = checked(open()) {
                look(&set);
                drop(set.fingerprint());
                look(&open().expect("a table that could be opened").keep_up_to(0));
            }
        }
    }
);
