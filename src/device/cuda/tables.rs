//! Small constant tables in device memory, each uploaded once.

use crate::device::lru::LruMap;
use candle_core::{CudaDevice, DType, Device, Result, Tensor, WithDType, cuda_backend::DeviceId};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Device, dtype and numbers as bits of f64, which represents those of every table.
type Key = (DeviceId, DType, Vec<u64>);

/// Most tables of the process. Those of one network and picture size are a few; other sizes bring others.
const MOST_TABLES: usize = 256;

static TABLES: LazyLock<Mutex<LruMap<Key, Tensor>>> = LazyLock::new(|| Mutex::new(LruMap::new(MOST_TABLES)));

/// `numbers` in one dimension; the same memory for the same numbers, so it is only to be read.
pub(in crate::device) fn kept_table<T: WithDType>(device: &CudaDevice, numbers: &[T]) -> Result<Tensor> {
    let bits = numbers.iter().map(|v| v.to_f64().to_bits()).collect();
    let key = (device.id(), T::DTYPE, bits);
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(table) = tables.get(&key) {
        return Ok(table.clone());
    }
    let table = Tensor::from_slice(numbers, numbers.len(), &Device::Cuda(device.clone()))?;
    tables.insert(key, table.clone());
    Ok(table)
}
