"""Specifications sampled word by word, under conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.special import logsumexp

from crystens_flows.errors import InputError
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.elements import MAX_ELEMENTS
from crystens_flows.generators.wyckoff.occupation import can_hold
from crystens_flows.generators.wyckoff.sentences import (
    COMPOSITION_FIRST,
    FIRST_ENERGY,
    FIRST_GAP,
    FIRST_GROUP,
    GROUP_FIRST,
    VOCABULARY,
    Specification,
    head,
)
from crystens_flows.generators.wyckoff.specification import SpecificationModel
from crystens_flows.generators.wyckoff.writer import Writer

MAX_ATTEMPTS = 100
"""How often a sample is begun anew that came to where nothing can follow."""


def _draw(logits: np.ndarray, allowed: np.ndarray, number: float) -> int | None:
    """Draw from the softmax over what is allowed by a uniform number; None if nothing is."""
    if not allowed.any():
        return None
    weights = np.where(allowed, np.exp(logits - logits[allowed].max()), 0.0)
    cumulative = np.cumsum(weights)
    drawn = int(np.searchsorted(cumulative, number * cumulative[-1], "right"))
    return min(drawn, int(np.flatnonzero(allowed)[-1]))


def _classes(model: SpecificationModel, conditions: Conditions) -> tuple[int, int]:
    """Return the classes of formation energy and band gap asked for, 0 for none."""
    energy, gap = conditions.formation_energy_per_atom, conditions.band_gap
    return (
        0 if energy is None else 1 + int((model.energy_edges < energy).sum()),
        0 if gap is None else 1 + int((model.gap_edges < gap).sum()),
    )


class Reader:
    """
    The model as it reads what writers write, with guidance where something is asked for.

    Parameters
    ----------
    model
        In float64 and evaluation mode, so that the batch does not decide a token.
    conditions
        Conditions.
    temperature
        Divides the logits.
    first
        The first word of all.
    """

    def __init__(
        self, model: SpecificationModel, conditions: Conditions, temperature: float, first: int
    ) -> None:
        self.model, self.temperature, self.guidance = model, temperature, conditions.guidance
        asked = _classes(model, conditions)
        rows = [asked, (0, 0)] if any(asked) else [(0, 0)]
        self.openings = [[first, FIRST_ENERGY + energy, FIRST_GAP + gap] for energy, gap in rows]
        self.device = model.token.weight.device

    def _mix(self, logits: torch.Tensor) -> np.ndarray:
        return self._mixed(logits[:, -1].view(len(self.openings), -1, logits.shape[-1]))

    def _mixed(self, parts: torch.Tensor) -> np.ndarray:
        """Follow what is asked for as strongly as is said; parts of shape (openings, ...)."""
        mixed = parts[-1]
        if len(parts) > 1:
            mixed = mixed + self.guidance * (parts[0] - mixed)
        return (mixed / self.temperature).cpu().numpy()

    def begin(self, batch: int) -> torch.Tensor:
        """Read the first three words, for a batch of writers."""
        self.past: list[list[torch.Tensor]] = [[] for _ in self.model.layers]
        self.read = 0
        tokens = [row for row in self.openings for _ in range(batch)]
        zeros = [[0] * 3] * len(tokens)
        return self._read(tokens, zeros, zeros)

    def _read(
        self, tokens: list[list[int]], elements: list[list[int]], remaining: list[list[int]]
    ) -> torch.Tensor:
        words, coming, left = (
            torch.tensor(rows, device=self.device) for rows in (tokens, elements, remaining)
        )
        hidden = self.model.read(words, coming, left, self.past, self.read)
        self.read += len(tokens[0])
        return hidden

    def go_on(self, tokens: list[int], writers: Sequence[Writer]) -> torch.Tensor:
        """Read one more token of each writer."""
        coming = [w.next_orbit() if w.placing else (0, 0) for w in writers]
        copies = len(self.openings)
        return self._read(
            [[t] for t in tokens] * copies,
            [[z] for z, _ in coming] * copies,
            [[n] for _, n in coming] * copies,
        )

    def keep(self, rows: list[int], of: int) -> None:
        """Go on with some of the writers."""
        index = torch.tensor(
            [row + copy * of for copy in range(len(self.openings)) for row in rows],
            device=self.device,
        )
        for layer in self.past:
            layer[0] = layer[0][:, index]

    def at_once(self, sentences: list[list[int]]) -> np.ndarray:
        """Return logits of the words of sentences of equal length, (sentences, length, words)."""
        tokens = torch.tensor(
            [opening + words[:-1] for opening in self.openings for words in sentences],
            device=self.device,
        )
        nothing = torch.zeros_like(tokens)
        hidden = self.model.read(tokens, nothing, nothing)[:, len(self.openings[0]) - 1 :]
        logits = self.model.next_word(hidden)
        parts = logits.view(len(self.openings), len(sentences), *logits.shape[1:])
        return self._mixed(parts)

    def words(self, hidden: torch.Tensor) -> np.ndarray:
        """Return logits of the next words, shape (writers, VOCABULARY)."""
        return self._mix(self.model.next_word(hidden))

    def letters(self, hidden: torch.Tensor, writers: Sequence[Writer]) -> np.ndarray:
        """Return logits of the next letters, shape (writers, 27); 0 for those at words."""
        groups = [max(w.group, 1) for w in writers] * len(self.openings)
        return self._mix(self.model.next_letter(hidden, torch.tensor(groups, device=self.device)))


@torch.no_grad()
def sample_specifications(
    model: SpecificationModel,
    conditions: Conditions,
    streams: list[np.random.Generator],
    temperature: float = 1.0,
    added: np.ndarray | None = None,
) -> list[Specification]:
    """
    Sample one specification from each random stream.

    Parameters
    ----------
    model
        In float64 and evaluation mode, so that the batch does not decide a token.
    conditions
        Conditions; formula, chemical system, number of sites and space group hold exactly.
    streams
        One source of uniform numbers a sample.
    temperature
        Divides the logits.
    added
        What is then added to those of words, by the number of elements written before, shape
        (10, VOCABULARY).

    Returns
    -------
    list of Specification
        In the order of `streams`.

    Raises
    ------
    InputError
        If nothing was found that meets the conditions.
    """
    found: dict[int, Specification] = {}
    waiting = list(range(len(streams)))
    for _ in range(MAX_ATTEMPTS):
        if not waiting:
            break
        writers = _attempt(
            model,
            conditions,
            [streams[k] for k in waiting],
            temperature,
            added,
            lambda writer: writer.done,
        )
        for k, writer in zip(waiting, writers, strict=True):
            if not writer.stuck:
                found[k] = writer.specification()
        waiting = [k for k in waiting if k not in found]
    if waiting:
        raise InputError(
            f"no crystal was found in {MAX_ATTEMPTS} attempts that meets "
            f"{conditions!r}: ask for fewer conditions together"
        )
    return [found[k] for k in range(len(streams))]


@torch.no_grad()
def sample_compositions(
    model: SpecificationModel,
    streams: list[np.random.Generator],
    temperature: float = 1.0,
    added: np.ndarray | None = None,
) -> list[dict[int, int]]:
    """
    Sample compositions alone, as :func:`sample_specifications` begins without conditions.

    Parameters
    ----------
    model, streams, temperature, added
        As there.

    Returns
    -------
    list of dict
        Atoms by atomic number, in the order of `streams`.
    """
    writers = _attempt(
        model,
        Conditions(),
        streams,
        temperature,
        added,
        lambda writer: writer.ended,
    )
    return [writer.counts for writer in writers]


def _attempt(
    model: SpecificationModel,
    conditions: Conditions,
    streams: list[np.random.Generator],
    temperature: float,
    added: np.ndarray | None,
    enough: Callable[[Writer], bool],
) -> list[Writer]:
    """Write in each writer until it has enough, or nothing can follow."""
    composition_first = conditions.space_group is None
    first = COMPOSITION_FIRST if composition_first else GROUP_FIRST
    if added is None:
        added = np.zeros((MAX_ELEMENTS + 1, VOCABULARY))
    writers = [Writer(conditions, composition_first) for _ in streams]
    reader = Reader(model, conditions, temperature, first)
    hidden = reader.begin(len(writers))
    live = list(range(len(writers)))
    if conditions.formula is not None:
        live, hidden = _write_formula(reader, conditions, writers, streams)
    while live:
        at_hand = [writers[k] for k in live]
        words, letters = reader.words(hidden), reader.letters(hidden, at_hand)
        tokens = []
        for row, k in enumerate(live):
            writer, stream = writers[k], streams[k]
            logits = letters[row] if writer.placing else words[row] + added[len(writer.counts)]
            tokens.append(_write(writer, logits, stream))
        kept = [row for row, k in enumerate(live) if not (writers[k].stuck or enough(writers[k]))]
        if 0 < len(kept) < len(live):
            reader.keep(kept, len(live))
        live = [live[row] for row in kept]
        if live:
            hidden = reader.go_on([tokens[row] for row in kept], [writers[k] for k in live])
    return writers


def _write(writer: Writer, logits: np.ndarray, stream: np.random.Generator) -> int:
    """Write one token, drawn from what may follow."""
    allowed = writer.orbits() if writer.placing else writer.words()
    while True:
        drawn = _draw(logits, allowed, stream.random())
        if drawn is None:
            writer.stuck = True
            return 0
        token = writer.write(drawn)
        if token is not None:
            return token
        allowed[drawn] = False


def _write_formula(
    reader: Reader,
    conditions: Conditions,
    writers: list[Writer],
    streams: list[np.random.Generator],
) -> tuple[list[int], torch.Tensor]:
    """
    Write a composition and a space group of a formula in each writer.

    The probability of every number of formula units with every space group is evaluated, and one
    drawn in proportion: the model's distribution, conditioned exactly.
    """
    composition_first = conditions.space_group is None
    choices: list[tuple[dict[int, int], int]] = []
    log_p: list[np.ndarray] = []
    groups = [conditions.space_group] if conditions.space_group else list(range(1, 231))
    cells = conditions.compositions
    for cell, (score, by_group) in zip(
        cells, _log_probabilities(reader, cells, groups[0], composition_first), strict=True
    ):
        held = [g for g in groups if can_hold(g, tuple(cell.values()))]
        choices += [(cell, g) for g in held]
        log_p.append(score + by_group[np.array(held) - 1])
    scores = np.concatenate(log_p)
    cumulative = np.cumsum(np.exp(scores - scores.max()))
    rows: list[tuple[dict[int, int], int]] = []
    for stream, writer in zip(streams, writers, strict=True):
        drawn = int(np.searchsorted(cumulative, stream.random() * cumulative[-1], "right"))
        cell, group = choices[min(drawn, len(choices) - 1)]
        writer.counts, writer.group, writer.ended = dict(cell), group, True
        rows.append((cell, group))
    tokens = [head(cell, group, 0, 0, composition_first)[3:] for cell, group in rows]
    reader.begin(len(writers))
    coming = [writer.next_orbit() for writer in writers]
    copies, length = len(reader.openings), len(tokens[0])
    hidden = reader._read(
        tokens * copies,
        [[0] * (length - 1) + [z] for z, _ in coming] * copies,
        [[0] * (length - 1) + [n] for _, n in coming] * copies,
    )
    return list(range(len(writers))), hidden


def _log_probabilities(
    reader: Reader, cells: list[dict[int, int]], group: int, composition_first: bool
) -> list[tuple[float, np.ndarray]]:
    """Return the log probability of each composition, and those of all groups after it."""
    sentences = [head(cell, group, 0, 0, composition_first)[3:] for cell in cells]
    logits = reader.at_once(sentences)
    found = []
    for sentence, of_sentence in zip(sentences, logits, strict=True):
        writer = Writer(Conditions(), composition_first)
        score, by_group = 0.0, np.zeros(230)
        for token, of_token in zip(sentence, of_sentence, strict=True):
            allowed = np.where(writer.words(), of_token, -np.inf)
            log_p = allowed - logsumexp(allowed)
            if token < FIRST_GROUP:
                score += float(log_p[token])
            elif composition_first:
                by_group = log_p[FIRST_GROUP:]
            writer.write(token)
        found.append((score, by_group))
    return found
