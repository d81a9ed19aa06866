"""Which known crystal a formula is likely to be arranged like: a learned likeness."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from crystens_flows.generators.elements import MAX_ELEMENTS, MAX_Z, element_features
from crystens_flows.generators.wyckoff.prototypes import Candidates, Prototypes

MAX_CANDIDATES = 2_400
"""Most candidates of a training step."""

QUERIES = 96
"""Most formulas with the same counts that are scored together in training."""

GROUPS_PER_STEP = 4


class Recall(nn.Module):
    """
    Elements of a formula as points, so that elements in like roles lie near each other.

    How likely a formula is arranged like a known crystal falls off with the sum of the squared
    distances between its elements and those that they would stand for.

    Parameters
    ----------
    width
        Size of the hidden state of an element.
    size
        Dimensions of the points.
    layers
        Number of transformer layers, in which elements of a formula see each other.
    heads
        Number of attention heads.
    dropout
        Dropout probability in training.
    """

    group_of: torch.Tensor
    period_of: torch.Tensor
    feature_of: torch.Tensor

    def __init__(
        self, width: int = 96, size: int = 32, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        groups, periods, properties = element_features()
        self.register_buffer("group_of", torch.from_numpy(groups))
        self.register_buffer("period_of", torch.from_numpy(periods))
        self.register_buffer("feature_of", torch.from_numpy(properties))
        self.element = nn.Embedding(MAX_Z + 1, width)
        self.element_group = nn.Embedding(19, width)
        self.element_period = nn.Embedding(10, width)
        for embedding in [m for m in self.children() if isinstance(m, nn.Embedding)]:
            nn.init.normal_(embedding.weight, std=0.3)
        self.element_feature = nn.Linear(3, width)
        self.count = nn.Linear(3, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, size)
        self.alone = nn.Embedding(MAX_Z + 1, size)
        nn.init.zeros_(self.alone.weight)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, numbers: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """
        Place the elements of formulas.

        Parameters
        ----------
        numbers
            Atomic numbers, 0 for none, int64 of shape (batch, elements).
        counts
            Atoms of each in the reduced formula, shape (batch, elements).

        Returns
        -------
        torch.Tensor
            Points of shape (batch, elements, size).
        """
        none = numbers == 0
        feature = self.feature_of[numbers]
        counts = counts.to(feature.dtype)
        total = counts.sum(1, keepdim=True).expand_as(counts)
        amount = [counts / total, counts.clamp_min(1).log(), total.log()]
        hidden = self.dropout(
            self.element(numbers)
            + self.element_group(self.group_of[numbers])
            + self.element_period(self.period_of[numbers])
            + self.element_feature(feature)
            + self.count(torch.stack(amount, dim=-1))
        )
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=none)
        return (self.output(self.norm(hidden)) + self.alone(numbers)) * ~none[..., None]

    def likeness(self, queries: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """
        Score known crystals, as logarithms of probabilities but for a constant of each formula.

        Parameters
        ----------
        queries
            Points of formulas, shape (n, elements, size).
        known
            Points of the elements that they would stand for, shape (m, elements, size).

        Returns
        -------
        torch.Tensor
            Shape (n, m).
        """
        q, k = queries.flatten(1), known.flatten(1)
        apart = (q**2).sum(1)[:, None] + (k**2).sum(1) - 2 * q @ k.t()
        return -self.log_scale.exp() * apart


def padded(
    elements: Sequence[Sequence[int]], counts: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return atomic numbers and counts of formulas as tensors of shape (n, MAX_ELEMENTS)."""
    rows = np.zeros((2, len(elements), MAX_ELEMENTS), dtype=np.int64)
    for k, (numbers, amounts) in enumerate(zip(elements, counts, strict=True)):
        rows[0, k, : len(numbers)], rows[1, k, : len(amounts)] = numbers, amounts
    return torch.from_numpy(rows[0]), torch.from_numpy(rows[1])


def points_of(
    model: Recall, known: Prototypes, candidates: Candidates, device: torch.device
) -> torch.Tensor:
    """Place what candidates have for the elements of a formula, (candidates, elements, size)."""
    crystals, row = np.unique(candidates.crystals, return_inverse=True)
    numbers, counts = padded(
        [known.elements[k] for k in crystals], [known.counts[k] for k in crystals]
    )
    points = model(numbers.to(device), counts.to(device))[torch.from_numpy(row).to(device)]
    roles = torch.from_numpy(candidates.roles).to(device)
    return points.gather(1, roles[..., None].expand(-1, -1, points.shape[-1]))


