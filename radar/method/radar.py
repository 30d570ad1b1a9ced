"""RADAR: Reconstruction-free Anomaly Detection with Attention-based diffusion models in Real-time.

Moradi, Grasso, Colosimo, Paynabar, arXiv 2508.04818 (2025). One forward-diffusion step on the image, one evaluation
of a noise predictor trained on patches of normal images, and the predicted noise map is the evidence: its Sobel
magnitude segments, and an Isolation Forest on a global and a local number of it detects. No reverse sampling, no
reconstruction. What the public text leaves open is a setting here, named in the constructor; see config/methods/.

On a noise predictor of frozen features the same code is RADAR in feature space [ours]: x_0 is the feature map of
InvAD (arXiv 2504.05662), and one evaluation takes the place of its inversion. OSD-IRF (arXiv 2604.18393) also scores a
single predicted-noise map, by its Gaussian density.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from radar.diffusion.predictor import T, diffuse
from radar.images.filters import channel_norm, root_mean_squares, smooth, sobel_magnitude, top_mean
from radar.images.image_set import ImageSet, to_unit
from radar.method.detector import Detector, MethodError, Prediction
from radar.method.forest import Forest
from radar.method.mahalanobis import Mahalanobis
from radar.method.selection import separation

READINGS = {"input": ("noised", "scaled"), "map": ("noise", "residual"), "evidence": ("sobel", "magnitude"),
            "standardise": ("none", "position"), "scales": ("joint", "apart"), "detection": ("forest", "normal", "top")}


class RADAR(Detector):
    """Settings, all of them readings of the paper where it is silent; the defaults are the literal ones:

    t: timestep of the single forward step, 0 ... 999. Literal: 1.
    input: "noised" = x_t with noise e drawn from the seed (literal); "scaled" = e taken as 0, deterministic.
    map: "noise" = the predicted noise n (literal); "residual" = n - e, what the prediction gets wrong.
    draws: how many draws of e the map is averaged over, each a network evaluation (literal: 1); first_draw: number of
        the first one, so that the same image can be scored with other noise.
    evidence: "sobel" = S = sqrt((G_x * n)^2 + (G_y * n)^2) (literal); "magnitude" = |n|. The anomaly map is the norm of
        the evidence over channels.
    scales: "joint" = one map of all channels; "apart" = one per stride of the features, each with its own two numbers,
        and the anomaly map is their mean [ours]. The same for pixels.
    standardise: "position" = maps minus their mean, over their deviation, at every position of the normal training
        images [ours]; needs images of one size, as features have.
    detection: "forest" = Isolation Forest on the two-dimensional feature: root mean square of the map over the image,
        and the largest over a patch (literal: a global and a local number); "normal" = Mahalanobis distance of its
        logarithm from the normal training images', two-sided like the forest, but without its ceiling [ours];
        "top" = mean of the map's largest `top_fraction`, one-sided [ours].
    contamination: of the Isolation Forest, the share of normal training images beyond its own decision threshold.
    patch: side of the window of the local number, in px or grid positions; None = the noise predictor's patch for
        pixels, 3 grid positions for features.
    choose: {setting: [candidates]}: `fit` chooses among all their combinations the one that best separates held-out
        normal training images from the same images with synthetic defects pasted in (radar.method.selection) [ours].
    smoothing: sigma in px of the anomaly map, the same for every method of a run; the detection does not use it.
    """

    def __init__(self, *, t: int = 1, input: str = "noised", map: str = "noise", draws: int = 1, first_draw: int = 0,
                 evidence: str = "sobel", scales: str = "joint", standardise: str = "none", detection: str = "forest",
                 contamination: float = 0.05, patch: int | None = None, top_fraction: float = 0.01,
                 choose: dict[str, list] | None = None, smoothing: float = 0.0, **common):
        super().__init__(**common)
        self.settings = {"t": t, "input": input, "map": map, "draws": draws, "first_draw": first_draw,
                         "evidence": evidence, "scales": scales, "standardise": standardise, "detection": detection,
                         "contamination": contamination, "patch": patch, "top_fraction": top_fraction}
        self.candidates = self._candidates(choose or {})
        self.smoothing = smoothing
        self._take(0)

    def _candidates(self, choose: dict[str, list]) -> list[dict]:
        """The settings to choose among; the given ones alone if there is nothing to choose."""
        for name, values in choose.items():
            if name not in self.settings or not isinstance(values, list) or not values:
                raise MethodError(f"RADAR: choose has {name!r}: {values!r}; give a list of values for one of "
                                f"{', '.join(self.settings)}")
        combinations = [self.settings | dict(zip(choose, values, strict=True))
                        for values in itertools.product(*choose.values())]
        if len(combinations) > 1:  # a combination that does not exist is no candidate
            combinations = [one for one in combinations if (one["input"], one["map"]) != ("scaled", "residual")
                            and (one["input"], one["draws"] > 1) != ("scaled", True)]
        for one in combinations:
            check(one)
        return combinations

    def _take(self, candidate: int) -> None:
        """Make a candidate's settings the detector's."""
        self.candidate_ = candidate
        for name, value in self.candidates[candidate].items():
            setattr(self, name, value)
        self.forest_: Forest | None = None
        self.mahalanobis_: Mahalanobis | None = None
        self.position_: tuple[Tensor, Tensor] | None = None

    @property
    def nfe(self) -> int:
        return self.draws

    def noise_map(self, x_0: Tensor) -> Tensor:
        """n (or n - e) over x_0 [N, C, H, W], stitched to its size: one network evaluation per square and draw."""
        squares = self.noise_predictor.tiling(x_0)
        mean = 0.0
        for draw in range(self.first_draw, self.first_draw + self.draws):
            e = self.noise_predictor.noise(x_0, self.seed, draw) if self.input == "noised" else torch.zeros_like(x_0)
            x_t = diffuse(x_0, self.t, e)
            n = squares.stitch(self.noise_predictor.eps(squares.split(x_t), self.t))
            mean = mean + (n - e if self.map == "residual" else n) / self.draws
        return mean

    def _maps(self, images: Tensor) -> Tensor:
        """The evidence of images, its norm over the channels of each scale: [N, G, H', W'], G = 1 for joint scales."""
        n = self.noise_map(self.noise_predictor.encode(images))
        evidence = sobel_magnitude(n) if self.evidence == "sobel" else n.abs()
        groups = self.noise_predictor.groups if self.scales == "apart" else [evidence.shape[1]]
        return torch.stack([channel_norm(part) for part in evidence.split(groups, dim=1)], dim=1)

    def _standardised(self, maps: Tensor) -> Tensor:
        if self.position_ is None:
            return maps
        mean, deviation = self.position_
        return (maps - mean) / deviation

    def _features(self, maps: Tensor) -> Tensor:
        """The feature [N, 2 G]: per scale the root mean square over the image, and the largest one over a patch."""
        side = self.patch or (self.noise_predictor.settings["patch"] if self.noise_predictor.features is None else 3)
        return torch.cat([root_mean_squares(one[:, None], side, max(1, side // 2)) for one in maps.unbind(1)], dim=1)

    def fit(self, normal: ImageSet) -> None:
        if len(self.candidates) > 1:
            with self.noise_predictor.remembering():
                best = separation(self, normal)
            self._take(best)
        self._fit_batches(lambda: (to_unit(batch.to(self.device)) for batch in normal.batches(8)))

    def _fit_batches(self, batches: Callable[[], Iterable[Tensor]]) -> None:
        """Fit the current settings on normal images, batches of one size each, which may be asked for twice."""
        maps = Batchwise(batches, self._maps)
        if self.standardise == "position":
            self.position_ = position_statistics(maps)
        if self.detection != "top":
            features = torch.cat([self._features(self._standardised(one)) for one in maps])
            if self.detection == "forest":
                self.forest_ = Forest.fit(features, self.contamination, self.seed).to(self.device)
            else:
                self.mahalanobis_ = Mahalanobis.fit(features.log())

    def predict(self, images: Tensor) -> Prediction:
        maps = self._standardised(self._maps(images))
        anomaly_map, decision = maps.mean(1), None
        if self.detection == "forest":
            score = self.forest_.score(self._features(maps))
            decision = self.forest_.decide(score)
        elif self.detection == "normal":
            score = self.mahalanobis_.distance(self._features(maps).log())
        else:
            score = top_mean(anomaly_map, self.top_fraction)
        anomaly_map = self.noise_predictor.to_image(anomaly_map, images)
        return Prediction(score, smooth(anomaly_map, self.smoothing), decision)

    def chosen(self) -> dict:
        settings = self.candidates[self.candidate_]
        return {name: value for name, value in settings.items()
                if any(other[name] != value for other in self.candidates)}

    def state(self) -> dict[str, Tensor]:
        state = {"candidate": torch.tensor(self.candidate_)}
        if self.forest_ is not None:
            state |= {f"forest.{name}": tensor for name, tensor in self.forest_.state_.items()}
        if self.mahalanobis_ is not None:
            state |= {"normal.mean": self.mahalanobis_.mean, "normal.whitening": self.mahalanobis_.whitening}
        if self.position_ is not None:
            state |= {"position.mean": self.position_[0], "position.deviation": self.position_[1]}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        self._take(int(state["candidate"]))
        forest = {name.removeprefix("forest."): value for name, value in state.items() if name.startswith("forest.")}
        self.forest_ = Forest(forest) if forest else None
        if "normal.mean" in state:
            self.mahalanobis_ = Mahalanobis(state["normal.mean"], state["normal.whitening"])
        if "position.mean" in state:
            self.position_ = state["position.mean"], state["position.deviation"]


def check(settings: dict) -> None:
    """Raise MethodError, in one line, if a setting has a value that it cannot have."""
    allowed = {"t": range(T), **READINGS}
    for name, values in allowed.items():
        if settings[name] not in values:
            raise MethodError(f"RADAR: {name} is {settings[name]!r}; allowed: {values}")
    if not 0 < settings["contamination"] <= 0.5:
        raise MethodError(f"RADAR: contamination is {settings['contamination']!r}; allowed: above 0, up to 0.5")
    if not settings["draws"] >= 1 or not settings["first_draw"] >= 0:
        raise MethodError(f"RADAR: draws is {settings['draws']!r} from {settings['first_draw']!r}; allowed: at least 1, "
                        "from 0")
    if settings["input"] == "scaled" and (settings["map"] == "residual" or settings["draws"] > 1):
        raise MethodError("RADAR: input 'scaled' draws no noise, so there is no residual and nothing to average; use map "
                        "'noise' and one draw")


class Batchwise:
    """make(batch) of every batch, kept until `room` numbers are used, then made anew each time: memory does not
    grow."""

    def __init__(self, batches: Callable[[], Iterable[Tensor]], make: Callable[[Tensor], Tensor], room: int = 2**24):
        self.batches, self.make, self.room = batches, make, room
        self._kept: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[Tensor]:
        for index, batch in enumerate(self.batches()):
            value = self._kept.get(index)
            if value is None:
                value = self.make(batch)
                if value.numel() <= self.room:
                    self.room -= value.numel()
                    self._kept[index] = value
            yield value


def position_statistics(maps: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [G, H, W] of maps [N, G, H, W] at every position; they are gone through once.

    The deviation at a position is shrunk half-way to the mean deviation of its scale [ours]: from some tens of images
    it is known to some tenths only. Raises MethodError if sizes differ or there is a single image.
    """
    n, mean, squares = 0, None, None
    for batch in maps:
        batch = batch.double()
        if mean is None:
            mean, squares = torch.zeros_like(batch[0]), torch.zeros_like(batch[0])
        if batch.shape[1:] != mean.shape:
            raise MethodError("RADAR: standardise 'position' needs training images of one size; use 'none'")
        # the mean of the batch moves the mean, and the squares around it (Chan, Golub, LeVeque 1983)
        shift, n = batch.mean(0) - mean, n + len(batch)
        squares += (batch - batch.mean(0)).square().sum(0) + shift.square() * len(batch) * (n - len(batch)) / n
        mean += shift * len(batch) / n
    if n < 2:
        raise MethodError("RADAR: standardise 'position' needs at least two training images")
    deviation = (squares / (n - 1)).sqrt()
    typical = deviation.mean((1, 2), keepdim=True)
    return mean.float(), (0.5 * deviation + 0.5 * typical).clamp(min=1e-12).float()
