"""Results that are kept while there is room for them."""

from collections.abc import Callable, Sequence

from torch import Tensor


class Kept(Sequence[Tensor]):
    """Item i is make(i), kept until `room` bytes are used, then made anew each time: memory does not grow."""

    def __init__(self, make: Callable[[int], Tensor], length: int, room: int):
        self.make, self.length, self.room = make, length, room
        self.values: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index):
        if not -self.length <= index < self.length:
            raise IndexError(index)
        index %= self.length
        value = self.values[index] if index in self.values else self.make(index)
        if index not in self.values and value.nbytes <= self.room:
            self.room -= value.nbytes
            self.values[index] = value
        return value
