"""Anomaly maps as TIFF files, in the layout that the evaluation code published with MVTec AD reads.

    <out>/<category>/test/<defect or good>/<name of the image>.tiff

float32, at the size of the original image (bilinear interpolation where it was scored smaller), so that they can be
laid over the original masks.
"""

from pathlib import Path

from PIL import Image

from radar.data import manifest
from radar.files import atomic
from radar.images.map_archive import read_maps


def main(run: Path, out: Path) -> int:
    """Write the maps of results/<dataset>/<category>/<method>/seed<k>.

    Raises ValueError or OSError, in one line, if the run has no maps, or two images the same name and defect.
    """
    if not (run / "maps.npz").is_file():
        raise ValueError(f"{run} holds no maps.npz; give results/<dataset>/<category>/<method>/seed<k>")
    test = manifest.read(run.parent.parent / "manifest.csv").set_index("path")
    written: set[Path] = set()
    for name, anomaly_map in read_maps(run / "maps.npz"):
        row = test.loc[name]
        target = out / run.parts[-3] / "test" / (row["defect"] or "good") / f"{Path(name).stem}.tiff"
        if target in written:
            raise ValueError(f"{name}: another test image has the same name and defect, {target}; rename one of them")
        written.add(target)
        image = Image.fromarray(anomaly_map)
        if image.size != (size := (int(row["width"]), int(row["height"]))):
            image = image.resize(size, Image.Resampling.BILINEAR)
        with atomic(target) as temporary:
            image.save(temporary)
    print(f"{len(written)} maps: {out}")
    return 0
