//! `weights push`: uploads a finished run's weights to the Hugging Face hub.

use super::{failure::Usage, output::CommandOutput};
use crate::{
    experiment::publish::{self, Publication},
    hub::{self, Commit, FileUpload, Repo, UploadBody},
};
use anyhow::{Context, Result};
use clap::Args;
use std::{fs, path::PathBuf};

#[derive(Args, Debug)]
pub(super) struct PushArgs {
    /// Directory of a finished run that trained a backbone
    run: PathBuf,
    /// Destination: hf://OWNER/REPO or hf://OWNER/REPO@BRANCH; created if necessary
    to: Repo,
    /// Create the repository as private if it does not exist
    #[arg(long)]
    private: bool,
    /// Commit message [default: names the run and this program]
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,
    /// License of the weights, by its identifier on the hub, such as `mit` or `cc-by-4.0`
    #[arg(long, value_name = "ID", value_parser = license)]
    license: String,
    /// Print the model card and the files to upload; make no request
    #[arg(long)]
    dry_run: bool,
}

/// An identifier such as `cc-by-4.0`, inserted into the card's YAML unquoted.
fn license(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let fits = !text.is_empty() && text.chars().all(known);
    let wrong = || format!("`{text}` is not a license identifier of the hub; an example is `apache-2.0`");
    fits.then(|| text.to_string()).ok_or_else(wrong)
}

pub(super) fn run(args: &PushArgs) -> Result<CommandOutput> {
    if !args.run.is_dir() {
        return Err(
            Usage(format!("{} is not a directory; give that of a finished run", args.run.display())).into()
        );
    }
    let publication = publish::prepare(&args.run, &args.to, &args.license)?;
    if args.dry_run {
        return Ok(CommandOutput::ok(preview(args, &publication)?));
    }
    publication.notes.iter().for_each(|note| tracing::warn!("{note}"));
    let commit = Commit { message: message(args), private: args.private };
    let page = hub::push(&args.to, &publication.files, &commit)?;
    let weights = publication.files.first().context("nothing was uploaded")?;
    Ok(CommandOutput::ok(format!("uploaded {page}\nweights  {}", args.to.file(&weights.name))))
}

fn message(args: &PushArgs) -> String {
    let name = args.run.file_name().map_or_else(|| "a run".into(), |name| name.to_string_lossy());
    let usual = || format!("Weights of {name}, by hueristic {}", env!("CARGO_PKG_VERSION"));
    args.message.clone().unwrap_or_else(usual)
}

fn preview(args: &PushArgs, publication: &Publication) -> Result<String> {
    let mut text = publication.card.clone() + "\n";
    for file in &publication.files {
        text += &format!("would upload {} ({} bytes)\n", file.name, size(file)?);
    }
    let kind = if args.private { "a private" } else { "a public" };
    text += &format!("to {}, {kind} repository if it is made; message: {}\n", args.to, message(args));
    publication.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
    Ok(text + "nothing was sent")
}

fn size(file: &FileUpload) -> Result<u64> {
    match &file.content {
        UploadBody::Text(text) => Ok(text.len() as u64),
        UploadBody::File(path) => {
            let about = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(about.len())
        }
    }
}
