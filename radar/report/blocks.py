"""A table before it is written: blocks that Markdown, LaTeX, the terminal and the page render alike."""

from dataclasses import dataclass, field

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and what follows its ±."""

    text: str
    spread: str = ""
    bold: bool = False

    def plain(self) -> str:
        return f"{self.text} ± {self.spread}" if self.spread else self.text


NOTHING = Cell(DASH)


@dataclass
class Block:
    """One sub-table. columns: (group, label in the group, full label); rows: (method, its notes' numbers, cells).

    head: what the rows are.
    """

    title: str
    caption: list[str]
    warnings: list[str]
    columns: list[tuple[str, str, str]]
    rows: list[tuple[str, list[int], list[Cell]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    head: str = "method"
