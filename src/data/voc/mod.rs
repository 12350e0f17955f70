//! PASCAL VOC's devkit on disk: annotations in XML, class masks as palette PNGs.

pub mod mask; // class masks, the colour map
pub mod xml; // one annotation
