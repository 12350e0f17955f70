//! The command line: verbs and their arguments, what they print, exit codes. Arguments become the options of the
//! floors below; nothing is computed here.
//!
//! Exit codes: 0 done, 1 a run or a check failed, 2 a bad spec or bad usage, 130 stopped by Ctrl-C.

mod colorize;
mod data;
mod device;
mod evaluate;
mod experiment;
mod failure;
mod logging;
mod model;
mod out;
mod proposals;
mod push;
mod report;
mod score;
mod surgery;
mod threads;
mod weights;

pub use failure::Failure;

use crate::train::program;
use clap::{Parser, Subcommand};
use std::sync::LazyLock;

/// The crate's version and the commit that the program was built from.
fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        format!("{} ({})", env!("CARGO_PKG_VERSION"), program::commit().unwrap_or("unknown"))
    });
    &VERSION
}

/// Representation learning by colorization: pretrain, probe and compare, from one YAML.
#[derive(Debug, Parser)]
#[command(
    version = version(),
    after_help = "Example:\n  hueristic run experiments/tiny/quickstart.yaml\n\n\
                  Exit codes: 0 done, 1 a run failed, 2 a bad spec or bad usage, 130 stopped by Ctrl-C."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Log more; RUST_LOG decides when it is set
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Log warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run every stage of an experiment, resuming what is there
    #[command(after_help = "Example:\n  hueristic run experiments/tiny/quickstart.yaml --seeds 0..3\n  \
                            hueristic run experiments/tiny/quickstart.yaml --set colorization.train.steps=50")]
    Run(experiment::SpecArgs),
    /// Say what a run would build, read and cost, without taking a step
    #[command(after_help = "Example:\n  hueristic check experiments/tiny/quickstart.yaml")]
    Check(experiment::CheckArgs),
    /// Print the resolved spec, defaults written out, and its hash
    #[command(after_help = "Example:\n  hueristic show experiments/tiny/quickstart.yaml --set seeds=[0,1]")]
    Show(experiment::SpecArgs),
    /// Color black-and-white photographs
    #[command(
        after_help = "Example:\n  hueristic colorize 'old/*.jpg' --weights weights.safetensors --montage\n  \
                            hueristic colorize albums --recursive --weights weights.safetensors --out albums-colored\n\n\
                            A file that cannot be colored is named at the end (exit code 1); the others are done."
    )]
    Colorize(Box<colorize::ColorizeArgs>),
    /// Look at data sets
    #[command(subcommand, after_help = "Example:\n  hueristic data verify cifar10 --data ~/data")]
    Data(data::Data),
    /// Look at weight files, and publish them
    #[command(subcommand, after_help = "Example:\n  hueristic weights inspect weights.safetensors")]
    Weights(weights::Weights),
    /// Print a network's layer table
    #[command(subcommand, after_help = "Example:\n  hueristic model alexnet --graph transfer --size 227")]
    Model(model::Model),
    /// Make tables and plots from run directories
    #[command(after_help = "Example:\n  hueristic report results/runs/quickstart --out results/quickstart")]
    Report(report::ReportArgs),
    /// Score colored pictures against the true ones: AuC, class-rebalanced AuC, RMSE, PSNR, colorfulness
    #[command(
        after_help = "Example:\n  hueristic score --truth photos --pred colored --pred others --gray --prior prior.npy\n\n\
                      Exit code 1 when any picture was left out."
    )]
    Score(score::ScoreArgs),
    /// Score finished detections and masks against annotations
    #[command(
        subcommand,
        after_help = "Example:\n  hueristic evaluate segmentation --truth SegmentationClass --pred masks"
    )]
    Evaluate(evaluate::Evaluate),
    /// Search pictures for boxes that may hold objects (Selective Search), for detectors
    #[command(
        after_help = "Example:\n  hueristic proposals photos --out proposals.safetensors --picture drawn\n\n\
                      A file that cannot be read is named at the end (exit code 1); the others are done."
    )]
    Proposals(proposals::ProposalArgs),
}

/// What a verb leaves to be printed, and the exit code.
#[derive(Debug)]
pub struct Done {
    pub text: String,
    pub exit: u8,
}

impl Done {
    fn ok(text: impl ToString) -> Self {
        Self { text: text.to_string(), exit: 0 }
    }
}

impl Cli {
    /// Sends log lines to stderr.
    pub fn start_logging(&self) {
        logging::start(self.verbose, self.quiet);
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever the verb reports; [`Failure::of`] turns it into a message and an exit code.
    pub fn run(self) -> anyhow::Result<Done> {
        match self.verb {
            Verb::Run(args) => experiment::run(&args),
            Verb::Check(args) => experiment::check(&args),
            Verb::Show(args) => experiment::show(&args),
            Verb::Colorize(args) => colorize::run(&args),
            Verb::Data(verb) => data::run(verb),
            Verb::Weights(verb) => weights::run(verb),
            Verb::Model(verb) => model::run(verb),
            Verb::Report(args) => report::run(args),
            Verb::Score(args) => score::run(args),
            Verb::Evaluate(verb) => evaluate::run(verb),
            Verb::Proposals(args) => proposals::run(args),
        }
    }
}
