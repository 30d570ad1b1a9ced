"""results/report.html: all of a run on one page that needs no network.

Verdicts first, then the answer, the tables and figures, the worst mistakes of every method as pictures, what the data
and the methods are, and where it all came from. The template radar/report/templates/report.html puts text, tables
and pictures together and escapes every string; report.css and report.js beside it go into the page as they are.
Nothing is measured here; tables are those of radar.report.tables and its neighbours, cell by cell.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radar.report.figures import Style
from radar.report.page_answer import Latencies, minus, unit_latency, units
from radar.report.page_pictures import Mistakes, Picture
from radar.report.page_plots import SHAPES, Dots, Panel, Point, dots, plane
from radar.report.tables import (
    DASH,
    NOTHING,
    Block,
    Cell,
    Missing,
    Run,
    best_significant,
    cell,
    device_text,
    grouped,
    percent,
    rate_interval,
    rounded,
    summarise,
)

TEMPLATES = Path(__file__).parent / "templates"
OPEN = 4  # datasets up to which their parts are unfolded
FPR = "false_positive_rate_measured"


@dataclass(frozen=True)
class Card:
    """A dataset or a method: name, a paragraph, an equation or "", and (name, value) pairs."""

    name: str
    text: str
    equation: str
    facts: list[tuple[str, str]]
    warnings: Sequence[str] = ()


@dataclass
class DatasetPart:
    """What the page shows of one dataset."""

    name: str
    tables: list[Block]
    maps: Picture | None = None
    mistakes: list[Mistakes] = field(default_factory=list)


@dataclass
class Page:
    """All that the template shows; a part that is empty is left out.

    verdicts: the rows of claims.csv with measured_text and published_text. commands: what rebuilds each part.
    """

    title: str
    subtitle: str
    verdicts: pd.DataFrame | None
    answer: Sequence[str]
    answer_block: Block | None
    overview: Block
    plane: list[Panel]
    looks: Mapping[str, Style]
    datasets: list[DatasetPart]
    mean_tables: list[Block]
    figures: Mapping[str, Picture]
    calibration: Block | None
    calibration_dots: list[Dots]
    timing: list[Block]
    statistics: list[Block]
    statistics_dots: list[Dots]
    ablation_text: list[str]
    ablation: list[Picture]
    sheets: list[Card]
    methods: list[Card]
    environment: list[tuple[str, str]]
    commands: Mapping[str, str]
    missing: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as HTML. Every text in it is escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"slug": slug, "share": share, "spans": spans, "without_empty": without_empty,
                            "shapes": SHAPES, "unfold": len(page.datasets) <= OPEN}
    return environment.get_template("report.html").render(page=page)


def slug(text: str) -> str:
    """Text as the id of an element: letters, digits and hyphens."""
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in text.lower()).strip("-")


def spans(block: Block) -> list[tuple[str, int]]:
    """The groups of a block's columns, each with how many columns it spans."""
    return [(group, len(list(members))) for group, members in groupby(block.columns, key=lambda column: column[0])]


def without_empty(block: Block) -> Block:
    """A block without the columns that hold nothing at all; its caption names them."""
    kept = [i for i in range(len(block.columns)) if any(cells[i] != NOTHING for *_, cells in block.rows)]
    gone = [full for i, (*_, full) in enumerate(block.columns) if i not in kept]
    if not gone or not kept:
        return block
    return replace(block, columns=[block.columns[i] for i in kept],
                   rows=[(label, numbers, [cells[i] for i in kept]) for label, numbers, cells in block.rows],
                   caption=[*block.caption, f"Not applicable or not measured: {', '.join(gone)}."])


def share(one: Cell) -> str:
    """A cell's rate (.873, see `short`) in percent, for the bar behind it; empty if it holds another number or none."""
    return f"{100 * float(one.text):.1f}%" if re.fullmatch(r"\.\d{3}|1\.000", one.text) else ""


# Accuracy and latency


