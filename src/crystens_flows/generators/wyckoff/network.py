"""The network of the flow over what Wyckoff positions and crystal system leave free."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import product

import numpy as np
import torch
from torch import nn

from crystens_flows.generators.elements import MAX_Z, crystal_systems, element_features
from crystens_flows.generators.periodic import metric_tensor, wrap
from crystens_flows.generators.wyckoff.arrays import Frames
from crystens_flows.generators.wyckoff.lattice import START_NOISE, LatticeCodec
from crystens_flows.generators.wyckoff.positions import position_features
from crystens_flows.representation import MAX_SITES

N_FREQUENCIES = 4
"""Sines and cosines of fractional differences turn up to so many times around."""

SCALES = (0.2, 1.0)
"""Deviations of the velocities of coordinates and lattice on the way from noise."""

SCALES_FROM_KNOWN = (0.06, 0.6)
"""The same on the way from a known crystal."""


@dataclass(frozen=True)
class TensorFrames:
    """:class:`~crystens_flows.generators.wyckoff.arrays.Frames` as tensors."""

    groups: torch.Tensor
    numbers: torch.Tensor
    positions: torch.Tensor
    multiplicities: torch.Tensor
    projectors: torch.Tensor
    offsets: torch.Tensor
    orbit_of_site: torch.Tensor
    present: torch.Tensor
    rotations: torch.Tensor
    translations: torch.Tensor
    primitive: torch.Tensor
    polar: torch.Tensor
    sources: torch.Tensor

    @classmethod
    def of(cls, frames: Frames, device: torch.device, dtype: torch.dtype) -> TensorFrames:
        """Move frames to a device."""

        def tensor(array: np.ndarray) -> torch.Tensor:
            moved = torch.from_numpy(array).to(device)
            return moved.to(dtype) if moved.is_floating_point() else moved

        return cls(**{each.name: tensor(getattr(frames, each.name)) for each in fields(cls)})

    @property
    def cells(self) -> torch.Tensor:
        """Primitive cells in a conventional one, shape (batch,)."""
        return 1 / torch.linalg.det(self.primitive)

    @property
    def from_known(self) -> torch.Tensor:
        """Whether the flow of each starts from a known crystal, bool of shape (batch,)."""
        return (self.sources > 0).any(1)

    def gather(self, of_orbits: torch.Tensor) -> torch.Tensor:
        """Give each site what its orbit has, shape (batch, sites, ...)."""
        index = self.orbit_of_site.view(*self.orbit_of_site.shape, *[1] * (of_orbits.dim() - 2))
        return of_orbits.gather(1, index.expand(-1, -1, *of_orbits.shape[2:]))

    def sites(self, firsts: torch.Tensor) -> torch.Tensor:
        """Make all sites of the first ones, fractional, shape (batch, sites, 3)."""
        turned = (self.rotations @ self.gather(firsts)[..., None]).squeeze(-1)
        return turned + self.translations

    def without_drift(self, velocity: torch.Tensor) -> torch.Tensor:
        """
        Keep of velocities of first sites what the positions allow and what moves no origin.

        Parameters
        ----------
        velocity
            Fractional, shape (batch, orbits, 3).

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        velocity = (self.projectors @ velocity[..., None]).squeeze(-1)
        weight = self.multiplicities.to(velocity.dtype)[..., None]
        mean = (velocity * weight).sum(1) / weight.sum(1)
        drift = (self.polar @ mean[..., None]).squeeze(-1)
        return (velocity - drift[:, None]) * (weight > 0)


