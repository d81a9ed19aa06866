"""What every generator of CrysTens offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crystens_flows.errors import InputError

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset
    from crystens_flows.generators.conditions import Conditions

Progress = Callable[[int, int], None]
"""Called with (done, total) as work proceeds."""


class Generator(ABC):
    """
    A generator of CrysTens.

    A subclass has a `kind`, under which :func:`crystens_flows.generators.load_generator` finds it
    again in a checkpoint, and the four methods below.

    Attributes
    ----------
    kind
        Name of the kind of generator, stored in its checkpoints.
    takes
        Names of the fields of :class:`~crystens_flows.generators.conditions.Conditions` that its
        samples can be made to meet.
    card
        The model card: data, licence, split, seed, training time and metrics.
    sha256
        SHA-256 of weights and configuration; with a seed and an index it determines a sample.
    """

    kind: ClassVar[str]
    takes: frozenset[str] = frozenset()
    card: dict[str, Any]
    sha256: str

    @classmethod
    @abstractmethod
    def fit(
        cls,
        dataset: Dataset,
        folder: Path,
        *,
        data: str = "unnamed",
        seed: int = 0,
        steps: int | None = None,
        settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Generator:
        """
        Train on the ``train`` split of a data set and save the result.

        Parameters
        ----------
        dataset
            A data set with splits ``train`` and ``validation``.
        folder
            Where training states, the learning curve and the final checkpoint go. Training that
            was interrupted continues from the last state found there.
        data
            What the data are and their licence, for the model card.
        seed
            Seed of initialisation, order and noise.
        steps
            Number of training steps; the kind's default if None.
        settings
            Settings of the kind by name, as a configuration file gives them; defaults for the
            others.
        progress
            Called after each step with the steps done and the steps in all. Where it raises
            :class:`~crystens_flows.generators.pause.TrainingPaused`, the state is written and
            training ends with that; the next start goes on as if there had been no pause.

        Returns
        -------
        Generator
            The trained generator, as :meth:`load` gives it from `folder`.

        Raises
        ------
        InputError
            If a setting is unknown, before anything is written.
        """

    @abstractmethod
    def sample(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> np.ndarray:
        """
        Sample CrysTens.

        Sample ``start + k`` depends on the weights, `seed` and ``start + k`` alone, so any
        division of a range into calls gives the same tensors.

        Parameters
        ----------
        n_samples
            How many.
        seed
            Seed of the sampling.
        start
            Index of the first.
        progress
            Called with the samples done and the samples in all.
        conditions
            What the crystals are to meet; None for nothing.

        Returns
        -------
        numpy.ndarray
            Normalised tensors, float32 of shape (n_samples, 4, 64, 64).

        Raises
        ------
        InputError
            If the generator does not take such conditions, or knows no crystal that meets them.
        """

    @classmethod
    def check_sampling(
        cls, n_samples: int, seed: int, start: int, conditions: Conditions | None
    ) -> None:
        """
        Refuse what :meth:`sample` cannot do, before anything is sampled.

        Raises
        ------
        InputError
            If a number is negative, or the generator does not take such conditions.
        """
        if n_samples < 0 or start < 0 or seed < 0:
            raise InputError(
                f"n_samples, start and seed must not be negative: {n_samples}, {start}, {seed}"
            )
        asked = [] if conditions is None else conditions.asked
        refused = [name for name in asked if name not in cls.takes]
        if refused:
            taken = ", ".join(sorted(cls.takes)) or "no conditions at all"
            raise InputError(
                f"generators of kind '{cls.kind}' cannot be asked for {', '.join(refused)}: they "
                f"take {taken}"
            )

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the checkpoint: ``config.json``, ``card.json`` and ``weights.safetensors``."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Generator:
        """
        Load a checkpoint.

        Raises
        ------
        CheckpointError
            If it is missing, truncated or of another kind.
        """
