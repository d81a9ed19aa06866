"""The flow on Wyckoff positions: what it may not see, and what it may not break."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice
from scipy.interpolate import BSpline
from symmetric_crystals import crystals

from crystens_flows.generators.wyckoff.arrays import frames_of
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal, symmetrise
from crystens_flows.generators.wyckoff.lattice import LatticeCodec
from crystens_flows.generators.wyckoff.network import (
    PairFeatures,
    SymmetricFlow,
    TensorFrames,
)


@pytest.fixture(scope="module")
def network():
    """Return a small network with heads that are not zero."""
    torch.manual_seed(0)
    network = SymmetricFlow(width=32, layers=2, heads=4, pair_width=16).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return network


def velocities(network, crystal, firsts=None, numbers=None, letters=None, sources=None):
    described = SymmetricCrystal(
        crystal.number,
        crystal.numbers if numbers is None else numbers,
        crystal.letters if letters is None else letters,
        crystal.coordinates if firsts is None else firsts,
        crystal.lattice,
    )
    frames = TensorFrames.of(frames_of([described], [sources]), torch.device("cpu"), torch.float64)
    lattice = network.encode_lattice(torch.from_numpy(described.lattice)[None], frames)
    with torch.no_grad():
        sites, cell = network(
            torch.from_numpy(described.coordinates)[None],
            lattice,
            torch.tensor([0.4], dtype=torch.float64),
            frames,
        )
    return sites[0].numpy(), cell[0].numpy(), lattice, frames


def test_follows_the_order_of_orbits(network, crystal):
    described = symmetrise(crystal)
    sites, cell, _, _ = velocities(network, described)
    order = np.random.default_rng(0).permutation(len(described.numbers))
    again, cell_again, _, _ = velocities(
        network,
        described,
        described.coordinates[order],
        described.numbers[order],
        described.letters[order],
    )
    assert np.allclose(again, sites[order], atol=1e-10)
    assert np.allclose(cell_again, cell, atol=1e-10)


def test_does_not_see_cell_boundaries(network, crystal):
    described = symmetrise(crystal)
    sites, cell, _, _ = velocities(network, described)
    shifts = np.random.default_rng(0).integers(-2, 3, described.coordinates.shape)
    again, cell_again, _, _ = velocities(network, described, described.coordinates + shifts)
    assert np.allclose(again, sites, atol=1e-9)
    assert np.allclose(cell_again, cell, atol=1e-9)


def test_does_not_see_a_free_origin(network, crystal):
    described = symmetrise(crystal)
    shift = described.group.polar @ np.array([0.31, 0.27, 0.13])
    sites, cell, _, _ = velocities(network, described)
    again, cell_again, _, _ = velocities(network, described, described.coordinates + shift)
    assert np.allclose(again, sites, atol=1e-9)
    assert np.allclose(cell_again, cell, atol=1e-9)


def test_moves_sites_along_their_positions_and_nothing_else(network, crystal):
    described = symmetrise(crystal)
    sites, cell, _, _ = velocities(network, described)
    for velocity, letter in zip(sites, described.letters, strict=True):
        position = described.group.positions[letter]
        assert np.allclose(position.projector @ velocity, velocity, atol=1e-9)
        assert position.freedom or not velocity.any()
    drift = described.group.polar @ (described.multiplicities @ sites)
    assert np.allclose(drift, 0, atol=1e-9)
    free = network.codec.mask(torch.tensor([described.number]))[0].numpy()
    assert not cell[free == 0].any()


def test_a_batch_is_its_crystals_one_by_one(network):
    """Half of them on the way from a known crystal."""
    described = [symmetrise(each) for each in crystals().values()]
    sources = [each.numbers + 1 if k % 2 else None for k, each in enumerate(described)]
    frames = TensorFrames.of(frames_of(described, sources), torch.device("cpu"), torch.float64)
    parameters = torch.from_numpy(np.array([each.lattice for each in described]))
    firsts = torch.zeros(frames.offsets.shape, dtype=torch.float64)
    for row, each in enumerate(described):
        firsts[row, : len(each.numbers)] = torch.from_numpy(each.coordinates)
    time = torch.full((len(described),), 0.4, dtype=torch.float64)
    with torch.no_grad():
        sites, cell = network(firsts, network.encode_lattice(parameters, frames), time, frames)
    for row, each in enumerate(described):
        alone, cell_alone, _, _ = velocities(network, each, sources=sources[row])
        assert np.allclose(sites[row, : len(each.numbers)], alone, atol=1e-9)
        assert np.allclose(cell[row], cell_alone, atol=1e-9)
        assert not sites[row, len(each.numbers) :].any()


def test_a_flow_begins_at_the_known_lattice_but_for_the_volume(network):
    """Which is that of the new elements, by the ratio of the sums of their volumes."""
    described = symmetrise(crystals()["CaTiO3"])
    with torch.no_grad():
        network.codec.volumes[:] = torch.linspace(5, 40, len(network.codec.volumes))
    sources = described.numbers[::-1].copy()
    frames = TensorFrames.of(frames_of([described], [sources]), torch.device("cpu"), torch.float64)
    known = torch.from_numpy(described.lattice)[None]
    begin = network.start_lattice(known, torch.zeros(1, 6, dtype=torch.float64), frames)
    found = network.parameters_of(begin, frames)[0].numpy()
    volumes = network.codec.volumes.numpy()
    ratio = (volumes[described.numbers] @ described.multiplicities) / (
        volumes[sources] @ described.multiplicities
    )
    assert found[:3] == pytest.approx(described.lattice[:3] * ratio ** (1 / 3), rel=1e-5)
    noise = torch.ones(1, 6, dtype=torch.float64)
    frames = TensorFrames.of(frames_of([described]), torch.device("cpu"), torch.float64)
    assert network.start_lattice(known, noise, frames)[0].tolist() == [1, 1, 1, 0, 0, 0]


def angles_around_90():
    codec = LatticeCodec().double()
    codec.mean[:, 3:], codec.std[:, 3:] = 90.0, 10.0
    return codec


def test_the_lattice_comes_back(crystal):
    described = symmetrise(crystal)
    codec = angles_around_90()
    groups = torch.tensor([described.number])
    expected = torch.tensor([97.0], dtype=torch.float64)
    parameters = torch.from_numpy(described.lattice)[None]
    back = codec.decode(codec.encode(parameters, groups, expected), groups, expected)
    assert np.allclose(back[0], described.lattice, atol=1e-8)


def test_any_numbers_make_a_lattice_of_the_crystal_system(crystal):
    described = symmetrise(crystal)
    codec = angles_around_90()
    groups = torch.tensor([described.number])
    torch.manual_seed(0)
    for _ in range(5):
        encoded = torch.randn(1, 6, dtype=torch.float64)
        parameters = codec.decode(encoded, groups, torch.tensor([97.0], dtype=torch.float64))[0]
        made = SymmetricCrystal(
            described.number,
            described.numbers,
            described.letters,
            described.coordinates,
            parameters.numpy(),
        )
        again = symmetrise(made.structure(), symprec=1e-4)
        assert described.number in (again.number, *_subgroups(again.number, described.number))


def _subgroups(found: int, asked: int) -> list[int]:
    """A lattice by chance of higher symmetry may raise the group, never lower it."""
    return [asked] if found >= asked else []


def test_pair_distances_are_pymatgens(crystal):
    described = symmetrise(crystal)
    frames = TensorFrames.of(frames_of([described]), torch.device("cpu"), torch.float64)
    features = PairFeatures().double()
    structure = described.structure()
    metric = torch.from_numpy(structure.lattice.matrix @ structure.lattice.matrix.T)[None]
    firsts = torch.from_numpy(described.coordinates)[None]
    got = features(firsts, frames, metric)[0]
    numbers, sites = described.sites()
    lattice = Lattice(structure.lattice.matrix)
    radial = slice(24, 24 + features.n_radial)
    splines = [
        BSpline.basis_element(np.arange(k - 3, k + 2) * features.spacing, extrapolate=False)
        for k in range(features.n_radial)
    ]
    end = features.n_radial * features.spacing
    for i, first in enumerate(described.coordinates):
        for j, site in enumerate(sites):
            difference = site - first
            difference -= np.round(difference)
            images = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T + difference
            weight = np.clip(3 - 2 * np.abs(images), 0, 1).prod(1)
            distances = np.linalg.norm(lattice.get_cartesian_coords(images), axis=1)
            seen = (distances > 0.02) & (distances < end)
            histogram = [
                1.5 * weight[seen] @ np.nan_to_num(spline(distances[seen])) for spline in splines
            ]
            assert np.allclose(np.expm1(got[i, j, radial].numpy()), histogram, atol=1e-6)
            assert bool(got[i, j, -3]) == (numbers[j] == described.numbers[i])
