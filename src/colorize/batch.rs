//! Runs the jobs of a plan sequentially, so that only one picture is in memory. A file that cannot be colorized is
//! reported with its reason, and the rest continue.

use super::{
    distribution, encoding, montage,
    picture::{self, ColorizedPicture, Options},
    plan::ColorizeJob,
};
use crate::{
    atomic_write,
    data::{decode::decode, source::RgbImage},
    npy,
    pretext::colorizer::{Colorizer, OutputKind},
    train::panel::RgbTile,
};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fmt, fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
};

/// Result of a batch.
#[derive(Debug, Default)]
pub struct BatchSummary {
    /// Number of results written.
    pub done: usize,
    /// Pictures that could not be colorized, with the reasons.
    pub failed: Vec<(PathBuf, String)>,
}

impl fmt::Display for BatchSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.done + self.failed.len();
        write!(f, "{} of {all} {} colored", self.done, if all == 1 { "picture" } else { "pictures" })?;
        self.failed.iter().try_for_each(|(path, reason)| write!(f, "\n  {}: {reason}", path.display()))
    }
}

/// Runs the jobs. Each prints a line to stderr, with a progress bar on a terminal. `quality` (1…100) applies to JPEG
/// files.
pub fn run(jobs: &[ColorizeJob], colorizer: &Colorizer, options: &Options, quality: u8) -> BatchSummary {
    let bar = bar(jobs.len());
    let mut summary = BatchSummary::default();
    for job in jobs {
        bar.set_message(job.input.display().to_string());
        let work = JobRun { job, colorizer, options, quality };
        let line = match work.run() {
            Ok(line) => {
                summary.done += 1;
                line
            }
            Err(error) => {
                let reason = format!("{error:#}");
                let line = format!("{}: {reason}", job.input.display());
                summary.failed.push((job.input.clone(), reason));
                line
            }
        };
        bar.suspend(|| eprintln!("{line}"));
        bar.inc(1);
    }
    bar.finish_and_clear();
    summary
}

fn bar(files: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(files as u64);
    match ProgressStyle::with_template("{bar:16} {pos}/{len}  ETA {eta}  {wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// One job and its options.
struct JobRun<'a> {
    job: &'a ColorizeJob,
    colorizer: &'a Colorizer,
    options: &'a Options,
    quality: u8,
}

impl JobRun<'_> {
    /// Writes all outputs of the job; returns the line to print.
    fn run(&self) -> Result<String> {
        let original = read(&self.job.input)?;
        // Check the format before running the network.
        self.job.format.check(&original)?;
        let colored = picture::color(self.colorizer, &original, self.options)?;
        for output in self.job.outputs() {
            let folder = output.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        encoding::write(&self.job.result, &colored.rgb, self.job.format, self.quality)
            .with_context(|| write_error(&self.job.result))?;
        self.write_pictures(&original, &colored)?;
        self.write_arrays(&colored)?;
        Ok(format!(
            "{} → {}: {}×{}, seen at {}×{}, {:.2} % clipped",
            self.job.input.display(),
            self.job.result.display(),
            original.width,
            original.height,
            colored.seen.1,
            colored.seen.0,
            100.0 * colored.clipped_share()
        ))
    }

    fn write_pictures(&self, original: &RgbImage, colored: &ColorizedPicture) -> Result<()> {
        if let Some(path) = &self.job.montage {
            write_png(path, montage::montage(original, colored, self.options.gray)?)?;
        }
        if let Some(path) = &self.job.distribution {
            let OutputKind::Distribution(bins) = self.colorizer.output() else {
                bail!("these weights predict one color per pixel, not a distribution")
            };
            write_png(path, distribution::sheet(colored, bins, self.options.gray)?)?;
        }
        Ok(())
    }

    fn write_arrays(&self, colored: &ColorizedPicture) -> Result<()> {
        if let Some(path) = &self.job.logits {
            let (_, h, w, bins) = colored.map.dims4()?;
            let map = colored.map.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let logits = map.flatten_all()?.to_vec1::<f32>()?;
            atomic_write::write_with(path, |out| npy::write(out, &[h, w, bins], &logits))
                .with_context(|| write_error(path))?;
        }
        if let Some(path) = &self.job.ab {
            write_ab(path, colored).with_context(|| write_error(path))?;
        }
        Ok(())
    }
}

fn write_error(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn read(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).context("cannot be read")?;
    Ok(decode(&bytes)?)
}

fn write_png(path: &Path, (width, height, pixels): RgbTile) -> Result<()> {
    let picture = RgbImage { width, height, pixels };
    encoding::write(path, &picture, encoding::ImageFormat::Png, 0).with_context(|| write_error(path))
}

/// float32 H×W×2, row-major.
fn write_ab(path: &Path, colored: &ColorizedPicture) -> io::Result<()> {
    let (height, width) = colored.ab.size();
    atomic_write::write_with(path, |out| {
        npy::begin::<f32>(out, &[height, width, 2])?;
        let mut row = vec![[0f32; 2]; width];
        for y in 0..height {
            colored.ab.row(y, &mut row);
            npy::append(out, row.as_flattened())?;
        }
        Ok(())
    })
}
