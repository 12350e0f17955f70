//! Runs the jobs of a plan in order. While the network processes one picture, the next one is decoded and the last one
//! is written, so at most three are in memory. A file that cannot be colorized is reported with its reason, and the
//! rest continue.

use super::{
    distribution, encoding,
    hints::HintFiles,
    montage,
    picture::{self, ColorizedPicture, Options},
    plan::ColorizeJob,
};
use crate::{
    atomic_write,
    color::gamut::Gamut,
    data::{decode::decode, source::RgbImage},
    npy,
    pretext::colorizer::{Colorizer, OutputKind},
    progress::{self, Tenths},
    text::counted,
    train::panel::RgbTile,
};
use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};
use std::{
    fmt, fs, io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    thread::{self, Scope},
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
        write!(f, "{} of {} colored", self.done, counted(all, "picture"))?;
        self.failed.iter().try_for_each(|(path, reason)| write!(f, "\n  {}: {reason}", path.display()))
    }
}

/// Runs the jobs with the network that `open` loads, while the first picture is being decoded, with the hints for their
/// inputs. On a terminal each job prints a line to stderr, above a progress bar; elsewhere the first job, those that complete a
/// tenth, the last, and those that fail. `quality` (1…100) applies to JPEG files.
///
/// # Errors
/// Those of `open`; nothing is written then.
pub fn run(
    jobs: &[ColorizeJob],
    hints: &HintFiles,
    open: impl FnOnce() -> Result<(Colorizer, Options)>,
    quality: u8,
) -> Result<BatchSummary> {
    thread::scope(|scope| {
        let pictures = decode_ahead(scope, jobs);
        let (colorizer, options) = open()?;
        Ok(Batch { jobs, hints, colorizer, options, quality }.run(pictures))
    })
}

/// Decodes each picture while the network processes the one before it; holds no more than one.
fn decode_ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    jobs: &'scope [ColorizeJob],
) -> Receiver<Result<RgbImage>> {
    let (sender, pictures) = sync_channel(0);
    scope.spawn(move || {
        // Sending fails when the receiver gave up, because there are no weights.
        jobs.iter().map(|job| read(&job.input)).try_for_each(|picture| sender.send(picture))
    });
    pictures
}

/// A picture and what became of it.
type ColoredPair = (RgbImage, ColorizedPicture);

/// Jobs with all that they share.
struct Batch<'a> {
    jobs: &'a [ColorizeJob],
    hints: &'a HintFiles,
    colorizer: Colorizer,
    options: Options,
    quality: u8,
}

impl Batch<'_> {
    fn run(&self, pictures: Receiver<Result<RgbImage>>) -> BatchSummary {
        thread::scope(|scope| {
            let (sender, colored) = sync_channel(0);
            let writer = scope.spawn(|| self.write_all(colored));
            for (job, picture) in self.jobs.iter().zip(pictures) {
                if sender.send(picture.and_then(|picture| self.color(job, picture))).is_err() {
                    break; // the writer panicked
                }
            }
            drop(sender);
            writer.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn color(&self, job: &ColorizeJob, original: RgbImage) -> Result<ColoredPair> {
        // Check the format before running the network.
        job.format.check(&original)?;
        let size = (original.height, original.width);
        let hints = self.hints.get(&job.input).map(|file| file.within(size)).transpose()?;
        let hints = hints.unwrap_or_default();
        let colored = picture::color(&self.colorizer, &original, &hints, &self.options)?;
        Ok((original, colored))
    }

    /// Writes the pictures in order, and reports each.
    fn write_all(&self, pictures: Receiver<Result<ColoredPair>>) -> BatchSummary {
        let (mut summary, total) = (BatchSummary::default(), self.jobs.len());
        let (bar, mut tenths) = (progress::bar_of("coloring", "pictures"), Tenths::new(total));
        bar.set_length(total as u64);
        for (number, (job, picture)) in (1..).zip(self.jobs.iter().zip(pictures)) {
            let is_told = progress::has_bars() || tenths.take(number) || number == total;
            let written = picture.and_then(|(original, colored)| {
                JobOutput { job, original: &original, colored: &colored }.write(self)
            });
            match written {
                Ok(line) => {
                    summary.done += 1;
                    if is_told {
                        progress::tell(&line);
                    }
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    let line = format!("{}: {reason}", job.input.display());
                    summary.failed.push((job.input.clone(), reason));
                    progress::print(&line);
                }
            }
            bar.inc(1);
        }
        progress::remove(&bar);
        summary
    }
}

/// A job and its pictures.
struct JobOutput<'a> {
    job: &'a ColorizeJob,
    original: &'a RgbImage,
    colored: &'a ColorizedPicture,
}

impl JobOutput<'_> {
    /// Writes all outputs of the job; returns the line to print.
    fn write(&self, batch: &Batch) -> Result<String> {
        let Self { job, original, colored } = self;
        for output in job.outputs() {
            let folder = output.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        encoding::write(&job.result, &colored.rgb, job.format, batch.quality)
            .with_context(|| write_error(&job.result))?;
        self.write_pictures(batch)?;
        self.write_arrays()?;
        let how = match batch.options.gamut {
            Gamut::Chroma => "paler",
            Gamut::Clip => "clipped",
        };
        Ok(format!(
            "{} → {}: {}×{}, seen at {}×{}, {:.2} % beyond sRGB and {how}",
            job.input.display(),
            job.result.display(),
            original.width,
            original.height,
            colored.seen.1,
            colored.seen.0,
            100.0 * colored.outside_share()
        ))
    }

    fn write_pictures(&self, Batch { colorizer, options, .. }: &Batch) -> Result<()> {
        if let Some(path) = &self.job.montage {
            write_png(path, montage::montage(self.original, self.colored, options.gray)?)?;
        }
        if let Some(path) = &self.job.distribution {
            let OutputKind::Distribution(bins) = colorizer.output() else {
                bail!("these weights predict one color per pixel, not a distribution")
            };
            write_png(path, distribution::sheet(self.colored, bins, options.gray)?)?;
        }
        Ok(())
    }

    fn write_arrays(&self) -> Result<()> {
        if let Some(path) = &self.job.logits {
            let (_, h, w, bins) = self.colored.map.dims4()?;
            let map = self.colored.map.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            let logits = map.flatten_all()?.to_vec1::<f32>()?;
            atomic_write::write_with(path, |out| npy::write(out, &[h, w, bins], &logits))
                .with_context(|| write_error(path))?;
        }
        if let Some(path) = &self.job.ab {
            write_ab(path, self.colored).with_context(|| write_error(path))?;
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
