"""How often elements, and how many of them, are written: brought to what training crystals have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.decoding import sample_compositions
from crystens_flows.generators.wyckoff.sentences import (
    END,
    FIRST_COUNT,
    FIRST_ELEMENT,
    VOCABULARY,
    composition,
)
from crystens_flows.generators.wyckoff.specification import SpecificationModel

ROUNDS = 10
MAX_COMPOSITIONS = 2048
"""Compositions that are drawn in each round."""

PRIOR = 4.0
"""Compositions that are added on both sides of a comparison, so that rare ones move little."""


@dataclass(frozen=True)
class Calibration:
    """
    What is added to the logits of elements, and of the end after so many elements.

    Parameters
    ----------
    elements
        By atomic number from 1, shape (100,).
    ends
        By the number of elements that are written, from 0, shape (10,).
    """

    elements: Sequence[float] = (0.0,) * MAX_Z
    ends: Sequence[float] = (0.0,) * (MAX_ELEMENTS + 1)

    @property
    def of_words(self) -> np.ndarray:
        """Additions to the logits of all words, shape (10, VOCABULARY), by elements written."""
        table = np.zeros((MAX_ELEMENTS + 1, VOCABULARY))
        table[:, FIRST_ELEMENT:FIRST_COUNT] = self.elements
        table[:, END] = self.ends
        return table

    def towards(
        self,
        wanted: Sequence[Mapping[int, int]],
        drawn: Sequence[Mapping[int, int]],
        step: float,
    ) -> Calibration:
        """
        Correct for how often elements and ends occur in what was drawn.

        Parameters
        ----------
        wanted, drawn
            Compositions, atoms by atomic number.
        step
            Share of the correction that is made, 0 to 1.

        Returns
        -------
        Calibration
            The corrected one.
        """
        prior = PRIOR / len(drawn)
        (elements, sizes), (of_drawn, sizes_drawn) = _shares(wanted), _shares(drawn)
        more = np.log((elements + prior) / (of_drawn + prior))
        later = _log_odds_of_end(sizes, prior) - _log_odds_of_end(sizes_drawn, prior)
        return Calibration(
            tuple((np.array(self.elements) + step * more).tolist()),
            tuple((np.array(self.ends) + step * later).tolist()),
        )


def calibrate(
    model: SpecificationModel, crystals: Sequence[SymmetricCrystal], temperature: float, seed: int
) -> Calibration:
    """
    Find what brings elements, and numbers of elements, to the shares that crystals have.

    A model that is stopped where its validation loss is least, and then drawn from with a
    temperature, writes common elements too often and too few binary compounds. Compositions are
    drawn in rounds, and the logits of elements and of the end shifted by the logarithm of what is
    missing, less from round to round.

    Parameters
    ----------
    model
        In float64 and evaluation mode.
    crystals
        The training crystals.
    temperature
        Divides the logits, as in the sampling that this is for.
    seed
        Seed of the drawing.

    Returns
    -------
    Calibration
        Of three decimals.
    """
    wanted = [composition(each.numbers, each.multiplicities) for each in crystals]
    found = Calibration()
    for each in range(ROUNDS):
        n = min(MAX_COMPOSITIONS, len(wanted))
        streams = [np.random.default_rng([seed, each, k]) for k in range(n)]
        drawn = sample_compositions(model, streams, temperature, found.of_words)
        found = found.towards(wanted, drawn, 3 / (3 + each))
    return Calibration(
        tuple(round(value, 3) for value in found.elements),
        tuple(round(value, 3) for value in found.ends),
    )


def _shares(compositions: Iterable[Mapping[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of compositions with each element, and with each number of elements."""
    elements, sizes, n = np.zeros(MAX_Z), np.zeros(MAX_ELEMENTS + 1), 0
    for each in compositions:
        elements[np.array(list(each)) - 1] += 1
        sizes[len(each)] += 1
        n += 1
    return elements / n, sizes / n


def _log_odds_of_end(sizes: np.ndarray, prior: float) -> np.ndarray:
    """Return the log odds that no more elements follow; of no element, and of most, nothing."""
    at_least = np.cumsum(sizes[::-1])[::-1]
    odds = np.log((sizes + prior) / (at_least - sizes + prior))
    odds[[0, -1]] = 0.0
    return odds
