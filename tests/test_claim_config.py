"""config/claims.yaml and config/published.csv: what ships is sound, and a mistake in them is one line."""

import json

import pytest
import yaml

from radar.config import CONFIG, ConfigurationError
from radar.report import claim_config
from radar.report.compare import METRICS


def test_the_shipped_claims_ask_for_metrics_and_studies_that_there_are():
    studies = yaml.safe_load((CONFIG / "ablation.yaml").read_text())["studies"]
    for one in claim_config.read_claims():
        test = getattr(one.says.test, one.says.kind)
        assert {*getattr(test, "metrics", []), getattr(test, "metric", "f1")} <= set(METRICS)
        if one.says.kind == "trend":
            study = studies[test.study]
            assert test.at in study["at"][:-1] and test.series in study["series"]


GOOD = {"Paper": {"paper": "arXiv:0", "methods": ["radar"], "claims": {"a": {
    "statement": "It is so", "test": {"latency": {"below_ms": 1, "device": "cpu"}}, "conditions": "None.",
    "source": "abstract", "evidence": "paper"}}}}


@pytest.mark.parametrize("change, words", [
    ({"tset": {}}, "Paper.claims.a: unknown key 'tset'; allowed: conditions"),
    ({"test": {"bettr": {}}}, "Paper.claims.a.test: unknown key 'bettr'; allowed: better, faster, latency"),
    ({"test": {}}, "Paper.claims.a: test: give one of better, faster"), ({"test": {"better": None}}, "a.test.better"),
    ({"test": {"latency": {"below_ms": 0, "device": "cpu"}}}, "Paper.claims.a.test.latency.below_ms"),
    ({"test": {"latency": {"device": "cpu"}}}, "Paper.claims.a.test.latency.below_ms: Field required"),
    ({"test": {"faster": {"times": 2, "than": ["pac"]}}}, "a.test.faster.than.0.0: unknown method 'pac'; known: "),
    ({"test": {"faster": {"times": 2, "than": [["pca", "pac"]]}}}, "unknown method 'pac'"),
    ({"test": {"reaches": {"metric": "f1", "margin": 1}}}, "reaches needs a published value in percent"),
    ({"datasets": ["prnited"]}, "claims.a.datasets: unknown dataset 'prnited'"),
    ({"published": {"metric": "F1"}}, "give published, or else source and evidence"),
    ({"source": None}, "Paper.claims.a.source"),
    ({"evidence": "hearsay"}, "Paper.claims.a.evidence: Input should be 'paper', 'authors', 'third party' or"),
])
def test_a_mistake_in_the_claims_is_one_line(change, words, tmp_path):
    value = json.loads(json.dumps(GOOD))
    value["Paper"]["claims"]["a"] |= change
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(ConfigurationError) as error:
        claim_config.read_claims(tmp_path / "claims.yaml")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(f"{tmp_path / 'claims.yaml'}: ")


def test_a_published_value_must_be_one_row(tmp_path):
    value = json.loads(json.dumps(GOOD))
    one = value["Paper"]["claims"]["a"]
    del one["source"], one["evidence"]
    for wanted, words in (({"metric": "F2"}, "no rows"), ({"metric": "F1"}, "2 rows")):
        one["published"] = wanted
        (tmp_path / "claims.yaml").write_text(yaml.safe_dump(value))
        with pytest.raises(ConfigurationError, match=words):
            claim_config.read_claims(tmp_path / "claims.yaml", [{"method": "Paper", "metric": "F1", "value": 1.0}] * 2)


@pytest.mark.parametrize("line, words", [
    ("M,p,d,c,s,m,much,u,,here,paper", "line 2: value 'much' is no number"), ("M,p,d", "line 2: must have exactly"),
    ("M,p,d,c,s,m,1,u,,,paper", "line 2: a number needs its source and evidence"),
])
def test_a_mistake_in_the_published_numbers_is_one_line(line, words, tmp_path):
    (tmp_path / "published.csv").write_text(",".join(claim_config.PUBLISHED) + f"\n{line}\n")
    with pytest.raises(ConfigurationError, match=words):
        claim_config.read_published(tmp_path / "published.csv")
