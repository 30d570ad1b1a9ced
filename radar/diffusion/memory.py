"""Network results that are asked for again: for studies that read the same predictions in many ways."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor


class Memory:
    """memory(name, x, evaluate) is evaluate(x), or, while it is `on`, what it was for the same bytes of x before."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, Tensor] | None = None

    @contextmanager
    def on(self, room: int = 250_000_000) -> Iterator[None]:
        """Within this context the latest results are kept, up to `room` numbers. Never while something is timed."""
        outer = self._kept
        if outer is None:
            self._kept, self._room = OrderedDict(), room
        try:
            yield
        finally:
            self._kept = outer

    def __call__(self, name: object, x: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
        if self._kept is None:
            return evaluate(x)
        key = name, x.shape, hashlib.blake2b(x.contiguous().cpu().numpy().data, digest_size=16).digest()
        value = self._kept.pop(key) if key in self._kept else evaluate(x)
        self._kept[key] = value  # as the latest
        while sum(one.numel() for one in self._kept.values()) > self._room:
            self._kept.popitem(last=False)
        return value
