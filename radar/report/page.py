"""results/runs/<run>/report.html: all of a run on one page that needs no network.

templates/report.html holds every sentence and puts tables and pictures together, jinja2 escapes every string;
report.css and report.js go into the page as they are. Here is read what they show; nothing is measured or formatted.
"""

import ast
import math
import re
import textwrap
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radar.code import CodeError, module_file
from radar.config import CONFIG, read_yaml
from radar.files import ROOT, sha256
from radar.images.map_archive import read_maps
from radar.images.photos import read_image, read_mask
from radar.report import ablation_tables, format, tables
from radar.report.load import Pair, Run, read_csv, read_json, read_run
from radar.report.pictures import figure_uri, thumbnail, worst
from radar.report.table import Table, html

OPEN = 4  # datasets up to which their parts are unfolded
# So that the page stays under ten megabytes: figures up to which they are WIDEST, more are smaller, down to NARROWEST;
# datasets times methods up to which -> pictures of a kind of mistake, px of their longer side.
FEW, WIDEST, NARROWEST = 12, 1400, 500
PICTURES = {15: (6, 160), 60: (3, 128), 150: (2, 112), math.inf: (1, 96)}
OVERVIEWS = ("accuracy_latency", "recall", "roc", "timing", "loss", "ranks", "seeds")
TEXTS: dict[str, Any] = {"keep_default_na": False, "na_values": dict.fromkeys(("measured", "low", "high"), [""]),
                         "dtype": {"published": str}}


def page(folder: Path, partial: bool = False) -> str:
    """The page of results/runs/<run> as HTML; partial: of what is in its folder partial, and what is missing.

    Raises InputError for a file that is needed and missing.
    """
    run, made = read_run(folder), folder / "partial" if partial else folder
    numbers = tables.Numbers(run, made / "tables")
    answers, claims, counts = (made / "tables" / f"{name}.csv" for name in ("answers", "claims", "ablation_counts"))
    missing = numbers["missing"].groupby(["dataset", "category", "reason"], sort=False)["method"]
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.tests["missing"] = format.missing
    environment.globals |= {"format": format, "slug": slug, "html": shown, "legends": tables.LEGENDS}
    return environment.get_template("report.html").render(
        run=run, partial=partial, missing=list(missing.agg(list).reset_index().itertuples()),
        answers=questions(read_csv(answers)), changed=dict(tables.flat(run.changed)),
        claims=read_csv(claims, **TEXTS).to_dict("records") if claims.is_file() or not partial else [],
        figures=figures(made / "figures"),
        compact=tables.compact_table(numbers), main={table.title: table for table in tables.main_tables(numbers)},
        categories=tables.category_tables(numbers), timing=tables.timing_tables(numbers),
        statistics={table.title: table for table in tables.statistics_tables(numbers)},
        datasets=[dataset(run, pair) for pair in run.pairs], unfold=len(run.pairs) <= OPEN,
        devices=tables.device_texts(numbers["timing"]), environment=versions(run),
        ablation=ablation_tables.found(read_csv(counts).fillna({"series": ""})) if counts.is_file() else None,
        methods={run.labels[name]: (method, *module_text(method["class"])) for name, method in run.methods.items()})


