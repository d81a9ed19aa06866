"""The file that says all of a campaign: what it does, and where its jobs run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError

from crystens_flows.campaign.options import DiscoveryOptions
from crystens_flows.campaign.stages import StageName, StageRun
from crystens_flows.errors import InputError
from crystens_flows.masking import without_password
from crystens_flows.store_files import yaml_problem

BackendName = Literal["local", "jf", "fireworks"]
BACKENDS: tuple[str, ...] = get_args(BackendName)


class CampaignFile(DiscoveryOptions):
    """
    A campaign as its file says it.

    What it does are the fields of :class:`~crystens_flows.campaign.options.DiscoveryOptions`; the
    fields below say where.
    """

    campaign: str = Field(min_length=1, description="Name of the campaign, kept with all it makes.")
    backend: BackendName = Field("local", description="What runs the jobs.")
    default: StageRun = Field(
        default_factory=StageRun, description="Where jobs run of which 'stages' says nothing."
    )
    stages: dict[StageName, StageRun] = Field(
        default_factory=dict, description="Where the jobs of a stage run."
    )
    project: str | None = Field(
        None, description="Project of jobflow-remote; None for the one that jf takes."
    )
    launchpad: str | None = Field(
        None, description="LaunchPad file of FireWorks; None for the one that lpad takes."
    )
    folder: str | None = Field(
        None,
        description="Folder of a local campaign; None for one of its name in the working folder.",
    )

    def options(self) -> DiscoveryOptions:
        """Return what the campaign does, without where."""
        return DiscoveryOptions(
            **{name: getattr(self, name) for name in DiscoveryOptions.model_fields}
        )


def read_campaign(path: Path, settings: Sequence[str] = ()) -> CampaignFile:
    """
    Read a campaign file.

    Parameters
    ----------
    path
        A YAML file of the fields of :class:`CampaignFile`. Files and folders in it are relative
        to it. ``train: {config: FILE}`` takes what the configuration of a training says; what
        stands beside it counts more.
    settings
        What is to be other than in the file, each as ``"name=value"``, the name with dots for
        what stands within something else, the value as in YAML: ``"screening.selection.n_select
        =2"``.

    Returns
    -------
    CampaignFile
        The campaign.

    Raises
    ------
    InputError
        If the file cannot be read, a name in it is unknown or a value is not possible.
    """
    values = _read(path, "campaign file")
    for setting in settings:
        _set(values, setting)
    folder = path.absolute().parent
    _take_training(values, folder)
    try:
        campaign = CampaignFile.model_validate(values)
    except ValidationError as exc:
        raise InputError(f"campaign file {path}: {_first(exc)}") from None
    _make_absolute(campaign, folder)
    _check(campaign, path)
    return campaign


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise InputError(f"there is no {what} {path}: docs/campaigns.md shows one") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise InputError(f"{what} {path} cannot be read as YAML: {yaml_problem(exc)}") from None
    if not isinstance(values, dict):
        raise InputError(f"{what} {path} must hold 'name: value' lines")
    return values


def _set(values: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals or not name.strip():
        raise InputError(f"'{setting}' sets nothing: write NAME=VALUE, e.g. n_samples=20")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise InputError(f"the value in '{setting}' is no YAML: {yaml_problem(exc)}") from None
    *path, last = name.strip().split(".")
    place = values
    for part in path:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    place[last] = value


def _take_training(values: dict[str, Any], folder: Path) -> None:
    """Put what the configuration of a training says in its place."""
    train = values.get("train")
    if not isinstance(train, dict) or "config" not in train:
        return
    given = dict(train)
    config = _read(folder / str(given.pop("config")), "configuration of a training")
    settings = {**(config.get("settings") or {}), **(given.get("settings") or {})}
    values["train"] = {**config, **given, "settings": settings}


def _make_absolute(campaign: CampaignFile, folder: Path) -> None:
    """Make files absolute, as jobs and commands run elsewhere; names of what ships stay."""
    for holder, names in (
        (campaign, ("generator",)),
        (campaign.train, ("data",)),
        (campaign.screening, ("hull", "known", "m3gnet_weights")),
        (campaign.relaxer, ("hull_entries",)),
    ):
        for name in names:
            value = getattr(holder, name, None)
            if value is not None and (folder / Path(value).expanduser()).exists():
                setattr(holder, name, str((folder / Path(value).expanduser()).resolve()))
    for name in ("store", "launchpad", "folder"):
        value = getattr(campaign, name)
        if value is not None and "://" not in value:
            setattr(campaign, name, str((folder / Path(value).expanduser()).resolve()))


def _check(campaign: CampaignFile, path: Path) -> None:
    """Say what is wrong with the values together."""
    from crystens_flows.generators import (
        SHIPPED_GENERATORS,
        TRAINABLE_GENERATORS,
        check_conditions,
        generator_class,
    )
    from crystens_flows.jobs.engines import find_engine

    find_engine(campaign.relaxer.engine)
    train = campaign.train
    if train is None:
        name = campaign.generator
        if name not in SHIPPED_GENERATORS and not Path(name).is_dir():
            raise InputError(
                f"campaign file {path}: there is no generator '{name}': give a shipped name "
                f"({', '.join(sorted(SHIPPED_GENERATORS))}) or the folder of a checkpoint, or let "
                "'train' make one"
            )
        check_conditions(name, campaign.conditions)
        return
    if train.generator not in TRAINABLE_GENERATORS:
        raise InputError(
            f"campaign file {path}: train.generator '{train.generator}' cannot be trained: give "
            f"one of {', '.join(sorted(TRAINABLE_GENERATORS))}"
        )
    generator_class(TRAINABLE_GENERATORS[train.generator]).check_sampling(
        0, 0, 0, campaign.conditions
    )
    if train.data is not None and not (train.data.endswith(".npz") and Path(train.data).is_file()):
        raise InputError(
            f"campaign file {path}: train.data {train.data} is no data set file (.npz); "
            "docs/data.md says how to make one"
        )


def _first(error: ValidationError) -> str:
    """Say one of the errors in a line: a name misspelt before the one that is then missing."""
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    place = [str(part) for part in first["loc"]]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = sorted(_fields(CampaignFile, place[:-1]))
        return f"{name} is unknown: known are {', '.join(known)}"
    if first["type"] == "missing":
        return f"{name} is missing"
    message = first["msg"].removeprefix("Value error, ")
    if place[-1:] == ["[key]"]:  # a name in a mapping, not what stands there
        names = message.removeprefix("Input should be ")
        return f"{'.'.join(place[:-1])} is unknown: known are {names}"
    given = first["input"]
    shown = "" if isinstance(given, Mapping) else f" {without_password(str(given))}:"
    return f"{name}{shown} {message[:1].lower()}{message[1:]}"


def _fields(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Return the names of the fields at a place within nested models."""
    for part in place:
        if part not in model.model_fields:  # the name of a stage
            continue
        for inner in _models(model.model_fields[part].annotation):
            model = inner
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, dict) or hasattr(annotation, "__args__"):
        return [model for each in get_args(annotation) for model in _models(each)]
    return []
