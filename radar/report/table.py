"""A table before it is written, and its Markdown, LaTeX (booktabs) and HTML, all by pandas."""

import html as web
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby

import pandas as pd
from pandas.io.formats.style import Styler

WIDE = 9        # columns from which on a LaTeX table lies on its side
TEXT = 36       # characters from which on a LaTeX column breaks its lines
FLOATS = 15     # tables; LaTeX gives up where too many of them wait for a page
FULL = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # never wider than the page
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": "{`}", '"': "''", "–": "--", "—": "---",
    "…": r"\ldots{}", "±": r"$\pm$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "−": "$-$", "→": r"$\to$",
    "μ": r"$\mu$", "µ": r"$\mu$", "°": r"$^\circ$", "\0": "{}"})


class Bold(str):
    """The text of a cell that stands out."""


@dataclass
class Table:
    """One table of text. frame: a row per method (index; its name heads them), columns (group, label), cells written.

    caption: sentences. warnings: sentences that stand out. notes: footnotes, one per row label.
    """

    title: str
    frame: pd.DataFrame
    caption: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


def frame_of(rows: Mapping[str, Sequence[str]], columns: Sequence[tuple[str, str]],
             head: str = "method") -> pd.DataFrame:
    """The frame of a Table: rows label -> cells."""
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name=head, dtype=object),
                        columns=pd.MultiIndex.from_tuples(columns), dtype=object)


def markdown(heading: str, legend: Sequence[str], tables: Iterable[Table], command: str) -> str:
    """GitHub's Markdown: legend and the command that makes it again, then a heading, caption and table each."""
    parts = [f"# {heading}", f"Made by `{command}`.", "\n".join(f"- {_markdown_text(line)}" for line in legend)]
    for table in tables:
        numbers = {label: f" [{number}]" for number, label in enumerate(table.notes, 1)}
        shown = table.frame.map(_markdown_text)
        shown.columns = [_markdown_text(" ".join(filter(None, column))) for column in shown.columns]
        shown.index = shown.index.map(lambda label, marks=numbers: _markdown_text(label) + marks.get(label, ""))
        parts += [f"## {_markdown_text(table.title)}", " ".join(map(_markdown_text, table.caption)),
                  *(_markdown_text(Bold(line)) for line in table.warnings),
                  re.sub(r":-+", ":---", re.sub(r" +(?=\|)", " ", shown.to_markdown(disable_numparse=True))),
                  *(f"{numbers[label].strip()} {_markdown_text(note)}" for label, note in table.notes.items())]
    return "\n\n".join(filter(None, parts)) + "\n"


def latex(heading: str, legend: Sequence[str], tables: Iterable[Table], command: str) -> str:
    """A floating table each, to be \\input in a document that loads array, booktabs, graphicx and rotating."""
    lines = [f"% {heading}. Made by: {command}", r"% Needs \usepackage{array,booktabs,graphicx,rotating}."]
    for number, table in enumerate(tables, 1):
        kind = "sidewaystable*" if len(table.frame.columns) >= WIDE else "table*"
        slug = re.sub(r"[^a-z0-9]+", "-", f"{heading} {table.title}".lower()).strip("-")
        caption = " ".join(map(_latex_text, [f"{heading}, {table.title}.", *table.caption, *table.warnings, *legend]))
        lines += ["", rf"\begin{{{kind}}}\centering\scriptsize\setlength{{\tabcolsep}}{{3pt}}",
                  rf"\caption[{_latex_text(table.title)}]{{\footnotesize {caption}}}\label{{tab:{slug}}}\medskip",
                  FULL, *_tabular(table), "}", rf"\end{{{kind}}}",
                  # beside the float, where pages may break: together they can be longer than a page
                  *(rf"{{\scriptsize\noindent Table~\ref{{tab:{slug}}}, {_latex_text(f'{label}: {note}')}\par}}"
                    for label, note in table.notes.items()),
                  *[r"\clearpage"] * (number % FLOATS == 0)]
    return "\n".join(lines) + "\n"


def _tabular(table: Table) -> list[str]:
    """The lines of the tabular: group names over their rules, labels, rows; columns of long text break their lines."""
    frame = table.frame
    columns = [[frame.index.name, *frame.index], *([column[1], *frame[column]] for column in frame.columns)]
    broken = [max(map(len, column)) > TEXT for column in columns]
    paragraph = rf">{{\raggedright\arraybackslash}}p{{{0.8 / max(sum(broken), 2):.2f}\linewidth}}"
    lines = _styled(table, _latex_cell).hide(axis="index", names=True).to_latex(
        hrules=True, convert_css=True, multicol_align="c",
        column_format="".join(paragraph if one else "lr"[place > 0] for place, one in enumerate(broken))).splitlines()
    groups = [(group, len(list(members))) for group, members in groupby(group for group, _ in frame.columns)]
    starts = accumulate((size for _, size in groups), initial=2)
    rules = [rf"\cmidrule(lr){{{start}-{start + size - 1}}}"
             for (group, size), start in zip(groups, starts, strict=False) if group]
    last = lines.index(r"\midrule")
    return [*lines[:last - 1], *rules, _latex_text(frame.index.name) + lines[last - 1], *lines[last:]]


def html(table: Table, identity: str) -> str:
    """The table as HTML with this id; captions and notes are the page's."""
    return _styled(table, web.escape).set_uuid(identity).to_html()


def _styled(table: Table, write: Callable[[str], str]) -> Styler:
    """The frame with its bold cells, each text written by `write`."""
    styler = table.frame.rename_axis(index=write(table.frame.index.name)).style.format(write)
    styler = styler.map(lambda cell: "font-weight: bold;" * isinstance(cell, Bold))
    return styler.format_index(write, axis=0).format_index(write, axis=1)


def _markdown_text(text: str) -> str:
    """Text on one line that GitHub shows as it reads."""
    line = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return f"**{line}**" if isinstance(text, Bold) else line


def _latex_cell(text: str) -> str:
    """Half the width of an interval is set small, so that thirteen columns can be read on a page."""
    return re.sub(r" \$\\pm\$ (\S+)$", r"\\,{\\tiny$\\pm$\1}", _latex_text(text))


def _latex_text(text: str) -> str:
    """Text on one line that LaTeX sets as it reads; letters that it does not know become ASCII or their number."""
    def known(letter: str) -> str:
        if letter.isascii() or ord(letter) in LATEX or "À" <= letter <= "ÿ" and letter not in "÷ÐÞðþ":
            return letter
        return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or f"U+{ord(letter):04X}"

    text = unicodedata.normalize("NFC", " ".join(text.split()))
    return re.sub("-(?=-)", "-\0", "".join(map(known, text))).translate(LATEX)  # two hyphens would become a dash
