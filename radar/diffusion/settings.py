"""What may be set of a noise predictor and of a training; config/config.yaml explains the keys.

Imported by the Snakefile at every call, so it imports nothing heavy.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from radar.checked_yaml import UNSET, ConfigurationError, Count, Positive, Strict


class Training(Strict):
    """The budget of a training and how it is spent; under a predictor or method, only the keys that differ for it."""

    images: Count = UNSET
    batch_size: Count = UNSET
    learning_rate: Positive = UNSET
    warm_up: Annotated[float, Field(ge=0, le=1)] = UNSET
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = UNSET
    clip: Positive = UNSET
    checkpoint_seconds: Annotated[float, Field(ge=0)] = UNSET
    precision: Literal["float32", "bfloat16"] = UNSET


class NoisePredictor(Strict):
    """As it is written, with the settings that differ from its base's. What each means stands in config/config.yaml."""

    base: str = UNSET
    space: Literal["pixels", "features"] = UNSET
    noise: Literal["gaussian", "simplex"] = UNSET
    backbone: Literal["efficientnet_lite0", "efficientnet_b4"] = UNSET
    standardise: Literal["channel", "whiten"] = UNSET
    patch: Annotated[int, Field(ge=8)] = UNSET
    stride: Count = UNSET
    network: Literal["unet", "mlp", "dit"] = UNSET
    channels: Annotated[list[Count], Field(min_length=1)] = UNSET
    layers_per_block: Count = UNSET
    attention: list[Count] = UNSET
    norm_groups: Count = UNSET
    width: Count = UNSET
    depth: Count = UNSET
    heads: Count = UNSET
    predicts: Literal["noise", "velocity"] = UNSET
    tile_batch: Count = UNSET
    training: Training = UNSET


NoisePredictors = dict[Annotated[str, Field(pattern="^[A-Za-z0-9_.]+$")], NoisePredictor]
# The keys of its space and of its network; all else belongs to every noise predictor.
KEYS_OF: dict[str, set[str]] = {
    "features": {"backbone", "standardise"}, "unet": {"channels", "layers_per_block", "attention", "norm_groups"},
    "mlp": {"width", "depth"}, "dit": {"width", "depth", "heads"}}
COMMON = NoisePredictor.model_fields.keys() - {"base"}.union(*KEYS_OF.values())


class CompletePredictor(NoisePredictor):
    """As `expand_predictors` gives it: what it must be to be trained."""

    @model_validator(mode="after")
    def _fits_its_space_and_network(self) -> Self:
        if self.stride > self.patch:
            raise ValueError(f"stride {self.stride} exceeds patch {self.patch}: the pixels between would never be seen")
        if self.space == "features" and self.noise == "simplex":
            raise ValueError("noise is simplex on features; allowed there: gaussian")
        if self.space == "pixels" and self.network != "unet":
            raise ValueError(f"network is {self.network} on pixels; allowed there: unet")
        if self.network == "dit" and self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.network == "unet":
            steps = [2**level for level in range(len(self.channels))]
            sides = [self.patch // step for step in steps]
            if self.patch % steps[-1]:
                raise ValueError(f"patch {self.patch} must be a multiple of {steps[-1]}, for {len(steps)} levels of "
                                 "channels")
            if odd := [width for width in self.channels if width % self.norm_groups]:
                raise ValueError(f"channels: {odd[0]} is not a multiple of norm_groups {self.norm_groups}")
            if wrong := [side for side in self.attention if side not in sides]:
                raise ValueError(f"attention: no feature map has a side of {wrong[0]}; the sides are {sides}")
        return self


def expand_predictors(config: dict) -> dict[str, dict]:
    """Every noise predictor with all its settings: those of its base, its own over them, and the run's training budget
    under its own. Keys that its kind of network does not have are left out. Raises ConfigurationError.
    """
    given = config["noise_predictors"]

    def complete(name: str, path: tuple[str, ...] = ()) -> dict:
        if name not in given or name in path:
            raise ConfigurationError(f"configuration: noise_predictors.{path[-1]}: base is '{name}'; allowed: "
                                     f"{', '.join(other for other in given if other not in path)}")
        own = dict(given[name])
        base = complete(own.pop("base"), (*path, name)) if "base" in own else {}
        return base | own | {"training": base.get("training", {}) | own.get("training", {})}

    expanded = {}
    for name in given:
        settings = complete(name)
        settings["training"] = config["training"] | settings["training"]
        keys = COMMON.union(*(KEYS_OF.get(settings.get(name, ""), set()) for name in ("space", "network")))
        if missing := sorted(keys - settings.keys()):
            raise ConfigurationError(f"configuration: noise_predictors.{name}: {', '.join(missing)} missing")
        expanded[name] = {key: value for key, value in settings.items() if key in keys}
    return expanded
