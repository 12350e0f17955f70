//! What learned features are good for: PASCAL VOC classification, detection and segmentation, fine-tuned from the weights
//! of a pretext task (Zhang et al. 2016, section 3.2 and table 2).
