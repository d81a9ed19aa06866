from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from crystens_flows.datasets import shipped
from crystens_flows.screening.element_references import (
    ElementReferences,
    fit_median_references,
    fit_references,
    has_oxygen_or_fluorine,
)

METALS = (23, 24, 25, 26, 27, 28, 42, 74)


@pytest.fixture(scope="module")
def crystals():
    """Numbers and formation energies of real crystals."""
    dataset = shipped()
    rows = dataset.split["train"][::30]
    return dataset.numbers[rows].astype(int), dataset.formation_energy_per_atom[rows].astype(float)


def design(numbers, metals=()):
    """Count shares in a loop: the independent way."""
    elements = sorted({z for row in numbers for z in row if z})
    columns = [(z, False) for z in elements] + [(z, True) for z in metals]
    matrix = np.zeros((len(numbers), len(columns)))
    for i, row in enumerate(numbers):
        sites = [z for z in row if z]
        for j, (z, beside) in enumerate(columns):
            if not beside or 8 in sites or 9 in sites:
                matrix[i, j] = sites.count(z) / len(sites)
    return columns, matrix


def test_least_squares_are_numpys(crystals):
    numbers, energies = crystals
    columns, matrix = design(numbers)
    small = 1e-6
    ridge = np.vstack([matrix, np.sqrt(small) * np.eye(len(columns))])
    expected, *_ = np.linalg.lstsq(ridge, np.append(energies, np.zeros(len(columns))), rcond=None)
    found = fit_references(numbers, energies, regularization=small)
    assert found.energies[[z for z, _ in columns]] == pytest.approx(expected, abs=1e-6)
    assert found.per_atom(numbers) == pytest.approx(matrix @ expected, abs=1e-6)


def test_least_absolute_deviations_are_those_of_a_linear_programme(crystals):
    numbers, energies = crystals
    numbers, energies = numbers[::2], energies[::2]
    _, matrix = design(numbers, METALS)
    n, k = matrix.shape
    result = linprog(
        np.append(np.zeros(k), np.ones(n)),
        A_ub=np.block([[matrix, -np.eye(n)], [-matrix, -np.eye(n)]]),
        b_ub=np.append(energies, -energies),
        bounds=[(None, None)] * k + [(0, None)] * n,
    )
    found = fit_median_references(numbers, energies, METALS, regularization=1e-6)
    deviations = np.abs(energies - found.per_atom(numbers)).sum()
    assert deviations == pytest.approx(result.fun, rel=1e-5)
    squares = fit_references(numbers, energies, regularization=1e-6)
    assert deviations < np.abs(energies - squares.per_atom(numbers)).sum()


def test_finds_references_and_shifts_under_gross_errors(crystals):
    numbers, _ = crystals
    rng = np.random.default_rng(0)
    energies, shifts = np.append(0, rng.normal(-4, 2, 118)), np.zeros(119)
    shifts[list(METALS)] = rng.normal(1, 1, len(METALS))
    true = ElementReferences(energies, shifts)
    values = true.per_atom(numbers)
    values[::20] += 5.0
    found = fit_median_references(numbers, values, METALS)
    error = np.abs(found.per_atom(numbers) - true.per_atom(numbers))
    assert np.median(error) < 1e-3
    squares = fit_references(numbers, values)
    assert np.median(np.abs(squares.per_atom(numbers) - true.per_atom(numbers))) > 0.05


def test_shifts_count_beside_oxygen_or_fluorine_alone():
    energies = np.zeros(119)
    energies[26], energies[8], energies[16] = -8.0, -5.0, -4.0
    shifts = np.zeros(119)
    shifts[26] = 2.0
    found = ElementReferences(energies, shifts).per_atom(
        [[26, 8, 0, 0], [26, 16, 0, 0], [26, 16, 8, 8]]
    )
    assert found == pytest.approx([(-8 - 5 + 2) / 2, (-8 - 4) / 2, (-8 - 4 - 10 + 2) / 4])
    assert has_oxygen_or_fluorine([[9, 3], [3, 17]]).tolist() == [True, False]


def test_no_shift_where_none_was_seen():
    numbers = np.array([[26, 16], [26, 17], [11, 8], [11, 17], [16, 11]])
    found = fit_median_references(numbers, [-1.0, -2.0, -3.0, -2.5, -1.5], [26, 28])
    assert not found.oxide_shifts.any()
    assert np.isnan(found.energies[28])


def test_an_element_that_was_not_in_the_fit_has_none(crystals):
    numbers, energies = crystals
    found = fit_references(numbers, energies)
    assert np.isnan(found.per_atom([[118, 8]]))
    assert "Og" not in found.to_dict()


def test_symbols_there_and_back(crystals):
    numbers, energies = crystals
    found = fit_median_references(numbers, energies, METALS)
    again = ElementReferences.from_dict(found.to_dict(), found.oxide_shifts_to_dict())
    assert again.energies == pytest.approx(found.energies, abs=1e-6, nan_ok=True)
    assert again.oxide_shifts == pytest.approx(found.oxide_shifts, abs=1e-6)
    assert again.to_dict() == found.to_dict()
    plain = ElementReferences.from_dict(found.to_dict())
    assert not plain.oxide_shifts.any()
