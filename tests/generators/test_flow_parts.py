"""Parts of the default generator against independent oracles."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice

from crystens_flows.generators.elements import crystal_systems, element_features
from crystens_flows.generators.flow.coupling import match_noise
from crystens_flows.generators.flow.network import FlowNetwork, LatticeCodec
from crystens_flows.generators.flow.specification import (
    END,
    MAX_ELEMENTS,
    START,
    SpecificationModel,
    sample_specifications,
    tokenise,
)
from crystens_flows.generators.periodic import metric_tensor
from crystens_flows.generators.trainer import batches_by_size

LATTICES = [(3.0, 4.0, 5.0, 90.0, 90.0, 90.0), (4.1, 4.1, 9.7, 80.0, 101.5, 119.0)]


def test_metric_tensor_is_pymatgens():
    ours = metric_tensor(torch.tensor(LATTICES, dtype=torch.float64)).numpy()
    for parameters, metric in zip(LATTICES, ours, strict=True):
        assert np.allclose(metric, Lattice.from_parameters(*parameters).metric_tensor)


def test_lattice_codec_round_trip():
    codec = LatticeCodec().double()
    parameters = torch.tensor(LATTICES, dtype=torch.float64)
    n_sites = torch.tensor([2, 40])
    codec.fit(parameters, n_sites)
    assert torch.allclose(codec.decode(codec.encode(parameters, n_sites), n_sites), parameters)


def test_element_features_are_pymatgens():
    groups, periods, properties = element_features()
    assert (groups[11], periods[11]) == (1, 3)
    assert properties[8, 0] == pytest.approx(Element("O").X - 1.8)
    assert crystal_systems()[[1, 2, 3, 15, 16, 74, 75, 143, 168, 195, 230]].tolist() == [
        *(1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 7)
    ]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = FlowNetwork(width=32, layers=2, heads=4, pair_width=8).double().eval()
    for parameter in (*network.coordinate_head.parameters(), *network.lattice_head.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture(scope="module")
def crystal():
    rng = np.random.default_rng(1)
    return {
        "frac": torch.from_numpy(rng.random((1, 5, 3))),
        "lattice": torch.from_numpy(rng.normal(size=(1, 6))),
        "time": torch.tensor([0.3], dtype=torch.float64),
        "numbers": torch.tensor([[11, 17, 17, 8, 8]]),
        "space_group": torch.tensor([225]),
    }


@torch.no_grad()
def test_network_follows_the_order_of_sites(network, crystal):
    velocity, cell = network(**crystal)
    order = [3, 0, 4, 2, 1]
    moved = {
        **crystal,
        "frac": crystal["frac"][:, order],
        "numbers": crystal["numbers"][:, order],
    }
    velocity_moved, cell_moved = network(**moved)
    assert velocity.abs().max() > 1e-3
    assert torch.allclose(velocity[:, order], velocity_moved)
    assert torch.allclose(cell, cell_moved)


@torch.no_grad()
def test_network_knows_no_origin_and_no_cell_boundary(network, crystal):
    velocity, cell = network(**crystal)
    shift = torch.tensor([0.37, 0.81, -0.22], dtype=torch.float64)
    for frac in (crystal["frac"] + shift, crystal["frac"] + torch.tensor([1.0, -2.0, 3.0])):
        velocity_moved, cell_moved = network(**{**crystal, "frac": frac})
        assert torch.allclose(velocity, velocity_moved)
        assert torch.allclose(cell, cell_moved)


@torch.no_grad()
def test_network_ignores_padding(network, crystal):
    velocity, cell = network(**crystal)
    padded = {
        **crystal,
        "frac": torch.cat([crystal["frac"], torch.rand(1, 3, 3, dtype=torch.float64)], dim=1),
        "numbers": torch.cat([crystal["numbers"], torch.zeros(1, 3, dtype=torch.long)], dim=1),
    }
    velocity_padded, cell_padded = network(**padded)
    assert torch.allclose(velocity, velocity_padded[:, :5])
    assert torch.allclose(cell, cell_padded)
    assert not velocity_padded[:, 5:].any()


def test_matched_noise_is_the_nearest_relabelling():
    """The assignment is the best of all permutations within an element, for its translation."""
    rng = np.random.default_rng(0)
    numbers = np.array([[3, 3, 3, 8, 8, 0]])
    frac = np.zeros((1, 6, 3), dtype=np.float32)
    frac[0, :5] = rng.random((5, 3))
    difference = match_noise(frac, numbers, np.random.default_rng(7), iterations=1)[0, :5]
    assert np.allclose(difference.mean(0), 0, atol=1e-6)

    noise = np.random.default_rng(7).random((1, 6, 3), dtype=np.float32)[0, :5]
    best = np.inf
    for cation in permutations(range(3)):
        for anion in permutations((3, 4)):
            trial = frac[0, :5] - noise[[*cation, *anion]]
            trial -= np.round(trial)
            best = min(best, (trial**2).sum())
            if best == (trial**2).sum():
                trial = trial - trial.mean(0)
                trial -= np.round(trial)
                expected = trial - trial.mean(0)
    assert np.allclose(difference, expected, atol=1e-5)


def test_a_composition_has_one_spelling():
    order = SpecificationModel(width=8, layers=1, heads=1).order.numpy()
    one = tokenise(np.array([17, 11, 17, 11]), 225, order)
    two = tokenise(np.array([11, 11, 17, 17]), 225, order)
    assert one == two
    assert one[0] == START
    assert one[-1] == END
    assert len(one) == 7


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.3, 50.0))
def test_sampled_specifications_obey_the_grammar(seed, temperature):
    """Even an untrained model, at any temperature, gives crystals that a CrysTens can hold."""
    torch.manual_seed(seed % 1000)
    model = SpecificationModel(width=8, layers=1, heads=1).double().eval()
    streams = [np.random.default_rng([seed, i]) for i in range(20)]
    for specification in sample_specifications(model, streams, temperature):
        assert 1 <= specification.space_group <= 230
        assert 1 <= len(specification.elements) <= MAX_ELEMENTS
        assert len(set(specification.elements)) == len(specification.elements)
        assert all(1 <= z <= 100 for z in specification.elements)
        assert 1 <= sum(specification.counts) <= 52
        assert min(specification.counts) >= 1
        tokens = tokenise(
            np.array(specification.numbers), specification.space_group, model.order.numpy()
        )
        assert [t for t in tokens if t > END][1::2] == [2 + z for z in specification.elements], (
            "elements come in the order that training uses"
        )


@given(
    sizes=st.lists(st.integers(1, 52), min_size=1, max_size=200),
    max_sites=st.integers(52, 500),
    max_pairs=st.integers(1, 5000),
)
def test_batches_hold_everything_once_within_their_limits(sizes, max_sites, max_pairs):
    n_sites = np.array(sizes)
    batches = list(batches_by_size(n_sites, np.random.default_rng(0), max_sites, max_pairs))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        largest = n_sites[batch].max()
        assert len(batch) == 1 or (
            len(batch) * largest <= max_sites and len(batch) * largest**2 <= max_pairs
        )
