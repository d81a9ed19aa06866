"""The baseline: ions of known crystals replaced by likely ones, the volume refitted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
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
from crystens_flows.generators.substitution.choice import Choices, choices, possible_templates
from crystens_flows.generators.substitution.drawing import Substitution, draw, draw_from
from crystens_flows.generators.substitution.ions import IonTable
from crystens_flows.generators.substitution.replacement import replacement_probabilities
from crystens_flows.generators.substitution.templates import (
    SYMPREC,
    Crystals,
    Roles,
    packed,
    primitive_crystals,
    unpacked,
)
from crystens_flows.generators.substitution.volumes import fit_volumes
from crystens_flows.generators.training_set import fingerprint_of
from crystens_flows.representation import MAX_SITES, render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

LATTICE_DECIMALS = 6


@dataclass(frozen=True)
class Cells:
    """
    Crystals that were made.

    Parameters
    ----------
    numbers
        Atomic numbers, zero after the last site, shape (n, 52).
    frac_coords
        Fractional coordinates, shape (n, 52, 3).
    lattice
        Lattice parameters in Angstrom and degrees, shape (n, 6).
    space_groups
        Space group numbers, shape (n,).
    """

    numbers: np.ndarray
    frac_coords: np.ndarray
    lattice: np.ndarray
    space_groups: np.ndarray


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
    takes: ClassVar[frozenset[str]] = frozenset(
        {"formula", "chemical_system", "n_sites", "space_group"}
    )

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
        holds = self._has_group if conditions.space_group is not None else None
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

    def _has_group(self, made: Substitution) -> bool:
        """Whether a crystal has its template's space group; a shorter one can gain symmetry."""
        import spglib
        from pymatgen.core import Lattice

        cells = self.cells([made])
        n = int((cells.numbers[0] > 0).sum())
        matrix = Lattice.from_parameters(*cells.lattice[0]).matrix
        cell: Any = (matrix, cells.frac_coords[0, :n], cells.numbers[0, :n])
        found = spglib.get_symmetry_dataset(cell, symprec=SYMPREC)
        return found is not None and found.number == cells.space_groups[0]

    def cells(self, substitutions: list[Substitution]) -> Cells:
        """
        Put ions in the roles of templates, and scale the cells.

        The volume is the template's, times the ratio of the sums of the elements' volumes.

        Parameters
        ----------
        substitutions
            Templates and ions.

        Returns
        -------
        Cells
            In the same order.
        """
        templates = np.array([each.template for each in substitutions], dtype=np.int64)
        replaced = np.zeros((len(templates), MAX_SITES), dtype=np.int64)
        before = self.crystals.numbers[templates].astype(np.int64)
        for k, each in enumerate(substitutions):
            new = np.zeros(256, dtype=np.int64)
            new[self.table.numbers[self.roles.ions[each.template]]] = self.table.numbers[each.ions]
            replaced[k] = new[before[k]]
        present = before > 0
        old, new = ((self.volumes[z] * present).sum(1) for z in (before, replaced))
        lattice = self.crystals.lattice[templates].astype(float)
        lattice[:, :3] *= np.cbrt(new / old)[:, None]
        return Cells(
            replaced,
            self.crystals.frac_coords[templates].astype(float),
            np.round(lattice, LATTICE_DECIMALS),
            self.crystals.space_groups[templates].astype(np.int64),
        )


__all__ = ["SubstitutionGenerator"]