@dataclass
class Formulas:
    """
    Formulas of crystals whose structure types are to be recalled from others.

    Parameters
    ----------
    known
        The crystals to recall.
    elements, counts
        Of each formula, in order of electronegativity.
    types
        Number of the structure type that each crystal has.
    """

    known: Prototypes
    elements: list[tuple[int, ...]]
    counts: list[tuple[int, ...]]
    types: np.ndarray
    own: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.own = np.array(
            [
                self.known.formula_number(*each)
                for each in zip(self.elements, self.counts, strict=True)
            ]
        )

    @classmethod
    def of(cls, known: Prototypes, crystals: Prototypes) -> Formulas:
        """Take the formulas of crystals."""
        types = [known.type_number(crystals.crystal(k)) for k in range(len(crystals))]
        return cls(known, crystals.elements, crystals.counts, np.array(types))

    def steps(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Divide the formulas into steps: a few groups, in each of which the counts are equal."""
        by_counts: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for k, counts in enumerate(self.counts):
            by_counts[counts].append(k)
        groups: list[np.ndarray] = []
        for rows in by_counts.values():
            mixed = rng.permutation(rows)
            groups += [mixed[k : k + QUERIES] for k in range(0, len(mixed), QUERIES)]
        order = rng.permutation(len(groups))
        return [
            np.concatenate([groups[k] for k in order[first : first + GROUPS_PER_STEP]])
            for first in range(0, len(order), GROUPS_PER_STEP)
        ]

    def log_likelihood(
        self,
        model: Recall,
        rows: np.ndarray,
        device: torch.device,
        rng: np.random.Generator | None = None,
    ) -> tuple[torch.Tensor, int]:
        """
        Compute how likely the structure types are recalled, from crystals of other formulas.

        Parameters
        ----------
        model
            The model.
        rows
            Which formulas.
        device
            Where to compute.
        rng
            Source of the candidates, where there are more than `MAX_CANDIDATES`; None for all.

        Returns
        -------
        tuple
            Log-likelihood of each formula whose type another formula has, in nats, and how many
            of them have it as the likeliest.
        """
        parts, right = [model.log_scale.expand(0)], 0
        for counts in sorted({self.counts[k] for k in rows}):
            chosen = np.array([k for k in rows if self.counts[k] == counts])
            found = self.known.candidates(counts)
            if rng is not None and len(found) > MAX_CANDIDATES:
                some = np.sort(rng.permutation(len(found))[:MAX_CANDIDATES])
                found = Candidates(
                    *(getattr(found, name)[some] for name in Candidates.__dataclass_fields__)
                )
            others = found.formulas != self.own[chosen][:, None]
            same = others & (found.types == self.types[chosen][:, None])
            answered = same.any(1)
            if not answered.any():
                continue
            chosen, others, same = chosen[answered], others[answered], same[answered]
            numbers, amounts = padded(
                [self.elements[k] for k in chosen], [self.counts[k] for k in chosen]
            )
            queries = model(numbers.to(device), amounts.to(device))[:, : len(counts)]
            score = model.likeness(queries, points_of(model, self.known, found, device))
            score = score.masked_fill(~torch.from_numpy(others).to(device), -torch.inf)
            score = score.log_softmax(1)
            of_type = score.masked_fill(~torch.from_numpy(same).to(device), -torch.inf)
            parts.append(of_type.logsumexp(1))
            right += int((found.types[score.argmax(1).cpu()] == self.types[chosen]).sum())
        return torch.cat(parts), right


class Memory:
    """
    Known crystals and the model that recalls them.

    Parameters
    ----------
    model
        In float64 and evaluation mode, so that what is scored together does not decide.
    known
        The crystals.
    """

    def __init__(self, model: Recall, known: Prototypes) -> None:
        self.model, self.known = model, known
        self._points: dict[tuple[int, ...], torch.Tensor] = {}

    @torch.no_grad()
    def recall(
        self,
        elements: Sequence[int],
        counts: Sequence[int],
        *,
        group: int | None = None,
        sites: int | None = None,
        type_number: int | None = None,
        known: float = 1.0,
    ) -> tuple[Candidates, np.ndarray]:
        """
        Find how likely a formula is arranged like each known crystal of another formula.

        Parameters
        ----------
        elements, counts
            Of the reduced formula, in order of electronegativity.
        group, sites, type_number
            Space group, number of sites and structure type that the crystal is to have; any if
            None.
        known
            What is left of how likely a structure type is in which the formula itself is known.

        Returns
        -------
        tuple
            The candidates, and their probabilities, shape (candidates,); all zero if none is left.
        """
        wanted = tuple(counts)
        found = self.known.candidates(wanted)
        left = found.formulas != self.known.formula_number(elements, counts)
        repeated = np.isin(found.types, found.types[~left])
        if known == 0:
            left &= ~repeated
        for value, of_candidates in (
            (group, found.groups),
            (sites, found.sites),
            (type_number, found.types),
        ):
            if value is not None:
                left &= of_candidates == value
        if not left.any():
            return found, np.zeros(len(found))
        device = self.model.log_scale.device
        if wanted not in self._points:
            self._points[wanted] = points_of(self.model, self.known, found, device)
        numbers, amounts = padded([elements], [counts])
        query = self.model(numbers.to(device), amounts.to(device))[:, : len(wanted)]
        score = self.model.likeness(query, self._points[wanted])[0].cpu().numpy()
        weight = np.where(left, np.exp(score - score[left].max()), 0.0)
        weight[repeated] *= known
        return found, weight / weight.sum()
