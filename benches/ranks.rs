//! Times the sum of gradients over processes, for buffers of growing size. Rank 0 prints one JSON line a size: values, bytes that
//! each rank sends, and the median time from the call to the sum. To be started by a launcher:
//!
//! ```text
//! cargo bench --features mpi --bench ranks --no-run
//! mpirun -n 2 target/release/deps/ranks-… --rounds 20
//! mpirun -n 2 --mca btl tcp,self target/release/deps/ranks-…      # over TCP, also on one machine
//! ```

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use clap::Parser;
use hueristic::train::{
    collective::{self, Bucket, RankOptions, Ranks, WireFormat},
    heap,
};
use std::time::{Duration, Instant};

// Sums are written to fresh memory, which the program's allocator has at hand.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Values of the largest buffer.
    #[arg(long, default_value_t = 1 << 24)]
    most: usize,
    /// Numbers in which values travel.
    #[arg(long, value_enum, default_value = "f32")]
    wire: WireFormat,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    heap::retain();
    for (name, value) in collective::SETTINGS {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread has been started yet.
            unsafe { std::env::set_var(name, value) };
        }
    }
    let options = Options::parse();
    let ranks =
        collective::start(RankOptions { size: None, silence: Duration::from_secs(60), wire: options.wire })?;
    let mut values = 1 << 10;
    while values <= options.most {
        let seconds = time_of(&ranks, values, options.rounds)?;
        if ranks.leads() {
            let size = ranks.size();
            let width = if options.wire == WireFormat::Bf16 { 2 } else { 4 };
            let bytes = 2 * (size - 1) * width * values / size;
            let line =
                serde_json::json!({"ranks": size, "values": values, "bytes": bytes, "seconds": seconds});
            println!("{line}");
        }
        values *= 4;
    }
    collective::finish();
    Ok(())
}

/// Median time of a sum of so many values.
fn time_of(ranks: &Ranks, values: usize, rounds: usize) -> Result<f64> {
    let mut times = vec![];
    for round in 0..rounds + 1 {
        let gradients = vec![Tensor::ones(values, DType::F32, &Device::Cpu)?];
        ranks.gather_bytes(vec![])?;
        let began = Instant::now();
        let sums = ranks.sum(Bucket { gradients, carry: vec![] })?.wait()?;
        let seconds = began.elapsed().as_secs_f64();
        let wrong = sums[0].to_vec1::<f32>()?.iter().any(|value| *value != ranks.size() as f32);
        anyhow::ensure!(!wrong, "a wrong sum");
        // The first touches its memory anew.
        times.extend((round > 0).then_some(seconds));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
