"""What the papers claim and what they published: config/claims.yaml and config/published.csv, read and checked."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from radar.checked_yaml import UNSET, ConfigurationError, Count, Positive, Several, Strict, Text, check, read_yaml
from radar.config import CONFIG, MethodName, expand_datasets

PUBLISHED = ("method", "paper", "dataset", "category", "setting", "metric", "value", "unit", "device", "source",
             "evidence")
# the methods of which the first that is in the run is taken
Rival = Annotated[Several[MethodName], BeforeValidator(lambda one: [one] if isinstance(one, str) else one)]
Rivals = Annotated[list[Rival], Field(min_length=1)]
# kind of test: its options; config/claims.yaml says what each asks
TESTS: dict[str, dict[str, Any]] = {
    "better": {"metrics": Several[str], "by": float, "than": Rivals},
    "faster": {"times": Positive, "chain": (Count, 0), "than": Rivals},
    "latency": {"below_ms": Positive, "device": Literal["cpu", "cuda"]},
    "trend": {"study": str, "series": str, "at": float, "metrics": Several[str]},
    "reaches": {"metric": str, "margin": Annotated[float, Field(ge=0)]}}
_of_each_kind: dict[str, Any] = {
    kind: (create_model(kind, __base__=Strict, **options), UNSET) for kind, options in TESTS.items()}
Test: Any = create_model("Test", __base__=Strict, **_of_each_kind)


class Statement(Strict):
    statement: Text
    datasets: Annotated[Several[str], AfterValidator(expand_datasets)] = UNSET
    test: Test
    published: dict[str, str] = UNSET  # columns of published.csv and what stands there
    source: Text = UNSET
    evidence: Literal["paper", "authors", "third party", "second-hand"] = UNSET
    conditions: Text

    @model_validator(mode="after")
    def _can_be_held_against_results(self) -> Self:
        if len(self.test.model_fields_set) != 1:
            raise ValueError(f"test: give one of {', '.join(TESTS)}")
        if self.model_fields_set & {"published", "source", "evidence"} not in ({"published"}, {"source", "evidence"}):
            raise ValueError("give published, or else source and evidence")
        return self

    @property
    def kind(self) -> str:
        return next(iter(self.test.model_fields_set))


class Paper(Strict):
    paper: Text
    methods: Several[MethodName]
    claims: Annotated[dict[Annotated[str, Field(pattern="^[a-z0-9_]+$")], Statement], Field(min_length=1)]


@dataclass(frozen=True)
class Claim:
    """A claim of config/claims.yaml. paper: what its method is called there, and its citation. methods: of the suite,
    who may speak for it. published: the row of config/published.csv, its value a number; {} = the claim is in words.
    """

    name: str
    paper: str
    methods: list[str]
    says: Statement
    published: dict


def read_published(path: Path = CONFIG / "published.csv") -> list[dict]:
    """The rows of published.csv, `value` as a number, the rest as text. Raises ConfigurationError."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: cannot be read ({error})") from error
    for number, row in enumerate(rows, 2):
        if tuple(row) != PUBLISHED or None in row.values():
            raise ConfigurationError(f"{path}: line {number}: must have exactly the columns {', '.join(PUBLISHED)}")
        try:
            row["value"] = float(row["value"])
        except ValueError:
            raise ConfigurationError(f"{path}: line {number}: value '{row['value']}' is no number") from None
        if not row["source"] or not row["evidence"]:
            raise ConfigurationError(f"{path}: line {number}: a number needs its source and evidence")
    return rows


def read_claims(path: Path = CONFIG / "claims.yaml", published: list[dict] | None = None) -> list[Claim]:
    """The claims of claims.yaml, checked; published: as read_published gives it. Raises ConfigurationError."""
    rows = read_published() if published is None else published
    claims: dict[str, Claim] = {}
    for paper, about in check(dict[str, Paper], read_yaml(path), str(path)).items():
        for name, says in about.claims.items():
            where = f"{path}: {paper}.claims.{name}"
            if name in claims:
                raise ConfigurationError(f"{where}: {claims[name].paper} has a claim of this name too; rename one")
            row = {} if says.published is UNSET else _published_row(where, paper, says.published, rows)
            if says.kind == "reaches" and row.get("unit") != "percent":
                raise ConfigurationError(f"{where}: reaches needs a published value in percent")
            claims[name] = Claim(name, f"{paper}, {about.paper}", about.methods, says, row)
    return list(claims.values())


def _published_row(where: str, paper: str, wanted: dict, published: list[dict]) -> dict:
    """The one row of a paper that has the wanted values in its columns."""
    rows = [row for row in published if row["method"] == paper and wanted.items() <= row.items()]
    if len(rows) != 1:
        text = ", ".join(f"{key} '{value}'" for key, value in wanted.items())
        raise ConfigurationError(f"{where}.published: {len(rows) or 'no'} rows of published.csv "
                                 f"with method '{paper}', {text}; name one")
    return rows[0]
