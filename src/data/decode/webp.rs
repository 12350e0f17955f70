//! Inspects the chunks of a WebP without decoding it.

/// Whether the EXIF chunk ends within the file: the reader allocates the stated length unchecked. A chunk has a name,
/// a length and padding to an even length; the first starts at byte 12.
pub(super) fn exif_fits(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((&[a, b, c, d, e, f, g, h], after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([e, f, g, h]) as usize;
        if [a, b, c, d] == *b"EXIF" {
            return length <= after.len();
        }
        rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::exif_fits;
    use crate::data::decode::decode;
    use image::ImageFormat::WebP;
    use std::io::Cursor;

    /// A WebP of 3 × 1 pixels with an EXIF block that turns it upright, whose length is said to be `length`.
    fn turned(length: Option<u32>) -> Vec<u8> {
        let mut plain = Cursor::new(vec![]);
        image::RgbImage::new(3, 1).write_to(&mut plain, WebP).unwrap();
        let turn: &[u8] = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let block =
            |name: &[u8; 4], length: u32, data: &[u8]| [name, &length.to_le_bytes()[..], data].concat();
        let blocks = [
            block(b"VP8X", 10, &[8, 0, 0, 0, 2, 0, 0, 0, 0, 0]),
            plain.into_inner().split_off(12),
            block(b"EXIF", length.unwrap_or(turn.len() as u32), turn),
        ];
        let body = [&b"WEBP"[..], &blocks.concat()].concat();
        block(b"RIFF", body.len() as u32, &body)
    }

    #[test]
    fn an_exif_block_longer_than_its_file_is_passed_over() {
        let upright = decode(&turned(None)).unwrap();
        assert_eq!((upright.width, upright.height), (1, 3));
        assert!(exif_fits(&turned(None)));
        for length in [27, 1 << 31, u32::MAX] {
            let claims = turned(Some(length));
            assert!(!exif_fits(&claims), "{length} bytes are not there, and must not be asked for");
            assert_eq!(decode(&claims).unwrap().width, 3);
        }
        assert!(!exif_fits(b"RIFF"));
    }
}
