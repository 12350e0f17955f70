//! Features of photographs by a backbone that a run of `hueristic` trained, as a module of candle. The file says which network
//! it is:
//!
//! ```text
//! cargo run --release --example features -- results/runs/…/weights.safetensors conv5 PHOTO…
//! ```

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use hueristic::{
    backbones::{Variant, module::BackboneModule},
    experiment::read_as_stored,
};
use std::{
    env,
    io::{self, Write},
    path::Path,
};

/// Side in pixels to which each photograph is squashed.
const SIDE: u32 = 224;

#[allow(dead_code)] // the test that includes this file calls `features`
fn main() -> Result<()> {
    features(env::args().skip(1), &mut io::stdout())
}

/// Writes a line for each photograph; `arguments` are the weight file, the layer, and the photographs.
pub fn features(mut arguments: impl Iterator<Item = String>, out: &mut impl Write) -> Result<()> {
    let weights = arguments.next().context("usage: features WEIGHTS LAYER PHOTO…")?;
    let layer =
        arguments.next().context("which layer? conv1 … conv5 of an AlexNet, layer1 … layer4 of a ResNet")?;
    let device = Device::Cpu;
    let backbone = read_as_stored(Path::new(&weights), None)?.spec;
    // SAFETY: the file is not changed while it is mapped.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &device)? };
    let features = BackboneModule::new(&backbone, Variant::Pretext, &layer, weights)?;
    for photo in arguments {
        let picture = image::open(&photo).with_context(|| photo.clone())?;
        let picture = picture.resize_exact(SIDE, SIDE, image::imageops::FilterType::Triangle).into_rgb8();
        let side = SIDE as usize;
        let pixels = Tensor::from_vec(picture.into_raw(), (1, side, side, 3), &device)?;
        let maps = features.forward(&features.network().input().read(&pixels)?)?;
        let mean: Vec<f32> = maps.mean((1, 2))?.flatten_all()?.to_vec1()?;
        writeln!(out, "{photo}: {:?}, mean over the map {:?} …", maps.dims(), &mean[..mean.len().min(4)])?;
    }
    Ok(())
}
