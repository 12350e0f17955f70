//! The paper's Table 5 and the sizes beside its Table 1: time of a picture, parameters, and multiply-accumulates of a colorizer.

use super::output::AnalysisOutput;
use crate::{
    bounded::Count,
    colorize::picture::{self, Options},
    data::source::RgbImage,
    device,
    pretext::colorizer::Colorizer,
    progress::Progress,
    report::{
        published::{Benchmark, PublishedBlock},
        table::TextTable,
    },
    text::counted,
    train::manifest::Environment,
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// All files that [`run`] makes.
pub const FILES: [&str; 1] = ["runtime.csv"];

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeOptions {
    /// Side of the square picture.
    pub side: usize,
    /// Pictures timed, after one that is not.
    pub repeats: Count,
    /// Whether published times are shown below.
    pub published: bool,
}

/// Times of one step over the repeats, sorted.
struct StepTimes(Vec<Duration>);

impl StepTimes {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    /// Milliseconds at a share of the sorted times, between the two that are nearest.
    fn at(&self, share: f64) -> f64 {
        let place = share * self.0.len().saturating_sub(1) as f64;
        let milliseconds =
            |at: f64| self.0.get(at as usize).map_or(f64::NAN, |time| 1e3 * time.as_secs_f64());
        let (below, above) = (milliseconds(place.floor()), milliseconds(place.ceil()));
        below + (above - below) * place.fract()
    }
}

/// Times the colorization of a picture of `options.side` pixels, at the size at which it is given.
///
/// # Errors
/// Non-finite colors; a picture too small for the network.
pub fn run((colorizer, network): (&Colorizer, &Options), options: RuntimeOptions) -> Result<AnalysisOutput> {
    let picture = ramp(options.side);
    let seen = network.size.seen((picture.height, picture.width), colorizer.network().grid().multiple);
    let (mut forward, mut whole) = (vec![], vec![]);
    let bar = Progress::new(options.repeats.get() + 1, "timing");
    for repeat in 0..=options.repeats.get() {
        let start = Instant::now();
        let predicted = picture::predict(colorizer, &picture, &[], network)?;
        network.device.synchronize()?;
        let of_network = start.elapsed();
        picture::paint(colorizer, &picture, &predicted, network)?;
        if repeat > 0 {
            forward.push(of_network);
            whole.push(start.elapsed());
        }
        bar.add(1);
    }
    let summary = colorizer.network().summary(seen)?;
    let size = Size { parameters: summary.parameters(), macs: summary.macs() };
    let mut table = table(&StepTimes::of(forward), &StepTimes::of(whole), &size);
    let csv = table.csv();
    if options.published {
        let block = PublishedBlock::of(Benchmark::Runtime, &[Some("ms"), None, None, Some("MB"), None])?;
        table.notes = block.iter().map(|block| format!("\n{}", block.notes())).collect();
        table.groups = block.iter().map(PublishedBlock::rows).collect();
    }
    let text = format!("{}\n{}", heading(options, seen, &network.device), table.text());
    Ok(AnalysisOutput { text, files: vec![(FILES[0], csv.into_bytes())], failed: vec![] })
}

fn heading(options: RuntimeOptions, seen: (usize, usize), on: &candle_core::Device) -> String {
    let threads = rayon::current_num_threads();
    let machine = if on.is_cpu() { Environment::here().cpu } else { device::name(on) };
    format!(
        "A picture of {0}×{0} pixels, which the network sees at {1}×{2}, {3}, on {4}: {machine}, {5}.\n",
        options.side,
        seen.1,
        seen.0,
        counted(options.repeats.get(), "time"),
        device::describe(on),
        counted(threads, "thread")
    )
}

/// What a network holds and computes.
struct Size {
    parameters: usize,
    macs: usize,
}

fn table(forward: &StepTimes, whole: &StepTimes, size: &Size) -> TextTable {
    let titles = ["", "ms", "25 % below", "75 % below", "MB", "million multiply-adds"];
    let row = |name: &str, times: &StepTimes, cost: [String; 2]| {
        let times = [0.5, 0.25, 0.75].map(|share| format!("{:.1}", times.at(share)));
        [vec![name.to_string()], times.to_vec(), cost.to_vec()].concat()
    };
    let [megabytes, millions] = [4.0 * size.parameters as f64, size.macs as f64].map(|n| n / 1e6);
    let cost = [format!("{megabytes:.1}"), format!("{millions:.0}")];
    let rows = [row("network", forward, cost), row("network and painting", whole, Default::default())];
    TextTable::new(titles, rows)
}

/// A picture that goes from black to white.
fn ramp(side: usize) -> RgbImage {
    let row = (0..side).flat_map(|x| [(x * 255 / side.max(1)) as u8; 3]);
    RgbImage { width: side, height: side, pixels: row.collect::<Vec<u8>>().repeat(side) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quartiles_are_of_sorted_times() {
        let times = StepTimes::of([5, 1, 2, 4, 3].map(Duration::from_millis).to_vec());
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|share| times.at(share).round()),
            [1.0, 2.0, 3.0, 4.0, 5.0]
        );
        let two = StepTimes::of([3, 1].map(Duration::from_millis).to_vec());
        assert_eq!(two.at(0.5).round(), 2.0);
    }

    #[test]
    fn megabytes_are_of_single_precision() {
        let one = StepTimes::of(vec![Duration::from_millis(7)]);
        let table = table(&one, &one, &Size { parameters: 32_250_000, macs: 1_500_000_000 });
        assert_eq!(table.rows[0], ["network", "7.0", "7.0", "7.0", "129.0", "1500"]);
    }
}
