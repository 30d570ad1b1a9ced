"""YAML held against pydantic models: every mistake is one line that names the file, the key and the remedy."""

import reprlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

UNSET: Any = None  # default of a key that may be left out; null is not allowed in its place
T = TypeVar("T")


class ConfigurationError(ValueError):
    """One line: which file and key, what is wrong, what is allowed."""


def read_yaml(path: Path) -> dict:
    """A YAML mapping from a file. Raises ConfigurationError."""
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path}: must be a mapping of keys to values")
    return value


def check(model: type[T], value: object, source: str) -> T:
    """`value` as a `model`. Raises ConfigurationError for the first thing in it that the model forbids."""
    try:
        return TypeAdapter(model).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        told = first["msg"].removeprefix("Value error, ")
        if first["type"] not in ("value_error", "missing"):
            told += f", but is {reprlib.repr(first['input'])}"
        raise ConfigurationError(": ".join(filter(None, [source, where, told]))) from error


class Strict(BaseModel):
    """A mapping that has these keys and no others; a number is no string, and the other way round."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, given: Any) -> Any:
        allowed = {field.alias or name for name, field in cls.model_fields.items()}
        if unknown := [f"'{key}'" for key in given if key not in allowed] if isinstance(given, dict) else []:
            raise ValueError(f"unknown key {', '.join(unknown)}; allowed: {', '.join(sorted(allowed))}")
        return given


def _distinct(values: list[T]) -> list[T]:
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} stands there twice")
    return values


Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(min_length=1)]
Several = Annotated[list[T], Field(min_length=1), AfterValidator(_distinct)]
