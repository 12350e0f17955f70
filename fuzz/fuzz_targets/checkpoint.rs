//! Checkpoints: the whole file and its header alone, with another one beside it.
#![no_main]
use candle_core::{Device, Tensor};
use hueristic::train::{checkpoint::Checkpoint, tensors};
use hueristic_fuzz::{checked, file, seeds, start};

fn made() -> Vec<Vec<u8>> {
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).expect("a small tensor");
    let named = [("param.a".to_owned(), tensor(&[1., 2.])), ("optimizer.a".to_owned(), tensor(&[0.]))];
    vec![seeds::written("c.safetensors", |path| tensors::write(path, seeds::results::STATE, &named))]
}

libfuzzer_sys::fuzz_target!(
    init: start(64, made),
    |data: &[u8]| {
        file("best-00000005.safetensors", data);
        let path = file("last.safetensors", data);
        checked(Checkpoint::read_state(&path));
        checked(Checkpoint::read(&path, &Device::Cpu));
    }
);
