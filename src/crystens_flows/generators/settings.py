"""Settings of a generator, read from what a configuration file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from crystens_flows.errors import InputError


class Settings(BaseModel):
    """Base of the settings of a kind of generator: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoSettings(Settings):
    """Of a kind that has none."""


class LayerSettings(Settings):
    """
    Of a kind that learns CrysTens as images, to which layers can be added.

    Without descriptors the settings are written down as if there were none to choose, so that
    checkpoints and trainings are known by what they were before there were any.
    """

    descriptors: tuple[str, ...] = Field(
        (),
        description="Chemical descriptors, a layer of each beside the four; samples are without: "
        "see `representation/descriptors.py`.",
    )

    @field_validator("descriptors")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        from crystens_flows.representation.descriptors import check_descriptors

        try:
            return check_descriptors(names)
        except InputError as exc:
            raise ValueError(str(exc)) from exc

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = handler(self)
        if not self.descriptors:
            written.pop("descriptors", None)
        return written

    @property
    def n_layers(self) -> int:
        """Layers of the images: the four, and those of descriptors."""
        from crystens_flows.representation.layout import N_LAYERS

        return N_LAYERS + len(self.descriptors)


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def read_settings(
    model: type[AnySettings], values: Mapping[str, Any] | None, kind: str
) -> AnySettings:
    """
    Read settings as a configuration file gives them.

    Parameters
    ----------
    model
        The settings of the kind; nested ones are models too.
    values
        Settings by name; None for the defaults.
    kind
        Kind of the generator, for errors.

    Returns
    -------
    pydantic.BaseModel
        The settings.

    Raises
    ------
    InputError
        If one is unknown or its value not possible; it names what is known.
    """
    try:
        return model.model_validate(dict(values or {}))
    except ValidationError as exc:
        first = exc.errors()[0]
    path = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = sorted(_fields(model, path[:-1]))
        message = (
            f"is unknown: known are {', '.join(known)}" if known else "is unknown: it has none"
        )
    else:
        message = f"{message[:1].lower()}{message[1:]}"
    where = f" {'.'.join(path)}" if path else ""
    raise InputError(f"settings of '{kind}':{where} {message}")


def _fields(model: type[BaseModel], path: list[str]) -> list[str]:
    """Return the names of the settings at a place within nested settings."""
    for part in path:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return list(model.model_fields)
