"""What a generator gives when it is asked for a low formation energy."""

import numpy as np
import pytest

from crystens_flows.datasets import shipped
from crystens_flows.evaluation.guidance import data_guidance, guidance, lowest_tenth
from crystens_flows.evaluation.samples import CHUNK
from crystens_flows.representation import encode
from crystens_flows.screening.cgcnn import predict_properties


class Steered:
    """Crystals of the data set nearest in energy to what is asked for."""

    takes = frozenset({"formation_energy_per_atom"})

    def __init__(self):
        data = shipped()
        self.calls = []
        order = np.argsort(np.asarray(data.formation_energy_per_atom)[:400])
        self.lowest = data.structure(int(order[0]))

    def sample(self, n_samples, seed, start, conditions):
        self.calls.append((n_samples, seed, start, conditions.formation_energy_per_atom))
        return encode([self.lowest] * n_samples)


def test_the_lowest_tenth_is_that_of_a_plain_sort():
    energies = np.array(list(range(20, 0, -1)), dtype=float)
    assert lowest_tenth(energies) == 1.5
    assert data_guidance(energies) == 1.5 - 10.5
    assert lowest_tenth(energies[:9]) is data_guidance(energies[:9]) is None


def test_asks_for_the_mean_of_the_lowest_tenth():
    generator = Steered()
    energies = np.linspace(-4, 1, 100)
    energy, valid = guidance(generator, energies, CHUNK + 2, seed=7)
    low = float(np.sort(energies)[:10].mean())
    assert [call[:3] for call in generator.calls] == [(CHUNK, 7, 0), (2, 7, CHUNK)]
    assert all(call[3] == pytest.approx(low) for call in generator.calls)
    (alone,) = predict_properties([generator.lowest])
    assert energy == pytest.approx(alone.values["formation_energy_per_atom"], abs=1e-3)
    assert valid in (0.0, 1.0)
    assert guidance(generator, energies[:5], 3, seed=0) is None
