//! Color: sRGB ↔ Lab, the quantized ab bins, soft encoding and decoding, the color prior. Independent of training.

pub mod lab;

mod uploaded; // tables of numbers on the device

pub mod bins;
mod cells; // lookup of the bins near a color

pub mod nearest;

pub mod decode;
pub mod encode;

pub mod prior;
pub mod prior_file;
