//! Images a second through the loader, decoding every image from its file: `cargo bench --bench loader`.
//!
//! Two data sets: Imagenette at 160 pixels (crop 128, flip) and CIFAR-10 (crop 32, flip); with an argument, only
//! those whose name contains it. Copies are found through `HUERISTIC_DATA` as everywhere; `HUERISTIC_THREADS` sets
//! the number of decoding threads (default: one per core). Decoded images are not kept, but the operating system
//! keeps the files in memory after the first pass, so that disks are not measured.

use candle_core::Device;
use hueristic::{
    bounded::Count,
    data::{
        loader::{Loader, Pass},
        open::open,
        source::{DataSpec, Locations, SourceSpec, Split},
    },
    rng::Rng,
};
use std::time::Instant;

const ROUNDS: usize = 5;
const BATCH: usize = 100;

fn main() -> anyhow::Result<()> {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let data = std::env::var("HUERISTIC_DATA").unwrap_or(default.into());
    let at = Locations { data: Some(data.into()), ..Locations::default() };
    for (name, crop) in
        [("imagenette160", 128), ("cifar10", 32)].into_iter().filter(|(n, _)| n.contains(&wanted))
    {
        measure(name, crop, &at)?;
    }
    Ok(())
}

/// One epoch to warm up, then `ROUNDS` timed ones.
fn measure(name: &str, crop: usize, at: &Locations) -> anyhow::Result<()> {
    let threads = std::env::var("HUERISTIC_THREADS").ok().map(|n| n.parse()).transpose()?.map(Count::of);
    let source = SourceSpec::Catalog(name.into());
    let spec = DataSpec { cache: false, threads, ..DataSpec::new(source, Count::of(crop)) };
    let set = match open(&spec, Split::Train, at) {
        Ok(set) => set,
        Err(error) => {
            println!("skipped: {error}");
            return Ok(());
        }
    };
    let mut loader = Loader::new(set, &spec, Pass::Train, BATCH, &Rng::new(0), &Device::Cpu)?;
    let mut rates = Vec::new();
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let batches = loader.batches_per_epoch();
        for _ in 0..batches {
            loader.next_batch()?;
        }
        if round > 0 {
            rates.push((batches * BATCH) as f64 / start.elapsed().as_secs_f64());
        }
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "{name}, crop {crop}, flip: {:.0} images/s (median of {ROUNDS} epochs; {:.0} to {:.0})",
        rates[ROUNDS / 2],
        rates[0],
        rates[ROUNDS - 1]
    );
    Ok(())
}
