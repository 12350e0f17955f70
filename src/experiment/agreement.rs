//! What processes that train together compare before the first step: what they are about to run, how they compute, and whether
//! they see one folder of runs.

use super::{load::SweepPoint, preflight::RunOptions, run::PlannedRun};
use crate::{
    device,
    ops::conv::instructions,
    spec,
    train::{
        collective::{Ranks, WireFormat},
        manifest, program,
    },
};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

/// What one process is about to run.
#[derive(Debug, Serialize, Deserialize)]
struct RankOutlook {
    host: String,
    build: String,
    /// What decides the bits of a pass, beside the spec.
    arithmetic: String,
    wire: WireFormat,
    /// Hashes of the resolved specs of all points.
    spec: String,
    fits: Vec<FitOutlook>,
}

/// A fit as one process plans it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FitOutlook {
    label: String,
    /// Fingerprints of its pictures, by split.
    data: BTreeMap<String, String>,
    hash: String,
}

/// Checks that all processes are about to run the same, in the same way, and that what rank 0 writes is there for all.
///
/// # Errors
/// Another build, spec, arithmetic, or data, by rank and host; a folder of runs that rank 0 cannot write to, or that another
/// does not see.
pub fn agree(options: &RunOptions, points: &[SweepPoint], fits: &[&PlannedRun]) -> Result<()> {
    let ranks = &options.ranks;
    if !ranks.are_many() {
        return Ok(());
    }
    let outlooks = ranks.gather(&outlook(options, points, fits)?)?;
    let Some((first, others)) = outlooks.split_first() else { return Ok(()) };
    for (rank, other) in (1..).zip(others) {
        if let Some(what) = difference(first, other) {
            bail!("rank {rank}, on {}, {what} than rank 0, on {}", other.host, first.host);
        }
    }
    let seen = ranks.gather(&sees_token(ranks, &options.out)?)?;
    let blind = seen.iter().zip(&outlooks).enumerate().find(|(_, (sees, _))| !**sees);
    match blind {
        None => Ok(()),
        Some((rank, (_, other))) => bail!(
            "rank {rank}, on {}, does not see what rank 0, on {}, writes to {}: give all processes one --out, in a folder that their \
             machines share",
            other.host,
            first.host,
            options.out.display()
        ),
    }
}

/// How long another machine may take to see a new file.
const VISIBLE: Duration = Duration::from_secs(5);

/// Whether a file that rank 0 makes in the folder of runs is there for this process too.
fn sees_token(ranks: &Ranks, out: &Path) -> Result<bool> {
    if ranks.leads() {
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
        let token = tempfile::Builder::new()
            .prefix(&format!(".ranks-{}-", process::id()))
            .tempfile_in(out)
            .with_context(|| format!("cannot write to {}", out.display()))?;
        let name = token.path().file_name().context("a file has a name")?.to_string_lossy().into_owned();
        ranks.give(name.into_bytes())?;
        // It is there until all have looked.
        ranks.gather(&())?;
        return Ok(true);
    }
    let token = out.join(String::from_utf8_lossy(&ranks.take()?).into_owned());
    let began = Instant::now();
    while !token.exists() && began.elapsed() < VISIBLE {
        thread::sleep(Duration::from_millis(100));
    }
    let sees = token.exists();
    ranks.gather(&())?;
    Ok(sees)
}

/// What decides the bits of a pass on a device, beside the spec: `f32, exact, avx512`. GPUs of two models may compute together.
fn arithmetic(device: &Device) -> String {
    let (precision, exact) = (format!("{:?}", device::precision(device)).to_lowercase(), device::exact());
    let how = if device::deterministic() { "" } else { ", fastest" };
    match device.is_cpu() {
        true => {
            let exact = if exact { ", exact" } else { "" };
            format!("cpu, {precision}{exact}{how}, {}", instructions())
        }
        false => format!("gpu, {precision}{how}"),
    }
}

fn outlook(options: &RunOptions, points: &[SweepPoint], fits: &[&PlannedRun]) -> Result<RankOutlook> {
    let specs: Vec<String> =
        points.iter().map(|point| spec::hash(&point.experiment)).collect::<Result<_, _>>()?;
    let fits = fits.iter().map(|PlannedRun { fit, .. }| FitOutlook {
        label: fit.label.clone(),
        data: fit.sets.fingerprints(),
        hash: fit.hash.clone(),
    });
    let commit = program::commit().unwrap_or("unknown");
    Ok(RankOutlook {
        host: manifest::host().unwrap_or_else(|| "a machine without a name".into()),
        build: format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        arithmetic: arithmetic(&options.device),
        wire: options.ranks.wire(),
        spec: specs.join(" "),
        fits: fits.collect(),
    })
}

/// In what another process differs, as part of a sentence.
fn difference(first: &RankOutlook, other: &RankOutlook) -> Option<String> {
    if first.build != other.build {
        return Some(format!("runs another build ({}, against {})", other.build, first.build));
    }
    if first.arithmetic != other.arithmetic {
        return Some(format!(
            "computes otherwise ({}, against {}; give all one --device, --precision, --exact, --fastest, and HUERISTIC_SIMD)",
            other.arithmetic, first.arithmetic
        ));
    }
    if first.wire != other.wire {
        return Some("sends gradients in another format (--wire)".into());
    }
    if first.spec != other.spec {
        return Some("has another spec, or another --set or --seeds,".into());
    }
    let unlike = first.fits.iter().zip(&other.fits).find(|(a, b)| a != b);
    match unlike {
        Some((a, b)) if a.data != b.data => {
            let split = a.data.iter().find(|(split, print)| b.data.get(*split) != Some(print));
            let split = split.map_or("", |(split, _)| split);
            Some(format!("has other {split} pictures of `{}`", a.label))
        }
        Some((a, _)) => Some(format!("starts `{}` from other weights or files", a.label)),
        None if first.fits.len() != other.fits.len() => Some("plans other stages".into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlook() -> RankOutlook {
        let data = [("train".to_string(), "t".to_string()), ("val".to_string(), "v".to_string())];
        let fit = FitOutlook { label: "color, seed 0".into(), data: data.into(), hash: "h".into() };
        RankOutlook {
            host: "a".into(),
            build: "1".into(),
            arithmetic: "cpu, f32, avx512".into(),
            wire: WireFormat::F32,
            spec: "s".into(),
            fits: vec![fit],
        }
    }

    #[test]
    fn what_differs_is_named() {
        let said = |change: &dyn Fn(&mut RankOutlook)| {
            let mut other = outlook();
            change(&mut other);
            difference(&outlook(), &other).unwrap_or_default()
        };
        assert_eq!(said(&|other| other.host = "b".into()), "");
        assert!(said(&|other| other.build = "2".into()).contains("another build (2, against 1)"));
        let slower = said(&|other| other.arithmetic = "cpu, f32, avx2".into());
        assert!(slower.contains("computes otherwise (cpu, f32, avx2, against cpu, f32, avx512; "));
        assert!(said(&|other| other.wire = WireFormat::Bf16).contains("--wire"));
        assert!(said(&|other| other.spec = "x".into()).contains("another spec"));
        let other_val = |other: &mut RankOutlook| drop(other.fits[0].data.insert("val".into(), "x".into()));
        assert!(said(&other_val).contains("other val pictures of `color, seed 0`"));
        assert!(said(&|other| other.fits[0].hash = "x".into()).contains("from other weights"));
        assert!(said(&|other| other.fits.clear()).contains("other stages"));
    }
}
