"""A training that ends when its time is used up, and goes on at its next start."""

from __future__ import annotations

import time
from collections.abc import Callable

from crystens_flows.errors import CrystensError, InputError
from crystens_flows.generators.base import Progress


class TrainingPaused(CrystensError):  # noqa: N818 - it is not an error
    """
    Raised between two steps of a training that is to go on later, with its state written.

    Parameters
    ----------
    done
        Steps taken, of all networks together.
    total
        Steps in all.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(done, total)
        self.done = done
        self.total = total

    def __str__(self) -> str:
        return (
            f"the training is paused at step {self.done} of {self.total}: start it again with the "
            "same folder to go on"
        )


def pause_after(seconds: float | None, progress: Progress | None = None) -> Progress | None:
    """
    Let a training pause once its time is used up.

    As a training reports progress after a step, each start takes one at least, however little
    time it has; after the last step there is no pause, as only the checkpoint is still to be
    written.

    Parameters
    ----------
    seconds
        Time from now; None for no limit.
    progress
        Called with the steps done and the steps in all.

    Returns
    -------
    callable or None
        What to give to a training as its `progress`.

    Raises
    ------
    InputError
        If the time is not positive.
    """
    if seconds is None:
        return progress
    if not seconds > 0:
        raise InputError(f"the time for a training must be positive, not {seconds:g} s")
    end = time.monotonic() + seconds

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total)
        if done < total and time.monotonic() >= end:
            raise TrainingPaused(done, total)

    return report


def report(progress: Progress | None, done: int, total: int, save: Callable[[], None]) -> None:
    """
    Tell how far a training is, and write its state where it is to pause.

    Parameters
    ----------
    progress
        Called with `done` and `total`.
    done
        Steps done.
    total
        Steps in all.
    save
        Writes the state.

    Raises
    ------
    TrainingPaused
        If `progress` raises it.
    """
    if progress is None:
        return
    try:
        progress(done, total)
    except TrainingPaused:
        save()
        raise