class PairFeatures(nn.Module):
    """
    What a first site sees of all sites: independent of origin and cell boundary.

    Sines and cosines of the fractional difference, a soft histogram of the distances to the
    nearest images, in cubic splines, and the rotation that makes the site of the first of its
    orbit. No gradient comes through it.
    """

    frequencies: torch.Tensor
    images: torch.Tensor

    def __init__(self, n_radial: int = 20, cutoff: float = 8.0) -> None:
        super().__init__()
        # no weight, which would be rounded where weights are: sin(pi) has to be nothing
        frequencies = 2 * math.pi * torch.arange(1, N_FREQUENCIES + 1, dtype=torch.float64)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.n_radial, self.spacing = n_radial, cutoff / n_radial
        self.register_buffer("images", torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=3))))
        self.size = 6 * N_FREQUENCIES + n_radial + 9 + 3

    def forward(
        self, firsts: torch.Tensor, frames: TensorFrames, metric: torch.Tensor
    ) -> torch.Tensor:
        """
        Compute the features of all pairs.

        Parameters
        ----------
        firsts
            Fractional coordinates of the first sites, shape (batch, orbits, 3).
        frames
            Everything but the geometry.
        metric
            Metric tensors of the primitive cells, shape (batch, 3, 3).

        Returns
        -------
        torch.Tensor
            Shape (batch, orbits, sites, size).
        """
        difference = wrap(frames.sites(firsts)[:, None] - firsts[:, :, None])
        angle = difference[..., None] * self.frequencies.to(difference.dtype)
        radial = self._histogram(difference, metric)
        to_primitive = torch.linalg.inv(frames.primitive)[:, None]
        turned = frames.primitive[:, None] @ frames.rotations @ to_primitive
        orbits = frames.numbers.shape[1]
        rotation = turned.flatten(-2)[:, None].expand(-1, orbits, -1, -1)
        same_element = frames.numbers[:, :, None] == frames.gather(frames.numbers)[:, None]
        own = torch.arange(orbits, device=firsts.device)[None, :, None]
        same_orbit = frames.orbit_of_site[:, None] == own
        itself = difference.abs().amax(-1) < 1e-4
        flags = torch.stack([same_element, same_orbit, itself & same_orbit], dim=-1)
        return torch.cat(
            [
                angle.sin().flatten(-2),
                angle.cos().flatten(-2),
                torch.log1p(radial),
                rotation,
                flags.to(firsts.dtype),
            ],
            dim=-1,
        )

    def _histogram(self, difference: torch.Tensor, metric: torch.Tensor) -> torch.Tensor:
        """Count the images of each pair by distance, shape (batch, orbits, sites, n_radial)."""
        image = difference[..., None, :] + self.images
        square = ((image @ metric[:, None, None]) * image).sum(-1)
        # an image leaves at three halves of a cell, smoothly, so that no boundary is seen
        weight = (2 * (1.5 - image.abs())).clamp(0, 1).prod(-1)
        near = (square < (self.n_radial * self.spacing) ** 2) & (square > 4e-4) & (weight > 0)
        pair = torch.arange(near[..., 0].numel(), device=near.device).view(near.shape[:-1])
        place = square[near].sqrt() / self.spacing
        first = place.floor()
        t = place - first
        index = first.long() + pair[..., None].expand_as(near)[near] * (self.n_radial + 3)
        size = pair.numel() * (self.n_radial + 3)
        splines = (
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        )
        counts = torch.zeros(size, dtype=square.dtype, device=square.device)
        for k, spline in enumerate(splines):
            counts.index_add_(0, index + k, spline * weight[near] / 4)
        return counts.view(*near.shape[:-1], -1)[..., : self.n_radial]


class Block(nn.Module):
    """Attention of first sites to all sites, with pair features in bias and values."""

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
        self,
        hidden: torch.Tensor,
        condition: torch.Tensor,
        bias: torch.Tensor,
        pair: torch.Tensor,
        frames: TensorFrames,
    ) -> torch.Tensor:
        """Update the hidden state of the orbits, shape (batch, orbits, width)."""
        batch, orbits, width = hidden.shape
        sites = pair.shape[2]
        size = width // self.heads
        m = self.modulation(condition)[:, None].chunk(6, dim=-1)
        x = self.attention_norm(hidden) * (1 + m[0]) + m[1]
        query, of_orbits = self.query_key_value(x).split([width, 2 * width], dim=-1)
        of_sites = frames.gather(of_orbits).view(batch, sites, 2, self.heads, size)
        key, value = of_sites.permute(2, 0, 3, 1, 4)
        query = query.view(batch, orbits, self.heads, size).transpose(1, 2)
        scores = query @ key.transpose(-1, -2) / math.sqrt(size)
        weights = (scores + bias).softmax(-1)
        from_sites = (weights @ value).transpose(1, 2).reshape(batch, orbits, width)
        from_pairs = weights.transpose(1, 2).reshape(batch * orbits, self.heads, sites) @ pair.view(
            batch * orbits, sites, -1
        )
        mixed = torch.cat([from_sites, from_pairs.reshape(batch, orbits, -1)], dim=-1)
        hidden = hidden + (1 + m[2]) * self.mix(mixed)
        x = self.dense_norm(hidden) * (1 + m[3]) + m[4]
        return hidden + (1 + m[5]) * self.dense(x)


