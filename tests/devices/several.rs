//! Several GPUs that train one network, as threads of one process: sums, the weights of one GPU within the precision's
//! tolerance, another number of GPUs, and losses that are not finite.

use super::{skipping::skipped, training::turn};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use hueristic::{
    data::source::Locations,
    device::{self, DeviceSpec, Precision, available_devices},
    experiment::{Experiment, RunOptions, Seat, SweepPoint, run_seated},
    nn::weights,
    train::collective::{self, Bucket, RankOptions, Ranks, WireFormat},
};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// So many GPUs; None with a message.
pub(super) fn gpus(count: usize) -> Option<Vec<Device>> {
    if !cfg!(feature = "nccl") {
        skipped("built without the feature nccl", "several GPUs");
        return None;
    }
    let gpus: Vec<Device> = available_devices().into_iter().skip(1).take(count).collect();
    if gpus.len() < count {
        skipped("too few GPUs", format_args!("{count} train together"));
        return None;
    }
    Some(gpus)
}

/// A rank for each GPU.
fn ranks(gpus: &[Device], wire: WireFormat) -> Vec<Ranks> {
    let options = RankOptions { size: None, silence: Duration::from_secs(60), wire };
    collective::on_devices(Ranks::default(), options, gpus, DeviceSpec::OwnGpu).unwrap()
}

/// What a thread for each GPU returns.
fn each<T: Send>(gpus: &[Device], wire: WireFormat, work: impl Fn(&Ranks, &Device) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let start = |(ranks, gpu): (Ranks, &Device)| {
            let gpu = gpu.clone();
            scope.spawn(move || work(&ranks, &gpu))
        };
        let threads: Vec<_> = ranks(gpus, wire).into_iter().zip(gpus).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn tensor(values: Vec<f32>, gpu: &Device) -> Tensor {
    let length = values.len();
    Tensor::from_vec(values, length, gpu).unwrap()
}

fn read(tensors: &[Tensor]) -> Vec<Vec<f32>> {
    tensors.iter().map(|tensor| tensor.to_vec1().unwrap()).collect()
}

/// Sums of several tensors, begun one after another before any is used, with the sums of earlier passes, on two and four GPUs. The
/// gradients stay as they are, and those of a transposed view are summed as they read.
#[test]
fn sums_over_gpus_are_those_of_arithmetic() {
    for count in [2, 4] {
        let Some(gpus) = gpus(count) else { return };
        let _turn = turn();
        let all = each(&gpus, WireFormat::F32, |ranks, gpu| {
            ranks.connect().unwrap();
            let rank = ranks.rank() as f32;
            let given = |i: usize| {
                let large = tensor((0..5000).map(|k| (k * (i + 1)) as f32 + rank).collect(), gpu);
                vec![(large * 2.0).unwrap(), tensor(vec![rank, -rank, 0.5], gpu)]
            };
            let kept: Vec<Vec<Tensor>> = (0..5).map(given).collect();
            let bucket = |gradients: &Vec<Tensor>| Bucket { gradients: gradients.clone(), carry: vec![] };
            let begun: Vec<_> = kept.iter().map(|gradients| ranks.sum(bucket(gradients)).unwrap()).collect();
            let sums: Vec<_> = begun.into_iter().map(|sum| sum.wait().unwrap()).collect();
            let carried = Bucket { gradients: kept[0].clone(), carry: sums[0].clone() };
            let carried = ranks.sum(carried).unwrap().wait().unwrap();
            let square =
                tensor((0..6).map(|k| k as f32).collect(), gpu).reshape((2, 3)).unwrap().t().unwrap();
            let turned =
                ranks.sum(Bucket { gradients: vec![square], carry: vec![] }).unwrap().wait().unwrap();
            ranks.disconnect().unwrap();
            let read_all = |all: &[Vec<Tensor>]| all.iter().map(|some| read(some)).collect::<Vec<_>>();
            (
                read_all(&sums),
                read(&carried),
                turned[0].flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                read_all(&kept),
            )
        });
        let n = count as f32;
        let ranks = n * (n - 1.0) / 2.0;
        for (rank, (sums, carried, turned, kept)) in all.iter().enumerate() {
            for (i, sum) in sums.iter().enumerate() {
                let want = |k: usize| 2.0 * (n * (k * (i + 1)) as f32 + ranks);
                assert!(sum[0].iter().enumerate().all(|(k, v)| *v == want(k)), "{i}: {:?}", &sum[0][..4]);
                assert_eq!(sum[1], [ranks, -ranks, 0.5 * n]);
                assert_eq!(kept[i][1], [rank as f32, -(rank as f32), 0.5], "what was given is unchanged");
            }
            assert_eq!(carried[1], [2.0 * ranks, -2.0 * ranks, n]);
            assert_eq!(*turned, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0].map(|v| v * n));
        }
    }
}

