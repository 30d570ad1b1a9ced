"""Tables in LaTeX that compile as they are and stay on the page.

A block becomes one floating table or, where it is too large for a page, several. How large it will be is estimated from
the widths of the letters; booktabs draws the rules, rotating lays wide tables on their side.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, groupby, pairwise
from typing import NamedTuple

from radar.report.blocks import Block, Cell

LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
         "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": "{`}", "–": r"\textendash{}",
         "—": r"\textemdash{}", "…": r"\ldots{}", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$",
         "→": r"$\to$", "−": "$-$", "μ": r"$\mu$", "µ": r"$\mu$", "°": r"$^\circ$"}
# Letters of the Latin supplements that LaTeX has in its default encoding, whatever the document loads.
ACCENTED = {chr(code) for code in range(0xC0, 0x17F)} - set("×÷ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų")

# All in points. The text of an upright page with margins of 2.5 cm, whether of A4 or of letter paper: width, height.
PAGE = 455.0, 650.0
GAP = 6.0                # between columns
NARROWEST = 120.0        # column of the rows' names, where that breaks them
LINE, HEAD = 8.1, 75.0   # height of a line of the table; of its head, rules and distances
CAPTION, LARGER = 12.0, 1.28  # height of a line of the caption; its letters against those of the table
# What the letters of the table are wide; all others 4.15.
LETTERS = (dict.fromkeys(".,:;'|!ijl[]", 2.3) | dict.fromkeys(" ()tfrs", 3.1) | dict.fromkeys("0123456789", 4.0)
           | dict.fromkeys("ABCDEFGHIJKLNOPQRSTUVXYZ", 5.5) | dict.fromkeys(r"mwMW%&@#+<>~^\–—±×→", 6.6))
WAITING = 15             # tables; LaTeX gives up where too many of them wait for a page


def settable(text: str) -> str:
    """Text on one line, of characters that LaTeX sets by itself or by way of LATEX.

    Others become the nearest ASCII ones or, where there are none, their numbers: U+6E2C.
    """
    def one(character: str) -> str:
        if character in LATEX or character in ACCENTED or character.isascii() and character.isprintable():
            return character
        plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        return plain if plain.isprintable() and plain else f"U+{ord(character):04X}"

    return "".join(map(one, unicodedata.normalize("NFC", " ".join(text.split()))))


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it reads; see settable."""
    escaped = "".join(LATEX.get(character, character) for character in settable(text))
    return re.sub("-(?=-)", "-{}", escaped)  # two hyphens would become a dash


def to_latex(title: str, legend: Sequence[str], blocks: Sequence[Block], rebuild: str) -> str:
    """Floating tables, to be \\input in a document that loads booktabs and rotating; rebuild: the command."""
    lines = [f"% {title}. Rebuild with: {rebuild}",
             r"% Needs \usepackage{booktabs,rotating}, and margins of at most 2.5 cm."]
    parts = [part for block in blocks for part in _parts(block, legend)]
    for number, part in enumerate(parts, 1):
        lines += ["", *_table(title, part), *[r"\clearpage"] * (number % WAITING == 0)]
    return "\n".join(lines) + "\n"


class Part(NamedTuple):
    """What of a block goes on one page; continued: it is not the first part. caption: the whole text of it."""

    block: Block
    caption: str
    continued: bool


def _table(title: str, part: Part) -> list[str]:
    """The lines of one floating table."""
    block = part.block
    names, columns = _widths(block)
    kind, room = ("sidewaystable*", PAGE[1]) if names.least + sum(columns) > PAGE[0] else ("table*", PAGE[0])
    room -= sum(columns) + GAP
    first, start = (f"p{{{room:.0f}pt}}", r"\raggedright ") if names.most > room else ("l", "")
    slug = re.sub(r"[^a-z0-9]+", "-", f"{title} {block.title}".lower()).strip("-")
    label = "" if part.continued else rf"\label{{tab:{slug}}}"
    lines = [rf"\begin{{{kind}}}", r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
             rf"\caption{{{escape_latex(part.caption)}}}{label}\medskip",
             rf"\begin{{tabular}}{{{first}{'r' * len(columns)}}}", r"\toprule",
             *_head(block.columns, block.head), r"\midrule"]
    for name, numbers, cells in block.rows:
        marks = "".join(rf"\textsuperscript{{{number}}}" for number in numbers)
        lines.append(" & ".join([start + escape_latex(name) + marks, *map(_cell, cells)]) + r" \\")
    notes = [rf"\par\smallskip\raggedright\textsuperscript{{{number}}} {escape_latex(note)}"
             for number, note in enumerate(block.notes, 1)]
    return [*lines, r"\bottomrule", r"\end{tabular}", *notes, rf"\end{{{kind}}}"]


