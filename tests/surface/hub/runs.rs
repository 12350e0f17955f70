//! A finished run shared by all tests: two steps of colorization on procedural scenes.

use candle_core::Device;
use hueristic::{
    data::source::Locations,
    experiment::Experiment,
    experiment::{RunOptions, run},
    nn::weights,
    train::{
        collective::Ranks,
        manifest::{Manifest, RecordedMetric},
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

const SPEC: &str = "
name: tiny
data: { source: { scenes: { train: 64, val: 40 } }, crop: 29 }
backbone: { alexnet: { stem: small, width: 0.25, fc: 32 } }
stages:
  color: { pretext: { task: colorization, train: { steps: 2, batch: 8, optimizer: { adam: { lr: 1e-3 } } } } }
";

/// The outputs of the run by file name.
fn original() -> &'static [(String, Vec<u8>)] {
    static RUN: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    RUN.get_or_init(|| {
        let home = tempfile::tempdir().unwrap();
        let spec = home.path().join("spec.yaml");
        fs::write(&spec, SPEC).unwrap();
        let options = RunOptions {
            out: home.path().join("runs"),
            locations: Locations::default(),
            device: Device::Cpu,
            ranks: Ranks::default(),
        };
        run(&Experiment::load(&spec, &[]).unwrap(), &options).unwrap();
        let mut folders = fs::read_dir(options.out.join("tiny")).unwrap().map(|entry| entry.unwrap().path());
        let dir = folders.find(|folder| folder.join("spec.yaml").is_file()).unwrap();
        let names = ["manifest.json", "spec.yaml", "weights.safetensors"];
        names.map(|name| (name.to_string(), fs::read(dir.join(name)).unwrap())).into()
    })
}

/// A copy of the finished run that the test may change.
pub fn finished(home: &Path) -> PathBuf {
    let dir = home.join("runs/tiny/color-s0-0123456789ab");
    fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in original() {
        fs::write(dir.join(name), bytes).unwrap();
    }
    dir
}

/// Changes the run's manifest.
pub fn edit(run: &Path, change: impl FnOnce(&mut Manifest)) {
    let mut manifest = Manifest::read(run).unwrap().unwrap();
    change(&mut manifest);
    manifest.write(run).unwrap();
}

/// A copy of the finished run with fixed values for all that depends on machine, time and rounding.
pub fn fixed(home: &Path) -> PathBuf {
    let run = finished(home);
    let path = run.join("weights.safetensors");
    let (tensors, _) = weights::read(&path).unwrap();
    let ones: Vec<_> = tensors.iter().map(|(name, t)| (name.as_str(), t.ones_like().unwrap())).collect();
    let ones: Vec<_> = ones.iter().map(|(name, t)| (*name, t)).collect();
    weights::write(&ones, &Default::default(), &path).unwrap();
    edit(&run, |manifest| {
        let machine = &mut manifest.machine;
        machine.features = vec!["hub".into()]; // whatever this program has
        (machine.version, machine.commit) = ("0.0.0".into(), Some("abc1234".into()));
        (machine.host, machine.cpu, machine.cores) = ("anns-desk".into(), "A Processor".into(), 2);
        manifest.ended = Some("2026-01-31T23:59:59Z".into());
        (manifest.wall_seconds, manifest.resumed) = (83.4, 1);
        manifest.peak_memory_bytes = Some(1_234_567_890);
        manifest.warnings = vec!["/home/ann/pictures/a.png cannot be read".into()];
        for (i, metric) in manifest.metrics.iter_mut().enumerate() {
            *metric = RecordedMetric { value: (i > 0).then_some(i as f64 / 8.0), ..metric.clone() };
        }
        manifest.set_outputs(&run).unwrap();
    });
    run
}
