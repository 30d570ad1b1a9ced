"""Electroluminescence photographs of solar cells, from the package `elpv-dataset`.

Deitsch et al., "Segmentation of photovoltaic module cells in electroluminescence images", The Visual Computer 2021;
Buerhop-Lutz et al., EU PVSEC 2018. 2624 grey photographs of 300 x 300 px, each with the probability that the cell is
defective, as experts judged it: 0 is taken as normal, 1 as defective, the doubtful ones between are left out.

Image labels only: no masks, no severity. The cells come from 44 modules, but neither the file names nor the labels
say which cell is from which module, so there are no groups.
"""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from radar.data.layout import Picture


def pictures(category: str, settings: dict) -> Iterator[Picture]:
    """A seeded subset of the cells of one crystal type ("mono" or "poly").

    settings: size (px), train_normal, test_normal, test_defective (counts), seed.
    Raises FileNotFoundError if the package's photographs are missing, ValueError if there are too few.
    """
    n_train, n_normal, n_defective = (settings[key] for key in ("train_normal", "test_normal", "test_defective"))
    normal, defective = ([path for path, probability, kind in labels() if (kind, probability) == (category, certain)]
                         for certain in (0, 1))
    if n_train + n_normal > len(normal) or n_defective > len(defective):
        raise ValueError(f"elpv/{category} has {len(normal)} normal and {len(defective)} defective cells, fewer than "
                         "config/datasets/elpv.yaml asks for: lower train_normal, test_normal or test_defective")
    rng = np.random.default_rng(settings["seed"])
    normal = [normal[i] for i in rng.permutation(len(normal))[:n_train + n_normal]]
    defective = [defective[i] for i in rng.permutation(len(defective))[:n_defective]]
    for paths, split, defect in ((normal[:n_train], "train", ""), (normal[n_train:], "test", ""),
                                 (defective, "test", "defective")):
        for path in sorted(paths):
            yield Picture(read_cell(path, settings["size"]), split, defect)


def labels() -> list[tuple[Path, float, str]]:
    """(photograph, probability of a defect, "mono" or "poly") of every cell, in the package's order."""
    try:
        data = Path(str(files("elpv_dataset") / "data"))
        rows = [line.split() for line in (data / "labels.csv").read_text().splitlines() if line.strip()]
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(f"the photographs of the package elpv-dataset are missing ({error}): "
                                "install it again with pip install --force-reinstall elpv-dataset") from error
    return [(data / name, float(probability), kind) for name, probability, kind in rows]


def read_cell(path: Path, size: int) -> np.ndarray:
    """One cell as uint8 [size, size]. Pillow resamples uint8 in integers: the same bytes on every machine."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((size, size), Image.Resampling.BOX))
