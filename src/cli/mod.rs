//! The command line: commands, arguments, output and exit codes. Arguments become options of the lower modules;
//! nothing is computed here.
//!
//! Exit codes: 0 success, 1 a run or a check failed, 2 invalid spec or usage, 130 stopped by Ctrl-C.

mod analyze;
mod colorize;
mod completions;
mod data;
mod data_target;
mod device;
mod evaluate;
mod experiment;
mod export;
mod failure;
mod features;
mod init;
mod logging;
mod model;
mod out;
mod output;
mod pack;
mod proposals;
mod push;
mod report;
mod runs;
mod schema;
mod score;
#[cfg_attr(not(feature = "study"), allow(dead_code))] // arguments without the feature
mod study;
mod surgery;
mod threads;
mod weight_choices;
mod weights;

pub use failure::Failure;
pub use output::CommandOutput;

use crate::{
    ops::conv::check_simd,
    train::{collective::Launcher, program},
};
use clap::{CommandFactory, Parser, Subcommand};
use std::sync::LazyLock;

/// Crate version and commit of the build.
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
    /// Log more; RUST_LOG takes precedence
    #[arg(short, long, global = true)]
    verbose: bool,
    /// Print no progress and no notices, only warnings and errors. Results still go to stdout
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a first spec for a folder of pictures, or for built-in scenes
    #[command(
        after_help = "Example:\n  hueristic init photos\n  hueristic init photos --task rotation --minutes 20\n  hueristic init"
    )]
    Init(init::InitArgs),
    /// Run every stage of an experiment, resuming unfinished runs
    #[command(after_help = "Example:\n  hueristic run experiments/tiny/quickstart.yaml --seeds 0..3\n  \
                            hueristic run experiments/tiny/quickstart.yaml --set colorization.train.steps=50\n  \
                            hueristic run experiments/tiny/sweep.yaml --shard-jobs 0/2")]
    Run(experiment::RunArgs),
    /// Report what a run would build, read and cost, without training
    #[command(after_help = "Example:\n  hueristic check experiments/tiny/quickstart.yaml")]
    Check(experiment::CheckArgs),
    /// Print the resolved spec with all defaults, and its hash
    #[command(after_help = "Example:\n  hueristic show experiments/tiny/quickstart.yaml --set seeds=[0,1]")]
    Show(experiment::SpecArgs),
    /// Print the JSON Schema of experiments, for completion in editors, or the key reference
    #[command(after_help = "Example:\n  hueristic schema --out hueristic.schema.json\n  \
                            hueristic schema --markdown --out keys.md\n\n\
                      An editor with the YAML language server completes and checks the keys of a file whose first line is\n  \
                      # yaml-language-server: $schema=hueristic.schema.json\n\
                      where the path starts at the folder of that file. VS Code does so without that line by its setting\n  \
                      \"yaml.schemas\": { \"hueristic.schema.json\": \"experiments/**/*.yaml\" }")]
    Schema(schema::SchemaArgs),
    /// Colorize black-and-white photographs
    #[command(after_help = "Example:\n  hueristic colorize 'old/*.jpg' --weights eccv16 --montage\n  \
                            hueristic colorize albums --recursive --weights weights.safetensors --out albums-colored\n  \
                            hueristic colorize roof.jpg --weights siggraph17 --hints roof.csv\n\n\
                            A file that cannot be colored is named at the end (exit code 1); the others are done.")]
    Colorize(Box<colorize::ColorizeArgs>),
    /// Write features of photographs at layers of a network
    #[command(
        after_help = "Example:\n  hueristic features photos --weights weights.safetensors --layers conv3,conv5\n  \
                            hueristic features 'photos/*.jpg' --weights weights.safetensors --layers conv5 --neighbors 6 --filters\n\n\
                            LAYER.npy is a float32 matrix with a row for each line of paths.txt.\n\
                            A file that cannot be read is named at the end (exit code 1); the others are done."
    )]
    Features(Box<features::FeatureArgs>),
    /// The paper's analyses: colors, temperatures, low-level cues, run time
    #[command(subcommand, after_help = "Example:\n  hueristic analyze temperature photos --weights eccv16")]
    Analyze(analyze::Analysis),
    /// Verify data sets, measure color priors
    #[command(subcommand, after_help = "Example:\n  hueristic data verify cifar10 --data ~/data")]
    Data(data::Data),
    /// List, inspect, convert, edit and publish weights
    #[command(subcommand, after_help = "Example:\n  hueristic weights inspect weights.safetensors")]
    Weights(weights::Weights),
    /// Print a network's layer table
    #[command(subcommand, after_help = "Example:\n  hueristic model alexnet --graph transfer --size 227")]
    Model(model::Model),
    /// Make tables and plots from run directories
    #[command(after_help = "Example:\n  hueristic report results/runs/quickstart --out results/quickstart")]
    Report(report::ReportArgs),
    /// List, compare and tidy run directories
    #[command(subcommand, after_help = "Example:\n  hueristic runs list results/runs")]
    Runs(runs::Runs),
    /// Score colorized pictures against the true ones: AuC, class-rebalanced AuC, RMSE, PSNR, colorfulness
    #[command(
        after_help = "Example:\n  hueristic score --truth photos --pred colored --pred others --gray --prior prior.npy\n\n\
                      Exit code 1 when any picture was left out."
    )]
    Score(score::ScoreArgs),
    /// Test with participants whether recolored pictures pass for photographs
    #[command(
        subcommand,
        after_help = "Example:\n  hueristic study new colors --real photos --fake ours=colorized --fake l2=colorized-l2\n  \
                      hueristic study serve colors\n  hueristic study score colors --out results/colors"
    )]
    Study(study::Study),
    /// Score detections and masks in result files against annotations
    #[command(
        subcommand,
        after_help = "Example:\n  hueristic evaluate segmentation --truth SegmentationClass --pred masks"
    )]
    Evaluate(evaluate::Evaluate),
    /// Compute object proposals (Selective Search) for detectors
    #[command(
        after_help = "Example:\n  hueristic proposals photos --out proposals.safetensors --picture drawn\n\n\
                      A file that cannot be read is named at the end (exit code 1); the others are done."
    )]
    Proposals(proposals::ProposalArgs),
    /// Print a script that completes commands and options in a shell
    #[command(
        after_help = "Example:\n  hueristic completions bash > ~/.local/share/bash-completion/completions/hueristic"
    )]
    Completions(completions::CompletionArgs),
    /// Write man pages
    #[command(after_help = "Example:\n  hueristic man --out ~/.local/share/man/man1")]
    Man(completions::ManArgs),
}