def overview(runs: Sequence[Run], timings: Sequence[dict], methods: Sequence[str], labels: Mapping[str, str],
             missing: Sequence[Missing] = ()) -> Block:
    """One row per method: accuracy and latency on every dataset, a mean over categories where it has several, and NFE.

    Up to three datasets with image AUROC, AUPRO and F1, more with image AUROC alone. Bold as in the main table.
    """
    groups, latencies = units(runs), latencies_of(timings)
    ours = [run for group in groups.values() for seeds in group.values() for run in seeds]
    values = {row[:4]: row[4:7] for row in summarise(ours).itertuples(index=False, name=None)}
    incomplete = {dataset for dataset, _, method, _ in missing if method in methods}
    winners = {row for row in best_significant(ours).itertuples(index=False, name=None) if row[0] not in incomplete}
    metrics = [("image_auroc", "image AUROC"), ("pixel_aupro", "AUPRO"), ("f1", "F1")][: 3 if len(groups) <= 3 else 1]
    block = Block("Accuracy and latency of every method", [], [], [])
    cells: dict[str, list[Cell]] = {name: [] for name in methods}
    for unit in groups:
        for metric, label in metrics:
            if all(math.isnan(values.get((*unit, name, metric), (math.nan,))[0]) for name in methods):
                continue
            block.columns.append(("/".join(unit), label, f"{'/'.join(unit)}: {label}"))
            for name in methods:
                cells[name].append(cell(values.get((*unit, name, metric)), (*unit, metric, name) in winners, metric))
        if any(unit_latency(latencies, unit, name) is not None for name in methods):
            block.columns.append(("/".join(unit), "latency [ms]", f"{'/'.join(unit)}: latency [ms]"))
            for name in methods:
                cells[name].append(Cell(rounded(unit_latency(latencies, unit, name))))
    nfe = {one["method"]: f"{one['nfe']:g}" for one in timings if one["nfe"] is not None}
    block.columns.append(("cost", "NFE", "NFE"))
    for name in methods:
        block.rows.append((labels.get(name, name), [], [*cells[name], Cell(nfe[name]) if name in nfe else NOTHING]))
    return block


def latencies_of(timings: Sequence[dict]) -> Latencies:
    """(dataset, category, method) -> median latency [ms] of the records of timing.json."""
    return {(one["dataset"], one["category"], one["method"]): one["latency_ms_median"] for one in timings
            if one["latency_ms_median"]}


def plane_panels(runs: Sequence[Run], timings: Sequence[dict], looks: Mapping[str, Style]) -> list[Panel]:
    """Image AUROC against latency, a panel per dataset; a method that lacks either is not drawn."""
    latencies, panels = latencies_of(timings), {}
    groups = units(runs)
    table = summarise([run for group in groups.values() for seeds in group.values() for run in seeds])
    auroc = table[table["metric"] == "image_auroc"].dropna(subset="mean")
    for unit in groups:
        rows = auroc[(auroc["dataset"] == unit[0]) & (auroc["category"] == unit[1])]
        points = [Point(row.method, latency, row.mean, row.ci_low, row.ci_high) for row in rows.itertuples()
                  if row.method in looks and (latency := unit_latency(latencies, unit, row.method))]
        if points:
            panels["/".join(unit)] = points
    return plane(panels, looks)


# Calibration and seeds


