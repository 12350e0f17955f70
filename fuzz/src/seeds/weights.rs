//! Weight files of two small tensors in every format, beside the fixtures, which are larger.

use super::written;
use candle_core::{DType, Device, Result, Tensor};
use hueristic::nn::weights::{caffe, pth, write};
use std::collections::BTreeMap;

fn tensors() -> Result<[Tensor; 2]> {
    let kernel = Tensor::arange(0f32, 24., &Device::Cpu)?.reshape((2, 2, 2, 3))?;
    Ok([kernel, Tensor::new(&[0.5f32, -1.], &Device::Cpu)?])
}

/// State dicts as zip archives, and in the older form.
pub fn pytorch() -> Result<Vec<Vec<u8>>> {
    let [kernel, bias] = tensors()?;
    let steps = Tensor::new(&[7i64], &Device::Cpu)?;
    let named = [("conv1.weight", &kernel), ("conv1.bias", &bias), ("conv1.steps", &steps)];
    Ok(vec![written("w.pth", |path| pth::write(&named, &BTreeMap::new(), path)), older(&[0.; 6])])
}

/// `{'a': tensor of 2 × 3}` as `torch.save` wrote it before 1.6.
fn older(values: &[f32; 6]) -> Vec<u8> {
    let short = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    let machine = [b"\x80\x02}(".to_vec(), short("little_endian"), b"\x88u.".to_vec()].concat();
    let dict = [
        b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec(),
        short("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        short("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        short("7"),
        short("cpu"),
        b"K\x06NtQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89h\x00)RtRu.".to_vec(),
    ];
    let order = [b"\x80\x02](".to_vec(), short("7"), b"e.".to_vec()].concat();
    let numbers: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let count = (values.len() as u64).to_le_bytes().to_vec();
    [magic, b"\x80\x02M\xe9\x03.".to_vec(), machine, dict.concat(), order, count, numbers].concat()
}

pub fn caffe() -> Result<Vec<Vec<u8>>> {
    let [kernel, bias] = tensors()?;
    let named = [("conv1.weight", &kernel), ("conv1.bias", &bias)];
    let matrix = [("fc8.weight", &bias.reshape((1, 2))?), ("fc8.bias", &bias)];
    Ok(vec![
        written("w.caffemodel", |path| caffe::write("net", &named, &[], path)),
        written("w.caffemodel", |path| caffe::write("net", &matrix, &[], path)),
    ])
}

/// One of every element type that candle converts to, and one with a header.
pub fn safetensors() -> Result<Vec<Vec<u8>>> {
    let [kernel, bias] = tensors()?;
    let mut files = vec![];
    for dtype in [DType::U8, DType::U32, DType::I64, DType::BF16, DType::F16, DType::F32, DType::F64] {
        let tensor = kernel.to_dtype(dtype)?;
        let named = [("conv1.weight", &tensor), ("conv1.bias", &bias)];
        let plain = BTreeMap::new();
        let done = written("w.safetensors", |path| write(&named, &plain, path));
        files.push(done);
    }
    let backbone = BTreeMap::from([("backbone".to_owned(), "vgg: {}\n".to_owned())]);
    files.push(written("w.safetensors", |path| write(&[("conv1_1.bias", &bias)], &backbone, path)));
    Ok(files)
}
