//! A backbone as a module of candle: the weights of a file, and what the network itself computes.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use hueristic::{
    backbones::{BackboneSpec, Build, Variant, module::BackboneModule},
    nn::{Mode, params::Params, weights},
    rng::Rng,
};
use std::collections::BTreeMap;

fn small() -> Result<[(BackboneSpec, &'static str); 2]> {
    let alexnet = serde_json::json!({"alexnet": {"width": 0.25, "fc": 32}});
    let resnet = serde_json::json!({"resnet": {"width": 0.25}});
    Ok([(serde_json::from_value(alexnet)?, "conv5"), (serde_json::from_value(resnet)?, "layer2")])
}

/// The features of `layer` by the network itself, and the file of its weights.
fn trained(spec: &BackboneSpec, layer: &str, x: &Tensor, file: &std::path::Path) -> Result<Tensor> {
    let build = Build { variant: Variant::Pretext, batch_norm: true, input_channels: 1, outputs: Some(5) };
    let mut params = Params::new(&Device::Cpu);
    let net = spec.build(&build, &mut params, &Rng::new(7))?;
    weights::save(&params, &BTreeMap::new(), file)?;
    Ok(net.forward(x, &[layer], &Mode::Frozen)?.remove(0))
}

#[test]
fn a_module_computes_what_the_network_of_its_file_does() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let x = Tensor::rand(-50f32, 50.0, (2, 67, 61, 1), &Device::Cpu)?;
    for (spec, layer) in small()? {
        let file = folder.path().join("weights.safetensors");
        let want = trained(&spec, layer, &x, &file)?;
        // SAFETY: the file is not changed while it is mapped.
        let builder = unsafe { VarBuilder::from_mmaped_safetensors(&[&file], DType::F32, &Device::Cpu)? };
        let features = BackboneModule::new(&spec, Variant::Pretext, layer, builder)?;
        let got = features.forward(&x)?;
        assert_eq!(got.dims(), want.dims());
        assert_eq!(got.flatten_all()?.to_vec1::<f32>()?, want.flatten_all()?.to_vec1::<f32>()?, "{layer}");
    }
    Ok(())
}

#[test]
fn what_is_missing_is_named() -> Result<()> {
    let [(spec, _), _] = small()?;
    let empty = VarBuilder::from_tensors(std::collections::HashMap::new(), DType::F32, &Device::Cpu);
    let error = BackboneModule::new(&spec, Variant::Pretext, "conv5", empty.clone()).map(drop).unwrap_err();
    assert!(error.to_string().contains("conv1.weight"), "{error}");
    let error = BackboneModule::new(&spec, Variant::Pretext, "conv9", empty).map(drop).unwrap_err();
    assert!(error.to_string().contains("no layer `conv9`; the layers are conv1, "), "{error}");
    Ok(())
}
