//! Runs a test body on the CPU and on a GPU where there is one.

use candle_core::{Device, Result};
use hueristic::device::available_devices;
use std::{cell::RefCell, sync::OnceLock};

thread_local! {
    static CURRENT: RefCell<Device> = const { RefCell::new(Device::Cpu) };
}

/// The device of the running body.
pub fn device() -> Device {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs `body` on the CPU and on the first GPU, and names the one it fails on. A thread works on one GPU: memory of another that
/// it frees is freed on a stream of that one, which NVIDIA's documentation does not promise to work.
pub fn on_every_device<T: Outcome>(body: impl Fn() -> T) {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    for device in DEVICES.get_or_init(|| available_devices().into_iter().take(2).collect()) {
        CURRENT.set(device.clone());
        body().expect_on(device);
    }
    CURRENT.set(Device::Cpu);
}

/// What a body may end with.
pub trait Outcome {
    fn expect_on(self, device: &Device);
}

impl Outcome for () {
    fn expect_on(self, _: &Device) {}
}

impl Outcome for Result<()> {
    fn expect_on(self, device: &Device) {
        if let Err(error) = self {
            panic!("on {:?}: {error}", device.location());
        }
    }
}
