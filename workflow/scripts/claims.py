"""Write the verdicts on the papers' claims: claims.csv, claims.md, claims.tex."""

import argparse
import sys
from pathlib import Path

from radar.configuration import CONFIG, ConfigurationError, read_yaml
from radar.files import atomic
from radar.reporting import ablation, claims, tables


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=Path, default=CONFIG / "claims.yaml")
    parser.add_argument("--published", type=Path, default=CONFIG / "published.csv")
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="FOLDER")
    parser.add_argument("--datasets", nargs="+", required=True, metavar="DATASET/CATEGORY")
    parser.add_argument("--methods", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, required=True, help="the first one was timed")
    parser.add_argument("--variants", type=Path, help="results/ablation/variants.json, where the study was made")
    parser.add_argument("--out", type=Path, default=Path("results/tables"), metavar="FOLDER")
    return parser.parse_args()


def main(args: argparse.Namespace) -> None:
    where = (args.results, args.datasets, args.methods)
    evaluated, _ = tables.run_files(*where, args.seeds, "metrics.json")
    timed, _ = tables.run_files(*where, args.seeds[:1], "timing.json")
    runs = tables.read_runs(evaluated, [path.with_name("bootstrap.npz") for path in evaluated])
    study = None
    if args.variants:
        study = ablation.read_ablation(ablation.read_variants(args.variants), args.variants.parent)
    classes = {name: read_yaml(CONFIG / "methods" / f"{name}.yaml")["class"] for name in args.methods}
    evidence = claims.Evidence([*tables.mean_over_categories(runs), *runs], tables.read_timings(timed), classes, study)
    table = claims.judge(claims.read_claims(args.claims), claims.read_published(args.published), evidence)
    texts = {"claims.csv": table.to_csv(index=False), "claims.md": claims.to_markdown(table),
             "claims.tex": claims.to_latex(table)}
    for name, text in texts.items():
        with atomic(args.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(claims.summary(table))


if __name__ == "__main__":
    try:
        main(arguments())
    except (tables.InputError, ConfigurationError, OSError) as error:
        sys.exit(f"claims: {error}")
