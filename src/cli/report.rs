//! `report`: tables and plots from run directories.

use super::{failure::Usage, out, output::CommandOutput};
use crate::report::{self, ReportOptions};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Run directories, or folders that contain them
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Output folder for tables and plots
    #[arg(long, value_name = "DIR", default_value = "results/report", value_parser = out::path())]
    out: PathBuf,
    /// Also write report.html: everything in one file to mail, with learning curves, pictures, specs, and warnings
    #[arg(long)]
    html: bool,
    /// Show published results below the measured ones that they compare with
    #[arg(long)]
    published: bool,
    /// Seed of the page's random samples of pictures
    #[arg(long, value_name = "N", default_value_t = 0, requires = "html")]
    seed: u64,
}

pub(super) fn run(args: ReportArgs) -> Result<CommandOutput> {
    if let Some(missing) = args.dirs.iter().find(|d| !d.is_dir()) {
        return Err(Usage(format!("{} is not a folder; give run directories", missing.display())).into());
    }
    let options = ReportOptions { published: args.published, page: args.html.then_some(args.seed) };
    Ok(CommandOutput::ok(report::write_report(&args.dirs, &args.out, &options)?))
}
