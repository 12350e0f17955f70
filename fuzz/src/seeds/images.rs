//! Pictures of a few pixels: every color type of the encoders at hand, and TIFF with its tags set one by one.

use image::{DynamicImage, ImageFormat};
use std::io::Cursor;

/// Every format and color type that `image` writes, 5 × 4 pixels.
pub fn encoded(formats: &[ImageFormat]) -> Vec<Vec<u8>> {
    let picture = DynamicImage::ImageRgba8(image::RgbaImage::from_fn(5, 4, |x, y| {
        image::Rgba([(x * 50) as u8, (y * 60) as u8, (x * y * 9) as u8, 255 - (x * 20) as u8])
    }));
    let kinds = [
        picture.to_luma8().into(),
        picture.to_luma_alpha8().into(),
        picture.to_rgb8().into(),
        picture.to_rgba16().into(),
        DynamicImage::ImageLuma16(picture.to_luma16()),
        DynamicImage::ImageRgb32F(picture.to_rgb32f()),
        picture,
    ];
    let encode = |kind: &DynamicImage, format| {
        let mut bytes = Cursor::new(vec![]);
        kind.write_to(&mut bytes, format).ok().map(|()| bytes.into_inner())
    };
    formats.iter().flat_map(|&format| kinds.iter().filter_map(move |kind| encode(kind, format))).collect()
}

/// What is stored of a TIFF's picture of 4 × 4 pixels, by the format's own numbers.
struct Layout {
    photometric: u16,
    samples: u16,
    bits: u16,
    /// 1 unsigned, 2 signed, 3 float
    format: u16,
    /// 0 none said, 1 associated, 2 unassociated alpha
    alpha: u16,
    /// 1 interleaved, 2 planes
    planar: u16,
    compression: u16,
    tiled: bool,
}

const PLAIN: Layout = Layout {
    photometric: 2,
    samples: 3,
    bits: 8,
    format: 1,
    alpha: 0,
    planar: 1,
    compression: 1,
    tiled: false,
};

/// TIFF of both byte orders: gray, inverted, palette, RGB, CMYK, CIELab; 1 to 64 bits, float; alpha of both kinds; planes;
/// tiles; every compression by name.
pub fn tiffs() -> Vec<Vec<u8>> {
    let color = |photometric, samples| Layout { photometric, samples, ..PLAIN };
    let deep = |bits, format| Layout { bits, format, ..PLAIN };
    let mut layouts: Vec<Layout> =
        [(0, 1), (1, 1), (2, 3), (3, 1), (5, 4), (6, 3), (8, 3)].map(|(p, s)| color(p, s)).into();
    layouts.extend([(16, 1), (32, 1), (64, 1), (32, 3), (64, 3), (16, 2), (16, 3)].map(|(b, f)| deep(b, f)));
    layouts.extend([1, 2, 4, 16, 32].map(|bits| Layout { bits, ..color(1, 1) }));
    layouts.extend([1, 2, 4].map(|bits| Layout { bits, ..color(3, 1) }));
    layouts.extend([1, 2].map(|alpha| Layout { samples: 4, alpha, ..PLAIN }));
    layouts.extend([Layout { samples: 2, alpha: 2, ..color(1, 2) }, Layout { planar: 2, ..PLAIN }]);
    layouts.extend([2, 4, 5, 7, 8, 32773, 32946, 50000].map(|compression| Layout { compression, ..PLAIN }));
    layouts.extend([1, 5, 8].map(|compression| Layout { tiled: true, compression, ..PLAIN }));
    layouts.iter().flat_map(|layout| [layout.file(false), layout.file(true)]).collect()
}

/// A TIFF's numbers in one byte order.
#[derive(Clone, Copy)]
struct Order {
    big: bool,
}

impl Order {
    fn short(self, n: u16) -> [u8; 2] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
    fn long(self, n: u32) -> [u8; 4] {
        if self.big { n.to_be_bytes() } else { n.to_le_bytes() }
    }
}

/// The samples begin behind the header, and end where the values of tags that have many begin.
const START: usize = 8;
const SAMPLES: usize = 2048;

impl Layout {
    fn file(&self, big: bool) -> Vec<u8> {
        let order = Order { big };
        let samples = (0..SAMPLES).map(|i| (i * 7) as u8);
        let mut values: Vec<u8> = vec![];
        let mut directory = order.short(self.tags().len() as u16).to_vec();
        for (tag, numbers) in self.tags() {
            directory.extend([order.short(tag), order.short(3)].concat());
            directory.extend(order.long(numbers.len() as u32));
            let mut bytes: Vec<u8> = numbers.iter().flat_map(|&n| order.short(n)).collect();
            if bytes.len() > 4 {
                directory.extend(order.long((START + SAMPLES + values.len()) as u32));
                values.append(&mut bytes);
            } else {
                bytes.resize(4, 0);
                directory.append(&mut bytes);
            }
        }
        let mut file = if big { b"MM".to_vec() } else { b"II".to_vec() };
        file.extend(order.short(42));
        file.extend(order.long((START + SAMPLES + values.len()) as u32));
        file.extend(samples);
        [file, values, directory, vec![0; 4]].concat()
    }

    /// Tags in their order, of numbers of 16 bits.
    fn tags(&self) -> Vec<(u16, Vec<u16>)> {
        let each = usize::from(self.samples);
        let parts = if self.planar == 2 { each } else { 1 };
        let length = (SAMPLES / parts) as u16;
        let starts: Vec<u16> = (0..parts as u16).map(|part| START as u16 + part * length).collect();
        let mut tags = vec![
            (256, vec![4]),
            (257, vec![4]),
            (258, vec![self.bits; each]),
            (259, vec![self.compression]),
            (262, vec![self.photometric]),
            (277, vec![self.samples]),
            (284, vec![self.planar]),
            (339, vec![self.format; each]),
        ];
        tags.extend(if self.tiled {
            vec![(322, vec![16]), (323, vec![16]), (324, starts), (325, vec![length; parts])]
        } else {
            vec![(273, starts), (278, vec![4]), (279, vec![length; parts])]
        });
        if self.photometric == 3 {
            tags.push((320, (0..3u16 << self.bits.min(8)).map(|i| i.wrapping_mul(251)).collect()));
        }
        if self.alpha > 0 {
            tags.push((338, vec![self.alpha]));
        }
        tags.sort_unstable();
        tags
    }
}
