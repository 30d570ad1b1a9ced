"""Choosing a detector's settings without labels: which one separates normal images from the same ones with a defect?

Ours; none of the published methods has such a rule. Half of the normal training images fit the detector, some of the
other half are scored as they are and once more with a synthetic defect pasted in (radar.images.synthetic). The candidate with
the highest share of pairs (normal image, pasted image) in which the pasted one scores higher, the AUROC, wins; among
equals the one whose scores lie further apart, in units of the normal scores' deviation. No test image takes part.
"""

import numpy as np
import torch
from torch import Tensor

from radar.images.image_set import ImageSet, to_unit
from radar.images.synthetic import paste
from radar.method.detector import MethodError

HELD_OUT = 24  # images at most that are scored
FITTED = 48    # images at most that the candidates are fitted on
FEWEST = 4     # two to fit a distribution, two to judge by


def separation(detector, normal: ImageSet) -> int:
    """The index of the best of `detector.candidates` on normal training images: see the module.

    detector: has candidates, _take(index), _fit_batches(batches), whose argument gives them each time anew, and
    predict(images). Raises MethodError for fewer than FEWEST images.
    """
    if len(normal) < FEWEST:
        raise MethodError(f"a choice without labels takes {FEWEST} normal training images, half of them to judge by, not "
                        f"{len(normal)}")
    order = np.random.default_rng(detector.seed).permutation(len(normal))
    half = len(normal) // 2
    fitted = _batches(normal, order[:half][:FITTED], detector.device)
    clean = _batches(normal, order[half:][:HELD_OUT], detector.device)
    rng = np.random.default_rng(detector.seed + 1)
    defective = [paste(one.cpu(), rng, probability=1.0)[0].to(detector.device) for one in clean]
    results = []
    # candidates that share their noise maps follow each other
    for index in sorted(range(len(detector.candidates)), key=lambda index: _evaluation(detector.candidates[index])):
        detector._take(index)
        detector._fit_batches(lambda: fitted)
        without, with_defect = (torch.cat([detector.predict(one).score for one in batches]).double()
                                for batches in (clean, defective))
        results.append((*measure(without, with_defect), -index))
    return -max(results)[-1]


def measure(normal: Tensor, defective: Tensor) -> tuple[float, float]:
    """(AUROC, difference of the means in standard deviations of the normal ones) of scores [N] and [M]."""
    higher = (defective[:, None] > normal).double() + 0.5 * (defective[:, None] == normal).double()
    spread = normal.std().item() if len(normal) > 1 else 0.0
    return higher.mean().item(), (defective.mean() - normal.mean()).item() / max(spread, 1e-12)


def _evaluation(settings: dict) -> tuple:
    return settings["t"], settings["input"], settings["draws"], settings["first_draw"]


def _batches(images: ImageSet, which: np.ndarray, device: torch.device) -> list[Tensor]:
    """These images, in batches of one size."""
    by_size: dict[tuple, list[Tensor]] = {}
    for index in sorted(which.tolist()):
        image = images.uint8(index)
        by_size.setdefault(tuple(image.shape), []).append(image)
    return [to_unit(torch.stack(one).to(device)) for one in by_size.values()]
