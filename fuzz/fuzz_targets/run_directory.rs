//! A run directory that is opened again: before the first zero byte its manifest, behind it `metrics.jsonl`.
#![no_main]
use candle_core::Device;
use hueristic::{
    rng::Rng,
    train::{checkpoint::State, log::Log, manifest::Manifest, run_dir::RunDir},
};
use hueristic_fuzz::{checked, folder, seeds, start};
use std::fs;

libfuzzer_sys::fuzz_target!(
    init: start(64, seeds::results::runs),
    |data: &[u8]| {
        let run = folder().join("run");
        let _ = fs::remove_dir_all(&run);
        fs::create_dir_all(&run).expect("a run directory");
        let mut parts = data.splitn(2, |&byte| byte == 0);
        for name in ["manifest.json", "metrics.jsonl"] {
            let part = parts.next().unwrap_or_default();
            if !part.is_empty() {
                fs::write(run.join(name), part).expect("a file of the run");
            }
        }
        if let Some(Some(manifest)) = checked(Manifest::read(&run)) {
            let _ = manifest.changed(&run);
        }
        if let Some(mut opened) = checked(RunDir::open(&run, "steps: 12\n")) {
            let mut state = State::new(opened.spec(), &Rng::new(0));
            state.step = 5;
            checked(Log::open(&mut opened, &state, 12, &Device::Cpu));
            let _ = opened.interrupt();
        }
    }
);
