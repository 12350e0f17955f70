//! Batches on a GPU equal those on the CPU, however far the host runs ahead.

use super::gpu;
use candle_core::{Device, Tensor};
use hueristic::{
    bounded::Count,
    data::{
        crop_policy::CropPolicy,
        loader::{Loader, LoaderOptions, Pass},
        scenes::Scenes,
        source::Split,
    },
    rng::Rng,
};
use std::sync::Arc;

fn loader(framing: CropPolicy, batch: usize, device: &Device) -> Loader {
    let set = Arc::new(Scenes::new(23, 32, 5, Split::Train));
    let feed = LoaderOptions { batch, pass: Pass::Train, flip: true, max_bad: 0.0, threads: Some(2) };
    Loader::with_policy(set, framing, feed, &Rng::new(1), device).unwrap()
}

fn pixels(batch: &Tensor) -> Vec<u8> {
    batch.flatten_all().unwrap().to_vec1().unwrap()
}

/// The batches are read only after all were requested, so that the upload slots are reused in between.
#[test]
fn batches_are_those_of_the_processor() {
    let Some(device) = gpu() else { return };
    let whole = CropPolicy::Whole { scales: [24, 32, 39].map(Count::of).to_vec(), longest: None };
    for (framing, batch) in [
        (CropPolicy::Crop { resize: None, crop: 29 }, 4),
        (CropPolicy::Crop { resize: Some(40), crop: 17 }, 5),
        (CropPolicy::RandomScale { side: 24 }, 3),
        (whole, 3),
    ] {
        let [mut here, mut there] = [&Device::Cpu, &device].map(|d| loader(framing.clone(), batch, d));
        let next = |loader: &mut Loader| loader.next_batch().unwrap().unwrap();
        let on_gpu: Vec<_> = (0..11).map(|_| next(&mut there)).collect();
        for (i, got) in on_gpu.iter().enumerate() {
            let want = next(&mut here);
            assert!(got.pixels.device().is_cuda() && got.pixels.dims() == want.pixels.dims());
            assert_eq!(pixels(&got.pixels), pixels(&want.pixels), "batch {i}");
            let labels = |b: &hueristic::data::Batch| b.labels.as_ref().unwrap().to_vec1::<u32>().unwrap();
            assert_eq!(labels(got), labels(&want), "batch {i}");
        }
    }
}
