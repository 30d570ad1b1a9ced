"""results/runs/<run>/report.html: all of a run on one page that needs no network.

templates/report.html holds every sentence and puts tables and pictures together, jinja2 escapes every string;
report.css and report.js go into the page as they are. Here is read what they show; nothing is measured or formatted.
"""

import ast
import re
import textwrap
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radar.code import module_file, parsed
from radar.config import CONFIG, read_yaml
from radar.files import ROOT, sha256
from radar.images.map_archive import read_maps
from radar.images.photos import read_image
from radar.report import ablation_tables, format, tables
from radar.report.load import Pair, Run, absent, read_csv, read_json
from radar.report.pictures import figure_uri, mask_of, thumbnail, worst
from radar.report.table import Table, html

OPEN = 4  # datasets up to which their parts are unfolded
# So that the page stays under ten megabytes: px that all figures are wide together; pictures of a kind of mistake, all
# methods and datasets together; px of their longer side.
WIDTHS, PICTURES, SIDE = 16_800, 108, 128
TEXTS: dict[str, Any] = {"keep_default_na": False, "na_values": dict.fromkeys(("measured", "low", "high"), [""]),
                         "dtype": {"published": str}}


def page(run: Run) -> str:
    """The page of a run as HTML; of a partial one with what is missing. Raises InputError for a missing file."""
    numbers = tables.Numbers(run, run.out / "tables")
    answers, claims, counts = (run.out / "tables" / f"{name}.csv" for name in ("answers", "claims", "ablation_counts"))
    missing = numbers["missing"].groupby(["dataset", "category", "reason"], sort=False)["method"]
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.tests["missing"] = format.missing
    environment.globals |= {"format": format, "slug": slug, "html": shown, "legends": tables.LEGENDS}
    return environment.get_template("report.html").render(
        run=run, missing=list(missing.agg(list).reset_index().itertuples()),
        answers=questions(read_csv(answers)),
        claims=read_csv(claims, **TEXTS).to_dict("records") if claims.is_file() or not run.partial else [],
        figures=figures(run.out / "figures"),
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
    verdicts = np.select([answers["ci_low"] > 0, answers["ci_high"] < 0], ["better", "worse"], "undecided")
    groups = answers.assign(verdict=verdicts).groupby("question", sort=False)
    return {question: rows.to_dict("records") for question, rows in groups}


# Pictures


def figures(folder: Path) -> dict[str, tuple[str, tuple[int, int]]]:
    """The figures of the run that the page shows, name -> (data URI, (width, height))."""
    paths = [path for path in sorted(folder.glob("*.png")) if path.stem != "strip"]
    return {path.stem: figure_uri(path, max(500, min(1400, WIDTHS // len(paths)))) for path in paths}


def scored(run: Run, pair: Pair, method: str, manifest: pd.DataFrame) -> dict:
    """Of a trained method how many test images there are, how many are called anomalous, and those that `worst` names.

    kinds: of every kind rows of the manifest with score, threshold, decision (1 = anomalous) and picture: the data URI
    of image and map, and its (width, height).
    """
    place, data = run.place(pair, method, run.seeds[0]), Path(run.datasets["/".join(pair)]["data"])
    most = max(1, min(6, PICTURES // (len(run.pairs) * len(run.methods))))
    record = read_json(place / "detector.json", ("threshold", "map_threshold", "channels", "longest_side"))
    scores = read_csv(place / "scores.csv", ("path", "split", "score")).query("split == 'test'")[["path", "score"]]
    test = manifest[manifest["split"] == "test"].merge(scores, on="path").assign(threshold=record["threshold"])
    test["decision"] = (test["score"] > test["threshold"]).astype(int)
    kinds = {kind: rows.to_dict("records") for kind, rows in worst(test, most).items()}
    wanted = {row["path"]: row for rows in kinds.values() for row in rows}
    for path, anomaly_map in read_maps(place / "maps.npz"):
        if row := wanted.get(path):
            image = read_image(data / path, record["channels"], record["longest_side"])
            row["picture"] = thumbnail(image, anomaly_map, record["map_threshold"],
                                       mask_of(row, data, anomaly_map.shape), SIDE)
    return {"file": place / "decisions.csv", "images": len(test), "anomalous": test["decision"].sum(), "kinds": kinds}


# Data, methods, environment


def dataset(run: Run, pair: Pair) -> dict:
    """Of a dataset its counts, sizes, licence, hashes, warnings of the check, and what each method scored."""
    name, folder = "/".join(pair), run.results.joinpath(*pair)
    labelled = run.datasets[name]["labelled"]
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
                    for method in run.methods if not absent(run.place(pair, method, run.seeds[0]) / "metrics.json")}}


def module_text(reference: str) -> tuple[str, str]:
    """Title and first paragraph of the docstring of `package.module:Class`'s module, and its first indented lines, an
    equation."""
    parts = (ast.get_docstring(parsed(module_file(reference))) or "").split("\n\n")
    prose = [part for part in parts if not part.startswith(" ")]
    equation = next((part for part in parts if part.startswith("    ")), "")
    return " ".join(" ".join(prose[:2]).split()), textwrap.dedent(equation)


def versions(run: Run) -> dict[str, list[str]]:
    """Commits and versions that the metrics.json of the run name; several where they differ."""
    places = (run.place(*one) / "metrics.json" for one in product(run.pairs, run.methods, run.seeds))
    sources = [read_json(path).get("provenance") or {} for path in places if path.is_file()]
    rows = [{"commit": one.get("commit") and one["commit"] + " with local changes" * bool(one.get("commit_dirty")),
             "Python": one.get("python"), **one.get("versions", {})} for one in sources]
    found = pd.DataFrame(rows, columns=None if rows else ["commit"])
    return {name: values.dropna().unique().tolist() for name, values in found.items()}
