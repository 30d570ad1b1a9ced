"""Where the time of a prediction goes, seen from outside: the calls of tiling, of the frozen features, of the networks.

No detector knows that it is watched, and none is but in passes of their own: the latency is measured without. Beside
the parts of a pass this gives each network alone, with the inputs that it had, to be called again.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn

from radar.images.features import FrozenFeatures
from radar.images.tiling import Tiling
from radar.method.detector import Detector

PARTS = ("tiling", "features", "noise_predictor", "other_network")
PASSES = 12  # at most


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cost_of(detector: Detector, call: Callable[[], object], seconds: float) -> "Cost":
    """The cost of `call`, a prediction of one image by this detector: of the passes that fit into `seconds` the median.
    """
    passes: list[Cost] = []
    while len(passes) < PASSES and sum(one.whole for one in passes) < seconds:
        passes.append(Cost(detector, call))
    passes.sort(key=lambda one: one.whole)
    return passes[(len(passes) - 1) // 2]  # parts of one pass add up, medians of parts would not


class Cost:
    """Where the time of one prediction goes, in an instrumented pass; on CUDA synchronised at the ends of each part.

    whole: seconds of the prediction. parts: seconds in tiling (split and stitch), frozen features, the noise
    predictor's network (one that is called with a timestep), and other networks (DiffusionAD's segmentation); a part
    that the detector lacks is missing. The rest is scoring, copies, and arithmetic between evaluations. evaluations: of
    the noise predictor per tile.
    """

    def __init__(self, detector: Detector, call: Callable[[], object]):
        self.device = detector.device
        self.parts, self._calls = defaultdict[str, float](float), defaultdict[str, list[Callable]](list)
        self._tiles = self._rows = 0  # of the image, 0 if it is not split; that went through noise predictors
        watched = [(Tiling, "split", "tiling"), (Tiling, "stitch", "tiling"), (FrozenFeatures, "__call__", "features"),
                   *((network, "forward", "network") for network in _networks(detector))]
        with ExitStack() as stack:
            for owner, name, part in watched:
                stack.enter_context(patch.object(owner, name, self._timed(part, getattr(owner, name))))
            start = time.perf_counter()
            call()
            self.whole = time.perf_counter() - start
        self.evaluations = self._rows / max(1, self._tiles)

    def milliseconds(self) -> dict[str, float | None]:
        """The parts and the rest, and how many evaluations were counted, as in timing.json."""
        values = {f"{part}_ms": 1000 * self.parts[part] if part in self.parts else None for part in PARTS}
        return values | {"rest_ms": 1000 * (self.whole - sum(self.parts.values())), "evaluations": self.evaluations}

    def alone(self) -> dict[str, Callable[[], None]]:
        """The parts that are networks, to be called: once over the image; of the noise predictor one evaluation."""
        def repeat(calls: list[Callable]) -> None:
            for call in calls:
                call()
            synchronise(self.device)

        return {part: partial(repeat, calls) for part, calls in self._calls.items()}

    def _timed(self, part: str, function: Callable) -> Callable:
        def timed(*args, **kwargs):
            name = part if part != "network" else "noise_predictor" if len(args) > 1 else "other_network"
            synchronise(self.device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            synchronise(self.device)
            self.parts[name] += time.perf_counter() - start
            if name == "tiling":
                self._tiles = self._tiles or len(result)  # the first is a split
            else:
                self._keep(name, function, args, kwargs)
            return result

        return timed

    def _keep(self, part: str, function: Callable, args: tuple, kwargs: dict) -> None:
        """Keep the call of a network; of hundreds of evaluations the first, and a call may reach into the next."""
        if part == "noise_predictor":
            left = max(1, self._tiles) - self._rows
            self._rows += len(args[0])
            if left <= 0:
                return
            args = tuple(one[:left] if isinstance(one, Tensor) and one.ndim else one for one in args)
        self._calls[part].append(partial(function, *args, **kwargs))


def _networks(detector: Detector) -> Iterator[nn.Module]:
    """The networks among the attributes of a detector and of its noise predictor; of a collection its members."""
    for value in [*vars(detector).values(), *getattr(detector.noise_predictor, "__dict__", {}).values()]:
        if isinstance(value, nn.ModuleDict | nn.ModuleList):
            yield from value.children()
        elif isinstance(value, nn.Module):
            yield value
