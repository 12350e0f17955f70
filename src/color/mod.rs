//! Colour: sRGB ↔ Lab, the quantised ab bins, soft encoding and decoding, the colour prior. No learning words.

pub mod lab;

mod uploaded; // tables of numbers on the device

pub mod bins;
mod cells; // lookup of the bins near a colour

pub mod nearest;

pub mod decode;
pub mod encode;

pub mod prior;
pub mod prior_file;
