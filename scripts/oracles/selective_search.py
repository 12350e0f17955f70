"""OpenCV's Selective Search on a few real photographs: how many boxes, and how well each object is covered.

Run: python scripts/oracles/selective_search.py DATA, with opencv-contrib-python-headless. DATA holds voc2012_small; no
picture and no annotation is stored. The settings are those of the fast mode: sigma 0.8, k from 50 in steps of 50, pictures
of 500 pixels in width, boxes of 20 pixels a side and more. The order of the boxes is chance, and is not compared.
"""

import json
import pathlib
import sys
import xml.etree.ElementTree as ET

import cv2
import numpy as np

STEP = 80  # every 80th annotated picture
SMALLEST = 20


def objects(path):
    """Corners from 0 of the objects that are not difficult."""
    found = [o for o in ET.parse(path).getroot().iter("object") if o.findtext("difficult", "0") == "0"]
    corners = ("xmin", "ymin", "xmax", "ymax")
    return [[float(o.find("bndbox").findtext(c)) - 1 for c in corners] for o in found]


def overlaps(boxes, truth):
    width = np.minimum(boxes[:, 2], truth[2]) - np.maximum(boxes[:, 0], truth[0]) + 1
    height = np.minimum(boxes[:, 3], truth[3]) - np.maximum(boxes[:, 1], truth[1]) + 1
    common = np.clip(width, 0, None) * np.clip(height, 0, None)
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    return common / (area + (truth[2] - truth[0] + 1) * (truth[3] - truth[1] + 1) - common)


def search(path):
    picture = cv2.imread(str(path))
    scale = 500 / picture.shape[1]
    picture = cv2.resize(picture, (500, round(picture.shape[0] * scale)), interpolation=cv2.INTER_AREA)
    selective = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    selective.setBaseImage(picture)
    selective.switchToSelectiveSearchFast(50, 50, 0.8)
    x, y, w, h = np.asarray(selective.process(), dtype=float).T
    boxes = np.stack([x, y, x + w - 1, y + h - 1], axis=1)[(w >= SMALLEST) & (h >= SMALLEST)]
    return boxes / scale


def main():
    voc = pathlib.Path(sys.argv[1]) / "voc2012_small/VOCdevkit/VOC2012"
    pictures = {}
    for annotation in sorted(voc.glob("Annotations/*.xml"))[::STEP]:
        boxes = search(voc / "JPEGImages" / f"{annotation.stem}.jpg")
        best = [round(float(overlaps(boxes, truth).max()), 4) for truth in objects(annotation)]
        pictures[annotation.stem] = {"boxes": len(boxes), "best": best}
        print(annotation.stem, len(boxes), best, flush=True)
    stored = {"opencv": cv2.__version__, "pictures": pictures}
    out = pathlib.Path(__file__).with_suffix(".json")
    out.write_text(json.dumps(stored, indent=1) + "\n")


main()