class Forces(nn.Module):
    """
    Velocities along the differences of sites, as forces between pairs are.

    Each pair pushes along the sines of its fractional difference, which are odd and periodic, with
    strengths that come from its features and from the hidden states of both sites.

    Parameters
    ----------
    width
        Size of the hidden state of an orbit.
    heads
        Strengths for each frequency that come from hidden states.
    pair_width
        Size of the hidden state of a pair.
    """

    def __init__(self, width: int, heads: int, pair_width: int) -> None:
        super().__init__()
        self.n = N_FREQUENCIES
        self.query_key = nn.Linear(width, 2 * self.n * heads)
        self.of_pair = nn.Linear(pair_width, self.n)
        nn.init.zeros_(self.of_pair.weight)
        nn.init.zeros_(self.of_pair.bias)

    def forward(
        self,
        hidden: torch.Tensor,
        pair: torch.Tensor,
        pair_features: torch.Tensor,
        frames: TensorFrames,
    ) -> torch.Tensor:
        """Sum what all sites do to the first ones, shape (batch, orbits, 3)."""
        batch, orbits, sites = pair.shape[:3]
        query, key = self.query_key(hidden).view(batch, orbits, 2, self.n, -1).unbind(2)
        scores = torch.einsum("bifh,bsfh->bisf", query, frames.gather(key))
        strength = (self.of_pair(pair) + scores / query.shape[-1]) * frames.present[
            :, None, :, None
        ]
        sines = pair_features[..., : 3 * self.n].view(batch, orbits, sites, 3, self.n)
        pushed = torch.einsum("bisf,bisxf->bix", strength, sines)
        return pushed / frames.present.sum(1).to(pushed.dtype).sqrt()[:, None, None]


