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
    /// Show published results below the measured ones that they compare with
    #[arg(long)]
    published: bool,
}

pub(super) fn run(args: ReportArgs) -> Result<CommandOutput> {
    if let Some(missing) = args.dirs.iter().find(|d| !d.is_dir()) {
        return Err(Usage(format!("{} is not a folder; give run directories", missing.display())).into());
    }
    let options = ReportOptions { published: args.published };
    Ok(CommandOutput::ok(report::write_report(&args.dirs, &args.out, &options)?))
}
