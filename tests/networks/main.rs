//! Layers, optimizers, backbones, their initialization, and weight files of every kind.

mod alexnet;
mod candle_nn;
mod colorizers;
mod conventions;
mod hashed;
mod initialization;
mod layers;
mod module;
mod named;
mod optim;
mod resnet;
mod vgg;
mod vgg16;
mod weights;
