//! Weights that are a function of name and index, so that oracles need no large files: those of `scripts/oracles/resnet.py`
//! and `colorizers.py`.

use candle_core::{Device, Result, Tensor, Var};

/// Numbers from -1 to 1, as the oracle's script makes them.
pub fn hashed(name: &str, count: usize) -> Vec<f64> {
    let seed = name.bytes().fold(0u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let mix = |i: u32| {
        let mut v = i.wrapping_add(seed);
        v ^= v >> 16;
        v = v.wrapping_mul(0x7feb_352d);
        v ^= v >> 15;
        v = v.wrapping_mul(0x846c_a68b);
        v ^ (v >> 16)
    };
    (0..count as u32).map(|i| f64::from(mix(i)) / 2f64.powi(31) - 1.0).collect()
}

/// The scripts' values of a tensor of this name, in our memory layout.
pub fn value(name: &str, dims: &[usize]) -> Result<Tensor> {
    let count = dims.iter().product();
    let change = |u: f64| match name.rsplit('.').next() {
        Some("weight_sum") => 1.0,
        _ if dims.len() > 1 => u * (6.0 / (count / dims[0]) as f64).sqrt(),
        Some("running_var") => 1.0 + u / 2.0,
        Some("weight") => 0.5 + u / 4.0,
        _ => u / 10.0,
    };
    let values: Vec<f32> = hashed(name, count).into_iter().map(|u| change(u) as f32).collect();
    match *dims {
        [outputs, height, width, inputs] => {
            let theirs = Tensor::from_vec(values, (outputs, inputs, height, width), &Device::Cpu)?;
            theirs.permute((0, 2, 3, 1))?.contiguous()
        }
        _ => Tensor::from_vec(values, dims, &Device::Cpu),
    }
}

/// The scripts' weights into a parameter of ours.
pub fn fill(name: &str, var: &Var) -> Result<()> {
    var.set(&value(name, var.dims())?)
}
