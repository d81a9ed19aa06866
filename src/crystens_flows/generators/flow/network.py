"""The network of the flow over fractional coordinates and lattice."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import nn

from crystens_flows.generators.elements import MAX_Z, crystal_systems, element_features
from crystens_flows.generators.periodic import metric_tensor, wrap
from crystens_flows.representation.layout import MAX_SITES

COORDINATE_SCALE = 0.2
"""Standard deviation of the coordinate velocities, which the network gives divided by it."""


class LatticeCodec(nn.Module):
    """
    Lattice parameters as six standardised numbers.

    Logarithms of the lengths, less a third of the logarithm of the number of sites, and the
    angles; each less its mean and divided by its standard deviation over the training set.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("std", torch.ones(6))

    @staticmethod
    def _raw(parameters: torch.Tensor, n_sites: torch.Tensor) -> torch.Tensor:
        shift = torch.log(n_sites.to(parameters.dtype))[:, None] / 3
        return torch.cat([torch.log(parameters[:, :3]) - shift, parameters[:, 3:]], dim=1)

    def fit(self, parameters: torch.Tensor, n_sites: torch.Tensor) -> None:
        """Take mean and standard deviation from lattice parameters, shape (n, 6)."""
        raw = self._raw(parameters, n_sites)
        self.mean.copy_(raw.mean(0))
        self.std.copy_(raw.std(0).clamp_min(0.05))

    def encode(self, parameters: torch.Tensor, n_sites: torch.Tensor) -> torch.Tensor:
        """Standardise lattice parameters (Angstrom, degrees), shape (n, 6)."""
        return (self._raw(parameters, n_sites) - self.mean) / self.std

    def decode(self, encoded: torch.Tensor, n_sites: torch.Tensor) -> torch.Tensor:
        """Restore lattice parameters (Angstrom, degrees), kept in a sensible range."""
        raw = encoded * self.std + self.mean
        shift = torch.log(n_sites.to(encoded.dtype))[:, None] / 3
        lengths = torch.exp((raw[:, :3] + shift).clamp(-1, 5))
        return torch.cat([lengths, raw[:, 3:].clamp(30, 150)], dim=1)


