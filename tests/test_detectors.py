"""One suite for every method that is found in config/methods: the promises of the seam."""

import inspect
import json
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from radar.diffusion.schedule import SCHEDULE
from radar.diffusion.training import Training
from radar.images.image_set import to_unit
from radar.method.detector import Detector, MethodError, Prediction, build, find_class, load
from radar.method.scoring import check_seam
from tests.conftest import GRAIN, TRAINING, closed_form

# The same class at the papers' size, for a GPU: tests/test_full_size.py takes one step of it.
METHODS = sorted(path.stem for path in (Path(__file__).parent.parent / "config/methods").glob("*.yaml")
                 if not path.stem.endswith("_paper"))


def method(name: str) -> dict:
    return yaml.safe_load((Path(__file__).parent.parent / f"config/methods/{name}.yaml").read_text())


def small(name: str) -> dict:
    """A method whose own network is as small as the images here, and whose choice is among a few."""
    description = method(name)
    settings = description.setdefault("settings", {})
    if "training" in description:
        shrunk = {"patch": 16, "stride": 8, "channels": [8, 16], "attention": [8], "norm_groups": 4,
                  "segmentation_channels": [8, 16]}
        has = inspect.signature(find_class(description["class"])).parameters
        settings |= {key: value for key, value in shrunk.items() if key in has}
    if "choose" in settings:
        description["settings"]["choose"] = {"t": [1, 100], "map": ["noise", "residual"],
                                             "detection": ["forest", "normal"]}
    return description


def fit(name: str, images, folder: Path, predictors: dict, budget: int = 160) -> Detector:
    """The method, fitted on images; predictors: name -> noise predictor, of which it takes its own if it has one."""
    description = small(name)
    wanted = description.get("noise_predictor")
    detector = build(description, seed=0, device="cpu", noise_predictor=predictors[wanted] if wanted else None,
                     training=Training(TRAINING | {"images": budget}, 0, folder))
    detector.fit(images)
    return detector


@pytest.fixture(scope="module", params=METHODS)
def fitted(request, trivial_set, trained_predictors, tmp_path_factory):
    return request.param, fit(request.param, trivial_set[0], tmp_path_factory.mktemp("fit"), trained_predictors)


def test_shapes_and_finiteness(fitted, trivial_set):
    name, detector = fitted
    for images in (to_unit(trivial_set[1]), torch.rand(2, 1, 21, 40) * 2 - 1):  # another size than the training images
        detector.predict(images).check(images, name)
    assert detector.nfe >= 0


def test_the_same_image_has_the_same_score(fitted, trivial_set):
    _, detector = fitted
    images = to_unit(trivial_set[2])
    first, second = detector.predict(images), detector.predict(images)
    assert torch.equal(first.score, second.score) and torch.equal(first.anomaly_map, second.anomaly_map)


