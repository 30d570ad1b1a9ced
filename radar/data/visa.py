"""VisA, the Visual Anomaly dataset: twelve objects, the one-class split that comes with it.

Zou, Jeong, Pemula, Zhang, Dabeer, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022. split_csv/1cls.csv names object, split, label, image and mask of every image; the pixels of a
mask are numbers of kinds of defects, 0 where there is none. What kinds an image has stands in <object>/image_anno.csv,
in words that hardly repeat, so the defect is called "anomaly" here.
"""

from pathlib import Path

import pandas as pd

from radar.data.listing import Listing


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """No settings: the split is the authors'."""
    result = Listing(folder, published=True, mask_from=1)
    path = folder / "split_csv" / "1cls.csv"
    try:
        table = pd.read_csv(path, usecols=["object", "split", "label", "image", "mask"], dtype=str,
                            keep_default_na=False)
    except (OSError, ValueError) as error:
        result.error("split", f"{path}: cannot be read ({' '.join(str(error).split())}); unpack the whole archive of "
                              f"VisA in {folder}")
        return result
    for line in table[table["object"] == category].itertuples():
        if line.split not in ("train", "test") or line.label not in ("normal", "anomaly"):
            result.error("split", f"{path}: line {line.Index + 2}: split is '{line.split}', label '{line.label}'; "
                                  "restore the file")
        elif line.label == "normal":
            result.add(folder / line.image, line.split)
        else:
            result.add(folder / line.image, line.split, "anomaly", folder / line.mask if line.mask else None)
    return result