class PairFeatures(nn.Module):
    """
    Features of a pair of sites that know neither origin nor cell boundary.

    Sines and cosines of the fractional difference, and a soft histogram of the distances to the
    nearest eight images.
    """

    frequencies: torch.Tensor
    centres: torch.Tensor
    images: torch.Tensor

    def __init__(self, n_radial: int = 16, cutoff: float = 7.0) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0]))
        self.register_buffer("centres", torch.linspace(0.4, cutoff, n_radial))
        self.register_buffer("images", torch.tensor(list(product((0.0, 1.0), repeat=3))))
        self.size = 6 * 5 + n_radial

    def forward(self, frac: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
        """
        Compute the features of all pairs.

        Parameters
        ----------
        frac
            Fractional coordinates, shape (batch, sites, 3).
        metric
            Metric tensors, shape (batch, 3, 3).

        Returns
        -------
        torch.Tensor
            Shape (batch, sites, sites, size).
        """
        difference = wrap(frac[:, None] - frac[:, :, None])
        angle = difference[..., None] * self.frequencies
        towards = torch.where(difference >= 0, -1.0, 1.0).to(frac.dtype)
        image = difference[..., None, :] + self.images * towards[..., None, :]
        square = ((image @ metric[:, None, None]) * image).sum(-1)
        distance = square.clamp_min(1e-4).sqrt()
        distance = torch.where(distance < 0.02, torch.full_like(distance, 50.0), distance)
        spacing = self.centres[1] - self.centres[0]
        radial = torch.exp(-0.5 * ((distance[..., None] - self.centres) / spacing) ** 2).sum(-2)
        return torch.cat(
            [angle.sin().flatten(-2), angle.cos().flatten(-2), torch.log1p(radial)], dim=-1
        )


class Block(nn.Module):
    """Attention over sites with pair features in bias and values, conditioned on the crystal."""

    def __init__(self, width: int, heads: int, pair_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.dense_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width + heads * pair_width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)
        )
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, hidden: torch.Tensor, condition: torch.Tensor, bias: torch.Tensor, pair: torch.Tensor
    ) -> torch.Tensor:
        """Update the hidden state of the sites, shape (batch, sites, width)."""
        batch, sites, width = hidden.shape
        m = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = self.attention_norm(hidden) * (1 + m[0]) + m[1]
        x = self.query_key_value(x).view(batch, sites, 3, self.heads, width // self.heads)
        query, key, value = x.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        weights = (scores + bias).softmax(-1)
        from_sites = (weights @ value).transpose(1, 2).reshape(batch, sites, width)
        from_pairs = weights.transpose(1, 2).reshape(batch * sites, self.heads, sites) @ pair.view(
            batch * sites, sites, -1
        )
        mixed = torch.cat([from_sites, from_pairs.reshape(batch, sites, -1)], dim=-1)
        hidden = hidden + (1 + m[2]) * self.mix(mixed)
        x = self.dense_norm(hidden) * (1 + m[3]) + m[4]
        return hidden + (1 + m[5]) * self.dense(x)


class FlowNetwork(nn.Module):
    """
    Velocities of fractional coordinates and lattice, given elements and space group.

    Equivariant to the order of sites, invariant to the origin, periodic.

    Parameters
    ----------
    width
        Size of the hidden state of a site.
    layers
        Number of attention blocks.
    heads
        Number of attention heads.
    pair_width
        Size of the hidden state of a pair.
    """

    group: torch.Tensor
    period: torch.Tensor
    feature: torch.Tensor
    system: torch.Tensor

    def __init__(
        self, width: int = 160, layers: int = 6, heads: int = 8, pair_width: int = 48
    ) -> None:
        super().__init__()
        groups, periods, properties = element_features()
        self.register_buffer("group", torch.from_numpy(groups))
        self.register_buffer("period", torch.from_numpy(periods))
        self.register_buffer("feature", torch.from_numpy(properties))
        self.register_buffer("system", torch.from_numpy(crystal_systems()))
        self.layers, self.heads = layers, heads
        self.codec = LatticeCodec()
        self.pair_features = PairFeatures()
        self.element = nn.Embedding(MAX_Z + 1, width)
        self.element_group = nn.Embedding(19, width)
        self.element_period = nn.Embedding(10, width)
        self.space_group = nn.Embedding(231, width)
        self.crystal_system = nn.Embedding(8, width)
        self.site_count = nn.Embedding(MAX_SITES + 1, width)
        for embedding in [m for m in self.children() if isinstance(m, nn.Embedding)]:
            nn.init.normal_(embedding.weight, std=0.3)
        self.element_feature = nn.Linear(3, width)
        self.pair_in = nn.Linear(self.pair_features.size + 2, pair_width)
        self.pair_row = nn.Linear(width, pair_width)
        self.pair_column = nn.Linear(width, pair_width, bias=False)
        self.pair_dense = nn.Sequential(
            nn.SiLU(),
            nn.Linear(pair_width, pair_width),
            nn.SiLU(),
            nn.Linear(pair_width, pair_width),
        )
        self.pair_bias = nn.Linear(pair_width, heads * layers)
        self.crystal = nn.Sequential(
            nn.Linear(6 + 9 + 32, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.composition = nn.Linear(width, width)
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads, pair_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.coordinate_head = nn.Linear(width, 3)
        self.lattice_head = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 6)
        )
        for parameter in (*self.coordinate_head.parameters(), *self.lattice_head[2].parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self,
        frac: torch.Tensor,
        lattice: torch.Tensor,
        time: torch.Tensor,
        numbers: torch.Tensor,
        space_group: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Compute the velocities at one time of the flow.

        Parameters
        ----------
        frac
            Fractional coordinates, shape (batch, sites, 3).
        lattice
            Standardised lattice, shape (batch, 6).
        time
            0 (noise) to 1 (crystal), shape (batch,).
        numbers
            Atomic numbers, 0 for no site, shape (batch, sites).
        space_group
            Space group number, 0 for none stated, shape (batch,).

        Returns
        -------
        tuple of torch.Tensor
            Velocity of the coordinates divided by `COORDINATE_SCALE`, (batch, sites, 3), without
            a common translation, and of the lattice, (batch, 6).
        """
        present = (numbers > 0).to(frac.dtype)[..., None]
        n_sites = (numbers > 0).sum(1)
        count = n_sites.to(frac.dtype)[:, None]
        with torch.autocast(frac.device.type, enabled=False):
            pair_features, crystal_features = self._geometry(frac, lattice, time, numbers, n_sites)
        hidden = (
            self.element(numbers)
            + self.element_group(self.group[numbers])
            + self.element_period(self.period[numbers])
            + self.element_feature(self.feature[numbers])
        )
        condition = self.condition(
            self.crystal(crystal_features)
            + self.space_group(space_group)
            + self.crystal_system(self.system[space_group])
            + self.site_count(n_sites)
            + self.composition((hidden * present).sum(1) / count)
        )
        pair = self.pair_dense(
            self.pair_in(pair_features)
            + self.pair_row(hidden)[:, :, None]
            + self.pair_column(hidden)[:, None]
        )
        bias = self.pair_bias(pair) - 1e4 * (1 - present[..., 0])[:, None, :, None]
        batch, sites = numbers.shape
        biases = bias.view(batch, sites, sites, self.layers, self.heads).permute(3, 0, 4, 1, 2)
        for block, block_bias in zip(self.blocks, biases, strict=True):
            hidden = block(hidden, condition, block_bias, pair)
        hidden = self.norm(hidden)
        with torch.autocast(frac.device.type, enabled=False):
            hidden, condition = hidden.to(frac.dtype), condition.to(frac.dtype)
            velocity = self.coordinate_head(hidden) * present
            velocity = (velocity - (velocity.sum(1) / count)[:, None]) * present
            pooled = torch.cat([(hidden * present).sum(1) / count, condition], dim=-1)
            return velocity, self.lattice_head(pooled)

    @torch.no_grad()
    def _geometry(
        self,
        frac: torch.Tensor,
        lattice: torch.Tensor,
        time: torch.Tensor,
        numbers: torch.Tensor,
        n_sites: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        metric = metric_tensor(self.codec.decode(lattice, n_sites))
        batch, sites = numbers.shape
        same_element = (numbers[:, :, None] == numbers[:, None]).to(frac.dtype)
        same_site = torch.eye(sites, dtype=frac.dtype, device=frac.device)
        flags = torch.stack([same_element, same_site.expand(batch, sites, sites)], dim=-1)
        pair_features = torch.cat([self.pair_features(frac, metric), flags], dim=-1)
        mean_square = metric.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]
        step = torch.arange(16, dtype=frac.dtype, device=frac.device)
        phase = time[:, None] * math.pi
        waves = [torch.cos(phase * step), torch.sin(phase * (step + 1))]
        return pair_features, torch.cat([lattice, (metric / mean_square).flatten(1), *waves], 1)
