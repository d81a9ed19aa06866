"""Which crystal: an autoregressive model of space group and composition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from crystens_flows.generators.flow.elements import MAX_Z, element_features
from crystens_flows.representation.layout import MAX_SITES

PAD, START, END = 0, 1, 2
FIRST_ELEMENT = 3
FIRST_COUNT = FIRST_ELEMENT + MAX_Z
FIRST_SPACE_GROUP = FIRST_COUNT + MAX_SITES
VOCABULARY = FIRST_SPACE_GROUP + 230
MAX_ELEMENTS = 9
MAX_TOKENS = 3 + 2 * MAX_ELEMENTS


@dataclass(frozen=True)
class Specification:
    """A space group number and how many atoms of each element stand in the cell."""

    space_group: int
    elements: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def numbers(self) -> list[int]:
        """Atomic number of each site."""
        return [z for z, n in zip(self.elements, self.counts, strict=True) for _ in range(n)]


def tokenise(numbers: np.ndarray, space_group: int, order: np.ndarray) -> list[int]:
    """
    Write a crystal as tokens: start, space group, then element and count in turn, end.

    Parameters
    ----------
    numbers
        Atomic numbers of the sites, shape (n_sites,).
    space_group
        Space group number.
    order
        Rank of each atomic number, shape (101,); elements are written in this order.

    Returns
    -------
    list of int
        Tokens.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    tokens = [START, FIRST_SPACE_GROUP + space_group - 1]
    for k in np.argsort(order[elements]):
        tokens += [FIRST_ELEMENT + int(elements[k]) - 1, FIRST_COUNT + int(counts[k]) - 1]
    return [*tokens, END]


class SpecificationModel(nn.Module):
    """
    A small causal transformer over space group, elements and counts.

    Elements come in order of electronegativity, so a composition has one spelling.

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

    order: torch.Tensor

    def __init__(
        self, width: int = 128, layers: int = 3, heads: int = 4, dropout: float = 0.15
    ) -> None:
        super().__init__()
        groups, periods, properties = element_features()
        group, period = np.zeros((2, VOCABULARY), dtype=np.int64)
        feature = np.zeros((VOCABULARY, 4), dtype=np.float32)
        elements = slice(FIRST_ELEMENT, FIRST_COUNT)
        group[elements], period[elements] = groups[1:], periods[1:]
        feature[elements, :3] = properties[1:]
        feature[FIRST_COUNT:FIRST_SPACE_GROUP, 3] = np.log(np.arange(1, MAX_SITES + 1))
        electronegativity = properties[:, 0].astype(np.float64) + 1e-4 * np.arange(MAX_Z + 1)
        electronegativity[0] = -np.inf
        self.register_buffer("order", torch.from_numpy(np.argsort(np.argsort(electronegativity))))
        self.register_buffer("group", torch.from_numpy(group))
        self.register_buffer("period", torch.from_numpy(period))
        self.register_buffer("feature", torch.from_numpy(feature))
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.position_embedding = nn.Embedding(MAX_TOKENS, width)
        self.group_embedding = nn.Embedding(19, width)
        self.period_embedding = nn.Embedding(10, width)
        for embedding in [m for m in self.children() if isinstance(m, nn.Embedding)]:
            nn.init.normal_(embedding.weight, std=0.1)
        self.feature_embedding = nn.Linear(4, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """
        Predict each next token.

        Parameters
        ----------
        tokens
            int64 of shape (batch, length).

        Returns
        -------
        torch.Tensor
            Logits of shape (batch, length, vocabulary).
        """
        table = (
            self.token_embedding.weight
            + self.group_embedding(self.group)
            + self.period_embedding(self.period)
            + self.feature_embedding(self.feature)
        )
        length = tokens.shape[1]
        hidden = self.dropout(table[tokens] + self.position_embedding.weight[:length])
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        hidden = self.norm(self.transformer(hidden, mask=causal))
        return self.output(hidden) + hidden @ table.t() / 8


def _allowed(tokens: list[int], order: np.ndarray) -> np.ndarray:
    """Mark the tokens that may follow: the grammar, the order of elements, at most 52 sites."""
    allowed = np.zeros(VOCABULARY, dtype=bool)
    last = tokens[-1]
    if last == START:
        allowed[FIRST_SPACE_GROUP:] = True
        return allowed
    n_sites = sum(t - FIRST_COUNT + 1 for t in tokens[3::2])
    if FIRST_ELEMENT <= last < FIRST_COUNT:
        allowed[FIRST_COUNT : FIRST_COUNT + MAX_SITES - n_sites] = True
        return allowed
    elements = [t - FIRST_ELEMENT + 1 for t in tokens[2::2]]
    if elements:
        allowed[END] = True
    if len(elements) < MAX_ELEMENTS and n_sites < MAX_SITES:
        lowest = order[elements[-1]] if elements else 0
        allowed[FIRST_ELEMENT:FIRST_COUNT] = order[1:] > lowest
    return allowed


@torch.no_grad()
def sample_specifications(
    model: SpecificationModel, streams: list[np.random.Generator], temperature: float
) -> list[Specification]:
    """
    Sample one specification from each random stream.

    Parameters
    ----------
    model
        In float64 and evaluation mode, so that the batch does not decide a token.
    streams
        One source of uniform numbers a sample; each token takes one number.
    temperature
        Divides the logits.

    Returns
    -------
    list of Specification
        In the order of `streams`.
    """
    order = model.order.cpu().numpy()
    device = model.order.device
    sequences = [[START] for _ in streams]
    live = list(range(len(streams)))
    while live:
        tokens = torch.tensor([sequences[i] for i in live], device=device)
        logits = model(tokens)[:, -1].double().cpu().numpy() / temperature
        going_on = []
        for i, row in zip(live, logits, strict=True):
            row[~_allowed(sequences[i], order)] = -np.inf
            cumulative = np.cumsum(np.exp(row - row.max()))
            token = int(np.searchsorted(cumulative, streams[i].random() * cumulative[-1], "right"))
            sequences[i].append(token)
            if token != END:
                going_on.append(i)
        live = going_on
    return [
        Specification(
            space_group=s[1] - FIRST_SPACE_GROUP + 1,
            elements=tuple(t - FIRST_ELEMENT + 1 for t in s[2:-1:2]),
            counts=tuple(t - FIRST_COUNT + 1 for t in s[3:-1:2]),
        )
        for s in sequences
    ]
