//! Shards beside class folders: `cargo bench --bench shards`.
//!
//! With the argument `loader`: images a second of the same pictures from class folders and from the shards that `data pack`
//! makes of them, in turn. They are Imagenette at 160 pixels (crop 128, flip) below `HUERISTIC_DATA`. With a number: the time
//! and memory to index that many samples of a few bytes in shards of 10,000, and to open them again. Files are in the memory of
//! the operating system: disks are not measured.

use anyhow::{Context, Result};
use candle_core::Device;
use hueristic::{
    bounded::Count,
    data::{
        loader::{Loader, Pass},
        open::open,
        shards::{
            ShardsSource,
            pack::{PackOptions, ShardLimit, pack},
        },
        source::{DataSpec, Locations, SourceSpec, Split},
    },
    rng::Rng,
};
use std::{fs, io::BufWriter, path::Path, time::Instant};

const ROUNDS: usize = 5;
const BATCH: usize = 100;
const PER_SHARD: usize = 10_000;

fn main() -> Result<()> {
    let argument = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or("loader".into());
    let home = tempfile::tempdir()?;
    match argument.parse() {
        Ok(samples) => index(home.path(), samples),
        Err(_) => loader(home.path()),
    }
}

fn locations(home: &Path) -> Locations {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let data = std::env::var("HUERISTIC_DATA").unwrap_or(default.into());
    Locations { data: Some(data.into()), cache: Some(home.join("cache")) }
}

fn spec(source: SourceSpec, crop: usize) -> DataSpec {
    DataSpec { cache: false, ..DataSpec::new(source, Count::of(crop)) }
}

fn loader(home: &Path) -> Result<()> {
    let at = locations(home);
    let folders = spec(SourceSpec::Catalog("imagenette160".into()), 128);
    if let Err(error) = open(&folders, Split::Train, &at) {
        println!("skipped: {error}");
        return Ok(());
    }
    let limit = ShardLimit::Bytes(256 << 20);
    pack(
        &folders,
        &at,
        &home.join("packed"),
        &PackOptions { size: None, quality: 90, limit, shuffle: None },
    )?;
    let shards = spec(SourceSpec::Shards(ShardsSource::new(home.join("packed/train-*.tar"), None)), 128);
    let mut loaders = [("class folders", &folders), ("shards", &shards)].map(|(name, spec)| {
        let set = open(spec, Split::Train, &at)?;
        let loader = Loader::new(set, spec, Pass::Train, BATCH, &Rng::new(0), &Device::Cpu)?;
        Ok::<_, anyhow::Error>((name, loader, Vec::new()))
    });
    for round in 0..=ROUNDS {
        for loader in &mut loaders {
            let (_, loader, rates) = loader.as_mut().map_err(|error| anyhow::anyhow!("{error}"))?;
            let (start, batches) = (Instant::now(), loader.batches_per_epoch());
            for _ in 0..batches {
                loader.next_batch()?;
            }
            if round > 0 {
                rates.push((batches * BATCH) as f64 / start.elapsed().as_secs_f64());
            }
        }
    }
    for (name, _, mut rates) in loaders.into_iter().flatten() {
        rates.sort_by(f64::total_cmp);
        let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|place| rates[place]);
        println!(
            "imagenette160, crop 128, flip, {name}: {median:.0} images/s (median of {ROUNDS} epochs; {least:.0} to {most:.0})"
        );
    }
    Ok(())
}

fn index(home: &Path, samples: usize) -> Result<()> {
    for shard in 0..samples.div_ceil(PER_SHARD) {
        let file = fs::File::create(home.join(format!("train-{shard:06}.tar")))?;
        let mut builder = tar::Builder::new(BufWriter::new(file));
        for number in shard * PER_SHARD..samples.min((shard + 1) * PER_SHARD) {
            let class = (number % 1000).to_string();
            for (ending, content) in [("cls", class.as_bytes()), ("jpg", b"no picture")] {
                let mut header = tar::Header::new_ustar();
                header.set_size(content.len() as u64);
                builder.append_data(
                    &mut header,
                    format!("n01440764/n01440764_{number:07}.{ending}"),
                    content,
                )?;
            }
        }
        builder.into_inner()?;
    }
    let (at, before) = (locations(home), peak()?);
    let shards = spec(SourceSpec::Shards(ShardsSource::new(home.join("train-*.tar"), None)), 1);
    for what in ["indexed", "opened again"] {
        let start = Instant::now();
        let set = open(&shards, Split::Train, &at)?;
        println!(
            "{} samples in {} shards, {what}: {:.1} s, peak memory {} MB (before: {before} MB)",
            set.len(),
            samples.div_ceil(PER_SHARD),
            start.elapsed().as_secs_f64(),
            peak()?
        );
    }
    Ok(())
}

/// Most memory of the process so far, in MB.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("no /proc: Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kb: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kb / 1000)
}
