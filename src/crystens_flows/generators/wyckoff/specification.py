"""The model of composition, space group and Wyckoff positions: an autoregressive transformer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from crystens_flows.generators.elements import element_features
from crystens_flows.generators.wyckoff.positions import (
    LETTERS,
    N_POSITIONS,
    first_position_numbers,
    position_features,
)
from crystens_flows.generators.wyckoff.sentences import (
    FIRST_COUNT,
    FIRST_ELEMENT,
    FIRST_GROUP,
    MAX_TOKENS,
    N_ENERGIES,
    N_GAPS,
    PAD,
    VOCABULARY,
    Sentences,
)
from crystens_flows.representation import MAX_SITES


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
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
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
        query, key, value = parts.permute(2, 0, 3, 1, 4).to(hidden.dtype)
        if past is not None:
            if past:
                key, value = torch.cat([past[0], torch.stack([key, value])], dim=3)
            past[:] = [torch.stack([key, value])]
        # in bfloat16 this is ten times slower on a CPU
        with torch.autocast(hidden.device.type, enabled=False):
            mixed = functional.scaled_dot_product_attention(
                query, key, value, **_causal(length, key.shape[2], hidden.device)
            )
        hidden = hidden + self.dropout(self.mix(mixed.transpose(1, 2).flatten(2)))
        return hidden + self.dropout(self.dense(self.dense_norm(hidden)))


def _causal(new: int, read: int, device: torch.device) -> dict[str, Any]:
    """Keep each of the new tokens, the last of all that were read, from seeing those after it."""
    if new in (1, read):
        return {"is_causal": new > 1}
    seen = torch.ones(new, read, dtype=torch.bool, device=device)
    return {"attn_mask": seen.tril(read - new)}


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
        self, width: int = 192, layers: int = 4, heads: int = 6, dropout: float = 0.25
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
