"""The hull that a name stands for, and energies held against it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pymatgen.core import Composition, Element

from crystens_flows.datasets.materials_project import find_api_key
from crystens_flows.errors import import_extra
from crystens_flows.screening.hull.compositions import read_composition
from crystens_flows.screening.hull.evaluation import HullResult
from crystens_flows.screening.hull.materials_project import (
    MAX_ELEMENTS,
    OFFLINE,
    download,
    subsystems,
)
from crystens_flows.screening.hull.ranking import HullRank
from crystens_flows.screening.hull.reference import HullReference
from crystens_flows.screening.hull.shift import HullShift, ShiftedEnergy
from crystens_flows.screening.hull.sources import INCOMPLETE, MAX_ELEMENT

SHIPPED, MATERIALS_PROJECT = "shipped", "mp"


class HullService:
    """
    A reference, and the shift that brings the models' energies to its release.

    The energy models of this package are fitted to formation energies of the release that the
    shipped crystals are from. The shipped reference and the Materials Project are of later ones:
    the shift that was fitted to the shipped reference is applied. To a user's own entries none is.

    Parameters
    ----------
    spec
        "shipped", "mp" for the Materials Project (with an API key), or a CSV file with the columns
        ``formula`` and ``formation_energy_per_atom``.

    Attributes
    ----------
    incomplete
        Symbols of the elements of whose compounds the reference has too few to trust.

    Raises
    ------
    DatasetError, InputError
        If the entries cannot be read, or there is no API key.
    MissingExtraError
        If mp-api is needed and not installed.
    """

    def __init__(self, spec: str) -> None:
        self.shift = HullShift.shipped() if spec in (SHIPPED, MATERIALS_PROJECT) else None
        self.incomplete = INCOMPLETE if spec == SHIPPED else frozenset()
        self._online = spec == MATERIALS_PROJECT
        if self._online:
            # what is lacking is said before the models have worked for an hour
            find_api_key(None, OFFLINE)
            import_extra("mp_api.client", "mp", "reading the Materials Project")
            self._reference = _elements_alone()
            self._downloaded: set[frozenset[int]] = set()
        else:
            self._reference = _read(spec)

    def reference(self, compositions: Sequence[Composition]) -> HullReference:
        """
        Return the reference, with all that is known in the systems of some compositions.

        Parameters
        ----------
        compositions
            The compositions. What the Materials Project cannot be asked about is passed over.

        Returns
        -------
        HullReference
            Each system is downloaded once, where it must be.

        Raises
        ------
        DatasetError
            If the Materials Project does not answer.
        """
        if self._online:
            asked = self._reference.systems or ()
            new = {
                system
                for system in map(_askable, compositions)
                if system is not None and not any(system <= known for known in asked)
            }
            if new:
                missing = subsystems(new) - self._downloaded
                # of some systems nothing is known
                self._reference = self._reference.extended(download(missing), new)
                self._downloaded |= missing
        return self._reference

    def card(self) -> dict[str, Any]:
        """Say which entries the hull is of, and what shift is applied."""
        return {
            "name": self._reference.name,
            "n_entries": len(self._reference),
            "shift": None if self.shift is None else self.shift.verdict,
        }

    def evaluate(
        self, compositions: Sequence[Composition], energies: Sequence[float | None]
    ) -> list[tuple[HullResult, ShiftedEnergy | None]]:
        """
        Hold the models' formation energies against the hull.

        Parameters
        ----------
        compositions
            The candidates' compositions.
        energies
            Their formation energies, eV/atom, of the release of the shipped crystals.

        Returns
        -------
        list of tuple
            Where each stands, and its energy after the shift; None where none is applied.
        """
        shifted = self._shifted(compositions, energies)
        values = [energy for energy, _ in shifted]
        results = self._reference_for(compositions, values).evaluate(compositions, values)
        return [(result, shift) for result, (_, shift) in zip(results, shifted, strict=True)]

    def rank_in_system(
        self, compositions: Sequence[Composition], energies: Sequence[float | None]
    ) -> list[HullRank]:
        """
        Rank candidates of the same system, and hold them against one another.

        Parameters
        ----------
        compositions
            The candidates' compositions.
        energies
            Their formation energies, eV/atom, of the release of the shipped crystals.

        Returns
        -------
        list of HullRank
            One for each.
        """
        values = [energy for energy, _ in self._shifted(compositions, energies)]
        return self._reference_for(compositions, values).rank_in_system(compositions, values)

    def _reference_for(
        self, compositions: Sequence[Composition], energies: Sequence[float | None]
    ) -> HullReference:
        """Return the reference for candidates; of those without an energy nothing is asked."""
        pairs = zip(compositions, energies, strict=False)
        return self.reference([composition for composition, energy in pairs if energy is not None])

    def _shifted(
        self, compositions: Sequence[Composition], energies: Sequence[float | None]
    ) -> list[tuple[float | None, ShiftedEnergy | None]]:
        if self.shift is None:
            return [(energy, None) for energy in energies]
        moved = self.shift.apply(compositions, energies)
        return [(each.formation_energy_per_atom, each) for each in moved]


@lru_cache(maxsize=4)
def load_hull(spec: str = SHIPPED) -> HullService:
    """
    Load a hull by name, once.

    Parameters
    ----------
    spec
        See :class:`HullService`.

    Returns
    -------
    HullService
        The same object each time.
    """
    return HullService(spec)


def _elements_alone() -> HullReference:
    symbols = [Element.from_Z(z).symbol for z in range(1, MAX_ELEMENT + 1)]
    return HullReference.from_rows(
        "Materials Project, through its API",
        [(f"element {symbol}", None, symbol, 0.0) for symbol in symbols],
        systems=(),
    )


def _askable(composition: Composition) -> frozenset[int] | None:
    """Return the elements of a composition, if its system can be asked for."""
    numbers, _, reason = read_composition(composition)
    return None if reason or len(numbers) > MAX_ELEMENTS else frozenset(numbers)


def _read(spec: str) -> HullReference:
    return HullReference.shipped() if spec == SHIPPED else HullReference.from_csv(spec)
