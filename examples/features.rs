//! Features of photographs by a backbone that a run of `hueristic` trained, as a module of candle:
//!
//! ```text
//! cargo run --release --example features -- runs/…/weights.safetensors conv5 PHOTO…
//! ```

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use hueristic::backbones::{BackboneSpec, Variant, alexnet::AlexNetSpec, module::BackboneModule};
use std::env;

/// Side in pixels to which each photograph is squashed.
const SIDE: u32 = 224;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let weights = arguments.next().context("usage: features WEIGHTS LAYER PHOTO…")?;
    let layer = arguments.next().context("which layer? conv1 … conv5, fc6, fc7")?;
    let device = Device::Cpu;
    // SAFETY: the file is not changed while it is mapped.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &device)? };
    let backbone = BackboneSpec::Alexnet(AlexNetSpec::default());
    let features = BackboneModule::new(&backbone, Variant::Pretext, &layer, weights)?;
    for photo in arguments {
        let picture = image::open(&photo).with_context(|| photo.clone())?;
        let picture = picture.resize_exact(SIDE, SIDE, image::imageops::FilterType::Triangle).into_rgb8();
        let side = SIDE as usize;
        let pixels = Tensor::from_vec(picture.into_raw(), (1, side, side, 3), &device)?;
        let maps = features.forward(&features.network().input().read(&pixels)?)?;
        let mean: Vec<f32> = maps.mean((1, 2))?.flatten_all()?.to_vec1()?;
        println!("{photo}: {:?}, mean over the map {:?} …", maps.dims(), &mean[..mean.len().min(4)]);
    }
    Ok(())
}
