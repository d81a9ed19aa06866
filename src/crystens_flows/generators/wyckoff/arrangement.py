"""Structure types for samples: recalled from known crystals, or written anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.decoding import sample_specifications
from crystens_flows.generators.wyckoff.recall import Memory
from crystens_flows.generators.wyckoff.sentences import Specification, composition
from crystens_flows.generators.wyckoff.specification import SpecificationModel
from crystens_flows.generators.wyckoff.starts import Start, reduced, starts_of


@dataclass(frozen=True)
class Arrangement:
    """
    Elements on Wyckoff positions, and where the flow to their geometry starts.

    Parameters
    ----------
    space_group
        Space group number.
    numbers, letters
        Atomic number of each orbit, and its letter, 0 for ``a``, shape (orbits,).
    start
        The known crystal that the flow starts from, None for noise.
    """

    space_group: int
    numbers: np.ndarray
    letters: np.ndarray
    start: Start | None

    @classmethod
    def like(cls, start: Start) -> Arrangement:
        """Arrange elements as in a known crystal."""
        crystal = start.crystal
        return cls(crystal.number, crystal.numbers, crystal.letters, start)


@dataclass(frozen=True)
class Arranger:
    """
    What draws structure types for samples.

    Parameters
    ----------
    memory
        The known crystals.
    specification
        The model that writes compositions, and structure types where none is recalled.
    temperature, formula_temperature
        Divide the logits of that model, the second where it writes the structure type of a
        formula that is asked for.
    recall
        How often a structure type is recalled, where any known crystal has the counts.
    power
        Structure types are drawn by this power of how likely they are recalled, and the known
        crystals of a type in proportion to how likely they are.
    known
        What is left of how likely a structure type is in which a formula that is asked for is
        known; where none is asked for, such types are not recalled at all.
    added
        What is added to the logits of words, once divided, by the number of elements written
        before, shape (10, VOCABULARY).
    """

    memory: Memory
    specification: SpecificationModel
    temperature: float
    formula_temperature: float
    recall: float
    power: float
    known: float
    added: np.ndarray | None = None

    def draw(
        self, conditions: Conditions, streams: Sequence[np.random.Generator]
    ) -> list[Arrangement]:
        """
        Draw one arrangement from each random stream.

        Parameters
        ----------
        conditions
            Formula, chemical system, number of sites and space group hold exactly.
        streams
            One source of uniform numbers a sample.

        Returns
        -------
        list of Arrangement
            In the order of `streams`.

        Raises
        ------
        InputError
            If nothing was found that meets the conditions.
        """
        found: dict[int, Arrangement] = {}
        if conditions.formula is not None:
            # Of the arrangements of one formula only the model that writes them knows energies.
            unit = conditions.compositions[0]
            for k, stream in enumerate(streams):
                recalled = None if conditions.aims else self._recall(unit, conditions, stream)
                if recalled is not None:
                    found[k] = recalled
        left = [k for k in range(len(streams)) if k not in found]
        temperature = self.temperature if conditions.formula is None else self.formula_temperature
        written = sample_specifications(
            self.specification,
            conditions,
            [streams[k] for k in left],
            temperature,
            self.added,
        )
        for k, specification in zip(left, written, strict=True):
            made = _bare(specification)
            recalled = None
            if conditions.formula is None:
                atoms = composition(made.numbers, made.multiplicities)
                recalled = self._recall(atoms, conditions, streams[k])
            found[k] = recalled or self._start(made, streams[k])
        return [found[k] for k in range(len(streams))]

    def _recall(
        self, atoms: dict[int, int], conditions: Conditions, stream: np.random.Generator
    ) -> Arrangement | None:
        """Arrange a composition as in a known crystal; None if one is to be written, or must be."""
        if stream.random() >= self.recall:
            return None
        elements, counts = reduced(atoms)
        found, likely = self.memory.recall(
            elements,
            counts,
            group=conditions.space_group,
            sites=conditions.n_sites,
            known=self.known if conditions.formula is not None else 0.0,
        )
        if not likely.any():
            return None
        of_type = np.bincount(found.types, likely)
        weights = of_type ** (self.power - 1)
        k = _draw(likely * weights[found.types], stream)
        renamed = self.memory.known.renamed(
            int(found.crystals[k]), found.roles[k].tolist(), elements
        )
        return Arrangement.like(Start(*renamed))

    def _start(self, made: SymmetricCrystal, stream: np.random.Generator) -> Arrangement:
        """Let the flow to what was written start from a known crystal of its type, if any."""
        starts, likely = starts_of(self.memory, made)
        if not starts:
            return Arrangement(made.number, made.numbers, made.letters, None)
        return Arrangement.like(starts[_draw(likely, stream)])


def _draw(weights: np.ndarray, stream: np.random.Generator) -> int:
    cumulative = np.cumsum(weights)
    drawn = int(np.searchsorted(cumulative, stream.random() * cumulative[-1], "right"))
    return min(drawn, int(np.flatnonzero(weights)[-1]))


def _bare(specification: Specification) -> SymmetricCrystal:
    """Return a crystal without geometry."""
    numbers, letters = np.array(specification.numbers), np.array(specification.letters)
    return SymmetricCrystal(
        specification.space_group, numbers, letters, np.zeros((len(numbers), 3)), np.ones(6)
    )