/// On the wire in bf16, numbers and sums have eight bits; sums of earlier passes keep theirs.
#[test]
fn sums_in_bf16_are_rounded() {
    let Some(gpus) = gpus(2) else { return };
    let _turn = turn();
    let all = each(&gpus, WireFormat::Bf16, |ranks, gpu| {
        ranks.connect().unwrap();
        let gradients = vec![tensor(vec![1.0 + 1.0 / 256.0, 256.0, 3.0], gpu)];
        let carry = vec![tensor(vec![0.0, 0.0, 1.0 / 1024.0], gpu)];
        let sum = ranks.sum(Bucket { gradients, carry }).unwrap().wait().unwrap();
        ranks.disconnect().unwrap();
        read(&sum)
    });
    for sum in all {
        assert_eq!(sum, [[2.0, 512.0, 6.0 + 1.0 / 1024.0]]);
    }
}

/// A rank that fails while the others have begun a sum does not leave them waiting.
#[test]
fn a_rank_that_fails_within_a_step_ends_the_others() {
    let Some(gpus) = gpus(2) else { return };
    let _turn = turn();
    let said = each(&gpus, WireFormat::F32, |ranks, gpu| {
        ranks.connect().unwrap();
        if ranks.rank() == 1 {
            ranks.fail("rank 1: no more memory");
            return String::new();
        }
        let gradients = vec![Tensor::ones(1000, DType::F32, gpu).unwrap()];
        let _sum = ranks.sum(Bucket { gradients, carry: vec![] }).unwrap();
        ranks.gather_bytes(vec![]).unwrap_err().to_string()
    });
    assert_eq!(said, ["rank 1: no more memory", ""]);
}

/// A ResNet with batch normalization and flips, an AlexNet with dropout, clipping and averages.
const SPEC: &str = "
name: gpus
data: { source: { scenes: { train: 67, val: 8, size: 32 } }, crop: 28 }
backbone: { resnet: { stem: small, width: 0.125 } }
stages:
  color:
    pretext:
      task: { colorization: {} }
      train: { steps: 2, batch: BATCH, iter_size: ITERATIONS, log_every: 2, optimizer: { sgd: { lr: 0.0001 } } }
  rotation:
    pretext:
      task: { rotation: { head: { embedding: 32, hidden: [] } } }
      backbone: { alexnet: { stem: small, width: 0.125, fc: 32, norm_decay: 0.9, input: rgb_unit } }
      train: { steps: 2, batch: BATCH, iter_size: ITERATIONS, clip: 1.0, ema: { decay: 0.5 }, optimizer: { sgd: { lr: 0.01 } } }
";

pub(super) fn spec(batch: usize, iterations: usize) -> String {
    SPEC.replace("BATCH", &batch.to_string()).replace("ITERATIONS", &iterations.to_string())
}

/// Runs a spec on these GPUs.
fn run(home: &Path, spec: &str, gpus: &[Device], wire: WireFormat) -> Result<()> {
    let path = home.join("spec.yaml");
    fs::write(&path, spec)?;
    let point = SweepPoint::whole(Experiment::load(&path, &[])?);
    let seats = if gpus.len() > 1 { ranks(gpus, wire) } else { vec![Ranks::default()] };
    let mut seats = seats.into_iter().zip(gpus).map(|(ranks, gpu)| Seat { device: gpu.clone(), ranks });
    let Some(Seat { device, ranks }) = seats.next() else { panic!("a GPU") };
    let options = RunOptions { out: home.join("runs"), locations: Locations::default(), device, ranks };
    run_seated(&[point], &options, None, seats.collect()).map(drop)
}

pub(super) fn run_of(home: &Path, stage: &str) -> PathBuf {
    let name = format!("{stage}-s0-");
    let runs = fs::read_dir(home.join("runs/gpus")).unwrap().map(|entry| entry.unwrap().path());
    let is_stage = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&name);
    runs.into_iter().find(is_stage).unwrap_or_else(|| panic!("no run of {stage}"))
}

/// A tensor's name and values.
type Named = (String, Vec<f32>);

