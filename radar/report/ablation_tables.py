"""The ablation study in tables: what was found, and one per study and dataset. Numbers are radar.report.ablation's."""

import pandas as pd

from radar.report.ablation import Ablation, contested
from radar.report.format import DASH, count, interval, plain, spread
from radar.report.load import of
from radar.report.table import Bold, Table, frame_of
from radar.report.tables import NAMES, TEXT

AGAINST = "against the literal reading:"


def named(metric: str) -> str:
    """What a metric is called, as in the other tables."""
    return NAMES.get(metric, metric.replace("_", " "))


def labels(rows: pd.DataFrame) -> pd.Series:
    """What the variants of a study on a dataset are called: their series, with x on a curve; no two alike."""
    of_curve = rows.groupby("series")["x"].transform("count") > 0
    names = rows["series"] + [f", {plain(x)}" if x == x else ", label-free" * curve
                              for x, curve in zip(rows["x"], of_curve, strict=True)]
    alike = rows.groupby(names)["variant"].transform("nunique") > 1
    return names.where(~alike, names + " (" + rows["variant"] + ")")


def found(counts: pd.DataFrame) -> Table:
    """How many variants are better or worse than the literal reading, and where curves are best."""
    cells = {}
    for row in counts.itertuples():
        name = ", ".join(filter(None, [f"{row.study}: {row.dataset}/{row.category}", named(row.metric), row.series]))
        cells[name] = [str(row.better), str(row.within), str(row.worse), plain(row.best_x),
                       interval(row.difference, row.difference_low, row.difference_high)]
    columns = [(AGAINST, name) for name in ("better", "within chance", "worse")]
    columns += [("curves:", "best x"), ("curves:", "label-free choice minus the best")]
    return Table("What was found", frame_of(cells, columns, "study: dataset, metric, series"),
                 [TEXT["ablation"]["found"]])


def tables(ablation: Ablation, rows: pd.DataFrame) -> list[Table]:
    """A table per study and dataset, a row per variant. rows: of ablation.table."""
    return [_table(ablation, key, group) for key, group in rows.groupby(["study", "dataset", "category"], sort=False)]


def _table(ablation: Ablation, key: tuple[str, str, str], rows: pd.DataFrame) -> Table:
    study, pair, results = ablation.studies[key[0]], key[1:], ablation.results
    rows = rows[rows["metric"].isin(study["metrics"])].assign(label=labels(rows))
    rows = rows.assign(value=[spread(row.mean, row.ci_low, row.ci_high) for row in rows.itertuples()],
                       against=[interval(row.difference, row.difference_low, row.difference_high)
                                for row in rows.itertuples()])
    variants = rows.drop_duplicates("label").set_index("label")
    cells = rows.drop_duplicates(["label", "metric"]).pivot(index="label", columns="metric")
    cells = cells[["value", "against"]].reindex(variants.index).fillna(DASH)
    # A metric that no variant has (of maps, without masks) needs no column.
    have = [name for name in study["metrics"] if rows.loc[rows["metric"] == name, "mean"].notna().any()]
    contest = contested(rows, ablation.studies).dropna(subset="difference")
    parts = {("", named(name)): cells["value", name] for name in have}
    parts |= {(AGAINST, named(name)): cells["against", name] for name in have if name in set(contest["metric"])}
    frame = pd.DataFrame(parts).astype(object).rename_axis(index=f"series, {study['x']}" if study["x"] else "variant")
    for row in contest.query("difference_low > 0").itertuples():
        frame.loc[row.label, (AGAINST, named(row.metric))] = Bold(row.against)
    missed = {label: ablation.missing[*pair, name] for label, name in variants["variant"].items()
              if (*pair, name) in ablation.missing}
    alone = ablation.literal not in set(of(results.records, pair)["method"])
    warnings = [TEXT["ablation"]["no_literal"]] * alone
    caption = [f"{count(one.n_test_normal + one.n_test_anomalous, 'test image')}, {one.n_test_anomalous} of them "
               f"anomalous; {count(len(results.run.seeds), 'training seed')}."
               for one in of(results.records, pair).head(1).itertuples()]
    return Table(f"{study['title']}: {'/'.join(pair)}", frame, caption, warnings, missed)
