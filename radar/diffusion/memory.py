"""Network results that are asked for again: for studies that read the same predictions in many ways."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor


class Memory:
    """memory(name, x, evaluate) is evaluate(x), or, while it is `on`, what it was for the same bytes of x before."""

    def __init__(self) -> None:
        self._kept: dict[tuple, Tensor] = {}  # the latest at the end
        self._room = 0

    @contextmanager
    def on(self, room: int = 250_000_000) -> Iterator[None]:
        """Within this context the latest results are kept, up to `room` numbers. Never while something is timed."""
        outer = self._room
        self._room = outer or room
        try:
            yield
        finally:
            self._room = outer
            if not outer:
                self._kept.clear()

    def __call__(self, name: object, x: Tensor, evaluate: Callable[[Tensor], Tensor]) -> Tensor:
        if not self._room:
            return evaluate(x)
        key = name, x.shape, hashlib.blake2b(x.contiguous().cpu().numpy().data, digest_size=16).digest()
        value = self._kept.pop(key) if key in self._kept else evaluate(x)
        self._kept[key] = value
        while sum(one.numel() for one in self._kept.values()) > self._room:
            del self._kept[next(iter(self._kept))]
        return value