def calibration(runs: Sequence[Run], methods: Sequence[str], labels: Mapping[str, str]) -> tuple[Block | None,
                                                                                              list[Dots]]:
    """Promised against measured false-positive rate: a row per dataset, and a drawing per dataset.

    A measured rate differs from the promised one if its exact binomial interval does not hold it.
    """
    block = Block("Promised and measured false-positive rate", [], [], [("", name, name) for name in (
        "promised", "calibration images", "needed for the promise", "normal test images", "measured, lowest to highest",
        "methods above it", "methods below it")], head="dataset")
    drawn = []
    for (dataset, category), group in grouped(runs).items():
        rows, promised, sizes, tested, above, below, small = [], set(), set(), set(), [], [], False
        for name in (name for name in methods if name in group):
            ours = [run for run in group[name] if run.value(FPR) is not None]
            if not ours:
                continue
            rate, (low, high) = float(np.mean([run.value(FPR) for run in ours])), rate_interval(ours, FPR)
            rows.append((labels.get(name, name), [run.value(FPR) for run in ours], low, high))
            alphas = {run.record["false_positive_rate"] for run in ours}
            promised |= alphas
            sizes |= {run.record["n_calibration"] for run in ours}
            tested |= {run.record["n_test_normal"] for run in ours}
            small |= any(run.record["calibration_too_small"] for run in ours)
            above += [rate] * (low > max(alphas))
            below += [rate] * (high < min(alphas))
        if not rows:
            continue
        title, alpha = f"{dataset}/{category}", max(promised)
        needed = math.ceil(1 / alpha - 1 - 1e-9)
        rates = [sum(values) / len(values) for _, values, *_ in rows]
        texts = (percent(alpha), _span(sizes), str(needed), _span(tested), f"{min(rates):.3f} to {max(rates):.3f}",
                 str(len(above)), str(len(below)))
        block.rows.append((title, [], [Cell(text) for text in texts]))
        warnings = [f"Too few: {_span(sizes)} calibration images, the promise needs {needed}."] * small
        top = max(3 * alpha, *(0 if math.isnan(high) else high for *_, high in rows), *rates)
        drawn.append(dots(title, rows, f"measured false-positive rate by method, promised {percent(alpha)}",
                          (0, min(1, math.ceil(20 * top) / 20)), alpha, warnings))
    return (block if drawn else None), drawn


def _span(values: set) -> str:
    return f"{min(values)}" if len(values) == 1 else f"{min(values)} to {max(values)}"


def seed_dots(seeds: pd.DataFrame, table: pd.DataFrame, methods: Sequence[str], labels: Mapping[str, str],
              metric: str = "image_auroc") -> list[Dots]:
    """Every seed's value of a metric with the t-interval of its mean, a drawing per dataset.

    seeds, table: the rows of seeds.csv and statistics.csv.
    """
    drawn = []
    for (dataset, category), ours in seeds[seeds["metric"] == metric].groupby(["dataset", "category"], sort=False):
        known = table[(table["metric"] == metric) & (table["dataset"] == dataset) & (table["category"] == category)]
        spans = {row.method: (row.t_low, row.t_high) for row in known.itertuples()}
        rows = [(labels.get(name, name), values, *spans.get(name, (math.nan, math.nan))) for name in methods
                if (values := ours.loc[ours["method"] == name, "value"].tolist())]
        if rows:
            low = min(value for _, values, *_ in rows for value in values)
            drawn.append(dots(f"{dataset}/{category}", rows, "image AUROC of every seed, mean and Student's 95 % "
                              "interval by method", (max(0.0, math.floor(5 * low - 0.5) / 5), 1.0)))
    return drawn


# Words about claims, data and methods


def measured_text(row) -> str:
    """measured, low, high and unit of a row of claims.csv; empty if nothing was measured."""
    if math.isnan(row.measured):
        return ""
    span = "" if math.isnan(row.low) or math.isnan(row.high) else f" [{rounded(row.low)}, {rounded(row.high)}]"
    return minus(f"{rounded(row.measured)}{span}") + f" {row.unit}"


def published_text(row) -> str:
    """The published value of a row of claims.csv with where it stands; empty if there is none."""
    return f"{row.published} {row.published_unit} ({row.source}; {row.evidence})" if row.published else ""


def module_text(path: Path) -> tuple[str, str]:
    """Title and first paragraph of a module's docstring on one line; its first indented lines, an equation, or "".

    Both are empty if the file is no Python that can be read: then its method has failed, and the others have not.
    """
    try:
        parts = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")
    except (SyntaxError, ValueError):
        return "", ""
    prose = [part for part in parts if not part.startswith(" ")]
    equation = next((part for part in parts if part.startswith("    ")), "")
    lines = equation.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return " ".join(" ".join(prose[:2]).split()), "\n".join(line[indent:] for line in lines)


