"""Write the verdicts on the papers' claims (CSV, Markdown, LaTeX), from a run's results and the ablation study's."""

import pandas as pd

from radar.report import claims, table
from radar.report.claim_config import read_claims, read_published
from radar.report.load import Run, load
from radar.report.step import step, write
from radar.report.tables import LEGENDS


def main(run: Run) -> None:
    published = read_published()
    asked = read_claims(published=published)
    results = load(run)
    frame = pd.DataFrame([claims.assess(claim, results) for claim in asked], columns=claims.COLUMNS)
    made, other = claims.tables(frame), claims.others(published, asked)
    command = run.command(run.folder / "tables/claims.md")
    write(run.out / "tables", {
        "claims.csv": frame.to_csv(index=False),
        "claims.md": table.markdown("Claims", LEGENDS["claims"], [*made, other], command),
        "claims.tex": table.latex("Claims", LEGENDS["claims"], made, command)})
    print(f"claims: {claims.counts(frame['verdict'])}")


if __name__ == "__main__":
    step(__doc__, main)
