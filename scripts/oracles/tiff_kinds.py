"""Writes every kind of TIFF that tifffile, imagecodecs and Pillow write, and reads each back by tifffile, or by Pillow where
tifffile leaves colors as they are; converts to 8-bit RGB over white by NumPy.

    python -m venv v && v/bin/pip install tifffile imagecodecs pillow numpy
    v/bin/python scripts/oracles/tiff_kinds.py FOLDER

Writes FOLDER/NAME.tif with FOLDER/NAME.rgb (packed RGB bytes) beside it, and FOLDER/list.tsv: file, bytes, width, height.
Compared with the crate's decoder, all but JPEG compression are equal byte for byte.
"""

import itertools
import os
import sys

import numpy as np
import tifffile
from PIL import Image

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
lines = []
W, H = 50, 37
y, x = np.mgrid[0:H, 0:W].astype(float)
base = np.stack([0.5 + 0.45 * np.sin(x / 9 + y / 17), 0.5 + 0.45 * np.sin(x / 23 - y / 5 + 1), 0.5 + 0.45 * np.cos(x / 7 * y / 31)], -1)
alpha = np.clip((x + y) / (W + H) * 1.3 - 0.1, 0, 1)[..., None]


def note(name, rgb):
    rgb = np.clip(np.asarray(rgb, float), 0, 1)
    np.floor(rgb * 255 + 0.5).astype(np.uint8).tofile(f"{out}/{name}.rgb")
    lines.append(f"{out}/{name}.tif\t{out}/{name}.rgb\t{rgb.shape[1]}\t{rgb.shape[0]}\n")


def quantized(values, dtype):
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    top = float(np.iinfo(dtype).max)
    return np.minimum(np.floor(values * top + 0.5), np.nextafter(top, 0) if top > 2**53 else top).astype(dtype)


def share(stored):
    return stored.astype(np.float64) / (1.0 if stored.dtype.kind == "f" else float(np.iinfo(stored.dtype).max))


def save(name, stored, rgb, **kw):
    try:
        tifffile.imwrite(f"{out}/{name}.tif", stored, **kw)
        tifffile.imread(f"{out}/{name}.tif")
    except Exception as e:
        print("not written:", name, str(e)[:90])
        return
    note(name, rgb)


