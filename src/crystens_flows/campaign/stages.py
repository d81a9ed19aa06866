"""Stages of a campaign, by the names of its jobs, and what runs them where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from jobflow import Flow
from pydantic import BaseModel, ConfigDict, Field

StageName = Literal["train", "sample", "decode", "screen", "select", "tune", "relax", "collect"]
STAGES: tuple[str, ...] = get_args(StageName)

JOB_NAMES: dict[str, tuple[str, ...]] = {
    "train": ("crystens train",),
    "sample": ("crystens sample",),
    "decode": ("crystens decode", "crystens read"),
    "screen": tuple(
        f"crystens {screen}"
        for screen in ("validity", "novelty", "cgcnn", "m3gnet", "chgnet", "sevennet", "hull")
    ),
    "select": ("crystens select",),
    "tune": ("crystens tune",),
    "relax": tuple(f"crystens relax {step}" for step in ("1", "2", "3", "4", "static", "batch")),
    "collect": (
        *("crystens relax selected", "crystens relax summary", "crystens collect"),
        "crystens follow",
    ),
}
"""What the names of the jobs of a stage begin with; routing takes them too."""

OTHER = "other"


class StageRun(BaseModel):
    """Where the jobs of a stage run, and with what."""

    model_config = ConfigDict(extra="forbid")

    worker: str | None = Field(
        None, description="Worker of jobflow-remote, or category of FireWorks' workers."
    )
    resources: dict[str, Any] | None = Field(
        None, description="What the queue is asked for, as the worker's scheduler takes it."
    )
    exec_config: str | None = Field(
        None, description="Execution configuration of the project; jobflow-remote alone has them."
    )


ManagerConfig = Callable[[StageRun], dict[str, Any]]


def stage_of(job_name: str) -> str:
    """
    Return the stage of a job.

    Parameters
    ----------
    job_name
        Its name.

    Returns
    -------
    str
        One of :data:`STAGES`, or "other".

    Examples
    --------
    >>> stage_of("crystens relax 2"), stage_of("crystens relax selected"), stage_of("store_inputs")
    ('relax', 'collect', 'other')
    """
    for stage, names in JOB_NAMES.items():
        if job_name.startswith(names):
            return stage
    return OTHER


def run_of(stage: str, default: StageRun, stages: Mapping[Any, StageRun]) -> StageRun:
    """
    Return where the jobs of a stage run, and with what.

    Parameters
    ----------
    stage
        The stage.
    default
        Where jobs run of which `stages` says nothing.
    stages
        Where the jobs of a stage run; what is not said there is as in `default`.

    Returns
    -------
    StageRun
        Both together.
    """
    said = stages.get(stage)
    return default.model_copy(update=said.model_dump(exclude_none=True)) if said else default


def route(
    flow: Flow, default: StageRun, stages: Mapping[Any, StageRun], config: ManagerConfig
) -> None:
    """
    Say for each job of a flow, and for those that jobs start, where it runs.

    Parameters
    ----------
    flow
        The flow; it is changed.
    default
        Where jobs run of which `stages` says nothing.
    stages
        Where the jobs of a stage run; what is not said there is as in `default`.
    config
        Makes of that what the workflow manager looks for in the ``manager_config`` of a job.
    """
    # A job hands its own manager_config down to those it starts, over what is said for these.
    flow.update_config({"_set": {"pass_manager_config": False}}, dict_mod=True)
    _update(flow, config(default))
    for stage in stages:
        for name in JOB_NAMES[stage]:
            _update(flow, config(run_of(stage, default, stages)), name)


def _update(flow: Flow, values: dict[str, Any], name: str = "") -> None:
    """Set values for jobs whose name holds this one; all names hold the empty one."""
    if values:
        mods = {f"manager_config->{key}": value for key, value in values.items()}
        flow.update_config({"_set": mods}, name_filter=name, dynamic=True, dict_mod=True)
