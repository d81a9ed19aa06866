"""Which crystal: an autoregressive model of composition, space group and Wyckoff positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crystens_flows.generators.elements import (
    MAX_ELEMENTS,
    MAX_Z,
    electronegativity_order,
    element_features,
)
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.occupation import allowed_letters
from crystens_flows.generators.wyckoff.positions import (
    LETTERS,
    N_POSITIONS,
    first_position_numbers,
    position_features,
)
from crystens_flows.representation import MAX_SITES

PAD, COMPOSITION_FIRST, GROUP_FIRST, END = range(4)
FIRST_ENERGY = 4
N_ENERGIES = 10
FIRST_GAP = FIRST_ENERGY + N_ENERGIES + 1
N_GAPS = 8
FIRST_ELEMENT = FIRST_GAP + N_GAPS + 1
FIRST_COUNT = FIRST_ELEMENT + MAX_Z
FIRST_GROUP = FIRST_COUNT + MAX_SITES
VOCABULARY = FIRST_GROUP + 230
FIRST_POSITION = VOCABULARY
MAX_TOKENS = 5 + 2 * MAX_ELEMENTS + MAX_SITES
"""Order, energy, gap, space group and end; elements with counts; and an orbit for each site."""


@dataclass(frozen=True)
class Specification:
    """
    All of a crystal but its geometry.

    Parameters
    ----------
    space_group
        Space group number.
    numbers
        Atomic number of each orbit.
    letters
        Number of the Wyckoff position of each orbit, 0 for ``a``.
    """

    space_group: int
    numbers: tuple[int, ...]
    letters: tuple[int, ...]


@dataclass
class Sentences:
    """
    Crystals as the specification model reads them, padded.

    Parameters
    ----------
    tokens
        int64 of shape (n, length).
    elements, remaining
        At each token, the element whose orbit comes next and how many of its atoms have no place
        yet; 0 where no orbit comes next. int64 of shape (n, length).
    letters
        Letter of the orbit that comes next, -1 where none does, int64 of shape (n, length).
    allowed
        Letters that this orbit could have, bool of shape (n, length, 27).
    """

    tokens: np.ndarray
    elements: np.ndarray
    remaining: np.ndarray
    letters: np.ndarray
    allowed: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    def of(self, rows: np.ndarray) -> Sentences:
        """Take some rows."""
        length = int((self.tokens[rows] != PAD).sum(1).max())
        return Sentences(
            *(
                getattr(self, name)[rows, :length]
                for name in ("tokens", "elements", "remaining", "letters", "allowed")
            )
        )


def composition(numbers: np.ndarray, multiplicities: np.ndarray) -> dict[int, int]:
    """Count the atoms of each element, elements in order of electronegativity."""
    order = electronegativity_order()
    elements = sorted(set(numbers.tolist()), key=lambda z: order[z])
    return {z: int(multiplicities[numbers == z].sum()) for z in elements}


def head(
    counts: dict[int, int], group: int, energy: int, gap: int, composition_first: bool
) -> list[int]:
    """
    Write all tokens before the orbits.

    Parameters
    ----------
    counts
        Atoms of each element, in order of electronegativity.
    group
        Space group number.
    energy, gap
        Classes of formation energy and band gap from 1, 0 for unknown.
    composition_first
        Whether the composition comes before the space group, or after it.

    Returns
    -------
    list of int
        Tokens.
    """
    middle = [FIRST_GROUP + group - 1]
    atoms = [t for z, n in counts.items() for t in (FIRST_ELEMENT + z - 1, FIRST_COUNT + n - 1)]
    atoms.append(END)
    first = COMPOSITION_FIRST if composition_first else GROUP_FIRST
    rest = atoms + middle if composition_first else middle + atoms
    return [first, FIRST_ENERGY + energy, FIRST_GAP + gap, *rest]


def sentences(
    crystals: Sequence[SymmetricCrystal],
    energies: Sequence[int],
    gaps: Sequence[int],
    composition_first: bool,
) -> Sentences:
    """
    Write crystals as tokens.

    Parameters
    ----------
    crystals
        The crystals, of at most `MAX_ELEMENTS` elements.
    energies, gaps
        Classes of formation energy and band gap from 1, 0 for unknown.
    composition_first
        Whether the composition comes before the space group, or after it.

    Returns
    -------
    Sentences
        Padded to the longest.
    """
    rows = []
    for crystal, energy, gap in zip(crystals, energies, gaps, strict=True):
        counts = composition(crystal.numbers, crystal.multiplicities)
        tokens = head(counts, crystal.number, energy, gap, composition_first)
        before = len(tokens) - 1
        elements, remaining = [0] * before, [0] * before
        letters: list[int] = [-1] * before
        allowed = [np.ones(len(LETTERS), dtype=bool)] * before
        left = dict(counts)
        done: list[int] = []
        first = int(first_position_numbers()[crystal.number])
        for k, (z, letter, size) in enumerate(
            zip(
                crystal.numbers.tolist(),
                crystal.letters.tolist(),
                crystal.multiplicities.tolist(),
                strict=True,
            )
        ):
            lowest = done[-1] if k and crystal.numbers[k - 1] == z else 0
            later = tuple(n for y, n in left.items() if y != z and n)
            allowed.append(allowed_letters(crystal.number, done, left[z], later, lowest))
            elements.append(z)
            remaining.append(left[z])
            letters.append(letter)
            left[z] -= size
            done.append(letter)
            tokens.append(FIRST_POSITION + first + letter)
        elements.append(0)
        remaining.append(0)
        letters.append(-1)
        allowed.append(np.ones(len(LETTERS), dtype=bool))
        rows.append((tokens, elements, remaining, letters, allowed))
    n, length = len(rows), max(len(row[0]) for row in rows)
    padded = Sentences(
        np.full((n, length), PAD),
        np.zeros((n, length), dtype=np.int64),
        np.zeros((n, length), dtype=np.int64),
        np.full((n, length), -1),
        np.ones((n, length, len(LETTERS)), dtype=bool),
    )
    for k, row in enumerate(rows):
        size = len(row[0])
        padded.tokens[k, :size], padded.elements[k, :size] = row[0], row[1]
        padded.remaining[k, :size], padded.letters[k, :size] = row[2], row[3]
        padded.allowed[k, :size] = row[4]
    return padded


class Layer(nn.Module):
    """A causal transformer layer that can go on from what it has read."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dense_norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor, past: list[torch.Tensor] | None) -> torch.Tensor:
        """
        Update the hidden state.

        Parameters
        ----------
        hidden
            Of the tokens that are new, shape (batch, new, width).
        past
            Keys and values of what was read before, shape (2, batch, heads, read, width / heads);
            those of the new tokens are put after them. None to read all at once.
        """
        batch, length, width = hidden.shape
        parts = self.query_key_value(self.attention_norm(hidden))
        parts = parts.view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if past is not None:
            if past:
                key, value = torch.cat([past[0], torch.stack([key, value])], dim=3)
            past[:] = [torch.stack([key, value])]
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=length > 1 and key.shape[2] == length
        )
        hidden = hidden + self.dropout(self.mix(mixed.transpose(1, 2).flatten(2)))
        return hidden + self.dropout(self.dense(self.dense_norm(hidden)))


