"""Where the time of a prediction goes, seen from outside: the calls of tiling, of the frozen features, of the networks.

No detector knows that it is watched, and none is but in passes of their own: the latency is measured without. Beside
the parts of a pass this gives each network alone, with the inputs that it had, to be called again.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

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


@dataclass(frozen=True)
class Cost:
    """Where the time of one prediction goes, in an instrumented pass; on CUDA synchronised at the ends of each part.

    whole: seconds of the prediction. parts: seconds in tiling (split and stitch), frozen features, the noise
    predictor's network, and other networks (DiffusionAD's segmentation); a part that the detector lacks is missing. Of
    nested ones the outer counts, so the rest of the whole is scoring, copies, and arithmetic between evaluations.
    evaluations: of the noise predictor per tile.
    alone: the parts that are networks -> (key, call): once over the image, with the inputs that they had. Networks of
    one architecture on inputs of one shape cost the same, and have the same key. The noise predictor's is one
    evaluation.
    """

    whole: float
    parts: dict[str, float]
    evaluations: float
    alone: dict[str, tuple[Hashable, Callable[[], None]]]

    def milliseconds(self) -> dict[str, float | None]:
        """The parts and the rest, and how many evaluations were counted, as in timing.json."""
        values = {f"{part}_ms": 1000 * self.parts[part] if part in self.parts else None for part in PARTS}
        return values | {"rest_ms": 1000 * (self.whole - sum(self.parts.values())), "evaluations": self.evaluations}


def cost_of(detector: Detector, call: Callable[[], object], seconds: float) -> Cost:
    """The cost of `call`, a prediction of one image by this detector: of the passes that fit into `seconds` the median.
    """
    passes: list[tuple[float, _Watch]] = []
    while len(passes) < PASSES and sum(whole for whole, _ in passes) < seconds:
        watch = _Watch(detector.device)
        with watch.on(detector):
            start = time.perf_counter()
            call()
            whole = time.perf_counter() - start
        passes.append((whole, watch))
    passes.sort(key=lambda one: one[0])
    whole, watch = passes[(len(passes) - 1) // 2]  # parts of one pass add up, medians of parts would not
    return Cost(whole, watch.seconds, watch.rows / max(1, watch.tiles), watch.alone())


@dataclass(frozen=True)
class _Called:
    """A call of a network: what it is, its function and arguments."""

    identity: Hashable
    function: Callable
    args: tuple
    kwargs: dict[str, Any]

    def first(self, rows: int) -> "_Called":
        """The same of the first `rows` of its input, and of its timesteps where each row has its own."""
        args = tuple(one[:rows] if isinstance(one, Tensor) and one.ndim else one for one in self.args)
        return _Called(self.identity, self.function, args, self.kwargs)

    @property
    def shapes(self) -> tuple:
        return tuple(tuple(one.shape) if isinstance(one, Tensor) else () for one in self.args)


class _Watch:
    """Follows one prediction: seconds per part, and the calls of its networks.

    tiles: that the image was split into; 0 if it was not. rows: that went through noise predictors, which are the
    networks that are called with a timestep.
    """

    def __init__(self, device: torch.device):
        self.device, self.tiles, self.rows = device, 0, 0
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, list[_Called]] = {}
        self._inside = False

    @contextmanager
    def on(self, detector: Detector) -> Iterator[None]:
        """Within this context the detector's parts are timed."""
        with ExitStack() as stack:
            for name in ("split", "stitch"):
                stack.enter_context(_replaced(Tiling, name, self._timed(getattr(Tiling, name), self._tile)))
            stack.enter_context(_replaced(FrozenFeatures, "__call__", self._timed(
                FrozenFeatures.__call__, partial(self._network, None))))
            for module in _modules(detector):
                identity = type(module), tuple(tuple(one.shape) for one in module.parameters())
                stack.enter_context(_replaced(module, "forward", self._timed(
                    module.forward, partial(self._network, identity))))
            yield

    def _timed(self, function: Callable, note: Callable[..., str]) -> Callable:
        """`function`, timed; note(function, result, args, kwargs) remembers the call and says which part it is."""
        def wrapped(*args, **kwargs):
            if self._inside:
                return function(*args, **kwargs)
            self._inside = True
            synchronise(self.device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            synchronise(self.device)
            taken = time.perf_counter() - start
            self._inside = False
            part = note(function, result, args, kwargs)
            self.seconds[part] = self.seconds.get(part, 0.0) + taken
            return result

        return wrapped

    def _tile(self, function: Callable, result: Tensor, args: tuple, kwargs: dict) -> str:
        self.tiles = self.tiles or len(result)  # the first is a split
        return "tiling"

    def _network(self, identity: Hashable, function: Callable, result: object, args: tuple, kwargs: dict) -> str:
        if identity is None:
            part, identity, rows = "features", args[0].backbone, 0
        else:
            part, rows = ("noise_predictor", len(args[0])) if len(args) > 1 else ("other_network", 0)
        if part != "noise_predictor" or self.rows < max(1, self.tiles):  # of hundreds of evaluations the first is kept
            self.calls.setdefault(part, []).append(_Called(identity, function, args, kwargs))
        self.rows += rows
        return part

    def alone(self) -> dict[str, tuple[Hashable, Callable[[], None]]]:
        """See Cost."""
        result = {}
        for part, calls in self.calls.items():
            if part == "noise_predictor":  # the last call may reach into the next evaluation
                before = sum(len(one.args[0]) for one in calls[:-1])
                calls = [*calls[:-1], calls[-1].first(max(1, self.tiles) - before)]
            key = part, tuple((one.identity, one.shapes) for one in calls)
            result[part] = key, partial(_repeat, calls, self.device)
        return result


def _repeat(calls: Sequence[_Called], device: torch.device) -> None:
    for one in calls:
        one.function(*one.args, **one.kwargs)
    synchronise(device)


def _modules(detector: Detector) -> Iterator[nn.Module]:
    """The networks among the attributes of a detector and of its noise predictor; of a collection its members."""
    for owner in (detector, detector.noise_predictor):
        for value in vars(owner).values() if owner is not None else ():
            if isinstance(value, nn.ModuleDict | nn.ModuleList):
                yield from value.children()
            elif isinstance(value, nn.Module):
                yield value


@contextmanager
def _replaced(owner: object, name: str, function: Callable) -> Iterator[None]:
    """Within this context `owner` has another attribute `name`."""
    own, before = name in vars(owner), getattr(owner, name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
