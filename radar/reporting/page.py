"""results/report.html: all of a run on one page that needs no network.

Verdicts first, then the tables and figures, the worst mistakes of every method as pictures, what the data and the
methods are, and where it all came from. Text, tables and pictures are put into radar/reporting/templates/report.html;
every string is escaped there. Nothing is measured here; the tables are those of radar.reporting.tables and its
neighbours, cell by cell.
"""

import ast
import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from scipy import ndimage

from radar.evaluation.bootstrap import paired_difference
from radar.reporting.tables import Block, Cell, Run, common, grouped, rounded, seed_mean, short

TEMPLATES = Path(__file__).parent / "templates"
COLOURS = matplotlib.colormaps["magma"]
THUMBNAIL = 112  # px of a picture's longer side
WORST = 2        # images of each kind of mistake
WIDEST = 1400    # px of a figure on the page
# What reconstructs the image, and scores the error or compares both; all other diffusion methods do not.
RECONSTRUCTING = ("baselines.ddpm:DDPM", "baselines.diffusionad:DiffusionAD")


@dataclass(frozen=True)
class Picture:
    """An image on the page: data URI, what it shows in words, its caption, and the command that makes it."""

    uri: str
    alt: str
    caption: str = ""
    command: str = ""


@dataclass(frozen=True)
class Mistakes:
    """A method's worst false alarms and misses on a dataset."""

    method: str
    false_alarms: list[Picture]
    misses: list[Picture]


@dataclass
class DatasetPart:
    """What the page shows of one dataset. sheet: (name, value) pairs."""

    name: str
    sheet: list[tuple[str, str]]
    tables: list[Block] = field(default_factory=list)
    maps: Picture | None = None
    mistakes: list[Mistakes] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MethodCard:
    """What a method is. facts: (name, value) pairs."""

    name: str
    label: str
    text: str
    citation: str
    facts: list[tuple[str, str]]


@dataclass
class Page:
    """All that the template shows; a part that is empty is left out."""

    title: str
    verdicts: pd.DataFrame
    summary: str
    answer: Sequence[str]
    answer_block: Block | None
    datasets: list[DatasetPart]
    figures: list[Picture]
    timing: list[Block]
    statistics: list[Block]
    ablation_text: list[str]
    ablation: list[Picture]
    methods: list[MethodCard]
    environment: list[tuple[str, str]]
    commands: Mapping[str, str]


def render(page: Page) -> str:
    """The page as HTML. Every text in it is escaped."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.globals["slug"] = slug
    return environment.get_template("report.html").render(page=page)


def slug(text: str) -> str:
    """Text as the id of an element: letters, digits and hyphens."""
    return "".join(one if one.isascii() and one.isalnum() else "-" for one in text.lower()).strip("-")


# Pictures


def data_uri(image: Image.Image, kind: str = "PNG", **options) -> str:
    """An image as a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure(path: Path, alt: str, caption: str, command: str) -> Picture:
    """A figure of the run, at most WIDEST px wide, in 128 colours where that makes it smaller."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    uris = [data_uri(image.quantize(128, method=Image.Quantize.MEDIANCUT), optimize=True),
            data_uri(image, "WEBP", quality=80)]
    return Picture(min(uris, key=len), alt, caption, command)


def thumbnail(image: np.ndarray, anomaly_map: np.ndarray, threshold: float, mask: np.ndarray | None) -> str:
    """Left the image [C, H, W] uint8 with the truth outlined, right its map [H, W], brightest at the pixel threshold.

    mask: bool [H, W], or None. Returns a data URI.
    """
    base = np.repeat(image.transpose(1, 2, 0), 3 // image.shape[0], axis=2)
    relative = np.clip(anomaly_map / threshold, 0, 1) if threshold > 0 else (anomaly_map > threshold).astype(float)
    side = THUMBNAIL / max(base.shape[:2])
    size = max(1, round(base.shape[1] * side)), max(1, round(base.shape[0] * side))
    left = np.asarray(Image.fromarray(base).resize(size, Image.Resampling.BICUBIC)).copy()
    if mask is not None:
        large = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        left[large & ~ndimage.binary_erosion(large)] = (0, 230, 230)
    right = Image.fromarray((255 * COLOURS(relative)[..., :3]).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return data_uri(Image.fromarray(np.concatenate([left, np.asarray(right)], axis=1)), "JPEG", quality=82)


def worst(scores: pd.DataFrame, manifest: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The normal test images with the highest scores, and the anomalous ones with the lowest: WORST of each.

    scores: path, split, score; manifest: path, label and more. The rule knows nothing else, whether they lie beyond the
    threshold or not. Rows of the manifest with their score.
    """
    test = scores[scores["split"] == "test"][["path", "score"]]
    known = manifest[manifest["split"] == "test"].merge(test, on="path")
    normal, anomalous = (known[known["label"] == label].sort_values("score", kind="stable") for label in (0, 1))
    return normal.iloc[::-1].head(WORST), anomalous.head(WORST)


