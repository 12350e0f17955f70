//! `score`: scores folders of colorized pictures against a folder of true ones.

use super::{failure::Usage, output::CommandOutput};
use crate::{
    metrics::bootstrap::Bootstrap,
    progress,
    score::{MethodSpec, ScoreSpec, score_folders},
};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(super) struct ScoreArgs {
    /// Folder of true pictures
    #[arg(long, value_name = "DIR")]
    truth: PathBuf,
    /// Folder of a method's pictures, matched by relative path without extension; may be repeated
    #[arg(long, value_name = "DIR")]
    pred: Vec<PathBuf>,
    /// Add the baseline Gray: no color
    #[arg(long)]
    gray: bool,
    /// Add the baseline Random: colors of random pictures from this folder
    #[arg(long, value_name = "DIR")]
    random: Option<PathBuf>,
    /// Color prior for the prior-rebalanced AuC, in addition to empirical rebalancing
    #[arg(long, value_name = "FILE.npy")]
    prior: Option<PathBuf>,
    /// Print everything as JSON: both forms of AuC, effective sample sizes, intervals, comparisons, left-out pictures
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print all metrics as CSV
    #[arg(long)]
    csv: bool,
    /// Bootstrap replicates over images; 0 for no intervals
    #[arg(long, value_name = "N", default_value_t = Bootstrap::default().replicates, value_parser = replicates)]
    bootstrap: usize,
    /// Seed of the bootstrap and of --random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// A single replicate has no spread. Beyond this maximum, intervals do not change in any printed digit, and all
/// replicates are held in memory.
const MAX_REPLICATES: usize = 1_000_000;

fn replicates(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(1) => Err("give at least 2, or 0 for no intervals".into()),
        Ok(replicates) if replicates > MAX_REPLICATES => Err(format!("give at most {MAX_REPLICATES}")),
        Ok(replicates) => Ok(replicates),
        Err(error) => Err(format!("not a number of replicates: {error}")),
    }
}

pub(super) fn run(args: ScoreArgs) -> Result<CommandOutput> {
    let spec = spec(&args)?;
    let table = score_folders(&spec, &progress::bar_of("scoring", "images"))?;
    if let Some(omissions) = table.omissions() {
        eprintln!("{omissions}");
    }
    let text = if args.json {
        serde_json::to_string_pretty(&table).context("cannot write the scores as JSON")?
    } else if args.csv {
        table.csv()
    } else {
        table.text()
    };
    Ok(CommandOutput { text, exit: u8::from(!table.left_out.is_empty()) })
}

fn spec(args: &ScoreArgs) -> Result<ScoreSpec> {
    let folders = std::iter::once(&args.truth).chain(&args.pred).chain(&args.random);
    if let Some(missing) = folders.into_iter().find(|dir| !dir.is_dir()) {
        return Err(Usage(format!("{} is not a folder; give folders of pictures", missing.display())).into());
    }
    let mut methods = Vec::new();
    methods.extend(args.gray.then_some(MethodSpec::Gray));
    methods.extend(args.random.clone().map(MethodSpec::Random));
    methods.extend(
        args.pred.iter().cloned().map(|dir| MethodSpec::Folder { name: name(&dir, &args.pred), dir }),
    );
    if methods.is_empty() {
        return Err(Usage("nothing to score: give --pred DIR, --gray or --random DIR".into()).into());
    }
    let bootstrap = (args.bootstrap > 0).then_some(Bootstrap { replicates: args.bootstrap, seed: args.seed });
    Ok(ScoreSpec {
        truth: args.truth.clone(),
        methods,
        prior: args.prior.clone(),
        bootstrap,
        seed: args.seed,
    })
}

/// The folder's name, or its path if another of `all` has the same name.
fn name(dir: &Path, all: &[PathBuf]) -> String {
    let same = all.iter().filter(|other| other.file_name() == dir.file_name()).count();
    match dir.file_name() {
        Some(name) if same == 1 => name.to_string_lossy().into_owned(),
        _ => dir.display().to_string(),
    }
}
