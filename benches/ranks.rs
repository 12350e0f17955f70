//! Times the sum of gradients over processes, for buffers of growing size. Rank 0 prints one JSON line a size: values, bytes that
//! each rank sends, and the median time from the call to the sum. To be started by a launcher:
//!
//! ```text
//! cargo bench --features mpi --bench ranks --no-run
//! mpirun -n 2 target/release/deps/ranks-… --rounds 20
//! mpirun -n 2 --mca btl tcp,self target/release/deps/ranks-…      # over TCP, also on one machine
//! ```

use anyhow::Result;
use clap::Parser;
use hueristic::train::collective::{self, RankOptions, Ranks};
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Values of the largest buffer.
    #[arg(long, default_value_t = 1 << 24)]
    most: usize,
    /// Cargo passes this one.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let ranks = collective::start(RankOptions { size: None, silence: Duration::from_secs(60) })?;
    let mut values = 1 << 10;
    while values <= options.most {
        let seconds = time_of(&ranks, values, options.rounds)?;
        if ranks.leads() {
            let size = ranks.size();
            let bytes = 2 * (size - 1) * 4 * values / size;
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
        let buffer = vec![1.0f32; values];
        ranks.gather_bytes(vec![])?;
        let began = Instant::now();
        let sum = ranks.sum(buffer, None).wait()?;
        anyhow::ensure!(sum.iter().all(|value| *value == ranks.size() as f32), "a wrong sum");
        // The first touches its memory anew.
        times.extend((round > 0).then(|| began.elapsed().as_secs_f64()));
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
