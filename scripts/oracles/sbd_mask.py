"""A small mask in the form of the Semantic Boundaries Dataset (cls/ID.mat): writes tests/fixtures/mat/sbd_cls.mat.

    python scripts/oracles/sbd_mask.py

Made with SciPy. The structure GTcls has the classes of the pixels, sparse matrices of the boundaries and the list of the
classes; the label of the pixel in row y and column x is 3·y + x, as tests/data/voc.rs expects.
"""

from pathlib import Path

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_matrix

HEIGHT, WIDTH = 4, 5
rows, columns = np.mgrid[:HEIGHT, :WIDTH]
segmentation = (3 * rows + columns).astype(np.uint8)
boundaries = np.empty((20, 1), object)
for category in range(20):
    boundaries[category, 0] = csc_matrix(segmentation == category + 1)
truth = {"Boundaries": boundaries, "Segmentation": segmentation, "CategoriesPresent": np.unique(segmentation)}
path = Path(__file__).parents[2] / "tests/fixtures/mat/sbd_cls.mat"
savemat(path, {"GTcls": truth}, do_compression=True)
print(path, path.stat().st_size)
