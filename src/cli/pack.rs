//! `data pack`: a data set as shards.

use super::{
    data_target::{self, DataArgs, DataTarget, is_spec, refuse_other_files},
    experiment::locations,
    failure::Usage,
    out,
    output::CommandOutput,
};
use crate::{
    data::shards::pack::{PackOptions, ShardLimit, pack},
    experiment::Experiment,
    text::byte_count,
};
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub(super) struct PackArgs {
    /// A catalog name, a folder of pictures (with `train` and `val` subfolders: both), a list, a table, or a spec (YAML) with
    /// one data set; its `limit` is not applied
    #[arg(value_name = "NAME|FOLDER|FILE")]
    what: String,
    /// Output folder; an interrupted run continues in it
    #[arg(long, value_name = "DIR", value_parser = out::path())]
    out: PathBuf,
    /// Resize the short side to this many pixels and store JPEG; files that have this size are copied [default: copy JPEG, PNG
    /// and WebP files unchanged, store others as PNG]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    size: Option<u16>,
    /// Quality of the JPEG files, 1 to 100 (colors are not subsampled)
    #[arg(long, value_name = "Q", default_value_t = 90, value_parser = clap::value_parser!(u8).range(1..=100), requires = "size")]
    quality: u8,
    /// Largest size of a shard in bytes, or with K, M or G
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = byte_count)]
    shard_size: u64,
    /// Pictures in a shard, in place of a size
    #[arg(long, value_name = "N", conflicts_with = "shard_size", value_parser = clap::value_parser!(u32).range(1..))]
    per_shard: Option<u32>,
    /// Shuffle the training pictures, by a seed (0 unless given): training that reads from a server mixes a few shards at a time
    #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0")]
    shuffle: Option<u64>,
    #[command(flatten)]
    location: DataArgs,
}

pub(super) fn run(args: &PackArgs) -> Result<CommandOutput> {
    let DataTarget { data, .. } = target(&args.what)?;
    let limit =
        args.per_shard.map_or(ShardLimit::Bytes(args.shard_size), |n| ShardLimit::Pictures(n as usize));
    let options =
        PackOptions { size: args.size.map(usize::from), quality: args.quality, limit, shuffle: args.shuffle };
    let packed = pack(&data, &locations(args.location.data.as_ref())?, &args.out, &options)
        .with_context(|| format!("cannot pack {}", args.what))?;
    Ok(CommandOutput::ok(packed))
}

/// The data set that the argument names, or the only one of a spec.
fn target(what: &str) -> Result<DataTarget> {
    refuse_other_files(what)?;
    if !is_spec(what) {
        return data_target::named(what);
    }
    let mut all = data_target::of_spec(&Experiment::load(Path::new(what), &[])?);
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(Usage(format!("{what} has no data set of plain pictures")).into()),
        (Some(_), more) => Err(Usage(format!(
            "{what} has {} data sets; give the folder, list or catalog name of one",
            more + 1
        ))
        .into()),
    }
}
