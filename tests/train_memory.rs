//! Writing a checkpoint streams: the peak of memory grows by buffers, not by a second copy of the tensors. Alone in
//! its file, since the peak is the process's.

mod skipping;

use candle_core::{DType, Device, Tensor};
use hueristic::train::{manifest, tensors};

#[test]
fn writing_takes_no_second_copy() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("large.safetensors");
    let megabytes = 128;
    let large = Tensor::ones((megabytes, 1 << 18), DType::F32, &Device::Cpu).unwrap();
    let transposed = Tensor::from_vec(vec![1_f32, 2.0, 3.0, 4.0], (2, 2), &Device::Cpu).unwrap().t().unwrap();
    let counts = Tensor::from_vec(vec![-7_i64, 1 << 40], 2, &Device::Cpu).unwrap();
    let named = [("a".to_string(), large), ("b".into(), transposed), ("c".into(), counts)];
    manifest::reset_peak_memory();
    let before = manifest::peak_memory();
    tensors::write(&path, "text", &named).unwrap();
    let after = manifest::peak_memory();

    let (text, read) = tensors::read(&path, &Device::Cpu).unwrap();
    assert_eq!(
        (text.as_str(), read.iter().map(|r| r.0.as_str()).collect::<Vec<_>>()),
        ("text", vec!["a", "b", "c"])
    );
    assert_eq!(read[0].1.sum_all().unwrap().to_scalar::<f32>().unwrap(), (megabytes << 18) as f32);
    assert_eq!(read[1].1.to_vec2::<f32>().unwrap(), [[1.0, 3.0], [2.0, 4.0]]);
    assert_eq!(read[2].1.to_vec1::<i64>().unwrap(), [-7, 1 << 40]);
    let (Some(before), Some(after)) = (before, after) else {
        return skipping::skipped("no peak of memory", "this system does not tell it");
    };
    assert!(after - before < 16 << 20, "{} MB more", (after - before) >> 20);
}
