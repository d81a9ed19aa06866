"""Which crystal: an autoregressive model of space group and composition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pymatgen.core import Composition, Element
from torch import nn

from crystens_flows.errors import InputError
from crystens_flows.generators.elements import MAX_Z, electronegativity_order, element_features
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
        self.register_buffer("order", torch.from_numpy(electronegativity_order()))
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
    return [_specification(sequence) for sequence in sequences]


def _specification(tokens: list[int]) -> Specification:
    return Specification(
        space_group=tokens[1] - FIRST_SPACE_GROUP + 1,
        elements=tuple(t - FIRST_ELEMENT + 1 for t in tokens[2:-1:2]),
        counts=tuple(t - FIRST_COUNT + 1 for t in tokens[3:-1:2]),
    )


@torch.no_grad()
def sample_specifications_of(
    model: SpecificationModel,
    formula: str,
    streams: list[np.random.Generator],
    temperature: float,
) -> list[Specification]:
    """
    Sample specifications of one formula.

    The probability of every space group and number of formula units together with the formula is
    evaluated, and one drawn in proportion: the model's distribution, conditioned exactly.

    Parameters
    ----------
    model
        In float64 and evaluation mode.
    formula
        The formula; the cell holds one or more of its reduced units, at most 52 sites.
    streams
        One source of uniform numbers a sample; each sample takes one number.
    temperature
        Divides the logits.

    Returns
    -------
    list of Specification
        In the order of `streams`.

    Raises
    ------
    InputError
        If it is no formula, or the model cannot write it.
    """
    numbers = np.array(_unit(formula))
    order = model.order.cpu().numpy()
    sequences = [
        tokenise(np.tile(numbers, units), space_group, order)
        for units in range(1, MAX_SITES // len(numbers) + 1)
        for space_group in range(1, 231)
    ]
    tokens = torch.tensor(sequences, device=model.order.device)
    log_p = np.concatenate(
        [_log_probability(model, part, temperature) for part in tokens.split(512)]
    )
    cumulative = np.cumsum(np.exp(log_p - log_p.max()))
    drawn = [
        int(np.searchsorted(cumulative, stream.random() * cumulative[-1], "right"))
        for stream in streams
    ]
    return [_specification(sequences[k]) for k in drawn]


def _log_probability(
    model: SpecificationModel, tokens: torch.Tensor, temperature: float
) -> np.ndarray:
    """Return the log probability of sequences of the same length, shape (batch,), unnormalised."""
    order = model.order.cpu().numpy()
    logits = model(tokens[:, :-1]).double() / temperature
    rows = tokens.tolist()
    for place in range(tokens.shape[1] - 1):
        # what may follow depends on the elements before, the same for all, and on the sites
        allowed = np.stack([_allowed(row[: place + 1], order) for row in rows])
        logits[:, place].masked_fill_(torch.from_numpy(~allowed).to(logits.device), -torch.inf)
    log_p = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1).sum(-1)
    return log_p.cpu().numpy()


def _unit(formula: str) -> list[int]:
    """Return the atomic numbers of the sites of one reduced formula unit."""
    try:
        composition = Composition(formula, strict=True)
        amounts = composition.reduced_composition.get_el_amt_dict()
        whole = all(float(amount).is_integer() for amount in amounts.values())
        elements = [Element(symbol).Z for symbol in amounts]
    except (ValueError, KeyError) as exc:
        raise InputError(f"'{formula}' is no formula: write e.g. NaF or SrTiO3") from exc
    if not amounts or not whole:
        raise InputError(f"'{formula}' is no formula with whole numbers: write e.g. NaF or SrTiO3")
    numbers = [z for z, n in zip(elements, amounts.values(), strict=True) for _ in range(int(n))]
    if max(elements) > MAX_Z:
        raise InputError(f"the generator knows elements up to Z = {MAX_Z}, {formula} has others")
    if len(elements) > MAX_ELEMENTS or len(numbers) > MAX_SITES:
        raise InputError(
            f"{formula} has {len(elements)} elements and {len(numbers)} sites: the generator makes "
            f"at most {MAX_ELEMENTS} and {MAX_SITES}"
        )
    return numbers