class SpecificationModel(nn.Module):
    """
    A small causal transformer over composition, space group and Wyckoff positions.

    Elements come in order of electronegativity, and orbits of an element in order of their
    letters, so a crystal has one spelling after the first word, which says whether composition
    or space group comes first.

    Parameters
    ----------
    width
        Size of the hidden state.
    layers
        Number of transformer layers.
    heads
        Number of attention heads.
    dropout
        Dropout probability in training.
    """

    group: torch.Tensor
    period: torch.Tensor
    feature: torch.Tensor
    symmetry: torch.Tensor
    place: torch.Tensor
    first_position: torch.Tensor
    energy_edges: torch.Tensor
    gap_edges: torch.Tensor

    def __init__(
        self, width: int = 192, layers: int = 4, heads: int = 6, dropout: float = 0.2
    ) -> None:
        super().__init__()
        groups, periods, properties = element_features()
        group, period = np.zeros((2, VOCABULARY), dtype=np.int64)
        feature = np.zeros((VOCABULARY, 4), dtype=np.float32)
        elements = slice(FIRST_ELEMENT, FIRST_COUNT)
        group[elements], period[elements] = groups[1:], periods[1:]
        feature[elements, :3] = properties[1:]
        feature[FIRST_COUNT:FIRST_GROUP, 3] = np.log(np.arange(1, MAX_SITES + 1))
        symmetry, freedom, multiplicity, symbols = position_features()
        place = np.zeros((N_POSITIONS + 1, 6), dtype=np.float32)
        place[np.arange(N_POSITIONS + 1), freedom] = 1
        place[:, 4] = np.log(np.maximum(multiplicity, 1))
        place[:, 5] = 1 / np.maximum(multiplicity, 1)
        letter = np.zeros(N_POSITIONS + 1, dtype=np.int64)
        firsts = first_position_numbers()
        for number in range(1, 231):
            letter[firsts[number] : firsts[number + 1]] = np.arange(
                firsts[number + 1] - firsts[number]
            )
        for name, table in (
            ("group", group),
            ("period", period),
            ("feature", feature),
            ("symmetry", symmetry),
            ("place", place),
            ("letter", letter),
            ("first_position", firsts),
        ):
            self.register_buffer(name, torch.from_numpy(table))
        self.register_buffer("energy_edges", torch.zeros(N_ENERGIES - 1))
        self.register_buffer("gap_edges", torch.zeros(N_GAPS - 1))
        self.token = nn.Embedding(VOCABULARY, width)
        self.position = nn.Embedding(MAX_TOKENS, width)
        self.element_group = nn.Embedding(19, width)
        self.element_period = nn.Embedding(10, width)
        self.site_symmetry = nn.Embedding(len(symbols) + 1, width)
        self.wyckoff_letter = nn.Embedding(len(LETTERS), width)
        self.wyckoff = nn.Embedding(N_POSITIONS + 1, width)
        self.remaining = nn.Embedding(MAX_SITES + 1, width)
        for embedding in [m for m in self.children() if isinstance(m, nn.Embedding)]:
            nn.init.normal_(embedding.weight, std=0.1)
        nn.init.zeros_(self.wyckoff.weight)
        self.feature_in = nn.Linear(4, width)
        self.place_in = nn.Linear(6, width)
        self.next_element = nn.Linear(width, width, bias=False)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, VOCABULARY)
        self.to_position = nn.Linear(width, width)

    def tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the embeddings of words and of Wyckoff positions."""
        words = (
            self.token.weight
            + self.element_group(self.group)
            + self.element_period(self.period)
            + self.feature_in(self.feature)
        )
        places = (
            self.wyckoff.weight
            + self.site_symmetry(self.symmetry)
            + self.wyckoff_letter(self.letter)
            + self.place_in(self.place)
        )
        return words, places

    def read(
        self,
        tokens: torch.Tensor,
        elements: torch.Tensor,
        remaining: torch.Tensor,
        past: list[list[torch.Tensor]] | None = None,
        start: int = 0,
    ) -> torch.Tensor:
        """
        Read tokens.

        Parameters
        ----------
        tokens, elements, remaining
            As in :class:`Sentences`, int64 of shape (batch, length).
        past
            What the layers keep of the tokens before, one list a layer, which is gone on with.
        start
            How many tokens there were before.

        Returns
        -------
        torch.Tensor
            Hidden states of shape (batch, length, width).
        """
        words, places = self.tables()
        hidden = torch.cat([words, places])[tokens]
        hidden = hidden + self.position.weight[start : start + tokens.shape[1]]
        coming = words[(FIRST_ELEMENT - 1 + elements).clamp_min(0)]
        waits = (elements > 0)[..., None].to(hidden.dtype)
        hidden = hidden + (self.next_element(coming) + self.remaining(remaining)) * waits
        hidden = self.dropout(hidden)
        for k, layer in enumerate(self.layers):
            hidden = layer(hidden, None if past is None else past[k])
        return self.norm(hidden)

    def next_word(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits of the next word, shape (batch, length, VOCABULARY)."""
        words, _ = self.tables()
        return self.output(hidden) + hidden @ words.t() / math.sqrt(hidden.shape[-1])

    def next_letter(self, hidden: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return logits of the next letter, shape (batch, length, 27); groups of shape (batch,)."""
        _, places = self.tables()
        letters = torch.arange(len(LETTERS), device=groups.device)
        index = (self.first_position[groups][:, None] + letters).clamp_max(N_POSITIONS)
        query = self.to_position(hidden)
        return query @ places[index].transpose(1, 2) / math.sqrt(hidden.shape[-1]) * 4


def log_likelihood(
    model: SpecificationModel, batch: Sentences, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Compute the log-likelihood of crystals, in nats.

    Parameters
    ----------
    model
        The model.
    batch
        The crystals.
    device
        Where to compute.

    Returns
    -------
    tuple of torch.Tensor
        Of composition and space group, and of the orbits given these, shapes (batch,).
    """
    tokens = torch.from_numpy(batch.tokens).to(device)
    letters = torch.from_numpy(batch.letters).to(device)
    words = torch.where(tokens < VOCABULARY, tokens, PAD)
    hidden = model.read(
        tokens,
        torch.from_numpy(batch.elements).to(device),
        torch.from_numpy(batch.remaining).to(device),
    )
    said = words[:, 3:] != PAD  # first word, energy and gap are given
    log_words = model.next_word(hidden[:, 2:-1]).float().log_softmax(-1)
    of_head = (log_words.gather(-1, words[:, 3:, None]).squeeze(-1) * said).sum(1)
    group = (tokens - FIRST_GROUP + 1) * ((tokens >= FIRST_GROUP) & (tokens < VOCABULARY))
    logits = model.next_letter(hidden, group.sum(1)).float()
    allowed = torch.from_numpy(batch.allowed).to(device)
    log_letters = logits.masked_fill(~allowed, -1e9).log_softmax(-1)
    chosen = log_letters.gather(-1, letters.clamp_min(0)[..., None]).squeeze(-1)
    return of_head, (chosen * (letters >= 0)).sum(1)
