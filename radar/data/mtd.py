"""Magnetic tiles (MTD): 1344 photographs of tiles, five kinds of defects, as the authors' repository has them.

Huang, Qiu, Yuan, "Surface defect saliency of magnetic tile", The Visual Computer 36, 2020. MT_<class>/Imgs/<name>.jpg,
a mask <name>.png beside each, MT_Free is normal; about an eighth of the mask pixels that are not 0 are grey.

Each tile was photographed about six times, at different exposures, and nothing says which photographs show the same
tile. Ours: two photographs are of one tile if their sizes differ by at most `size_tolerance` px and the logarithms of
their grey values, at 128 x 128 px and without what is wider than a Gaussian of 3 px, correlate above `correlation`;
such pairs are linked to groups. A group with a defective photograph belongs to the test, with its normal photographs,
and the other groups to the training.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from radar.data.listing import Listing

SIDE, SIGMA = 128, 3.0


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: size_tolerance (px), correlation."""
    result = Listing(folder, published=True)
    paths = [path for path in result.images(folder) if path.match("MT_*/Imgs/*.jpg")]
    if not paths:
        return result
    sizes, details = map(np.array, zip(*map(described, paths), strict=True))
    near = (np.abs(sizes[:, None] - sizes) <= settings["size_tolerance"]).all(axis=2)
    alike = details @ details.T > settings["correlation"]
    groups = connected_components(near & alike, directed=False)[1]
    defects = [path.parts[-3].removeprefix("MT_").lower().replace("free", "") for path in paths]
    with_defect = {group for group, defect in zip(groups, defects, strict=True) if defect}
    for path, defect, group in zip(paths, defects, groups, strict=True):
        mask = path.with_suffix(".png") if defect else None
        result.add(path, "test" if group in with_defect else "train", defect, mask, f"tile{group:04d}")
    return result


def described(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """(width, height) of a photograph, and the fine detail of its logarithm, float32 [SIDE * SIDE] of norm 1.

    One that cannot be read is like no other; it is told when all files are read.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    except (OSError, SyntaxError, ValueError):
        return (0, 0), np.zeros(SIDE * SIDE, np.float32)
    detail = np.log1p(grey)
    detail -= ndimage.gaussian_filter(detail, SIGMA)
    detail = (detail - detail.mean()).ravel()
    return size, detail / max(float(np.linalg.norm(detail)), 1e-12)
