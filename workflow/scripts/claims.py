"""Write the verdicts on the papers' claims (CSV, Markdown, LaTeX), from a run's results and the ablation study's."""

import argparse
import sys
from pathlib import Path

import pandas as pd

from radar.config import ConfigurationError
from radar.files import atomic
from radar.report import claims, table
from radar.report.claim_config import read_claims, read_published
from radar.report.claim_evidence import Left
from radar.report.load import InputError, load, read_run
from radar.report.tables import LEGENDS


def main(folder: Path) -> None:
    run = read_run(folder)
    published = read_published()
    asked = read_claims(published=published)
    left = Left(load(run))
    frame = pd.DataFrame([claims.assess(claim, left) for claim in asked], columns=claims.COLUMNS)
    made, other = claims.tables(frame), claims.others(published, asked)
    command = f"snakemake --cores all {folder / 'tables' / 'claims.md'}"
    texts = {"claims.csv": frame.to_csv(index=False),
             "claims.md": table.markdown("Claims", LEGENDS["claims"], [*made, other], command),
             "claims.tex": table.latex("Claims", LEGENDS["claims"], made, command)}
    for name, text in texts.items():
        with atomic(folder / "tables" / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(f"claims: {claims.counts(frame['verdict'])}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="results/runs/<run>")
    try:
        main(parser.parse_args().run)
    except (ConfigurationError, InputError, OSError) as error:
        sys.exit(f"claims: {error}")
