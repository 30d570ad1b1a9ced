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

from PIL import Image

from radar.data.listing import Listing, held_out


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: test_fraction (share of the commutators of sdd that are for the test), seed."""
    result = Listing(folder, published=True, mask_from=1)
    ending, defect = {"sdd": ("_label.bmp", "crack"), "sdd2": ("_GT.png", "defect")}[category]
    found = list(result.images(folder / category))
    test = held_out((path.parent.name for path in found), settings["test_fraction"], settings["seed"])
    masks = {path.with_name(path.stem + ending): path for path in found if not path.name.endswith(ending)}
    for mask in found:
        if mask.name.endswith(ending) and mask not in masks:
            result.error("mask without image", f"{mask}: a mask without an image; restore the image, or remove the "
                                               "mask")
    for mask, path in masks.items():
        part = path.parent.name
        split, group = (part, "") if category == "sdd2" else ("test" if part in test else "train", part)
        try:
            with Image.open(mask) as opened:
                normal = opened.convert("L").getbbox() is None
        except (OSError, SyntaxError, ValueError):
            normal, split = False, "test"  # read again, and told, when all files are
        if normal:
            result.add(path, split, group=group)
        elif split == "test":
            result.add(path, split, defect, mask, group)
    return result
