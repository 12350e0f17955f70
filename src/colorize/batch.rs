//! Works through a plan, one file after the other, so that memory is that of one picture. A file that cannot be colored is
//! named with its reason, and the rest go on.

use super::{
    distribution, encoding, montage,
    picture::{self, Colored, Options},
    plan::Job,
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

/// How the work went.
#[derive(Debug, Default)]
pub struct Summary {
    /// Results written.
    pub done: usize,
    /// Pictures that could not be colored, and why.
    pub failed: Vec<(PathBuf, String)>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.done + self.failed.len();
        write!(f, "{} of {all} {} colored", self.done, if all == 1 { "picture" } else { "pictures" })?;
        self.failed.iter().try_for_each(|(path, reason)| write!(f, "\n  {}: {reason}", path.display()))
    }
}

/// Does the jobs; a line for each goes to stderr, below it a bar where that is a terminal. `quality` (1…100) is that of JPEG
/// files.
pub fn run(jobs: &[Job], colorizer: &Colorizer, options: &Options, quality: u8) -> Summary {
    let bar = bar(jobs.len());
    let mut summary = Summary::default();
    for job in jobs {
        bar.set_message(job.input.display().to_string());
        let work = Work { job, colorizer, options, quality };
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

/// One job and what it is done with.
struct Work<'a> {
    job: &'a Job,
    colorizer: &'a Colorizer,
    options: &'a Options,
    quality: u8,
}

impl Work<'_> {
    /// Makes every file of the job; the line that says what came out.
    fn run(&self) -> Result<String> {
        let original = read(&self.job.input)?;
        // Before the network works for nothing.
        self.job.format.check(&original)?;
        let colored = picture::color(self.colorizer, &original, self.options)?;
        for output in self.job.outputs() {
            let folder = output.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        encoding::write(&self.job.result, &colored.rgb, self.job.format, self.quality)
            .with_context(|| unwritten(&self.job.result))?;
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

    fn write_pictures(&self, original: &RgbImage, colored: &Colored) -> Result<()> {
        if let Some(path) = &self.job.montage {
            write_png(path, montage::montage(original, colored, self.options.gray)?)?;
        }
        if let Some(path) = &self.job.distribution {
            let OutputKind::Distribution(bins) = self.colorizer.output() else {
                bail!("these weights predict one color, not a distribution that could be drawn")
            };
            write_png(path, distribution::sheet(colored, bins, self.options.gray)?)?;
        }
        Ok(())
    }

    fn write_arrays(&self, colored: &Colored) -> Result<()> {
        if let Some(path) = &self.job.logits {
            let (_, h, w, bins) = colored.map.dims4()?;
            let map = colored.map.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let logits = map.flatten_all()?.to_vec1::<f32>()?;
            atomic_write::write_with(path, |out| npy::write(out, &[h, w, bins], &logits))
                .with_context(|| unwritten(path))?;
        }
        if let Some(path) = &self.job.ab {
            write_ab(path, colored).with_context(|| unwritten(path))?;
        }
        Ok(())
    }
}

fn unwritten(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn read(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).context("cannot be read")?;
    Ok(decode(&bytes)?)
}

fn write_png(path: &Path, (width, height, pixels): RgbTile) -> Result<()> {
    let picture = RgbImage { width, height, pixels };
    encoding::write(path, &picture, encoding::Format::Png, 0).with_context(|| unwritten(path))
}

/// float32 H×W×2, row by row.
fn write_ab(path: &Path, colored: &Colored) -> io::Result<()> {
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
