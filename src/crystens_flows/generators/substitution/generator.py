"""The baseline: ions of known crystals replaced by likely ones, the volume refitted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import (
    CONFIG_FILE,
    claim_folder,
    read_checkpoint,
    write_checkpoint,
)
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.pause import TrainingPaused
from crystens_flows.generators.settings import NoSettings, read_settings
from crystens_flows.generators.substitution.cells import Cells, replaced_cells
from crystens_flows.generators.substitution.choice import Choices, choices, possible_templates
from crystens_flows.generators.substitution.drawing import (
    Holds,
    Substitution,
    draw,
    draw_from,
)
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.generators.substitution.replacement import replacement_probabilities
from crystens_flows.generators.substitution.templates import (
    Crystals,
    Roles,
    packed,
    primitive_crystals,
    rows_of,
    unpacked,
)
from crystens_flows.generators.substitution.volumes import fit_volumes
from crystens_flows.generators.training_set import fingerprint_of
from crystens_flows.representation import render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset


class SubstitutionGenerator(Generator):
    """
    Known crystals in which likely ions stand for others, scaled to the volume of the new ones.

    Parameters
    ----------
    crystals
        The templates.
    roles
        The ions in each.
    table
        How likely an ion stands for another.
    volumes
        Volume of each element in A^3, shape (101,).
    card
        The model card.
    sha256
        SHA-256 of weights and configuration; empty until saved.
    shipped_sha256
        SHA-256 of the shipped training crystals where the templates are of these; the checkpoint
        then names them.
    """

    kind: ClassVar[str] = "substitution"
    takes = frozenset({"formula", "chemical_system", "n_sites", "space_group"})

    def __init__(
        self,
        crystals: Crystals,
        roles: Roles,
        table: IonTable,
        volumes: np.ndarray,
        card: dict[str, Any],
        sha256: str = "",
        shipped_sha256: str | None = None,
    ) -> None:
        self.crystals = crystals
        self.roles = roles
        self.table = table
        self.volumes = volumes
        self.card = card
        self.sha256 = sha256
        self.shipped_sha256 = shipped_sha256
        self._last: tuple[Conditions, Choices] | None = None

    @classmethod
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
    ) -> SubstitutionGenerator:
        """
        Keep the ``train`` split of a data set as templates and save the result in `folder`.

        See :meth:`Generator.fit`. Nothing is random and there are no steps: it takes some
        milliseconds a crystal, and is not paused. A folder in which it is done is loaded.
        """
        from crystens_flows.datasets import shipped

        read_settings(NoSettings, settings, cls.kind)
        if steps is not None:
            raise InputError(f"a generator of kind '{cls.kind}' is not trained in steps: give none")
        rows_of(dataset, "train")  # said before anything is written
        data_sha256 = fingerprint_of(dataset, "train", "validation")
        claim_folder(folder, {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256})
        if (folder / CONFIG_FILE).is_file():
            return cls.load(folder)

        def shown(done: int, total: int) -> None:
            with suppress(TrainingPaused):
                if progress is not None:
                    progress(done, total)

        begun = time.monotonic()
        crystals, left_out = primitive_crystals(dataset, "train", shown)
        present = [np.flatnonzero(atoms) for atoms in crystals.atoms]
        atoms = (
            dict(zip(numbers.tolist(), row[numbers].tolist(), strict=True))
            for numbers, row in zip(present, crystals.atoms, strict=True)
        )
        table = IonTable.of_pymatgen(
            replacement_probabilities(zip(crystals.space_groups.tolist(), atoms, strict=True))
        )
        roles = Roles.of(crystals, table)
        own = fingerprint_of(dataset, "train")
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {
                "train": len(crystals),
                "validation": len(dataset.split.get("validation", [])),
            },
            "left_out": left_out,
            "charge_balanced": int(roles.charged.sum()),
            "seed": seed,
            "training_minutes": round((time.monotonic() - begun) / 60, 1),
            "device": "cpu",
        }
        generator = cls(
            crystals,
            roles,
            table,
            fit_volumes(crystals.atoms, crystals.volumes),
            card,
            shipped_sha256=own if own == fingerprint_of(shipped(), "train") else None,
        )
        generator.save(folder)
        return generator

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see :meth:`Generator.save`."""
        from crystens_flows.datasets import shipped

        train = None if self.shipped_sha256 is None else shipped().split["train"]
        arrays, self.crystals, self.roles = packed(self.crystals, self.roles, train)
        config = {"shipped_crystals_sha256": self.shipped_sha256}
        weights = {**arrays, **self.table.arrays(), "volumes": self.volumes}
        self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)

    @classmethod
    def load(cls, folder: Path) -> SubstitutionGenerator:
        """Load a checkpoint; see :meth:`Generator.load`."""
        from crystens_flows.datasets import shipped

        config, card, weights, sha256 = read_checkpoint(folder, cls.kind, "numpy")
        try:
            named = config["shipped_crystals_sha256"]
            source = None if named is None else shipped()
            if source is not None and named != fingerprint_of(source, "train"):
                raise CheckpointError("it names crystals that do not ship with this version")
            crystals, roles = unpacked(weights, source)
            table, volumes = IonTable.of_arrays(weights), weights["volumes"]
        except (KeyError, TypeError, ValueError, IndexError, CheckpointError) as exc:
            raise CheckpointError(
                f"{folder} does not fit this version's '{cls.kind}' generator ({exc}): use the "
                "version that wrote it or train anew"
            ) from exc
        return cls(crystals, roles, table, volumes, card, sha256, named)

    def sample(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> np.ndarray:
        """Sample CrysTens; see :meth:`Generator.sample`."""
        substitutions = self.sample_substitutions(n_samples, seed, start, progress, conditions)
        cells = self.cells(substitutions)
        return render(
            cells.numbers,
            cells.frac_coords,
            cells.lattice,
            cells.space_groups,
            (cells.numbers > 0).sum(1),
        )

    def sample_substitutions(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> list[Substitution]:
        """
        Sample templates and the ions that take the roles in them.

        Parameters
        ----------
        n_samples, seed, start, progress, conditions
            As for :meth:`sample`.

        Returns
        -------
        list of Substitution
            In the order of their indices.
        """
        self.check_sampling(n_samples, seed, start, conditions)
        conditions = conditions or Conditions()
        by_elements = len(conditions.elements) > 0
        found = self._choices(conditions) if by_elements else None
        rows = np.flatnonzero(possible_templates(conditions, self.crystals))
        holds: Holds | None = None
        if conditions.space_group is not None:  # at a smaller volume a crystal can gain symmetry

            def holds(made: Substitution) -> bool:
                return self.cells([made]).has_group(0)

        sampled = []
        for k in range(n_samples):
            stream = np.random.default_rng([seed, start + k])
            if found is None:
                sampled.append(draw(rows, self.roles, self.table, stream, holds))
            else:
                sampled.append(draw_from(found, stream, holds))
            if progress is not None:
                progress(k + 1, n_samples)
        return sampled

    def _choices(self, conditions: Conditions) -> Choices:
        if self._last is None or self._last[0] != conditions:
            found = choices(conditions, self.crystals, self.roles, self.table)
            self._last = (conditions, found)
        return self._last[1]

    def cells(self, substitutions: list[Substitution]) -> Cells:
        """Put ions in the roles of templates; see :func:`replaced_cells`."""
        return replaced_cells(substitutions, self.crystals, self.roles, self.table, self.volumes)


__all__ = ["SubstitutionGenerator"]
