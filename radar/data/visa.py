"""VisA, the Visual Anomaly dataset: twelve objects, the one-class split that comes with it.

Zou, Jeong, Pemula, Zhang, Dabeer, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation", ECCV 2022. split_csv/1cls.csv names object, split, label, image and mask of every image; the pixels of a
mask are numbers of kinds of defects, 0 where there is none. What kinds an image has stands in <object>/image_anno.csv,
in words that hardly repeat, so the defect is called "anomaly" here.
"""

import csv
from pathlib import Path

from radar.data.listing import Listing, error, row

COLUMNS = ("object", "split", "label", "image", "mask")


def listing(folder: Path, category: str, settings: dict) -> Listing:
    """No settings: the split is the authors'."""
    result = Listing(mask_from=1, published=True)
    table = folder / "split_csv" / "1cls.csv"
    if not table.is_file():
        result.problems.append(error("split", f"{table} is missing; unpack the whole archive of VisA in {folder}"))
        return result
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
            result.problems.append(error("split", f"{table}: no column {', '.join(missing)}; restore the file from the "
                                                  "archive of VisA"))
            return result
        for line in reader:
            if line["object"] != category:
                continue
            if line["split"] not in ("train", "test") or line["label"] not in ("normal", "anomaly"):
                result.problems.append(error("split", f"{table}: line {reader.line_num}: split is '{line['split']}', "
                                                      f"label '{line['label']}'; restore the file"))
                continue
            defect = "anomaly" if line["label"] == "anomaly" else ""
            result.rows.append(row(line["image"], line["split"], defect, line["mask"] or "" if defect else ""))
    return result
