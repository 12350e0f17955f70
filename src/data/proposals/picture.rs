//! Draws boxes on an image, for inspection.

use crate::{boxes::Rect, data::dataset::RgbImage};

/// Draws the boxes from yellow (first) to dark red (last), the first on top.
pub fn draw(image: &mut RgbImage, boxes: &[Rect]) {
    let last = boxes.len().max(2) - 1;
    for (rank, rect) in boxes.iter().enumerate().rev() {
        let late = rank as f32 / last as f32;
        let fade = |from: f32, to: f32| (from + (to - from) * late) as u8;
        frame(image, rect, [fade(255.0, 120.0), fade(230.0, 0.0), 0]);
    }
}

fn frame(image: &mut RgbImage, rect: &Rect, color: [u8; 3]) {
    if image.width == 0 || image.height == 0 {
        return;
    }
    let rect = rect.clipped((image.width, image.height));
    let (left, right) = (rect.x1 as usize, rect.x2 as usize);
    let (top, bottom) = (rect.y1 as usize, rect.y2 as usize);
    let mut dot = |x: usize, y: usize| {
        let at = 3 * (y * image.width + x);
        if let Some(pixel) = image.pixels.get_mut(at..at + 3) {
            pixel.copy_from_slice(&color);
        }
    };
    for x in left..=right {
        dot(x, top);
        dot(x, bottom);
    }
    for y in top..=bottom {
        dot(left, y);
        dot(right, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_keep_what_is_inside() {
        let mut image = RgbImage { width: 5, height: 4, pixels: vec![9; 60] };
        draw(&mut image, &[Rect::new(1., 0., 9., 2.)]);
        let yellow: Vec<usize> = (0..20).filter(|&p| image.pixels[3 * p] == 255).collect();
        assert_eq!(yellow, [1, 2, 3, 4, 6, 9, 11, 12, 13, 14]);
        assert_eq!(image.pixels[3 * 7], 9, "the inside");
        draw(&mut image, &[]);
    }
}
