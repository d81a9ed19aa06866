"""Ions, which of them make a composition neutral, and how likely one stands for another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from pathlib import Path

import numpy as np

from crystens_flows.errors import CheckpointError
from crystens_flows.generators.elements import MAX_Z

ALPHA = -5.0
"""Weight of pairs of ions that were never seen to replace each other; Hautier's."""

KEPT = 0.5
"""Probability that an element without a charge, or an ion Hautier's table lacks, stays."""

_NEVER = 1e-9
"""Likelihood of a charge that an ion Hautier's table lacks is never replaced by."""


@dataclass(frozen=True)
class IonTable:
    """
    Elements without and with charges; what pymatgen and the training crystals say of them.

    The first 101 are the elements without charge, at the place of their atomic number.

    Parameters
    ----------
    numbers, charges
        Atomic number and oxidation state, integers of shape (ions,).
    occurrence
        How often each is found in the ICSD, as pymatgen counts for its guesses; -1 for those it
        does not guess, shape (ions,).
    pairs
        Ions of Hautier's table, each pair once, shape (pairs, 2).
    weights
        The lambda of each, shape (pairs,).
    replaced
        Probability that an element stands where another did, given that it is another; columns
        are the elements replaced, shape (101, 101).
    """

    numbers: np.ndarray
    charges: np.ndarray
    occurrence: np.ndarray
    pairs: np.ndarray
    weights: np.ndarray
    replaced: np.ndarray

    @classmethod
    def of_pymatgen(cls, replaced: np.ndarray) -> IonTable:
        """
        Take the tables that ship in pymatgen.

        Parameters
        ----------
        replaced
            See above.

        Returns
        -------
        IonTable
            With all ions of Hautier's table and all oxidation states that pymatgen guesses.

        References
        ----------
        G. Hautier et al., "Data Mined Ionic Substitutions for the Discovery of New Compounds",
        Inorg. Chem. 50, 656 (2011), doi 10.1021/ic102031h.
        """
        return cls(**_pymatgen_tables(), replaced=replaced)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IonTable:
        """Read what :meth:`arrays` gave; raise CheckpointError if it does not fit together."""
        table = cls(**{name: arrays[f"ions.{name}"] for name in cls.__annotations__})
        n = len(table.numbers)
        if (
            not n == len(table.charges) == len(table.occurrence) > MAX_Z
            or table.pairs.shape != (len(table.weights), 2)
            or table.pairs.size == 0
            or not 0 <= table.pairs.min() <= table.pairs.max() < n
            or table.replaced.shape != (MAX_Z + 1, MAX_Z + 1)
        ):
            raise CheckpointError("its table of ions does not fit together")
        return table

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by the names they have in a checkpoint."""
        return {f"ions.{name}": getattr(self, name) for name in type(self).__annotations__}

    @cached_property
    def conditional(self) -> np.ndarray:
        """
        Probability of each ion where another was, shape (ions, ions); columns are those replaced.

        Between ions of Hautier's table it is pymatgen's ``cond_prob``. Where the table lacks the
        ion replaced, and for elements without charge, it is that of the elements, among ions of
        the same charge.
        """
        same_charge = np.equal.outer(self.charges, self.charges)
        other = self.replaced[np.ix_(self.numbers, self.numbers)] * same_charge
        other /= np.maximum(other.sum(0), 1e-300)
        matrix = np.maximum((1 - KEPT) * other, _NEVER)
        np.fill_diagonal(matrix, KEPT)
        hautier = np.full(matrix.shape, np.exp(ALPHA))
        first, second = self.pairs.T
        hautier[first, second] = hautier[second, first] = np.exp(self.weights)
        tabled = np.zeros(len(self.numbers), dtype=bool)
        tabled[self.pairs] = True
        matrix[:, tabled] = (hautier / hautier[tabled].sum(0))[:, tabled]
        return matrix

    @cached_property
    def drawable(self) -> np.ndarray:
        """
        Cumulative probabilities of what may be drawn for each ion, shape (ions, ions); in rows.

        Only what was seen: pairs in Hautier's table, and elements of the training crystals.
        """
        seen = self.replaced[np.ix_(self.numbers, self.numbers)] > 0
        seen &= np.equal.outer(self.charges, self.charges)
        np.fill_diagonal(seen, val=True)
        observed = np.zeros_like(seen)
        first, second = self.pairs.T
        observed[first, second] = observed[second, first] = True
        # The table has some heavy elements that no training crystal has, and that have no volume.
        known = (self.replaced.sum(1) > 0)[self.numbers]
        tabled = observed.any(0)
        seen[:, tabled] = observed[:, tabled] & known[:, None]
        weights = np.where(seen, self.conditional, 0.0).T
        total = weights.sum(1, keepdims=True)
        return np.cumsum(weights / np.where(total > 0, total, 1), axis=1)

    @cached_property
    def _states(self) -> dict[int, tuple[int, ...]]:
        guessed = np.flatnonzero(self.occurrence >= 0)
        return {
            z: tuple(int(k) for k in guessed if self.numbers[k] == z)
            for z in np.unique(self.numbers[guessed]).tolist()
        }

    def neutral(self, numbers: tuple[int, ...], counts: np.ndarray) -> list[np.ndarray | None]:
        """
        Guess the oxidation states of compositions of the same elements.

        One state for an element; of those that balance, the one whose ions are found most often
        in the ICSD, as in pymatgen's ``oxi_state_guesses``.

        Parameters
        ----------
        numbers
            Atomic numbers, shape (elements,).
        counts
            Atoms of each element in each composition, shape (compositions, elements).

        Returns
        -------
        list of numpy.ndarray or None
            Places in this table of the ion of each element, for each composition; None where no
            states balance, or there is one element only.
        """
        if len(numbers) < 2 or not all(z in self._states for z in numbers):
            return [None] * len(counts)
        ways = np.array(list(product(*(self._states[z] for z in numbers))), dtype=np.int16)
        charge = self.charges[ways].astype(np.int32)
        found: list[np.ndarray | None] = []
        for count in counts.astype(np.int32):
            balanced = np.flatnonzero(charge @ count == 0)
            if len(balanced) == 0:
                found.append(None)
                continue
            score = self.occurrence[ways[balanced]] @ count
            found.append(ways[balanced[score.argmax()]])
        return found


def _ion(species: object) -> tuple[int, int]:
    """Return atomic number and charge of a species of pymatgen."""
    return species.Z, int(species.oxi_state)  # type: ignore[attr-defined]


@cache
def _pymatgen_tables() -> dict[str, np.ndarray]:
    """Return all but `replaced` by name; pymatgen takes seconds to read its tables."""
    import yaml
    from pymatgen.analysis.structure_prediction.substitution_probability import (
        SubstitutionProbability,
    )
    from pymatgen.core import Element, Species
    from pymatgen.core import composition as module

    probability = SubstitutionProbability()
    table = Path(module.MODULE_DIR) / "icsd_bv.yaml"
    found = yaml.safe_load(table.read_text())["occurrence"]
    occurrence = {_ion(Species.from_str(name)): n for name, n in found.items()}
    guessed = {
        (z, int(charge))
        for z in range(1, MAX_Z + 1)
        for element in [Element.from_Z(z)]
        for charge in element.icsd_oxidation_states or element.common_oxidation_states
    }
    tabled = {tuple(sorted(_ion(s) for s in pair)): w for pair, w in probability._l.items()}
    known = guessed | {ion for pair in tabled for ion in pair}
    ions = sorted((z, charge) for z, charge in known if z <= MAX_Z and charge)
    place = {ion: MAX_Z + 1 + k for k, ion in enumerate(ions)}
    entries = sorted(
        (place[pair[0]], place[pair[-1]], weight)
        for pair, weight in tabled.items()
        if pair[0] in place and pair[-1] in place
    )
    return {
        "numbers": np.array([*range(MAX_Z + 1), *(z for z, _ in ions)], dtype=np.int16),
        "charges": np.array([0] * (MAX_Z + 1) + [charge for _, charge in ions], dtype=np.int8),
        "occurrence": np.array(
            [-1.0] * (MAX_Z + 1)
            + [occurrence.get(ion, 0.0) if ion in guessed else -1.0 for ion in ions]
        ),
        "pairs": np.array([entry[:2] for entry in entries], dtype=np.int16),
        "weights": np.array([entry[2] for entry in entries]),
    }
