//! Features of photographs from a frozen network, as files for other programs: a matrix for each layer, the pictures' paths,
//! and on request a table, a sheet of nearest neighbors and a picture of the first layer's filters.
//!
//! The network, the pictures' size and the pooling are those of the probes ([`crate::probe::features`]). Rows are written as
//! they are computed, in a hidden folder inside the output folder; all files appear when the last one is complete. Classifying
//! features is the business of [`crate::probe`].

mod filters; // the first layer's weights as a picture
mod neighbors; // most similar pictures
mod network; // a network up to a layer
mod table; // parquet

pub use filters::filters;
pub use neighbors::{NeighborOptions, most_similar};
pub use network::{FrozenNetwork, StartingWeights, UnknownLayer};

use crate::{
    atomic_write,
    colorize::{
        encoding::{self, ImageFormat},
        inputs::InputPicture,
    },
    data::{
        crop_policy::CropPolicy,
        dataset::{Dataset, RgbImage},
        error::DataError,
        folder::Files,
        loader::{Loader, LoaderOptions, Pass},
    },
    npy::RowWriter,
    probe::features::{FeatureSpec, for_each_batch},
    rng::Rng,
    train::{interrupt::ScratchDir, panel::RgbTile},
};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use std::{
    fmt,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    sync::Arc,
};

const PATHS: &str = "paths.txt";
const TABLE: &str = "features.parquet";
const NEIGHBORS: &str = "neighbors.png";
const NEIGHBOR_LIST: &str = "neighbors.csv";
const FILTERS: &str = "filters.png";

/// What to compute and write.
#[derive(Clone, Debug)]
pub struct FeatureOptions {
    /// Output folder, created if missing.
    pub folder: PathBuf,
    /// Layers, pooling, and whether pictures are squashed or cropped.
    pub features: FeatureSpec,
    /// Side of the square that the network sees, in pixels; None: what the backbone is made for.
    pub side: Option<usize>,
    pub batch: usize,
    /// Decoding threads; None: one per core.
    pub threads: Option<usize>,
    /// Also write features.parquet.
    pub table: bool,
    /// Also write neighbors.png and neighbors.csv, for the last layer.
    pub neighbors: Option<NeighborOptions>,
    /// Also write filters.png.
    pub filters: bool,
}

impl FeatureOptions {
    /// Names of the files that are written, within the folder.
    fn names(&self) -> Vec<String> {
        let of_layers = self.features.layers.iter().map(|layer| matrix_name(layer));
        let others = [
            (PATHS, true),
            (TABLE, self.table),
            (NEIGHBORS, self.neighbors.is_some()),
            (NEIGHBOR_LIST, self.neighbors.is_some()),
            (FILTERS, self.filters),
        ];
        of_layers.chain(others.iter().filter(|(_, made)| *made).map(|(name, _)| name.to_string())).collect()
    }

    /// Side of the square that this network sees, in pixels.
    pub fn side(&self, network: &FrozenNetwork) -> usize {
        self.side.unwrap_or_else(|| network.spec().crop())
    }

    /// All files that are written.
    pub fn outputs(&self) -> Vec<PathBuf> {
        self.names().iter().map(|name| self.folder.join(name)).collect()
    }
}

fn matrix_name(layer: &str) -> String {
    format!("{layer}.npy")
}

/// What was computed.
#[derive(Debug)]
pub struct FeatureSummary {
    /// Layers with the number of features of a picture.
    pub layers: Vec<(String, usize)>,
    /// Number of pictures with features.
    pub done: usize,
    /// Pictures that could not be read, with the reasons.
    pub failed: Vec<(String, String)>,
    /// All files written.
    pub files: Vec<PathBuf>,
}

impl fmt::Display for FeatureSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.done + self.failed.len();
        write!(f, "features of {} of {all} {}", self.done, if all == 1 { "picture" } else { "pictures" })?;
        for (layer, width) in &self.layers {
            write!(f, "\n  {layer}: {} × {width}", self.done)?;
        }
        let files: Vec<String> = self.files.iter().map(|path| path.display().to_string()).collect();
        write!(f, "\nwrote {}", files.join(", "))?;
        self.failed.iter().try_for_each(|(path, reason)| write!(f, "\n  {path}: {reason}"))
    }
}