def settings_text(settings: Mapping) -> str:
    """Settings as "name: value, ..."."""
    return ", ".join(f"{name}: {value}" for name, value in settings.items()) or "none"


def data_sheet(name: str, manifest: pd.DataFrame, description: Mapping, digests: Sequence[tuple[str, str]],
               warnings: Sequence[str] = ()) -> Card:
    """Counts, sizes, licence and hashes of a dataset. description: config/datasets/<name>.yaml."""
    names = {0: "normal", 1: "anomalous", -1: "without label"}
    counts = manifest.groupby(["split", "label"], sort=False).size()
    widths, heights = manifest["width"], manifest["height"]
    sizes = (f"{widths.min()} × {heights.min()} px" if widths.nunique() == heights.nunique() == 1 else
             f"{widths.min()} to {widths.max()} × {heights.min()} to {heights.max()} px")
    masks = int((manifest["mask"] != "").sum())
    defects = manifest[(manifest["split"] == "test") & (manifest["label"] == 1)].groupby("defect", sort=True).size()
    return Card(name, "", "", [
        ("images", ", ".join(f"{n} {split} {names[label]}" for (split, label), n in counts.items())),
        ("sizes", sizes),
        ("masks", f"{masks}" if masks else "none"),
        ("defects in the test", ", ".join(f"{defect} ({n})" for defect, n in defects.items()) or DASH),
        ("from", str(description.get("from", DASH if "original" in description else "made or packaged by the suite; "
                                     f"radar/data/{description['source']}.py"))),
        ("licence", str(description.get("licence", DASH))),
        *digests,
    ], warnings)


def data_hash(lock: Mapping, name: str) -> list[tuple[str, str]]:
    """What dvc.lock says of a dataset's folder; empty if DVC does not make it."""
    stage = lock.get("stages", {}).get(f"data@{name.replace('/', '-')}")
    return [("md5 of the folder in dvc.lock", out["md5"]) for out in (stage or {}).get("outs", [])]


def method_card(name: str, label: str, method: Mapping, path: Path, timings: Sequence[dict]) -> Card:
    """What a method is: its module's own words and equation, its settings, what it costs. method: its YAML."""
    text, equation = module_text(path)
    ours = [record for record in timings if record["method"] == name]
    facts = [("cite", method["citation"])] if "citation" in method else []
    facts += [("class", method["class"]), ("settings", settings_text(method.get("settings") or {})),
              ("trained network", f"noise predictor {method['noise_predictor']}, shared" if "noise_predictor" in method
               else "its own" if "training" in method else "none")]
    for title, key in (("network evaluations per image (NFE)", "nfe"), ("parameters", "parameters")):
        values = {one[key] for one in ours if one[key] is not None}
        if values:
            facts.append((title, " to ".join(f"{value:,g}" if key == "nfe" else f"{value:,}"
                                             for value in sorted({min(values), max(values)}))))
    return Card(label, text, equation, facts)


def environment(runs: Sequence[Run], timings: Sequence[dict]) -> list[tuple[str, str]]:
    """Commits, devices, Python and versions of all the records; what differs between them is listed."""
    found: dict[str, dict[str, None]] = {"commit of the evaluation": {}, "commit of the timing": {}, "device": {},
                                         "Python": {}}
    for title, records in (("commit of the evaluation", [run.record for run in runs]),
                           ("commit of the timing", timings)):
        for record in records:
            source = record.get("provenance") or {}
            if source.get("commit"):
                found[title][source["commit"] + " with local changes" * bool(source.get("commit_dirty"))] = None
            if source.get("python"):
                found["Python"][source["python"]] = None
            for package, version in (source.get("versions") or {}).items():
                found.setdefault(package, {})[version] = None
    for one in timings:
        found["device"][device_text(one)] = None
    return [(name, ", ".join(values)) for name, values in found.items() if values]
