//! PASCAL VOC's devkit on disk: annotations in XML, class masks as palette PNGs.

pub mod mask; // class masks, the colour map
pub mod xml; // one annotation

/// The classes in the devkit's order; a label of a mask is the position plus one.
pub const CLASSES: [&str; 20] = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
];
