//! `proposals`: object proposals of pictures, written to a file.

use super::{failure::Usage, out, output::CommandOutput};
use crate::{
    bounded::Count,
    colorize::{
        encoding::{self, ImageFormat},
        inputs::{InputError, InputPicture, expand},
    },
    data::{
        decode::stored,
        error::DataError,
        proposals::{
            picture::draw,
            search::{SearchResult, search},
            selective_search::{SearchMode, SelectiveSearch},
        },
        source::RgbImage,
    },
    text::counted,
};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

#[derive(Args, Debug)]
pub(super) struct ProposalArgs {
    /// Pictures, folders, or patterns such as 'photos/*.jpg'. A picture is identified by its file name without
    /// extension
    #[arg(required = true, value_name = "DIR|IMAGE")]
    pictures: Vec<PathBuf>,
    /// Include subfolders
    #[arg(long)]
    recursive: bool,
    /// Search mode: about 2,000 boxes per picture, or about 10,000
    #[arg(long, value_enum, default_value_t = ModeArg::Fast)]
    mode: ModeArg,
    /// Output file for the boxes
    #[arg(long, value_name = "FILE.safetensors", value_parser = out::path())]
    out: PathBuf,
    /// Keep at most this many boxes per picture, the first in order
    #[arg(long, value_name = "N", value_parser = count)]
    limit: Option<Count>,
    /// Seed of the order
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Also draw the first boxes on every picture, as PNG files in this folder
    #[arg(long, value_name = "DIR")]
    picture: Option<PathBuf>,
    /// Number of boxes to draw
    #[arg(long, value_name = "N", default_value = "50", value_parser = count, requires = "picture")]
    top: Count,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Fast,
    Quality,
}

fn count(text: &str) -> Result<Count, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    Count::try_from(number).map_err(|e| e.to_string())
}

pub(super) fn run(args: ProposalArgs) -> Result<CommandOutput> {
    let inputs = inputs(&args)?;
    let ids = ids(&inputs)?;
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(
            Usage(format!("{} is not a folder; create it first, or change --out", folder.display())).into()
        );
    }
    let mode = match args.mode {
        ModeArg::Fast => SearchMode::Fast,
        ModeArg::Quality => SearchMode::Quality,
    };
    let settings = SelectiveSearch { mode, limit: args.limit, seed: args.seed, ..SelectiveSearch::default() };
    let found = search(&settings, &ids, |index| image(&inputs[index].path), None)?;
    let made_by = serde_json::to_string(&settings).context("cannot describe the search")?;
    found.proposals.write(&args.out, &format!("Selective Search {made_by}"))?;
    if let Some(folder) = &args.picture {
        draw_all(folder, &inputs, &ids, &found, args.top.get())?;
    }
    let exit = u8::from(!found.left_out.is_empty());
    Ok(CommandOutput { text: summary(&found, &args), exit })
}

fn inputs(args: &ProposalArgs) -> Result<Vec<InputPicture>> {
    // Exclude pictures drawn by an earlier run.
    let results = args.picture.as_deref().unwrap_or(Path::new(""));
    expand(&args.pictures, args.recursive, results).map_err(|error| match error {
        InputError::Unreadable { .. } => error.into(),
        other => Usage(other.to_string()).into(),
    })
}

/// The pictures' names without extension, which must be distinct.
fn ids(inputs: &[InputPicture]) -> Result<Vec<String>> {
    let mut seen: HashMap<String, &Path> = HashMap::new();
    let mut ids = vec![];
    for input in inputs {
        let id = input.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = seen.insert(id.clone(), &input.path) {
            let (one, other) = (other.display(), input.path.display());
            return Err(Usage(format!("{one} and {other} are both named `{id}`; rename one")).into());
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Decodes the picture as stored: boxes refer to stored pixels, like the annotations they are compared with.
fn image(path: &Path) -> Result<RgbImage, DataError> {
    let fault = |reason| DataError::Image { name: path.display().to_string(), reason };
    let bytes = fs::read(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    stored(&bytes).map_err(|e| fault(e.to_string()))
}

fn draw_all(
    folder: &Path,
    inputs: &[InputPicture],
    ids: &[String],
    found: &SearchResult,
    top: usize,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    for (input, id) in inputs.iter().zip(ids) {
        let Some(boxes) = found.proposals.of(id) else { continue };
        let mut picture = image(&input.path)?;
        draw(&mut picture, &boxes[..top.min(boxes.len())]);
        let path = folder.join(format!("{id}.png"));
        encoding::write(&path, &picture, ImageFormat::Png, 0)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn summary(found: &SearchResult, args: &ProposalArgs) -> String {
    let proposals = &found.proposals;
    let mut counts: Vec<usize> = proposals.iter().map(|(_, boxes)| boxes.len()).collect();
    counts.sort_unstable();
    let at = |index: usize| counts.get(index).copied().unwrap_or(0);
    let last = counts.len().saturating_sub(1);
    let seconds = found.busy.as_secs_f64() / found.searched.max(1) as f64;
    let mut text = format!(
        "{}, {} boxes ({} to {} a picture, median {}), {seconds:.2} s a picture and core\nwrote {}",
        counted(proposals.len(), "picture"),
        proposals.total(),
        at(0),
        at(last),
        at(last / 2),
        args.out.display()
    );
    if let Some(folder) = &args.picture {
        text += &format!("\ndrew the first {} boxes of each into {}", args.top, folder.display());
    }
    let empty = proposals.without_boxes();
    if !empty.is_empty() {
        text += &format!("\nwithout a box: {}", empty.join(", "));
    }
    for (_, reason) in &found.left_out {
        text += &format!("\nleft out {reason}");
    }
    text
}
