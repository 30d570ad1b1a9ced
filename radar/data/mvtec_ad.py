"""MVTec AD, and every dataset published in its layout: a folder per category with train/, test/ and ground_truth/.

Bergmann, Batzner, Fauser, Sattlegger, Steger, "The MVTec Anomaly Detection Dataset", IJCV 129, 2021 (15 categories).
MPDD (Jezek, Jonak, Burget, Dvorak, Skotak, "Deep learning-based defect detection of metal parts", ICUMT 2021, six
categories) has the same layout. BTAD (Mishra, Verk, Fornasier, Piciarelli, Foresti, "VT-ADL: A Vision Transformer
Network for Image Anomaly Detection and Localization", ISIE 2021, three products) too, but that normal images lie in
ok/.
"""

from pathlib import Path

from radar.data import NORMAL, UNKNOWN
from radar.data.listing import Listing


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """settings: normal (what folders of normal images are called, "good" by default). The split is the authors'."""
    result = Listing(folder, published=True)
    add_layout(result, folder / category, **settings)
    return result


def add_layout(listing: Listing, top: Path, normal: str = "good") -> None:
    """List a folder in MVTec AD layout: splits, labels and defects are what the folders are called.

    Images lie in train/good, test/good and test/<defect> of `top`, their masks in ground_truth/<defect>, with the name
    of the image and `_mask` or nothing after it. A defect without a folder in ground_truth has image labels only.
    Images in train/ itself are normal, images in test/ itself have no label.
    """
    truth = top / "ground_truth"
    masks = {(mask.parent.name, mask.stem.removesuffix("_mask")): mask
             for mask in listing.images(truth) if mask.parent.name != normal}
    unused = dict(masks)
    for split in ("train", "test"):
        for path in listing.images(top / split):
            kind = path.relative_to(top / split).parts[:-1]
            if not kind:
                listing.add(path, split, label=NORMAL if split == "train" else UNKNOWN)
            elif kind == (normal,):
                listing.add(path, split)
            elif split == "train" or len(kind) > 1:
                listing.error("misplaced", f"{path}: the layout has no such place; move it to train/{normal}, "
                                           f"test/{normal} or test/<defect>")
            else:
                [defect] = kind
                mask = masks.get((defect, path.stem))
                unused.pop((defect, path.stem), None)
                listing.add(path, split, defect, mask)
                if not mask and (truth / defect).is_dir():
                    missing = truth / defect / f"{path.stem}_mask.png"
                    listing.error("image without mask", f"{path}: its mask {missing} is missing; add it, or remove "
                                                        f"{truth / defect} to use image labels only")
    for (defect, stem), path in unused.items():
        listing.error("mask without image", f"{path}: a mask without an image; add test/{defect}/{stem}.png, or remove "
                                            "the mask")
