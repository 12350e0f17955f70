//! `study`: the paper's real-versus-fake test with participants. Without the feature `study` it says how to build it.

use super::{failure::Usage, out, output::CommandOutput};
use anyhow::Result;
use clap::{Args, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// Fewest characters of a token.
const TOKEN: usize = 16;
/// Fewer participants are warned of.
#[cfg(feature = "study")]
const FEW: usize = 5;
/// Bootstrap replicates, as in the authors' later script.
const REPLICATES: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(super) enum Study {
    /// Create a study from a folder of photographs and folders of recolored ones
    #[command(
        after_help = "Example:\n  hueristic study new colors --real photos --fake ours=colorized --fake l2=colorized-l2\n\n\
                            Pictures are paired by their path without extension, cropped to the center square, and scaled to \
                            256 pixels. A tenth of the test trials shows colors of a random other photograph (vigilance)."
    )]
    New(NewArgs),
    /// Show a study to participants
    #[command(after_help = "Example:\n  hueristic study serve colors --address 127.0.0.1:8080\n\n\
                            The first start prints a token for the researcher's page, /admin. An answer is acknowledged when it \
                            is on disk. Ctrl-C and SIGTERM end the server (exit code 0); participants can go on after the next start.")]
    Serve(ServeArgs),
    /// Score a study: how often participants took photographs for fakes
    #[command(after_help = "Example:\n  hueristic study score colors --out results/colors --published\n\n\
                            Also while the study is served. Unfinished sessions, dropped trials, and exposures that were off by \
                            more than a frame are not scored, and counted.")]
    Score(ScoreStudyArgs),
}

#[derive(Args, Debug)]
pub(super) struct NewArgs {
    /// Folder to create
    #[arg(value_name = "DIR", value_parser = out::path())]
    dir: PathBuf,
    /// Folder of photographs
    #[arg(long, value_name = "DIR")]
    real: PathBuf,
    /// Folder of the pictures that an algorithm recolored, with its name; may be repeated
    #[arg(long, value_name = "NAME=DIR", required = true, value_parser = named_folder)]
    fake: Vec<NamedFolder>,
    /// Use so many photographs, drawn at random [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pairs: Option<u32>,
    /// Participants for each algorithm
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    participants: u32,
    /// Trials with feedback at the start of a session, which are not scored
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(..=1000))]
    practice: u32,
    /// Trials after them
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    trials: u32,
    /// Seed of assignment, photographs, orders, and places [default: random; stored with the study]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Text that participants agree to; blank lines separate paragraphs [default: a short one]
    #[arg(long, value_name = "FILE.txt")]
    consent: Option<PathBuf>,
}

/// `NAME=DIR`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamedFolder {
    name: String,
    dir: PathBuf,
}

fn named_folder(text: &str) -> Result<NamedFolder, String> {
    let wrong = || format!("`{text}` is not NAME=DIR, such as ours=colorized");
    let (name, dir) = text.split_once('=').ok_or_else(wrong)?;
    if name.trim().is_empty() || dir.is_empty() {
        return Err(wrong());
    }
    Ok(NamedFolder { name: name.trim().into(), dir: dir.into() })
}

#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// Folder of the study
    #[arg(value_name = "DIR", value_parser = out::path())]
    dir: PathBuf,
    /// Address and port to listen at; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// Token of the researcher's page, from now on [default: a random one, printed at the first start]
    #[arg(long, value_name = "TEXT", value_parser = token)]
    token: Option<String>,
    /// Completion code that participants see at the end, for crowdsourcing, from now on; an empty text takes it away
    #[arg(long, value_name = "TEXT")]
    code: Option<String>,
}

fn token(text: &str) -> Result<String, String> {
    let fits = text.chars().count() >= TOKEN && text.trim() == text;
    fits.then(|| text.into())
        .ok_or_else(|| format!("give at least {TOKEN} characters, without blanks around them"))
}

#[derive(Args, Debug)]
pub(super) struct ScoreStudyArgs {
    /// Folder of the study
    #[arg(value_name = "DIR", value_parser = out::path())]
    dir: PathBuf,
    /// Write tables (Markdown, CSV), all trials, and pictures of the best and worst pairs into this folder
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    out: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Show the paper's figures below the measured ones
    #[arg(long, conflicts_with = "json")]
    published: bool,
    /// Bootstrap replicates
    #[arg(long, value_name = "N", default_value_t = REPLICATES, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    bootstrap: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Exclude participants who called fewer of the Random pictures fake, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    vigilance: u8,
    /// Also score answers whose exposure was off by more than a frame, or that came too early
    #[arg(long)]
    all_trials: bool,
}

#[cfg(not(feature = "study"))]
pub(super) fn run(_: Study) -> Result<CommandOutput> {
    let how = "`study` needs the feature `study`; build with `--features study`, as in \
               `cargo install --path . --locked --features study`";
    Err(Usage(how.into()).into())
}

#[cfg(feature = "study")]
pub(super) fn run(verb: Study) -> Result<CommandOutput> {
    match verb {
        Study::New(args) => built_in::new(args),
        Study::Serve(args) => built_in::serve(args),
        Study::Score(args) => built_in::score(&args),
    }
}