pub(super) fn tensors(home: &Path, stage: &str) -> Vec<Named> {
    let (tensors, _) = weights::read(&run_of(home, stage).join("weights.safetensors")).unwrap();
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    let mut all: Vec<_> = tensors.into_iter().map(|(name, tensor)| (name, values(tensor))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The largest difference of any weight, in units of the largest value of its tensor.
pub(super) fn difference(a: &[Named], b: &[Named]) -> f32 {
    assert_eq!(a.len(), b.len());
    let of = |((name, a), (other, b)): (&Named, &Named)| {
        assert_eq!((name, a.len()), (other, b.len()));
        let largest = b.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
        a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
    };
    a.iter().zip(b).map(of).fold(0.0, f32::max)
}

/// N GPUs that share a batch have the weights of one that takes the N parts one after another, within the precision's rounding.
#[test]
fn gpus_have_the_weights_of_one() -> Result<()> {
    for (count, iterations, precision, wire, tolerance) in [
        (2, 2, Precision::F32, WireFormat::F32, 1e-5),
        (4, 1, Precision::F32, WireFormat::F32, 1e-5),
        (2, 1, Precision::Bf16, WireFormat::F32, 2e-2),
        (2, 1, Precision::F32, WireFormat::Bf16, 2e-2),
    ] {
        let Some(gpus) = gpus(count) else { return Ok(()) };
        let _turn = turn();
        let (one, many) = (tempfile::tempdir()?, tempfile::tempdir()?);
        device::set(precision, true);
        let ran = run(one.path(), &spec(4, count * iterations), &gpus[..1], wire)
            .and_then(|()| run(many.path(), &spec(4 * count, iterations), &gpus, wire));
        device::set(Precision::F32, true);
        ran?;
        for stage in ["color", "rotation"] {
            let off = difference(&tensors(many.path(), stage), &tensors(one.path(), stage));
            assert!(
                off < tolerance,
                "{count} × {iterations}, {precision:?}, {wire:?}: {stage} is off by {off:e}"
            );
            assert!(off > 0.0 || wire == WireFormat::F32, "bf16 on the wire rounds");
        }
        let manifest = fs::read_to_string(run_of(many.path(), "color").join("manifest.json"))?;
        assert!(manifest.contains(&format!("{count} GPUs")), "{manifest}");
    }
    Ok(())
}

/// A run that two GPUs began goes on on four, on one, and on the processor.
#[test]
fn a_run_goes_on_on_other_gpus() -> Result<()> {
    let Some(gpus) = gpus(4) else { return Ok(()) };
    let _turn = turn();
    let home = tempfile::tempdir()?;
    let of = |steps: usize| {
        let whole = spec(8, 1).replacen("steps: 2", &format!("steps: {steps}"), 1);
        whole.split("  rotation:").next().unwrap().to_string()
    };
    for (devices, steps) in [(&gpus[..2], 2), (&gpus[..], 4), (&gpus[..1], 5), (&[Device::Cpu], 6)] {
        run(home.path(), &of(steps), devices, WireFormat::F32)?;
    }
    let manifests = fs::read_dir(home.path().join("runs/gpus"))?
        .filter_map(|run| fs::read_to_string(run.ok()?.path().join("manifest.json")).ok())
        .collect::<Vec<_>>();
    assert!(
        manifests.iter().any(|m| m.contains("2 GPUs, then ") && m.contains("4 GPUs, then ")),
        "{manifests:?}"
    );
    Ok(())
}

/// A loss that is not finite is named by its rank, once, and no GPU is waited for.
#[test]
fn a_loss_that_is_not_finite_is_named_by_rank() -> Result<()> {
    let Some(gpus) = gpus(2) else { return Ok(()) };
    let _turn = turn();
    let home = tempfile::tempdir()?;
    let diverging = spec(8, 1).replace("lr: 0.0001", "lr: 1.0e30").replace("steps: 2", "steps: 6");
    let error = run(home.path(), &diverging, &gpus, WireFormat::F32).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("the loss of rank 0 is ") || said.contains("the gradient's norm is "), "{said}");
    Ok(())
}

/// Number of host synchronizations, if the stand-in libraries count them.
fn host_syncs() -> Option<u64> {
    super::stand_in::count(c"host_syncs", None)
}

#[test]
#[ignore = "counts for the whole process: run it alone"]
fn the_host_waits_for_no_sum() {
    let Some(gpus) = gpus(2) else { return };
    let _turn = turn();
    let all = each(&gpus, WireFormat::Bf16, |ranks, gpu| {
        ranks.connect().unwrap();
        let gradients = vec![Tensor::ones(1000, DType::F32, gpu).unwrap()];
        ranks.gather_bytes(vec![]).unwrap();
        let before = host_syncs();
        let sum = ranks.sum(Bucket { gradients, carry: vec![] }).unwrap().wait().unwrap();
        let after = host_syncs();
        ranks.gather_bytes(vec![]).unwrap();
        assert_eq!(read(&sum)[0][999], 2.0);
        ranks.disconnect().unwrap();
        (before, after)
    });
    if all[0].0.is_none() {
        return skipped("no stand-in for the GPU", "only it counts");
    }
    assert!(all.iter().all(|(before, after)| before == after), "{all:?}");
}
