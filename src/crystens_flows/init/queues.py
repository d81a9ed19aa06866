"""Beginning the queue of a workflow manager in a database where it has none."""

from __future__ import annotations

from pathlib import Path

import yaml

from crystens_flows.errors import import_extra


def begin_jobflow_remote(project: Path) -> bool:
    """
    Make the queue of jobflow-remote, as ``jf admin reset`` does, where there is none yet.

    Parameters
    ----------
    project
        The file of the project.

    Returns
    -------
    bool
        Whether there was none.

    Raises
    ------
    MissingExtraError
        If jobflow-remote is not installed.
    """
    base = import_extra("jobflow_remote.config.base", "remote", "backend jf")
    spec = yaml.safe_load(project.read_text())
    controller = base.Project.model_validate(spec).get_job_controller()
    try:
        collections = (controller.auxiliary, controller.flows, controller.jobs)
        if any(each.find_one({}, {"_id": 1}) for each in collections):
            return False
        return bool(controller.reset(max_limit=1))
    finally:
        controller.close()


def begin_fireworks(launchpad_file: Path) -> bool:
    """
    Make the collections of FireWorks, as ``lpad reset`` does, where there are none yet.

    Parameters
    ----------
    launchpad_file
        The file of the launchpad.

    Returns
    -------
    bool
        Whether there were none.

    Raises
    ------
    MissingExtraError
        If FireWorks is not installed.
    """
    core = import_extra("fireworks.core.launchpad", "fireworks", "backend fireworks")
    spec = yaml.safe_load(launchpad_file.read_text())
    launchpad = core.LaunchPad.from_dict({**spec, "strm_lvl": "CRITICAL"})
    try:
        collections = (launchpad.fw_id_assigner, launchpad.workflows, launchpad.fireworks)
        if any(each.find_one({}, {"_id": 1}) for each in collections):
            return False
        launchpad.reset("", require_password=False, max_reset_wo_password=0)
        return True
    finally:
        launchpad.connection.close()
