"""Makes JPEGs of 256 pixels that cost a decoder what photographs do: noise of every scale in related colors, quality 90.

    python gpu_photographs.py DIR COUNT

Files that are there stay. Prints how many there are and their mean size.
"""
import multiprocessing
import pathlib
import sys

import numpy
from PIL import Image

SIDE = 256


def picture(job):
    path, number = job
    if path.exists():
        return path.stat().st_size
    rng = numpy.random.default_rng(number)
    total = numpy.zeros((SIDE, SIDE, 3), numpy.float32)
    for side in (2, 4, 8, 16, 32, 64, 128, 256):
        # the finer, the grayer, as light on a scene's surfaces is
        gray = rng.normal(size=(side, side, 1))
        color = rng.normal(size=(side, side, 3)) * min(1.0, 16 / side)
        noise = ((gray + color) * 20 + 128).clip(0, 255).astype(numpy.uint8)
        up = Image.fromarray(noise).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        total += (numpy.asarray(up, numpy.float32) - 128) * (2 / side) ** 0.3
    partial = path.with_suffix(".tmp")
    Image.fromarray((total + 128).clip(0, 255).astype(numpy.uint8)).save(partial, "JPEG", quality=90)
    partial.rename(path)
    return path.stat().st_size


def main():
    folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder / f"{n:06}.jpg", n) for n in range(count)]
    with multiprocessing.Pool() as pool:
        sizes = pool.map(picture, jobs, chunksize=16)
    print(f"{len(sizes)} JPEGs of {SIDE} pixels, {sum(sizes) / len(sizes) / 1e3:.1f} kB each, in {folder}")


if __name__ == "__main__":
    main()
