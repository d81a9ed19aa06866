from __future__ import annotations

from itertools import combinations, permutations

import pytest

from crystens_flows.screening.consensus import AGREEMENT, WEIGHTS, combine


def test_potentials_are_averaged_by_weight_and_others_are_not():
    found = combine({"cgcnn": -9.0, "m3gnet": -2.1, "chgnet": -2.0, "sevennet": -1.6})
    assert found is not None
    assert found.models == ("sevennet", "chgnet")
    assert found.formation_energy_per_atom == pytest.approx(2 / 3 * -1.6 + 1 / 3 * -2.0)


def test_the_weights_are_those_of_least_variance():
    errors = {"sevennet": 0.044, "chgnet": 0.063}

    def variance(share):
        return (share * errors["sevennet"]) ** 2 + ((1 - share) * errors["chgnet"]) ** 2

    best = min((k / 1000 for k in range(1001)), key=variance)
    assert WEIGHTS["sevennet"] == pytest.approx(best, abs=0.01)
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("energies", "models", "energy", "disagreement"),
    [
        ({"chgnet": -2.0}, ("chgnet",), -2.0, None),
        ({"sevennet": -1.0, "cgcnn": 0.4}, ("sevennet",), -1.0, None),
        ({"chgnet": -2.0, "sevennet": None, "m3gnet": -1.7}, ("chgnet",), -2.0, 0.3),
        ({"m3gnet": -1.5, "cgcnn": -3.0}, ("m3gnet",), -1.5, None),
        ({"cgcnn": -3.0}, ("cgcnn",), -3.0, None),
        ({"chgnet": 0.0, "m3gnet": 0.0}, ("chgnet",), 0.0, 0.0),
        ({"sevennet": -2.0, "chgnet": -2.3, "m3gnet": -1.9}, ("sevennet", "chgnet"), -2.1, 0.4),
    ],
)
def test_fallbacks_and_disagreement(energies, models, energy, disagreement):
    found = combine(energies)
    assert found is not None
    assert found.models == models
    assert found.formation_energy_per_atom == pytest.approx(energy)
    assert found.disagreement == pytest.approx(disagreement)


@pytest.mark.parametrize("energies", [{}, {"chgnet": None, "cgcnn": None}, {"novelty": None}])
def test_no_energy_no_consensus(energies):
    assert combine(energies) is None


def test_names_that_are_no_model_are_passed_over():
    assert combine({"hull": -3.0, "validity": -1.0}) is None


def test_agreement():
    near = combine({"chgnet": -2.0, "m3gnet": -2.0 + 0.9 * AGREEMENT})
    far = combine({"chgnet": -2.0, "m3gnet": -2.0 + 1.1 * AGREEMENT})
    alone = combine({"chgnet": -2.0, "cgcnn": 5.0})
    assert [each.agree for each in (near, far, alone)] == [True, False, None]


def test_the_order_of_the_models_does_not_matter():
    energies = {"cgcnn": -1.1, "m3gnet": -1.3, "chgnet": -1.2, "sevennet": -1.45}
    expected = combine(energies)
    assert all(combine(dict(order)) == expected for order in permutations(energies.items()))
    pairs = combinations([energies[name] for name in ("m3gnet", "chgnet", "sevennet")], 2)
    assert expected.disagreement == pytest.approx(max(abs(a - b) for a, b in pairs))