#[cfg(feature = "study")]
mod built_in {
    use super::*;
    use crate::{
        metrics::bootstrap::Bootstrap,
        progress,
        study::{
            create::{CreatedStudy, NewStudy, create},
            design::DEFAULT_CONSENT,
            prepare::RecoloredFolder,
            score::ScoringOptions,
            score_files::score_study,
            secret::random_seed,
            server::{self, ServeOptions, Served},
        },
        text::{self, counted},
    };
    use anyhow::Context;
    use std::collections::HashSet;

    pub fn new(args: NewArgs) -> Result<CommandOutput> {
        let folders = std::iter::once(&args.real).chain(args.fake.iter().map(|fake| &fake.dir));
        if let Some(missing) = folders.into_iter().find(|dir| !dir.is_dir()) {
            return Err(
                Usage(format!("{} is not a folder; give folders of pictures", missing.display())).into()
            );
        }
        let mut names = HashSet::new();
        if let Some(twice) = args.fake.iter().find(|fake| !names.insert(&fake.name)) {
            return Err(Usage(format!("two algorithms are called `{}`; give each a name", twice.name)).into());
        }
        let shown = args.practice + args.trials;
        if let Some(pairs) = args.pairs.filter(|pairs| *pairs < shown) {
            return Err(Usage(format!(
                "--pairs {pairs} is too few for a session of {} + {} trials, which shows {shown} different photographs: \
                 give --pairs {shown} or more, or fewer --practice and --trials",
                args.practice, args.trials
            ))
            .into());
        }
        let new = new_study(args)?;
        let created = create(&new, &progress::bar_of("pairing", "photographs"))?;
        created.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(CommandOutput::ok(summary(&new, &created)))
    }

    fn new_study(args: NewArgs) -> Result<NewStudy> {
        let consent = match &args.consent {
            None => DEFAULT_CONSENT.into(),
            Some(path) => text::read(path)
                .with_context(|| format!("cannot read the consent text {}", path.display()))?,
        };
        if consent.trim().is_empty() {
            return Err(Usage("the consent text is empty; write what participants agree to".into()).into());
        }
        let folder = |fake: NamedFolder| RecoloredFolder { name: fake.name, dir: fake.dir };
        Ok(NewStudy {
            dir: args.dir,
            real: args.real,
            recolored: args.fake.into_iter().map(folder).collect(),
            pairs: args.pairs.map(|pairs| pairs as usize),
            participants: args.participants as usize,
            practice: args.practice as usize,
            trials: args.trials as usize,
            seed: args.seed.map_or_else(random_seed, Ok).context("cannot draw a seed; give --seed")?,
            consent,
        })
    }

    fn summary(new: &NewStudy, created: &CreatedStudy) -> String {
        let design = &created.design;
        let algorithms = counted(design.algorithms.len(), "algorithm");
        format!(
            "{}: {}, {algorithms} ({}), {} for each, {} + {} trials, {} of them for vigilance, seed {}\n\
             next: hueristic study serve {}",
            new.dir.display(),
            counted(design.photographs.len(), "photograph"),
            design.algorithms.join(", "),
            counted(design.participants, "participant"),
            design.practice,
            design.trials,
            design.vigilance(),
            design.seed,
            new.dir.display()
        )
    }

    pub fn serve(args: ServeArgs) -> Result<CommandOutput> {
        let ServeArgs { dir, address, token, code } = args;
        server::serve(&ServeOptions { dir, address, token, code }, tell)?;
        Ok(CommandOutput::ok("stopped; every acknowledged answer is stored"))
    }

    /// Where the study is; always, since the token is told only once.
    fn tell(served: &Served) {
        let address = served.address;
        progress::print(&format!("participants: http://{address}/\nresearcher:   http://{address}/admin"));
        progress::print(&match &served.new_token {
            Some(token) => {
                format!(
                    "token:        {token}\nKeep the token: it is printed only now; --token sets another."
                )
            }
            None => "token:        the one of the first start, or of --token, which sets another".into(),
        });
    }

    pub fn score(args: &ScoreStudyArgs) -> Result<CommandOutput> {
        let options = ScoringOptions {
            bootstrap: Bootstrap { replicates: args.bootstrap as usize, seed: args.seed },
            vigilance: f64::from(args.vigilance) / 100.0,
            all_trials: args.all_trials,
        };
        let scored = score_study(&args.dir, &options)?;
        for few in scored.scores.algorithms.iter().filter(|of| (1..FEW).contains(&of.participants.scored)) {
            let participants = counted(few.participants.scored, "participant");
            tracing::warn!("{}: the score of {participants} says little of others", few.algorithm);
        }
        let written =
            args.out.as_ref().map(|out| scored.write(&args.dir, out, args.published)).transpose()?;
        if args.json {
            return Ok(CommandOutput::ok(serde_json::to_string_pretty(&scored.scores)?));
        }
        let paths = written.unwrap_or_default();
        let paths: String = paths.iter().map(|path| format!("\nwritten  {}", path.display())).collect();
        Ok(CommandOutput::ok(scored.tables(args.published, false)? + &paths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_names() {
        let folder = named_folder("ours (full)=a=b/c").unwrap();
        assert_eq!((&*folder.name, folder.dir), ("ours (full)", PathBuf::from("a=b/c")));
        for wrong in ["ours", "=a", " =a", "a=", ""] {
            assert!(named_folder(wrong).unwrap_err().contains("is not NAME=DIR"), "{wrong}");
        }
        assert!(token("0123456789abcdef").is_ok() && token("0123456789abcde").is_err());
    }
}
