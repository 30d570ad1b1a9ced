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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from radar.data.listing import Listing, error, images, row

SIDE, SIGMA = 128, 3.0


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: size_tolerance (px), correlation."""
    result = Listing(published=True)
    kept, sizes, details = [], [], []
    for path in images(folder, result.problems):
        if path.parent.name != "Imgs" or not path.parent.parent.name.startswith("MT_") or path.suffix != ".jpg":
            continue
        defect = path.parent.parent.name.removeprefix("MT_").lower().replace("free", "")
        mask = path.with_suffix(".png")
        if defect and not mask.is_file():
            result.problems.append(error("image without mask", f"{path}: its mask {mask.name} is missing; restore it"))
            continue
        try:
            size, detail = described(path)
        except (OSError, SyntaxError, ValueError) as wrong:
            result.problems.append(error("unreadable", f"{path}: cannot be read as an image ({wrong}); restore it"))
            continue
        kept.append(row(path.relative_to(folder).as_posix(), "test" if defect else "train", defect,
                        mask.relative_to(folder).as_posix() if defect else ""))
        sizes.append(size)
        details.append(detail)
    if not kept:
        return result
    groups = same_part(np.array(sizes), np.array(details), settings["size_tolerance"], settings["correlation"])
    with_defect = {group for group, one in zip(groups, kept, strict=True) if one["defect"]}
    for group, one in zip(groups, kept, strict=True):
        result.rows.append(one | {"group": f"tile{group:04d}", "split": "test" if group in with_defect else "train"})
    return result


def described(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """(width, height) of a photograph, and the fine detail of its logarithm, float32 [SIDE * SIDE] of norm 1."""
    with Image.open(path) as image:
        size = image.size
        grey = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    detail = np.log1p(grey)
    detail -= ndimage.gaussian_filter(detail, SIGMA)
    detail = (detail - detail.mean()).ravel()
    return size, detail / max(float(np.linalg.norm(detail)), 1e-12)


def same_part(sizes: np.ndarray, details: np.ndarray, size_tolerance: float, correlation: float) -> np.ndarray:
    """The number of the group of every photograph, int [N], from sizes [N, 2] and details [N, D] of norm 1."""
    first, second = [], []
    for i in range(len(details)):
        near = np.flatnonzero((np.abs(sizes[i + 1:] - sizes[i]) <= size_tolerance).all(1)) + i + 1
        alike = near[details[near] @ details[i] > correlation]
        first.extend([i] * len(alike))
        second.extend(alike.tolist())
    links = coo_array((np.ones(len(first)), (first, second)), (len(details), len(details)))
    return connected_components(links, directed=False)[1]
