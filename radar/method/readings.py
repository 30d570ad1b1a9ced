"""RADAR read in other ways [ours]: what the public text leaves open, as settings; at their defaults it is RADAR itself.

On a noise predictor of frozen features the same code is RADAR in feature space: x_0 is the feature map of InvAD (arXiv
2504.05662), and one evaluation takes the place of its inversion. OSD-IRF (arXiv 2604.18393) also scores a single
predicted-noise map, by its Gaussian density.

Which reading is best is chosen without labels [ours]: which one separates normal images from the same ones with a
defect? Half of the normal training images fit the candidates, some of the other half are scored as they are and once
more with a synthetic defect pasted in (radar.images.synthetic). The one with the highest share of pairs (normal image,
pasted image) in which the pasted one scores higher, the AUROC, wins; among equals the one whose scores lie further
apart, in units of the normal scores' deviation. No test image takes part.
"""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from radar.images.filters import channel_norm, sobel_magnitude, top_mean
from radar.images.image_set import ImageSet, to_unit
from radar.images.synthetic import paste
from radar.method import forest
from radar.method.detector import MethodError, Prediction
from radar.method.moments import position_statistics
from radar.method.radar import RADAR

READINGS = {"input": ("noised", "scaled"), "map": ("noise", "residual"), "evidence": ("sobel", "magnitude"),
            "scales": ("joint", "apart"), "standardise": ("none", "position"), "detection": ("forest", "normal", "top")}
NO_NOISE = "input 'scaled' draws no noise, so there is no residual and nothing to average; use map 'noise' and one draw"
GRID_PATCH = 3  # positions of the feature map
# Of the choice: images at most that are scored, and that the candidates are fitted on; and the fewest to choose by, two
# to fit a distribution, two to judge by.
HELD_OUT, FITTED, FEWEST = 24, 48, 4