def test_a_score_does_not_depend_on_the_batch(fitted, trivial_set):
    _, detector = fitted
    images = to_unit(torch.cat([some[:3] for some in trivial_set[1:3]]))
    together = detector.predict(images)
    for i, image in enumerate(images):
        alone = detector.predict(image[None])
        # rounding may turn a comparison of one tree in a hundred
        torch.testing.assert_close(alone.score[0].double(), together.score[i].double(), rtol=3e-3, atol=1e-3)
        torch.testing.assert_close(alone.anomaly_map[0], together.anomaly_map[i], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", METHODS)
def test_anomalous_images_score_higher_and_the_map_shows_where(name, trivial_set, trained_predictors, tmp_path):
    """With the ideal predictor of this data, eps = sqrt(1 - a) x_t / (a s^2 + 1 - a), no training is to blame."""
    training, normal, anomalous, masks = trivial_set
    a, s = SCHEDULE, GRAIN / 127.5
    ideal = closed_form(lambda x, t: ((1 - a[t]) ** 0.5 / (a[t] * s**2 + 1 - a[t])).float() * x, 16, 8)
    on_pixels = method(name).get("noise_predictor") == "pixels"
    detector = fit(name, training, tmp_path, {"pixels": ideal} if on_pixels else trained_predictors, budget=1600)
    good, bad = (detector.predict(to_unit(images)) for images in (normal, anomalous))
    label = [0] * len(normal) + [1] * len(anomalous)
    assert roc_auc_score(label, torch.cat([good.score, bad.score])) > 0.85
    assert roc_auc_score(masks.flatten(), bad.anomaly_map.flatten()) > 0.85


def test_two_fits_with_one_seed_agree(fitted, trivial_set, trained_predictors, tmp_path):
    name, detector = fitted
    again = fit(name, trivial_set[0], tmp_path, trained_predictors)
    images = to_unit(trivial_set[2])
    assert torch.equal(again.predict(images).score, detector.predict(images).score)


def test_save_and_load_round_trip(fitted, trivial_set, tmp_path):
    name, detector = fitted
    uses = detector.noise_predictor is not None
    if uses:
        detector.noise_predictor.save(tmp_path / "predictor", {})
        reference = {"path": "../predictor", "sha256": detector.noise_predictor.sha256}
    detector.save(tmp_path / name, {"method": small(name), "seed": 0, "noise_predictor": reference if uses else None})
    loaded, description = load(tmp_path / name)
    images = to_unit(trivial_set[2])
    before, after = detector.predict(images), loaded.predict(images)
    assert torch.equal(before.score, after.score) and torch.equal(before.anomaly_map, after.anomaly_map)
    assert description["method"] == small(name)
    if uses:  # a predictor that was trained anew does not fit any more
        description["noise_predictor"]["sha256"] = "0" * 64
        (tmp_path / name / "detector.json").write_text(json.dumps(description))
        with pytest.raises(MethodError, match="noise predictor"):
            load(tmp_path / name)


class Breaking(Detector):
    """A method that breaks a promise."""

    def __init__(self, *, how: str = "nothing", **common):
        super().__init__(**common)
        self.how = how

    nfe = 0

    def fit(self, normal):
        """Nothing."""

    def predict(self, images):
        n, _, h, w = images.shape
        score, anomaly_map = torch.zeros(n), torch.zeros(n, h, w)
        if self.how == "shape":
            score = score[:, None]
        if self.how == "map":
            anomaly_map = anomaly_map[:, ::2]
        if self.how == "nan":
            score = score / 0
        return Prediction(score, anomaly_map)

    def state(self):
        return {}

    def restore(self, state):
        """Nothing."""


@pytest.mark.parametrize("how, words", [("shape", "score has shape"), ("map", "anomaly_map has shape"),
                                        ("nan", "score holds NaN")])
def test_a_broken_promise_is_named(how, words):
    images = torch.zeros(2, 1, 8, 8)
    with pytest.raises(MethodError, match=f"breaking: {words}"):
        Breaking(how=how).predict(images).check(images, "breaking")


class Uncounted(Detector):
    """Does not say its NFE."""

    fit, predict = Breaking.fit, Breaking.predict


class Batchwise(Breaking):
    """Scales the scores by the batch's mean; or forgets what it learned when it is saved."""

    def fit(self, normal):
        self.mean_ = torch.stack([image.mean() for image in normal]).mean()

    def predict(self, images):
        anomaly_map = (images - self.mean_).abs().mean(1)
        score = anomaly_map.mean((1, 2))
        return Prediction(score / score.mean() if self.how == "batch" else score, anomaly_map)

    def restore(self, state):
        self.mean_ = torch.tensor(0.7)


def test_a_score_that_depends_on_the_batch_and_a_state_that_is_not_all_are_refused(trivial_set):
    images = trivial_set[0]
    honest, batchwise = Batchwise(), Batchwise(how="batch")
    for detector in (honest, batchwise):
        detector.fit(images)
    check_seam(honest, honest, images, "honest")
    with pytest.raises(MethodError, match="batchwise: the prediction of an image depends on the other images"):
        check_seam(batchwise, batchwise, images, "batchwise")
    forgetful = Batchwise()
    forgetful.restore({})
    with pytest.raises(MethodError, match="forgetful: predicts otherwise after state"):
        check_seam(honest, forgetful, images, "forgetful")


@pytest.mark.parametrize("study", ["ablation", "ablation_tiles"])
def test_no_series_of_the_ablation_asks_a_class_for_a_setting_that_it_does_not_have(study):
    config = yaml.safe_load((Path(__file__).parent.parent / f"config/{study}.yaml").read_text())
    for name, description in config["studies"].items():
        for series, entry in description["series"].items():
            asked = [one.get(key, {}) for one in (description, entry) for key in ("vary", "also", "settings")]
            settings = set().union(*asked) - {"noise_predictor", "training"}
            taken = inspect.signature(find_class(method(entry["method"])["class"]).__init__).parameters
            assert settings <= taken.keys(), (name, series)


@pytest.mark.parametrize("description, words", [
    ({"class": "baselines.nowhere:PCA"}, "cannot load"), ({"class": "baselines.pca:Nothing"}, "cannot load"),
    ({"class": "radar.files:sha256"}, "not a subclass"),
    ({"class": "baselines.pca:PCA", "settings": {"patches": 3}}, "cannot be made of .*argument 'patches'"),
    ({"class": "radar.method.radar:RADAR", "noise_predictor": "pixels"}, "needs the noise predictor 'pixels'"),
    ({"class": "baselines.pca:PCA", "settings": {"variance": "much"}}, "cannot be made of .*'much'"),
    ({"class": "baselines.ddpm:DDPM", "settings": {"chain_steps": "ten"}}, "cannot be made of .*'ten'"),
    ({"class": "tests.test_detectors:Uncounted"}, "Uncounted: has no nfe; say how many"),
])
def test_an_unusable_description_is_one_clear_line(description, words):
    with pytest.raises(MethodError, match=words) as error:
        build(description, seed=0, device="cpu")
    assert "\n" not in str(error.value)


def test_loading_from_a_folder_without_detector(tmp_path):
    with pytest.raises(MethodError, match="no trained detector"):
        load(tmp_path)
