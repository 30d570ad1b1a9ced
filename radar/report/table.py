"""A table before it is written, and its Markdown, LaTeX (booktabs) and HTML, all by pandas."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
from pandas.io.formats.style import Styler

WIDE = 9  # columns from which on a LaTeX table lies on its side
FULL = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # never wider than the page


@dataclass
class Table:
    """One table of text. frame: a row per method (index; its name heads them), columns (group, label), cells written.

    bold: (row label, column) of cells that stand out. caption: sentences. warnings: sentences that stand out. notes:
    footnotes, one per row label.
    """

    title: str
    frame: pd.DataFrame
    caption: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    bold: set[tuple[str, tuple[str, str]]] = field(default_factory=set)
    notes: dict[str, str] = field(default_factory=dict)


def frame_of(rows: dict[str, Sequence[str]], columns: Sequence[tuple[str, str]], head: str = "method") -> pd.DataFrame:
    """The frame of a Table: rows label -> cells."""
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name=head, dtype=object),
                        columns=pd.MultiIndex.from_tuples(columns), dtype=object)


def markdown(heading: str, legend: Sequence[str], tables: Sequence[Table], command: str) -> str:
    """GitHub's Markdown: legend and the command that makes it again, then a heading, caption and table each."""
    parts = [f"# {heading}", f"Made by `{command}`.", "\n".join(f"- {line}" for line in legend)]
    for table in tables:
        shown = table.frame.astype(str)
        for row, column in table.bold:
            shown.loc[row, column] = f"**{shown.loc[row, column]}**"
        shown.columns = [" ".join(filter(None, column)) for column in shown.columns]
        numbers = {label: number for number, label in enumerate(table.notes, 1)}
        shown.index = pd.Index([f"{label} [{numbers[label]}]" if label in numbers else label for label in shown.index],
                               name=shown.index.name)
        parts += [f"## {table.title}", " ".join(table.caption), *(f"**{line}**" for line in table.warnings),
                  re.sub(r"(?<=\S) +(?=\|)", " ", shown.to_markdown(disable_numparse=True)),
                  "\n".join(f"[{numbers[label]}] {_one_line(note)}  " for label, note in table.notes.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(heading: str, legend: Sequence[str], tables: Sequence[Table], command: str) -> str:
    """A floating table each, to be \\input in a document that loads booktabs, graphicx and rotating."""
    lines = [f"% {heading}. Made by: {command}", r"% Needs \usepackage{booktabs,graphicx,rotating}."]
    for table in tables:
        wide = "sidewaystable*" if len(table.frame.columns) >= WIDE else "table*"
        text = [*table.caption, *table.warnings, *(f"{label}: {_one_line(note)}" for label, note in table.notes.items()),
                *legend]
        body = _styled(table, "latex").to_latex(
            hrules=True, convert_css=True, multicol_align="c", column_format="l" + "r" * len(table.frame.columns))
        caption = " ".join(map(_latex_text, [f"{heading}, {table.title}.", *text]))
        lines += ["", rf"\begin{{{wide}}}\centering\scriptsize", rf"\caption{{{caption}}}\medskip", FULL + body.strip() + "}",
                  rf"\end{{{wide}}}"]
    return "\n".join(lines) + "\n"


def html(table: Table, identity: str) -> str:
    """The table as HTML with this id; captions and notes are the page's."""
    return _styled(table, "html").set_uuid(identity).to_html()


def _styled(table: Table, escape: str) -> Styler:
    """The frame with its bold cells, escaped for `escape`: "latex" or "html"."""
    marks = pd.DataFrame("", index=table.frame.index, columns=table.frame.columns)
    for row, column in table.bold:
        marks.loc[row, column] = "font-weight: bold;"
    styler = table.frame.style.apply(lambda _: marks, axis=None).format(escape=escape)
    return styler.format_index(escape=escape, axis=0).format_index(escape=escape, axis=1)


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