# The answer


def answer(runs: Sequence[Run], latencies: Mapping[tuple[str, str, str], float], classes: Mapping[str, str],
           labels: Mapping[str, str]) -> tuple[list[str], Block | None]:
    """Does skipping the reconstruction win? Sentences, and a table of a row per dataset.

    Compared are RADAR, read literally, and each dataset's best reconstruction by mean image AUROC, on the same
    resamples. latencies: (dataset, category, method) -> ms. Empty where one of them is missing.
    """
    block = Block("RADAR against the best reconstruction", [], [], [
        ("", name, name) for name in ("RADAR", "best reconstruction", "difference in image AUROC", "verdict",
                                      "latency ratio")], head="dataset")
    verdicts, ratios = [], []
    for (dataset, category), group in grouped(runs).items():
        rivals = [name for name in group if classes.get(name) in RECONSTRUCTING]
        means = {name: float(np.mean([run.value("image_auroc") for run in group[name]]))
                 for name in ["radar", *rivals] if name in group
                 and all(run.value("image_auroc") is not None for run in group[name])}
        rivals = [name for name in rivals if name in means]
        if "radar" not in means or not rivals:
            continue
        best = max(rivals, key=means.get)
        ours, theirs = (seed_mean(one, "image_auroc") for one in common(group["radar"], group[best]))
        low, high = (math.nan, math.nan) if ours is None or theirs is None else paired_difference(ours, theirs)
        verdict = "better" if low > 0 else "worse" if high < 0 else "within chance"
        verdicts.append(verdict)
        times = [latencies.get((dataset, category, name)) for name in ("radar", best)]
        ratio = times[0] / times[1] if None not in times else math.nan
        ratios.append(ratio)
        span = "" if math.isnan(low) else f" [{short(low)}, {short(high)}]"
        cells = (short(means["radar"]), f"{labels.get(best, best)} {short(means[best])}",
                 short(means["radar"] - means[best]) + span, verdict, "–" if math.isnan(ratio) else f"{ratio:.2f}")
        block.rows.append((f"{dataset}/{category}", [], [Cell(text) for text in cells]))
    if not verdicts:
        return [], None
    n, counts = len(verdicts), {name: verdicts.count(name) for name in ("better", "within chance", "worse")}
    known = [ratio for ratio in ratios if not math.isnan(ratio)]
    cost = f" It takes {min(known):.2f} to {max(known):.2f} of its time." if known else ""
    return [f"Read literally, RADAR is better than the best reconstructing method beyond chance on {counts['better']} "
            f"of {n} dataset{'s' * (n != 1)}, within chance of it on {counts['within chance']}, and worse on "
            f"{counts['worse']} (image AUROC, paired 95 % intervals over test images).{cost}",
            "The best reconstruction of a dataset is picked by its result on the test images, which favours it. Other "
            "readings of RADAR are in the tables below."], block


# Words about claims, data and methods


def measured_text(row) -> str:
    """measured, low, high and unit of a row of claims.csv; empty if nothing was measured."""
    if math.isnan(row.measured):
        return ""
    span = "" if math.isnan(row.low) or math.isnan(row.high) else f" [{signed(row.low)}, {signed(row.high)}]"
    return f"{signed(row.measured)}{span} {row.unit}"


def published_text(row) -> str:
    """The published value of a row of claims.csv with where it stands; empty if there is none."""
    return f"{row.published} {row.published_unit} ({row.source}; {row.evidence})" if row.published else ""


def signed(value: float) -> str:
    """Three significant digits of a number of either sign."""
    return f"-{rounded(-value)}" if value < 0 else rounded(value)


def module_text(path: Path) -> str:
    """The first paragraph of a module's docstring, on one line; empty if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def settings_text(settings: Mapping) -> str:
    """Settings as "name: value, ..."."""
    return ", ".join(f"{name}: {value}" for name, value in settings.items()) or "none"


def data_sheet(manifest: pd.DataFrame, description: Mapping, digest: str) -> list[tuple[str, str]]:
    """Counts, sizes, licence and hash of a dataset. description: config/datasets/<name>.yaml; digest: of its images."""
    names = {0: "normal", 1: "anomalous", -1: "without label"}
    counts = manifest.groupby(["split", "label"], sort=False).size()
    widths, heights = manifest["width"], manifest["height"]
    sizes = (f"{widths.min()} × {heights.min()} px" if widths.nunique() == heights.nunique() == 1 else
             f"{widths.min()} to {widths.max()} × {heights.min()} to {heights.max()} px")
    masks = int((manifest["mask"] != "").sum())
    return [("images", ", ".join(f"{n} {split} {names[label]}" for (split, label), n in counts.items())),
            ("sizes", sizes), ("masks", f"{masks}" if masks else "none: image labels only"),
            ("defects", ", ".join(sorted(set(manifest["defect"]) - {""})) or "–"),
            ("licence", str(description.get("licence", "–"))), ("sha256 of the manifest", digest)]
