#!/usr/bin/env python3
"""Makes tests/fixtures/images: small pictures in forms that the Rust encoders do not write.

    python scripts/oracles/images.py tests/fixtures/images

Every picture shows four flat quadrants, 24×16 pixels: red and green above, blue and white below. tests/data/decode.rs
states those colors itself, so that nothing here is an oracle but Pillow's encoders. Needs Pillow.
"""

import sys
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 24, 16
RED, GREEN, BLUE, WHITE = (200, 30, 40), (20, 160, 60), (30, 50, 180), (250, 250, 250)


def quadrants():
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for i, color in enumerate((RED, GREEN, BLUE, WHITE)):
        corner = (i % 2 * WIDTH // 2, i // 2 * HEIGHT // 2)
        image.paste(color, (*corner, corner[0] + WIDTH // 2, corner[1] + HEIGHT // 2))
    return image


def cmyk_with_black(image):
    """The same colors with as much of them as possible printed in black ink."""
    out = Image.new("CMYK", image.size)
    for y in range(image.height):
        for x in range(image.width):
            rgb = image.getpixel((x, y))
            top = max(rgb)
            ink = [round(255 * (1 - c / top)) for c in rgb]
            out.putpixel((x, y), (*ink, 255 - top))
    return out


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    image = quadrants()
    fine = {"quality": 95, "subsampling": 0}
    cmyk_with_black(image).save(folder / "cmyk.jpg", **fine)
    cmyk_with_black(image).save(folder / "cmyk.tif")
    image.save(folder / "progressive.jpg", progressive=True, **fine)
    # stored lying on its left side; orientation 6 asks a viewer to turn it clockwise
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif, **fine)
    image.quantize(4).save(folder / "palette.png")
    image.save(folder / "lossy.webp", quality=95)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
