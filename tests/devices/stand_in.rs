//! Counts of the stand-in libraries, and what a training step may ask of the device. Counts are those of the whole
//! process, so these tests are ignored by default and take turns.

use super::{
    gpu, skipping,
    training::{Steps, small_alexnet, small_vgg, turn},
};
use candle_core::{DType, Device, Result, Tensor};
use hueristic::{
    device::{self, Precision},
    nn::params::ParamKind,
    ops::conv::{ConvGeometry, conv2d, conv2d_relu},
};
use std::ffi::{CStr, c_char, c_void};

/// A count of the stand-in since its start (`scripts/stand_in/stand_in.h`), of all names in the table without one; None
/// on a GPU.
pub fn count(table: &CStr, name: Option<&CStr>) -> Option<u64> {
    unsafe extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    type Count = unsafe extern "C" fn(*const c_char, *const c_char) -> u64;
    // SAFETY: a null handle means all libraries of the process; the function takes two names and gives a number.
    unsafe {
        let count = dlsym(std::ptr::null_mut(), c"stand_in_count".as_ptr());
        let count: Option<Count> = std::mem::transmute(count);
        count.map(|count| count(table.as_ptr(), name.map_or(std::ptr::null(), CStr::as_ptr)))
    }
}

/// By how much a count grows while `work` runs; None, with a message, without the stand-in.
pub fn counted<T>(table: &CStr, name: &CStr, work: impl FnOnce() -> T) -> Option<(u64, T)> {
    let Some(before) = count(table, Some(name)) else {
        skipping::skipped("no stand-in for the GPU", "only it counts");
        return None;
    };
    let result = work();
    count(table, Some(name)).map(|after| (after - before, result))
}

/// What `conv2d` and `conv2d_relu` of x in `dtype` call for a bias: (cuDNN's fused calls, its plain ones, finishing kernels).
fn finishes(device: &Device, dtype: DType, biased: bool) -> Result<Option<[u64; 3]>> {
    let ones = |dims: &[usize], dtype| Tensor::ones(dims, dtype, device);
    let (x, w, bias) =
        (ones(&[2, 6, 6, 8], dtype)?, ones(&[16, 3, 3, 8], DType::F32)?, ones(&[16], DType::F32)?);
    let counts = || -> Option<[u64; 3]> {
        let finish = if dtype == DType::BF16 { c"finish_vectors_bf16" } else { c"finish_vectors_f32" };
        Some([
            count(c"library_calls", Some(c"cudnnConvolutionBiasActivationForward"))?,
            count(c"library_calls", Some(c"cudnnConvolutionForward"))?,
            count(c"launches", Some(finish))?,
        ])
    };
    let Some(before) = counts() else { return Ok(None) };
    let bias = biased.then_some(&bias);
    let results =
        [conv2d(&x, &w, bias, ConvGeometry::default())?, conv2d_relu(&x, &w, bias, ConvGeometry::default())?];
    for y in results {
        let y = y.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        assert!(y.iter().all(|v| *v == if biased { 73.0 } else { 72.0 }));
    }
    let after = counts().unwrap_or(before);
    Ok(Some(std::array::from_fn(|i| after[i] - before[i])))
}

/// Bias and ReLU cost no pass over the result of their own, except where cuDNN refuses them.
#[test]
#[ignore = "counts for the whole process: run it alone"]
fn bias_and_relu_are_computed_in_cudnns_call() -> Result<()> {
    let Some(device) = gpu() else { return Ok(()) };
    let _turn = turn();
    let with_bias = match std::env::var("STAND_IN_CUDNN").as_deref() {
        Err(_) => [2, 0, 0],
        Ok("unfused") => [0, 2, 2],
        Ok(_) => {
            skipping::skipped("no cuDNN", "the stand-in was told to have none");
            return Ok(());
        }
    };
    for dtype in [DType::F32, DType::BF16] {
        let Some(biased) = finishes(&device, dtype, true)? else {
            skipping::skipped("no stand-in for the GPU", "only it counts");
            return Ok(());
        };
        assert_eq!(biased, with_bias, "{dtype:?}");
        // a ReLU alone has no bias to give to the fused call
        assert_eq!(finishes(&device, dtype, false)?, Some([0, 2, 1]), "{dtype:?}");
    }
    Ok(())
}

/// A training step narrows each layer's filters once, for both of its passes over them.
#[test]
#[ignore = "counts for the whole process: run it alone"]
fn filters_are_narrowed_once_a_step() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    device::set(Precision::Bf16, true);
    let mut run = Steps::new(&small_alexnet(), &gpu);
    run.step(0);
    let narrowed = counted(c"launches", c"narrow_f32_bf16", || drop(run.step(1)));
    let fused = counted(c"library_calls", c"cudnnConvolutionBiasActivationForward", || drop(run.step(2)));
    device::set(Precision::F32, true);
    let Some(((narrowed, ()), (fused, ()))) = narrowed.zip(fused) else { return };
    let filters = run.params().iter().filter(|p| p.kind == ParamKind::Weight).count() as u64;
    // the fused calls read a narrow bias
    assert_eq!(narrowed, filters + fused);
}

/// Nothing but the batch is copied to the device: constants are there from the first step on.
#[test]
#[ignore = "counts for the whole process: run it alone"]
fn a_step_copies_nothing_to_the_device() {
    let Some(gpu) = gpu() else { return };
    let _turn = turn();
    for (backbone, precision) in [(small_alexnet(), Precision::Bf16), (small_vgg(), Precision::F32)] {
        device::set(precision, true);
        let mut run = Steps::new(&backbone, &gpu);
        run.step(0);
        let copies = counted(c"tallies", c"copies to device", || (1..3).for_each(|i| drop(run.step(i))));
        device::set(Precision::F32, true);
        let Some((copies, ())) = copies else { return };
        assert_eq!(copies, 0, "{backbone:?}, {precision:?}");
    }
}

/// Pictures of many sizes, as in detection and segmentation, do not fill the memory with descriptors.
#[test]
#[ignore = "counts for the whole process: run it alone"]
fn plans_of_many_sizes_are_dropped() -> Result<()> {
    let Some(device) = gpu() else { return Ok(()) };
    let _turn = turn();
    let w = Tensor::ones((8, 3, 3, 8), DType::F32, &device)?;
    let of_width = |width: usize| -> Result<f32> {
        let x = Tensor::ones((1, 3, width, 8), DType::F32, &device)?;
        conv2d(&x, &w, None, ConvGeometry::default())?.max_all()?.to_device(&Device::Cpu)?.to_scalar()
    };
    let many = |widths: std::ops::Range<usize>| widths.map(of_width).collect::<Result<Vec<_>>>();
    let descriptors = || count(c"tallies", Some(c"cuDNN descriptors"));
    many(3..703)?;
    let Some(full) = descriptors() else {
        skipping::skipped("no stand-in for the GPU", "only it counts");
        return Ok(());
    };
    let sums = many(703..803)?;
    assert_eq!(descriptors(), Some(full), "the descriptors of a dropped plan are destroyed");
    assert!(sums.iter().all(|v| *v == 72.0));
    assert_eq!(of_width(3)?, 72.0, "a dropped plan is made again");
    Ok(())
}