impl Cli {
    /// Initializes logging to stderr.
    pub fn start_logging(&self) {
        let launcher = Launcher::from_env();
        logging::start(self.verbose, self.quiet, launcher.is_some_and(|launcher| launcher.follows()));
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Those of the command; [`Failure::of`] converts them to a message and an exit code.
    pub fn run(self) -> anyhow::Result<CommandOutput> {
        check_simd().map_err(failure::Usage)?;
        if let (Some(Launcher { size, .. }), false) =
            (Launcher::from_env(), matches!(self.verb, Verb::Run(_)))
        {
            let reason =
                format!("the launcher started {size} processes, of which only `run` makes use: start one");
            return Err(failure::Usage(reason).into());
        }
        match self.verb {
            Verb::Init(args) => init::run(&args),
            Verb::Run(args) => experiment::run(&args),
            Verb::Check(args) => experiment::check(&args),
            Verb::Show(args) => experiment::show(&args),
            Verb::Schema(args) => schema::run(&args),
            Verb::Colorize(args) => colorize::run(&args),
            Verb::Features(args) => features::run(&args),
            Verb::Analyze(analysis) => analyze::run(&analysis),
            Verb::Data(verb) => data::run(verb),
            Verb::Weights(verb) => weights::run(verb),
            Verb::Model(verb) => model::run(verb),
            Verb::Report(args) => report::run(args),
            Verb::Runs(verb) => runs::run(verb),
            Verb::Score(args) => score::run(args),
            Verb::Study(verb) => study::run(verb),
            Verb::Evaluate(verb) => evaluate::run(verb),
            Verb::Proposals(args) => proposals::run(args),
            Verb::Completions(args) => completions::completions(&args, Self::command()),
            Verb::Man(args) => completions::man(&args, Self::command()),
        }
    }
}
