"""Scoring the images of a dataset with a detector, and holding the detector to what it promised."""

import numpy as np
import pandas as pd
import torch

from radar.images.image_set import ImageSet, to_unit
from radar.images.map_archive import MapWriter
from radar.method.detector import Detector, MethodError, Prediction
from radar.progress import progress


@torch.inference_mode()
def score_images(detector: Detector, images: ImageSet, *, method: str, description: str,
                 writer: MapWriter | None = None) -> pd.DataFrame:
    """Score every image, in batches of one size; the maps go to `writer`.

    Returns path, score, own_decision (0 or 1, NaN if the method makes none) and peak, the largest value of the map, per
    image. Raises MethodError if the seam is broken.
    """
    parts = []
    with progress(len(images), description, "image") as bar:
        for batch in images.batches(16):
            batch = to_unit(batch.to(detector.device))
            prediction = detector.predict(batch)
            if not isinstance(prediction, Prediction):
                raise MethodError(f"{method}: predict returned a {type(prediction).__name__}, promised is a Prediction")
            prediction.check(batch, method)
            parts.append(pd.DataFrame({
                "score": prediction.score.double().cpu().numpy(),
                "own_decision": np.nan if prediction.decision is None else prediction.decision.int().cpu().numpy(),
                "peak": prediction.anomaly_map.flatten(1).amax(1).double().cpu().numpy()}))
            if writer is not None:
                writer.add(prediction.anomaly_map.float().cpu().numpy())
            bar.update(len(batch))
    return pd.concat(parts, ignore_index=True).assign(path=images.paths)


def check_seam(detector: Detector, again: Detector, images: ImageSet, method: str) -> None:
    """Refuse a detector whose predictions depend on the batch, or that is another one after saving and loading.

    again: the detector as `load` gives it back. images: a few are scored. Raises MethodError naming the promise.
    """
    same = [i for i in range(min(len(images), 16)) if images.uint8(i).shape == images.uint8(0).shape]
    batch = to_unit(next(images.batches(3, same)).to(detector.device))
    with torch.inference_mode():
        together = detector.predict(batch).check(batch, method)
        alone = [detector.predict(one[None]).check(one[None], method) for one in batch]
        restored = again.predict(batch[:1]).check(batch[:1], method)

    def differ(one: Prediction, other: Prediction) -> bool:
        # rounding may turn a comparison of a tree, not more
        return not (torch.allclose(one.score.double(), other.score.double(), rtol=0.02, atol=1e-3)
                    and (one.anomaly_map - other.anomaly_map).abs().max()
                    <= 0.02 * other.anomaly_map.abs().max() + 1e-6)

    for i, one in enumerate(alone):
        if differ(one, Prediction(together.score[i:i + 1], together.anomaly_map[i:i + 1])):
            raise MethodError(f"{method}: the prediction of an image depends on the other images of its batch; "
                            "predict must treat every image by itself")
    if differ(restored, alone[0]):
        raise MethodError(f"{method}: predicts otherwise after state() and restore(): state() must hold all that fit "
                        "learned")
