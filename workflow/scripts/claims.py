"""Write the verdicts on the papers' claims (CSV, Markdown, LaTeX), from a run's results and the ablation study's."""

import argparse
import sys
from pathlib import Path

from radar.report.arguments import reporting_parser

from radar.config import ConfigurationError
from radar.files import atomic
from radar.report import ablation, claims, tables
from radar.report.claim_config import read_claims, read_published


def arguments() -> argparse.Namespace:
    parser = reporting_parser(__doc__, "results/tables")
    parser.add_argument("--ablation", type=Path, metavar="FOLDER", help="results of the ablation study, if it was made")
    return parser.parse_args()


def read_studies(folder: Path, names: set[str]) -> ablation.Ablation:
    """The ablation study with the variants of these studies alone."""
    plan = ablation.read_variants(folder / "variants.json")
    variants = [one for one in plan["variants"] if one["study"] in names]
    return ablation.read_ablation(plan | {"variants": variants}, folder)


def main(args: argparse.Namespace) -> None:
    published = read_published()
    asked = read_claims(published=published)
    where = (args.results, args.datasets, args.methods)
    evaluated, _ = tables.run_files(*where, args.seeds, "metrics.json")
    drawn, _ = tables.run_files(*where, args.seeds, "bootstrap.npz")
    timed, _ = tables.run_files(*where, args.seeds[:1], "timing.json")
    timings: dict = {}
    for record in tables.read_timings(timed):
        timings.setdefault((record["dataset"], record["category"]), {})[record["method"]] = record
    studies = {claim.options["study"] for claim in asked if claim.kind == "trend"}
    results = claims.Results(
        tuple(tuple(name.split("/", 1)) for name in args.datasets),
        tables.grouped(tables.read_runs(evaluated, drawn)), timings,
        read_studies(args.ablation, studies) if args.ablation else None,
        dict(args.labels),
    )
    made = [claims.assess(claim, results) for claim in asked]
    blocks = claims.blocks(made)
    other = claims.others(published, asked)
    texts = {"claims.csv": claims.table(made).to_csv(index=False), "claims.md": claims.markdown([*blocks, other]),
             "claims.tex": claims.latex(blocks)}
    for name, text in texts.items():
        with atomic(args.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"claims: {claims.counts(one.verdict for one in made)}")


if __name__ == "__main__":
    try:
        main(arguments())
    except (ConfigurationError, tables.InputError, OSError) as error:
        sys.exit(f"claims: {error}")
