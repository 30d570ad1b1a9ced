"""KolektorSDD and KolektorSDD2: surfaces of electrical commutators, with cracks.

sdd: Tabernik, Sela, Skvarc, Skocaj, "Segmentation-based deep-learning approach for surface-defect detection", Journal
of Intelligent Manufacturing 31, 2020. kos01 ... kos50, one folder per commutator, with its surfaces Part0.jpg ... and a
mask Part0_label.bmp beside each. Every commutator has a defect somewhere, and the authors' splits are for supervised
learning; ours: a seeded share of the commutators is for the test, with all their surfaces, and the normal surfaces of
the others are learnt from, so that no commutator is in both.

sdd2: Bozic, Tabernik, Skocaj, "Mixed supervision for surface-defect detection: From weakly to fully supervised
learning", Computers in Industry 129, 2021. train/ and test/ with 10000.png and a mask 10000_GT.png beside each; the
authors' split, without the defective images of train/.

Whether an image is defective is what its mask says, so the masks are read to list the images.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from radar.data.listing import Listing, error, held_out, images, row

MASK = {"sdd": "_label.bmp", "sdd2": "_GT.png"}


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: test_fraction (share of the commutators of sdd that are for the test), seed."""
    result = Listing(mask_from=1, published=True)
    top, ending = folder / category, MASK[category]
    found = list(images(top, result.problems))
    test = held_out((path.parent.name for path in found), settings["test_fraction"], settings["seed"])
    names = {path.name for path in found}
    for path in found:
        if path.name.endswith(ending):
            if not any(path.name.removesuffix(ending) + suffix in names for suffix in (".jpg", ".png")):
                result.problems.append(error("mask without image", f"{path}: a mask without an image; restore the "
                                                                   "image, or remove the mask"))
            continue
        mask = path.with_name(path.stem + ending)
        if not mask.is_file():
            result.problems.append(error("image without mask", f"{path}: its mask {mask.name} is missing; restore it"))
            continue
        try:
            with Image.open(mask) as opened:
                defect = "crack" if category == "sdd" else "defect"
                defect = defect if np.asarray(opened.convert("L")).any() else ""
        except (OSError, SyntaxError, ValueError) as wrong:
            result.problems.append(error("unreadable", f"{mask}: cannot be read as an image ({wrong}); restore it"))
            continue
        part = path.parent.name
        split = part if category == "sdd2" else "test" if part in test else "train"
        if defect and split == "train":
            continue
        name, mask_name = (one.relative_to(folder).as_posix() for one in (path, mask))
        result.rows.append(row(name, split, defect, mask_name if defect else "", part if category == "sdd" else ""))
    return result