compressions = {"none": None, "lzw": "lzw", "deflate": "deflate", "adobe": "adobe_deflate", "zstd": "zstd", "packbits": "packbits"}
layouts = {"strip": {}, "rows": {"rowsperstrip": 5}, "tile": {"tile": (16, 32)}}
for (cname, comp), (lname, lay), dtype, big, order in itertools.product(
    compressions.items(), layouts.items(), ["u1", "u2", "u4", "u8", "f2", "f4", "f8"], [False, True], "<>"
):
    kw = dict(compression=comp, bigtiff=big, byteorder=order, metadata=None, **lay)
    predictors = {"": {}}
    if comp in ("lzw", "deflate", "zstd"):
        predictors["_pred"] = {"predictor": True}
    for pname, pred in predictors.items():
        tag = f"{cname}_{lname}_{dtype}_{'big' if big else 'cl'}{'le' if order == '<' else 'be'}{pname}"
        rgb, gray, a = quantized(base, dtype), quantized(base[..., 0], dtype), quantized(alpha, dtype)
        s = share(rgb)
        save("rgb_" + tag, rgb, s, photometric="rgb", **kw, **pred)
        save("gray_" + tag, gray, np.repeat(share(gray)[..., None], 3, -1), photometric="minisblack", **kw, **pred)
        if big and dtype != "u1":
            continue
        save("white0_" + tag, gray, 1 - np.repeat(share(gray)[..., None], 3, -1), photometric="miniswhite", **kw, **pred)
        both = np.concatenate([rgb, a], -1)
        over = s * share(a) + 1 - share(a)
        save("rgba_" + tag, both, over, photometric="rgb", extrasamples=["unassalpha"], **kw, **pred)
        pre = np.concatenate([quantized(share(rgb) * share(a), dtype), a], -1)
        save("premul_" + tag, pre, share(pre[..., :3]) + 1 - share(a), photometric="rgb", extrasamples=["assocalpha"], **kw, **pred)
        save("extra_" + tag, both, s, photometric="rgb", extrasamples=["unspecified"], **kw, **pred)
        ga = np.stack([gray, a[..., 0]], -1)
        g3 = np.repeat(share(gray)[..., None], 3, -1)
        save("graya_" + tag, ga, g3 * share(a) + 1 - share(a), photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig", **kw, **pred)
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
        save("planar_" + tag, planes, s, photometric="rgb", planarconfig="separate", **kw, **pred)
        planes4 = np.ascontiguousarray(both.transpose(2, 0, 1))
        save("planara_" + tag, planes4, over, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"], **kw, **pred)
        if np.dtype(dtype).kind == "u":
            cmyk = quantized(np.concatenate([base, alpha * 0.6], -1), dtype)
            c = share(cmyk)
            save("cmyk_" + tag, cmyk, (1 - c[..., :3]) * (1 - c[..., 3:]), photometric="separated", **kw, **pred)
        if dtype in ("u1", "u2"):
            n = 1 << np.dtype(dtype).itemsize * 8
            table = np.random.default_rng(0).integers(0, 256, (3, n)).astype(np.uint16)
            idx = quantized(base[..., 0], dtype)
            save("palette_" + tag, idx, table.T[idx] / 255.0, photometric="palette", colormap=table * 257, **kw, **pred)
# fewer than 8 bits, packed
for bits, layout in itertools.product([1, 2, 4], layouts):
    g = np.floor(base[..., 0] * (1 << bits)).astype(np.uint8)
    save(f"bits{bits}_{layout}", g.astype(bool) if bits == 1 else g, np.repeat(g[..., None] / ((1 << bits) - 1.0), 3, -1), photometric="minisblack", bitspersample=bits, metadata=None, **layouts[layout])
# Pillow (libtiff): palettes, bilevel with fax compression, JPEG with and without subsampling
rgb8 = quantized(base, "u1")
im = Image.fromarray(rgb8)
for comp in [None, "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd", "group3", "group4", "tiff_ccitt", "jpeg", "lzma", "webp"]:
    kinds = {"rgb": im, "l": im.convert("L"), "p": im.convert("P", palette=Image.ADAPTIVE, colors=200), "bw": im.convert("1"), "cmyk": im.convert("CMYK"), "rgba": Image.fromarray(quantized(np.concatenate([base, alpha], -1), "u1"), "RGBA"), "la": im.convert("L").convert("LA"), "ycc": im.convert("YCbCr"), "i16": Image.fromarray(quantized(base[..., 0], "u2")), "f": Image.fromarray(base[..., 0].astype("f4"))}
    for kind, picture in kinds.items():
        name = f"pillow_{kind}_{comp}"
        try:
            picture.save(f"{out}/{name}.tif", compression=comp, **({"quality": 90} if comp in ("jpeg", "webp") else {}))
            with Image.open(f"{out}/{name}.tif") as back:
                back.load()
        except Exception as e:
            print("not written:", name, str(e)[:90])
            continue
        if kind in ("i16", "f"):
            a = np.asarray(back).astype(float) / (65535 if kind == "i16" else 1)
            note(name, np.repeat(a[..., None], 3, -1))
        elif kind == "rgba":
            a = np.asarray(back).astype(float) / 255
            note(name, a[..., :3] * a[..., 3:] + 1 - a[..., 3:])
        elif kind == "cmyk":
            a = np.asarray(back).astype(float) / 255
            note(name, (1 - a[..., :3]) * (1 - a[..., 3:]))
        else:
            note(name, np.asarray(back.convert("RGB")) / 255.0)
# JPEG by tifffile: YCbCr with each subsampling, RGB, gray, in strips, tiles and planes; with the shared tables of libtiff above
for (lname, lay), sub in itertools.product(layouts.items(), [(1, 1), (2, 1), (2, 2)]):
    lay = {"tile": (16, 16)} if lname == "tile" else ({"rowsperstrip": 16} if lname == "rows" else {})
    for photo in ("ycbcr", "rgb"):
        name = f"jpeg_{photo}_{lname}_{sub[0]}{sub[1]}"
        try:
            kw = {"subsampling": sub} if photo == "ycbcr" else {}
            tifffile.imwrite(f"{out}/{name}.tif", rgb8, photometric=photo, compression="jpeg", compressionargs={"level": 92}, metadata=None, **kw, **lay)
            with Image.open(f"{out}/{name}.tif") as back:
                note(name, np.asarray(back.convert("RGB")) / 255.0)
            off = np.abs(tifffile.imread(f"{out}/{name}.tif").astype(int) - np.fromfile(f"{out}/{name}.rgb", np.uint8).reshape(H, W, 3)).max()
            if off:
                print(name, "tifffile and Pillow differ by", off)
        except Exception as e:
            print("not written:", name, str(e)[:90])
    save(f"jpeg_gray_{lname}_{sub[0]}{sub[1]}", rgb8[..., 0], np.repeat(rgb8[..., :1] / 255.0, 3, -1), photometric="minisblack", compression="jpeg", compressionargs={"level": 100}, metadata=None, **lay)
# several pages: the first counts
with tifffile.TiffWriter(f"{out}/pages.tif") as writer:
    writer.write(rgb8, photometric="rgb")
    writer.write(255 - rgb8, photometric="rgb")
note("pages", share(rgb8))
open(f"{out}/list.tsv", "w").writelines(lines)
print(len(lines), "files; tifffile", tifffile.__version__, "Pillow", Image.__version__)