class SymmetricFlow(nn.Module):
    """
    Velocities of first sites and lattice, given space group, elements and Wyckoff positions.

    Equivariant to the order of orbits, invariant to the origin, periodic; what it moves stays on
    its Wyckoff position, so the space group holds by construction.

    Parameters
    ----------
    width
        Size of the hidden state of an orbit.
    layers
        Number of attention blocks.
    heads
        Number of attention heads.
    pair_width
        Size of the hidden state of a pair.
    """

    group_of: torch.Tensor
    period_of: torch.Tensor
    feature_of: torch.Tensor
    symmetry_of: torch.Tensor
    freedom_of: torch.Tensor
    system_of: torch.Tensor

    def __init__(
        self, width: int = 160, layers: int = 6, heads: int = 8, pair_width: int = 48
    ) -> None:
        super().__init__()
        groups, periods, properties = element_features()
        symmetry, freedom, _, symbols = position_features()
        self.register_buffer("group_of", torch.from_numpy(groups))
        self.register_buffer("period_of", torch.from_numpy(periods))
        self.register_buffer("feature_of", torch.from_numpy(properties))
        self.register_buffer("symmetry_of", torch.from_numpy(symmetry))
        self.register_buffer("freedom_of", torch.from_numpy(freedom))
        self.register_buffer("system_of", torch.from_numpy(crystal_systems()))
        self.layers, self.heads = layers, heads
        self.codec = LatticeCodec()
        self.pair_features = PairFeatures()
        self.element = nn.Embedding(MAX_Z + 1, width)
        self.source = nn.Embedding(MAX_Z + 1, width)
        self.element_group = nn.Embedding(19, width)
        self.element_period = nn.Embedding(10, width)
        self.site_symmetry = nn.Embedding(len(symbols) + 1, width)
        self.freedom = nn.Embedding(4, width)
        self.space_group = nn.Embedding(231, width)
        self.crystal_system = nn.Embedding(8, width)
        self.site_count = nn.Embedding(MAX_SITES + 1, width)
        for embedding in [m for m in self.children() if isinstance(m, nn.Embedding)]:
            nn.init.normal_(embedding.weight, std=0.3)
        self.element_feature = nn.Linear(4, width)
        self.pair_in = nn.Linear(self.pair_features.size, pair_width)
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
            nn.Linear(6 + 6 + 9 + 32, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.composition = nn.Linear(width, width)
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, heads, pair_width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.coordinate_head = nn.Linear(width, 3)
        self.force = Forces(width, heads, pair_width)
        self.lattice_head = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 18)
        )
        for parameter in (*self.coordinate_head.parameters(), *self.lattice_head[2].parameters()):
            nn.init.zeros_(parameter)

    def parameters_of(self, lattice: torch.Tensor, frames: TensorFrames) -> torch.Tensor:
        """Restore lattice parameters of conventional cells (A, degrees), shape (batch, 6)."""
        expected = self.codec.expected_volume(frames.numbers, frames.multiplicities)
        return self.codec.decode(lattice, frames.groups, expected * frames.cells)

    def encode_lattice(self, parameters: torch.Tensor, frames: TensorFrames) -> torch.Tensor:
        """Standardise lattice parameters of conventional cells, shape (batch, 6)."""
        expected = self.codec.expected_volume(frames.numbers, frames.multiplicities)
        return self.codec.encode(parameters, frames.groups, expected * frames.cells)

    def start_lattice(
        self, known: torch.Tensor, noise: torch.Tensor, frames: TensorFrames
    ) -> torch.Tensor:
        """
        Standardise the lattices that flows start from.

        Parameters
        ----------
        known
            Lattice parameters of known crystals, shape (batch, 6); not looked at where a flow
            starts from noise.
        noise
            Standard normal, shape (batch, 6).
        frames
            Those of the crystals that flows lead to.

        Returns
        -------
        torch.Tensor
            Shape (batch, 6); the volume of a known crystal is taken relative to the sum of the
            volumes of its own elements.
        """
        expected = self.codec.expected_volume(frames.sources, frames.multiplicities)
        encoded = self.codec.encode(known, frames.groups, expected * frames.cells)
        near = encoded + START_NOISE * noise
        begin = torch.where(frames.from_known[:, None], near, noise)
        return begin * self.codec.mask(frames.groups)

    def forward(
        self,
        firsts: torch.Tensor,
        lattice: torch.Tensor,
        time: torch.Tensor,
        frames: TensorFrames,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Compute the velocities at one time of the flow.

        Parameters
        ----------
        firsts
            Fractional coordinates of the first sites, shape (batch, orbits, 3).
        lattice
            Standardised lattice, shape (batch, 6).
        time
            0 (noise) to 1 (crystal), shape (batch,).
        frames
            Space group, elements and Wyckoff positions.

        Returns
        -------
        tuple of torch.Tensor
            Velocity of the first sites, (batch, orbits, 3), and of the lattice, (batch, 6).
        """
        free = self.codec.mask(frames.groups).to(firsts.dtype)
        with torch.autocast(firsts.device.type, enabled=False):
            metric = self._metric(lattice, frames)
            pair_features = self.pair_features(firsts, frames, metric)
            crystal_features = self._crystal_features(lattice, free, metric, time)
        numbers, positions = frames.numbers, frames.positions
        weight = frames.multiplicities.to(firsts.dtype)[..., None]
        features = [self.feature_of[numbers].to(firsts.dtype), weight.clamp_min(1).log()]
        hidden = (
            self.element(numbers)
            + self.source(frames.sources)
            + self.element_group(self.group_of[numbers])
            + self.element_period(self.period_of[numbers])
            + self.site_symmetry(self.symmetry_of[positions])
            + self.freedom(self.freedom_of[positions])
            + self.element_feature(torch.cat(features, dim=-1))
        )
        count = weight.sum(1)
        condition = self.condition(
            self.crystal(crystal_features)
            + self.space_group(frames.groups)
            + self.crystal_system(self.system_of[frames.groups])
            + self.site_count(frames.multiplicities.sum(1))
            + self.composition((hidden * weight).sum(1) / count)
        )
        pair = self.pair_dense(
            self.pair_in(pair_features)
            + self.pair_row(hidden)[:, :, None]
            + frames.gather(self.pair_column(hidden))[:, None]
        )
        bias = self.pair_bias(pair).masked_fill(~frames.present[:, None, :, None], -1e4)
        batch, orbits, sites = pair.shape[:3]
        biases = bias.view(batch, orbits, sites, self.layers, self.heads).permute(3, 0, 4, 1, 2)
        for block, block_bias in zip(self.blocks, biases, strict=True):
            hidden = block(hidden, condition, block_bias, pair, frames)
        hidden = self.norm(hidden)
        with torch.autocast(firsts.device.type, enabled=False):
            hidden, condition = hidden.to(firsts.dtype), condition.to(firsts.dtype)
            pushed = self.force(hidden, pair.to(firsts.dtype), pair_features, frames)
            velocity = frames.without_drift(self.coordinate_head(hidden) + pushed)
            pooled = torch.cat([(hidden * weight).sum(1) / count, condition], dim=-1)
            of_sites, of_cell = self.scales(frames)
            # of a lattice that is known, the velocity is (known - lattice) / (1 - time)
            known, slope, steep = self.lattice_head(pooled).chunk(3, dim=-1)
            cell = known + slope * lattice + steep * lattice / (1.1 - time[:, None])
            cell = cell * free
            return velocity * of_sites[:, None, None], cell * of_cell[:, None]

    @staticmethod
    def scales(frames: TensorFrames) -> tuple[torch.Tensor, torch.Tensor]:
        """Return deviations of the velocities of coordinates and lattice, shapes (batch,)."""
        known = frames.from_known.to(frames.primitive.dtype)
        sites, cell = (a + (b - a) * known for a, b in zip(SCALES, SCALES_FROM_KNOWN, strict=True))
        return sites, cell

    @torch.no_grad()
    def _metric(self, lattice: torch.Tensor, frames: TensorFrames) -> torch.Tensor:
        metric = metric_tensor(self.parameters_of(lattice, frames))
        return frames.primitive.transpose(1, 2) @ metric @ frames.primitive

    @torch.no_grad()
    def _crystal_features(
        self, lattice: torch.Tensor, free: torch.Tensor, metric: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        mean_square = metric.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None]
        step = torch.arange(16, dtype=lattice.dtype, device=lattice.device)
        phase = time[:, None] * math.pi
        waves = [torch.cos(phase * step), torch.sin(phase * (step + 1))]
        return torch.cat([lattice, free, (metric / mean_square).flatten(1), *waves], 1)