class Readings(RADAR):
    """t, contamination: as RADAR's. The defaults of the others are what RADAR does:

    input: "noised" = x_t with noise e drawn from the seed; "scaled" = e taken as 0, deterministic.
    map: "noise" = the predicted noise n; "residual" = n - e, what the prediction gets wrong.
    draws: how many draws of e the map is averaged over, each a network evaluation; first_draw: number of the first one,
        so that the same image can be scored with other noise.
    evidence: "sobel" = S; "magnitude" = |n|.
    scales: "joint" = one map, the norm over all channels; "apart" = one per stride of the features, each with its own
        two numbers, and the anomaly map is their mean.
    standardise: "none"; "position" = maps minus their mean, over their deviation, at every position of the normal
        training images; needs images of one size, as features have.
    detection: "forest"; "normal" = Mahalanobis distance of the logarithm of the two numbers from the normal training
        images', two-sided like the forest, but without its ceiling; "top" = mean of the map's largest `top_fraction`,
        one-sided.
    patch: as RADAR's; on features None = 3 positions of the grid.
    choose: {setting: [candidates]}: `fit` takes the combination that is best, as the module says.
    """

    def __init__(self, *, t: int = 1, input: str = "noised", map: str = "noise", draws: int = 1, first_draw: int = 0,
                 evidence: str = "sobel", scales: str = "joint", standardise: str = "none", detection: str = "forest",
                 contamination: float = 0.05, patch: int | None = None, top_fraction: float = 0.01,
                 choose: dict[str, list] | None = None, **common):
        super().__init__(t=t, patch=patch, contamination=contamination, **common)
        self.input, self.map, self.evidence, self.scales = input, map, evidence, scales
        self.standardise, self.detection, self.top_fraction = standardise, detection, top_fraction
        self.draws, self.first_draw = draws, first_draw
        if patch is None and self.noise_predictor.features is not None:
            self.patch = GRID_PATCH
        self.settings = {name: getattr(self, name) for name in (
            "t", "patch", "contamination", "draws", "first_draw", "top_fraction", *READINGS)}
        for name, allowed in READINGS.items():
            self.require(self.settings[name] in allowed, f"{name} is {self.settings[name]!r}; allowed: {allowed}")
        self.require(draws >= 1 and first_draw >= 0, f"draws is {draws!r} from {first_draw!r}; allowed: 1 up from 0 up")
        self.require(exists(self.settings), NO_NOISE)
        self.candidates = self._candidates(choose, common) if choose else []
        self._read_as(0)

    def _candidates(self, choose: dict[str, list], common: dict) -> list["Readings"]:
        """A detector for every combination that exists of the values to choose from."""
        for name, values in choose.items():
            self.require(name in self.settings and isinstance(values, list) and len(values) > 0,
                         f"choose has {name!r}: {values!r}; give values of one of {', '.join(self.settings)} as a list")
        combinations = [self.settings | dict(zip(choose, values, strict=True))
                        for values in itertools.product(*choose.values())]
        self.require(any(map(exists, combinations)), NO_NOISE)
        return [Readings(**common | one | {"smoothing": 0}) for one in combinations if exists(one)]

    def _read_as(self, candidate: int) -> None:
        """Take over the settings of a candidate, if there are any."""
        self.candidate_ = torch.tensor(candidate)
        if self.candidates:
            vars(self).update(self.candidates[candidate].settings)
        self.nfe = self.draws

    def evidence_map(self, x_0: Tensor) -> Tensor:
        """n (or n - e) over x_0 [N, C, H, W], the mean over the draws; same shape."""
        mean = torch.zeros_like(x_0)
        for draw in range(self.first_draw, self.first_draw + self.draws):
            e = self.noise_predictor.noise(x_0, self.seed, draw) if self.input == "noised" else torch.zeros_like(x_0)
            n = self.noise_map(x_0, e)
            mean = mean + (n - e if self.map == "residual" else n) / self.draws
        return mean

    def maps(self, images: Tensor) -> Tensor:
        """The evidence of images, its norm over the channels of each scale: [N, G, H', W'], G = 1 for joint scales."""
        n = self.evidence_map(self.noise_predictor.encode(images))
        evidence = sobel_magnitude(n) if self.evidence == "sobel" else n.abs()
        groups = self.noise_predictor.groups if self.scales == "apart" else [evidence.shape[1]]
        return torch.stack([channel_norm(part) for part in evidence.split(groups, dim=1)], dim=1)

    def features(self, maps: Tensor) -> Tensor:
        """The two numbers of every scale, [N, 2 G]."""
        return torch.cat([self.feature(one) for one in maps.unbind(1)], dim=1)

    def fit(self, normal: ImageSet) -> None:
        if len(self.candidates) > 1:
            with self.noise_predictor.memory.on():
                self._read_as(self._best_candidate(normal))
        self.fit_batches(lambda: (to_unit(batch.to(self.device)) for batch in normal.batches(8)))

    def _best_candidate(self, normal: ImageSet) -> int:
        """Its index. Raises MethodError for fewer than FEWEST images."""
        if len(normal) < FEWEST:
            raise MethodError(f"a choice without labels takes {FEWEST} normal training images, half of them to judge "
                              f"by, not {len(normal)}")
        order, half = np.random.default_rng(self.seed).permutation(len(normal)), len(normal) // 2
        fitted, clean = ([to_unit(batch.to(self.device)) for batch in normal.batches(FITTED, sorted(which.tolist()))]
                         for which in (order[:half][:FITTED], order[half:][:HELD_OUT]))
        rng = np.random.default_rng(self.seed + 1)
        defective = [paste(one.cpu(), rng, probability=1.0)[0].to(self.device) for one in clean]
        results = []
        for detector in self.candidates:
            detector.fit_batches(lambda: fitted)
            results.append(measure(*(torch.cat([detector.predict(one).score for one in batches]).double()
                                     for batches in (clean, defective))))
        return results.index(max(results))

    def fit_batches(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Fit on normal images [N, C, H, W] in [-1, 1], batches of one size each, which may be asked for twice."""
        if self.standardise == "position":
            self.mean_, self.deviation_ = position_statistics(self.maps(images) for images in batches())
        if self.detection != "top":
            features = torch.cat([self.features(self._standardised(self.maps(images))) for images in batches()])
            if self.detection == "forest":
                self.forest_ = forest.fit(features, self.contamination, self.seed)
            else:
                self.normal_ = normal_distribution(features.log())

    def _standardised(self, maps: Tensor) -> Tensor:
        return (maps - self.mean_) / self.deviation_ if self.standardise == "position" else maps

    def predict(self, images: Tensor) -> Prediction:
        maps = self._standardised(self.maps(images))
        anomaly_map = maps.mean(1)
        decision: Tensor | None = None
        if self.detection == "forest":
            score, decision = forest.judge(self.forest_, self.features(maps))
        elif self.detection == "normal":
            score = mahalanobis(self.normal_, self.features(maps).log())
        else:
            score = top_mean(anomaly_map, self.top_fraction)
        return Prediction(score, self.full_map(anomaly_map, images), decision)

    def chosen(self) -> dict:
        return {name: getattr(self, name) for name in self.settings
                if len({one.settings[name] for one in self.candidates}) > 1}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self._read_as(int(self.candidate_))


def exists(settings: dict) -> bool:
    """Whether there is such a reading: without drawn noise there is no residual, and nothing to average."""
    return settings["input"] != "scaled" or settings["map"] == "noise" and settings["draws"] == 1


def measure(normal: Tensor, defective: Tensor) -> tuple[float, float]:
    """(AUROC, difference of the means in standard deviations of the normal ones) of scores [N] and [M]."""
    higher = (defective[:, None] > normal).double() + 0.5 * (defective[:, None] == normal).double()
    spread = normal.std().item() if len(normal) > 1 else 0.0
    return higher.mean().item(), (defective.mean() - normal.mean()).item() / max(spread, 1e-12)


def normal_distribution(features: Tensor) -> dict[str, Tensor]:
    """Of features [N, D] of normal images: mean [D] and whitening [D, D], whitening^T whitening = inverse covariance,
    both float64; the covariance is shrunk after Ledoit & Wolf (2004). Raises MethodError for fewer than two.
    """
    from sklearn.covariance import ledoit_wolf  # a second to import, and not needed to predict

    if len(features) < 2:
        raise MethodError(f"to judge by a normal distribution takes 2 normal training images, not {len(features)}")
    x = features.double().cpu()
    mean = x.mean(0)
    scale = (x - mean).square().mean(0).sqrt().clamp(min=1e-12)  # shrinkage needs numbers of one size
    covariance, _ = ledoit_wolf(((x - mean) / scale).numpy(), assume_centered=True)
    covariance = torch.from_numpy(covariance)
    if torch.linalg.eigvalsh(covariance)[0] < 1e-6:  # of two or three images the shrinkage is no estimate
        covariance = 0.9 * covariance + 0.1 * torch.eye(len(covariance), dtype=torch.float64)
    factor = torch.linalg.cholesky(torch.linalg.inv(covariance))
    return {"mean": mean.to(features.device), "whitening": (factor.T / scale).to(features.device)}


def mahalanobis(normal: dict[str, Tensor], features: Tensor) -> Tensor:
    """Distance [N] of features [N, D] from the mean, float64: no ceiling, two-sided."""
    return torch.linalg.vector_norm((features.double() - normal["mean"]) @ normal["whitening"].T, dim=1)
