"""Settings from a file and the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crystens_flows.errors import CrystensError

DEFAULT_CONFIG_FILE = "~/.crystens_flows.yaml"
DEFAULT_OUTPUT_FOLDER = "crystens-out"


class CrystensSettings(BaseSettings):
    """
    Settings of crystens_flows.

    Each can be given in the file ``~/.crystens_flows.yaml`` (or the one that the environment
    variable ``CRYSTENS_FLOWS_CONFIG_FILE`` names) and as an environment variable with the prefix
    ``CRYSTENS_FLOWS_``, which wins.
    """

    CONFIG_FILE: str = Field(DEFAULT_CONFIG_FILE, description="The file the settings come from.")
    STORE: str | None = Field(
        None,
        description="Where jobs and candidates are stored when --store is not given: a folder, "
        "a store file (YAML) or a mongodb:// URI that names a database.",
        repr=False,
    )

    model_config = SettingsConfigDict(
        env_prefix="crystens_flows_", extra="forbid", env_ignore_empty=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_config_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        named = {key.upper(): value for key, value in values.items()}
        path = Path(named.get("CONFIG_FILE", DEFAULT_CONFIG_FILE)).expanduser()
        if not path.is_file():
            if "CONFIG_FILE" in named:
                raise ValueError(f"CRYSTENS_FLOWS_CONFIG_FILE names {path}, which is no file")
            return named
        try:
            from_file = yaml.safe_load(path.read_text()) or {}
        except (UnicodeDecodeError, yaml.YAMLError) as exc:
            # the reader's own words quote the file, which may hold a password
            mark = getattr(exc, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark is not None else ""
            raise ValueError(f"{path} is not valid YAML{where}") from None
        if not isinstance(from_file, dict):
            raise ValueError(f"{path} must hold 'NAME: value' lines")
        return {**{str(key).upper(): value for key, value in from_file.items()}, **named}

    @field_validator("STORE")
    @classmethod
    def _strip(cls, value: str | None) -> str | None:
        return value.strip() or None if value is not None else None


def get_settings() -> CrystensSettings:
    """
    Read the settings.

    Returns
    -------
    CrystensSettings
        Settings from the file and the environment, read anew at each call.

    Raises
    ------
    CrystensError
        If the file cannot be read or names an unknown setting.
    """
    try:
        return CrystensSettings()
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        wrong = "unknown" if first["type"] == "extra_forbidden" else first["msg"]
        raise CrystensError(
            f"settings: {where + ': ' if where else ''}{wrong.removeprefix('Value error, ')} "
            f"(known settings: {', '.join(CrystensSettings.model_fields)})"
        ) from None  # pydantic quotes the values, and a store may have a password in it