def _cell(cell: Cell) -> str:
    # The half-width is set small, so that thirteen columns fit the page.
    text = rf"\textbf{{{escape_latex(cell.text)}}}" if cell.bold else escape_latex(cell.text)
    return rf"{text}\,{{\tiny$\pm${escape_latex(cell.spread)}}}" if cell.spread else text


def _head(columns: Sequence[tuple[str, str, str]], head: str) -> list[str]:
    """Group names over their rules, then the labels in two lines."""
    groups = [(group, len(list(members))) for group, members in groupby(columns, key=lambda column: column[0])]
    ends = list(accumulate((n for _, n in groups), initial=1))
    rules = [rf"\cmidrule(lr){{{first + 1}-{last}}}" for first, last in pairwise(ends)]
    halves = [_halves(label) for _, label, _ in columns]
    lines = [[rf"\multicolumn{{{n}}}{{c}}{{{escape_latex(group)}}}" for group, n in groups],
             [escape_latex(half) for half, _ in halves], [escape_latex(half) for _, half in halves]]
    upper, middle, lower = (" & ".join([head if line is lines[1] else "", *line]) + r" \\" for line in lines)
    return [upper, " ".join(rules), middle, lower]


def _halves(label: str) -> tuple[str, str]:
    """A column's label in two lines: what stands in brackets goes to the second one."""
    first, mark, rest = label.partition(" (") if " (" in label else label.partition(" [")
    return first, (mark + rest).strip()


# What fits


class Names(NamedTuple):
    """Width of the column of the rows' names: where none is broken, and where they are broken between words."""

    most: float
    least: float


def _points(text: str) -> float:
    """About the width of text in the table, rather too large than too small."""
    return sum(LETTERS.get(character, 4.15) for character in settable(text))


def _cell_points(cell: Cell) -> float:
    spread = 6.7 + 0.85 * _points(cell.spread) if cell.spread else 0.0
    return _points(cell.text) * (1.15 if cell.bold else 1) + spread


def _widths(block: Block) -> tuple[Names, list[float]]:
    """How wide the columns of a block are: that of the names, and the others."""
    labels = [block.head, *(name + " 9" * len(numbers) for name, numbers, _ in block.rows)]
    words = [word for name in labels for word in name.split()]
    most = max(map(_points, labels)) + GAP
    least = min(most, max(NARROWEST, *map(_points, words)) + GAP)
    groups = [group for group, *_ in block.columns]
    columns = []
    for index, (group, label, _) in enumerate(block.columns):
        heads = [*map(_points, _halves(label)), _points(group) / groups.count(group)]
        columns.append(max([*heads, *(_cell_points(cells[index]) for *_, cells in block.rows)]) + GAP)
    return Names(most, least), columns


def _parts(block: Block, legend: Sequence[str]) -> list[Part]:
    """The block in parts that fit a page: upright if it is narrow enough for that, sideways if not.

    Where a page is too narrow for all columns, or too low for all rows, the next part continues: it repeats the names
    of the rows, and has the notes that it needs, numbered anew. A note longer than a page stays so.
    """
    names, widths = _widths(block)
    width, height = PAGE if names.least + sum(widths) <= PAGE[0] else PAGE[::-1]
    bands: list[list[int]] = [[]]
    for index in range(len(widths)):
        if bands[-1] and names.least + sum(widths[i] for i in [*bands[-1], index]) > width:
            bands.append([])
        bands[-1].append(index)
    parts: list[Part] = []
    for band in bands:
        room = max(names.least, width - sum(widths[i] for i in band)) - GAP
        rows = list(block.rows)
        while rows or len(parts) == 0:
            caption = " ".join([f"{block.title}.", *(
                ["Continued."] if parts else [*block.caption, *block.warnings, *legend])])
            part = replace(block, columns=[block.columns[i] for i in band], rows=[], notes=[])
            left = height - HEAD - CAPTION * math.ceil(LARGER * _points(caption) / width)
            while rows:
                name, numbers, cells = rows[0]
                notes = [block.notes[number - 1] for number in numbers]
                left -= LINE * (math.ceil(_points(name) / room) + sum(math.ceil(_points(note) / width) + 0.4
                                                                      for note in notes))
                if left < 0 and part.rows:
                    break
                part.rows.append((name, [len(part.notes) + place for place in range(1, len(notes) + 1)],
                                  [cells[i] for i in band]))
                part.notes.extend(notes)
                rows.pop(0)
            parts.append(Part(part, caption, bool(parts)))
    return parts