def slug(text: str) -> str:
    """Text as the id of an element: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def shown(table: Table, identity: str) -> str:
    """The table as HTML, without columns of dashes; the rows' name in the columns' row; cells wrap behind a number."""
    told = (table.frame != format.DASH).any()
    table = replace(table, frame=table.frame.loc[:, told] if told.any() else table.frame)
    text = re.sub(r'<th class="blank level1" >&nbsp;</th>(.*?)</tr>\s*<tr>\s*(<th class="index_name.*?</th>).*?</tr>',
                  r"\2\1</tr>", html(table, identity), count=1, flags=re.DOTALL)
    return re.sub(r"(?<=\d) (± [^<]+|\[[^<]+\])(?=</td>)", r" <span>\1</span>", text)


def questions(answers: pd.DataFrame) -> dict[str, list[dict]]:
    """Rows of answers.csv by question, each with its verdict: better or worse if its interval excludes 0."""
    found: dict[str, list[dict]] = {}
    for row in answers.to_dict("records"):
        verdict = "better" if row["ci_low"] > 0 else "worse" if row["ci_high"] < 0 else "undecided"
        found.setdefault(row["question"], []).append(row | {"verdict": verdict})
    return found


# Pictures


def figures(folder: Path) -> dict[str, tuple[str, tuple[int, int]]]:
    """The figures of the run that the page shows, name -> (data URI, (width, height))."""
    paths = [path for path in sorted(folder.glob("*.png")) if path.stem.startswith(("maps_", "ablation_", *OVERVIEWS))]
    width = max(NARROWEST, WIDEST * FEW // max(FEW, len(paths)))
    return {path.stem: figure_uri(path, width) for path in paths}


def pictured(run: Run, pair: Pair, method: str, rows: pd.DataFrame, side: int) -> list[dict]:
    """Rows of path, mask, mask_from, ... with picture: (data URI, (width, height)) of image and map, `side` px each."""
    place, name = run.place(pair, method, run.seeds[0]), "/".join(pair)
    record = read_json(place / "detector.json", ("map_threshold", "channels", "longest_side"))
    data = Path(run.datasets[name]["data"])
    wanted, found = rows.set_index("path"), {}
    for path, anomaly_map in read_maps(place / "maps.npz"):
        if path not in wanted.index:
            continue
        row, mask = wanted.loc[path], None
        if row["mask"]:
            mask = read_mask(data / row["mask"], anomaly_map.shape, row["mask_from"])
        image = read_image(data / path, record["channels"], record["longest_side"])
        found[path] = thumbnail(image, anomaly_map, record["map_threshold"], mask, side)
    return [row | {"picture": found.get(row["path"])} for row in rows.to_dict("records")]


def scored(run: Run, pair: Pair, method: str, manifest: pd.DataFrame) -> dict:
    """Of a trained method the images by kind, see `worst`: their rows of the manifest with score, threshold, decision
    (1 = anomalous) and picture. Of a dataset without labels the first of decisions.csv, of how many, and how many of
    all are called anomalous."""
    place = run.place(pair, method, run.seeds[0])
    most, side = next(found for up_to, found in PICTURES.items() if len(run.pairs) * len(run.methods) <= up_to)
    if run.datasets["/".join(pair)]["labelled"]:
        threshold = read_json(place / "detector.json", ("threshold",))["threshold"]
        kinds = worst(read_csv(place / "scores.csv", ("path", "split", "score")), manifest, most)
        rows = pd.concat([rows.assign(kind=kind, threshold=threshold) for kind, rows in kinds.items()])
        found = pictured(run, pair, method, rows.assign(decision=(rows["score"] > threshold).astype(int)), side)
        return {kind: ours for kind in kinds if (ours := [row for row in found if row["kind"] == kind])}
    every = read_csv(place / "decisions.csv", ("file", "score", "threshold", "decision"))
    tested = manifest[manifest["split"] == "test"]  # without any label all are in training, too
    first = every.rename(columns={"file": "path"}).merge(tested, on="path").head(2 * most)
    return {"file": place / "decisions.csv", "images": len(every), "anomalous": int(every["decision"].sum()),
            "first": pictured(run, pair, method, first, side)}


# Data, methods, environment


def dataset(run: Run, pair: Pair) -> dict:
    """Of a dataset its counts, sizes, licence, hashes, warnings of the check, and what each method scored."""
    name, folder = "/".join(pair), run.results.joinpath(*pair)
    labelled = run.datasets[name]["labelled"]
    last = "metrics.json" if labelled else "decisions.csv"  # the last of a method's files that is read here
    if not (folder / "manifest.csv").is_file():
        return {"name": name, "labelled": labelled, "manifest": None, "methods": {}}
    manifest = read_csv(folder / "manifest.csv", ("path", "split", "label", "defect", "mask", "width", "height"),
                        keep_default_na=False)
    lock = ROOT / "dvc.lock"
    stages = read_yaml(lock).get("stages", {}) if lock.is_file() else {}
    return {
        "name": name, "labelled": labelled, "manifest": manifest,
        "counts": manifest.groupby(["split", "label"], sort=False).size().to_dict(),
        "defects": manifest[manifest["split"] == "test"].query("label == 1").groupby("defect").size().to_dict(),
        "description": read_yaml(CONFIG / "datasets" / f"{pair[0]}.yaml"), "sha256": sha256(folder / "manifest.csv"),
        "md5": [out["md5"] for out in stages.get(f"data@{'-'.join(pair)}", {}).get("outs", [])],
        "warnings": read_json(folder / "check.json", ("warnings",))["warnings"],
        "tested": int((manifest["split"] == "test").sum()),
        "methods": {run.labels[method]: scored(run, pair, method, manifest)
                    for method in run.methods if (run.place(pair, method, run.seeds[0]) / last).is_file()}}


def module_text(reference: str) -> tuple[str, str]:
    """Title and first paragraph of the docstring of `package.module:Class`'s module, and its first indented lines, an
    equation; both "" if the module cannot be read: then its method has failed, and the others have not."""
    try:
        parts = (ast.get_docstring(ast.parse(module_file(reference).read_text())) or "").split("\n\n")
    except (CodeError, SyntaxError, ValueError):
        return "", ""
    prose = [part for part in parts if not part.startswith(" ")]
    equation = next((part for part in parts if part.startswith("    ")), "")
    return " ".join(" ".join(prose[:2]).split()), textwrap.dedent(equation)


def versions(run: Run) -> dict[str, list[str]]:
    """Commits and versions that the metrics.json of the run name; several where they differ."""
    places = [run.place(*one) for one in product(run.pairs, run.methods, run.seeds)]
    sources = [read_json(place / "metrics.json").get("provenance") or {}
               for place in places if (place / "metrics.json").is_file()]
    rows = [{"commit": one.get("commit") and one["commit"] + " with local changes" * bool(one.get("commit_dirty")),
             "Python": one.get("python"), **one.get("versions", {})} for one in sources]
    names = dict.fromkeys(["commit", *(name for row in rows for name in row)])
    return {name: list(dict.fromkeys(row[name] for row in rows if row.get(name))) for name in names}
