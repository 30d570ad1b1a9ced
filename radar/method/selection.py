"""Choosing among detectors without labels: which one separates normal images from the same ones with a defect?

Ours; none of the published methods has such a rule. Half of the normal training images fit the candidates, some of the
other half are scored as they are and once more with a synthetic defect pasted in (radar.images.synthetic). The one with
the highest share of pairs (normal image, pasted image) in which the pasted one scores higher, the AUROC, wins; among
equals the one whose scores lie further apart, in units of the normal scores' deviation. No test image takes part.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from radar.images.image_set import ImageSet, to_unit
from radar.images.synthetic import paste
from radar.method.detector import MethodError

if TYPE_CHECKING:
    from radar.method.readings import Readings

HELD_OUT = 24  # images at most that are scored
FITTED = 48    # images at most that the candidates are fitted on
FEWEST = 4     # two to fit a distribution, two to judge by


def separation(candidates: Sequence["Readings"], normal: ImageSet) -> int:
    """The index of the best of `candidates`, which have one seed and device, on normal training images: see the module.

    Raises MethodError for fewer than FEWEST images.
    """
    if len(normal) < FEWEST:
        raise MethodError(f"a choice without labels takes {FEWEST} normal training images, half of them to judge by, "
                          f"not {len(normal)}")
    seed, device = candidates[0].seed, candidates[0].device
    order, half = np.random.default_rng(seed).permutation(len(normal)), len(normal) // 2
    fitted, clean = ([to_unit(batch.to(device)) for batch in normal.batches(FITTED, sorted(which.tolist()))]
                     for which in (order[:half][:FITTED], order[half:][:HELD_OUT]))
    rng = np.random.default_rng(seed + 1)
    defective = [paste(one.cpu(), rng, probability=1.0)[0].to(device) for one in clean]
    results = []
    for detector in candidates:
        detector.fit_batches(lambda: fitted)
        results.append(measure(*(torch.cat([detector.predict(one).score for one in batches]).double()
                                 for batches in (clean, defective))))
    return results.index(max(results))


def measure(normal: Tensor, defective: Tensor) -> tuple[float, float]:
    """(AUROC, difference of the means in standard deviations of the normal ones) of scores [N] and [M]."""
    higher = (defective[:, None] > normal).double() + 0.5 * (defective[:, None] == normal).double()
    spread = normal.std().item() if len(normal) > 1 else 0.0
    return higher.mean().item(), (defective.mean() - normal.mean()).item() / max(spread, 1e-12)