/// Computes the features of the readable pictures, in order, and writes all files.
///
/// # Errors
/// A folder that cannot be written; no readable picture; features that are not finite. Nothing is written then.
pub fn run(
    network: &FrozenNetwork,
    pictures: &[InputPicture],
    options: &FeatureOptions,
    device: &Device,
) -> Result<FeatureSummary> {
    let folder = &options.folder;
    if let Some(broken) = pictures.iter().find(|input| input.path.display().to_string().contains('\n')) {
        bail!("{:?} has a line break in its name, and {PATHS} has a path a line: rename it", broken.path)
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let scratch = ScratchDir::within(folder)?;
    let at = |name: &str| scratch.path().join(name);
    if options.filters {
        write_png(&at(FILTERS), network.filters()?)?;
    }
    let loader = &mut loader(pictures, options.features.policy(options.side(network)), options, device)?;
    let written = write_matrices(network, loader, options, scratch.path())?;
    let paths: Vec<&Path> = written.indices.iter().map(|index| pictures[*index].path.as_path()).collect();
    write_lines(&at(PATHS), &paths)?;
    let files: Vec<PathBuf> = options.features.layers.iter().map(|layer| at(&matrix_name(layer))).collect();
    if options.table {
        table::write(&at(TABLE), &paths, &options.features.layers, &files)
            .context("cannot write the table")?;
    }
    if let (Some(how), Some(last)) = (&options.neighbors, files.last()) {
        let found = neighbors::find(last, paths.len(), how)?;
        neighbors::write_list(&at(NEIGHBOR_LIST), &found, &paths)?;
        write_png(&at(NEIGHBORS), neighbors::sheet(&found, &paths, how.count)?)?;
    }
    for name in options.names() {
        let to = folder.join(&name);
        atomic_write::publish(&at(&name), &to).with_context(|| write_error(&to))?;
    }
    Ok(FeatureSummary {
        layers: options.features.layers.iter().cloned().zip(written.widths).collect(),
        done: paths.len(),
        failed: loader.faults(),
        files: options.outputs(),
    })
}

/// A loader over the pictures in order that skips unreadable ones.
fn loader(
    pictures: &[InputPicture],
    policy: CropPolicy,
    options: &FeatureOptions,
    device: &Device,
) -> Result<Loader> {
    let set = Files::listed(PathBuf::new(), pictures.iter().map(|input| input.path.clone()).collect());
    let batch = options.batch.min(set.len());
    let reading =
        LoaderOptions { batch, pass: Pass::Once, flip: false, max_bad: 1.0, threads: options.threads };
    Ok(Loader::with_policy(Arc::new(set), policy, reading, &Rng::new(0), device)?)
}

/// Indices of the pictures with rows, and the length of a row of each layer.
struct WrittenRows {
    indices: Vec<usize>,
    widths: Vec<usize>,
}

fn write_matrices(
    network: &FrozenNetwork,
    loader: &mut Loader,
    options: &FeatureOptions,
    folder: &Path,
) -> Result<WrittenRows> {
    let layers = &options.features.layers;
    let set = loader.dataset().clone();
    let mut writers: Vec<RowWriter<BufWriter<File>>> = vec![];
    let mut indices = vec![];
    let take = |batch: &[usize], rows: Vec<Vec<f32>>| -> Result<()> {
        for (at, (layer, rows)) in layers.iter().zip(&rows).enumerate() {
            let width = rows.len() / batch.len();
            if let Some(bad) = rows.iter().position(|value| !value.is_finite()) {
                bail!(
                    "{layer} of {} is {}; the network has diverged, or its weights are damaged",
                    set.name(batch[bad / width]),
                    rows[bad]
                )
            }
            let path = folder.join(matrix_name(layer));
            if at == writers.len() {
                let file = File::create(&path).with_context(|| write_error(&path))?;
                writers.push(RowWriter::new(BufWriter::with_capacity(1 << 20, file), width)?);
            }
            writers[at].append(rows).with_context(|| write_error(&path))?;
        }
        indices.extend(batch);
        Ok(())
    };
    let ended = for_each_batch(network.network(), loader, &options.features, "features", take);
    if let Err(error) = ended {
        return Err(match error.downcast_ref() {
            Some(DataError::TooManyBad { .. }) => none_readable(&loader.faults()),
            _ => error,
        });
    }
    ensure!(!indices.is_empty(), "there are no pictures to take features from");
    let widths = writers.into_iter().map(|writer| Ok(writer.finish()?.1)).collect::<Result<_>>();
    Ok(WrittenRows { indices, widths: widths.with_context(|| write_error(folder))? })
}

fn none_readable(faults: &[(String, String)]) -> anyhow::Error {
    let lines: Vec<String> = faults.iter().map(|(path, reason)| format!("\n  {path}: {reason}")).collect();
    let what = match faults.len() {
        1 => "the picture cannot".to_string(),
        many => format!("none of the {many} pictures can"),
    };
    anyhow::anyhow!("{what} be read{}", lines.concat())
}

/// One path a line.
fn write_lines(path: &Path, paths: &[&Path]) -> Result<()> {
    let text: String = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    fs::write(path, text).with_context(|| write_error(path))
}

fn write_png(path: &Path, (width, height, pixels): RgbTile) -> Result<()> {
    let picture = RgbImage { width, height, pixels };
    encoding::write(path, &picture, ImageFormat::Png, 0).with_context(|| write_error(path))
}

fn write_error(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
