"""CrysTens entry by entry, written from the paper: oracle of the tests, peer of the benchmark."""

from __future__ import annotations

import math

import numpy as np
from pymatgen.core import Element, Lattice, Structure

N = 52
FIRST = 12
ATTRIBUTES = [
    "atomic_number",
    "x",
    "y",
    "z",
    "a",
    "b",
    "c",
    "alpha",
    "beta",
    "gamma",
    "space_group",
]


def encode(structure, space_group, ranges):
    """Return the normalised CrysTens of one structure, float64 (4, 64, 64)."""

    def scaled(value, quantity):
        low, high = ranges[quantity]
        return (value - low) / (high - low)

    tensor = np.zeros((4, 64, 64))
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    for i, site in enumerate(structure):
        x, y, z = site.frac_coords
        row = [site.specie.Z, x, y, z, a, b, c, alpha, beta, gamma, space_group]
        for k, quantity in enumerate(ATTRIBUTES):
            for layer in range(4):
                tensor[layer, k, FIRST + i] = scaled(row[k], quantity)
                tensor[layer, FIRST + i, k] = scaled(row[k], quantity)
    for i, first in enumerate(structure):
        for j, second in enumerate(structure):
            if i == j:
                continue
            difference = [first.frac_coords[k] - second.frac_coords[k] for k in range(3)]
            distance = math.sqrt(sum(d * d for d in difference))
            tensor[0, FIRST + i, FIRST + j] = scaled(distance, "distance")
            for k in range(3):
                tensor[1 + k, FIRST + i, FIRST + j] = scaled(difference[k], "direction")
    return tensor


def count_sites(tensor):
    """Return the number of non-empty rows and columns, from the first on."""
    count = 0
    while count < N and (
        np.any(tensor[:, :, FIRST + count] != 0) and np.any(tensor[:, FIRST + count, :] != 0)
    ):
        count += 1
    return count


def unscale(tensor, n, ranges):
    """Return the CrysTens in the units of the crystal."""
    raw = np.zeros(tensor.shape)

    def value(entry, quantity):
        low, high = ranges[quantity]
        return entry * (high - low) + low

    for i in range(n):
        for layer in range(4):
            for k, quantity in enumerate(ATTRIBUTES):
                raw[layer, k, FIRST + i] = value(tensor[layer, k, FIRST + i], quantity)
                raw[layer, FIRST + i, k] = value(tensor[layer, FIRST + i, k], quantity)
            quantity = "direction" if layer else "distance"
            for j in range(n):
                if i != j:
                    entry = tensor[layer, FIRST + i, FIRST + j]
                    raw[layer, FIRST + i, FIRST + j] = value(entry, quantity)
    return raw


def read(raw, n):
    """Return averages, figure 3 and tables 1 and 2 of a CrysTens in the units of the crystal."""
    copies = [
        [
            [raw[layer, k, FIRST + i] for layer in range(4)]
            + [raw[layer, FIRST + i, k] for layer in range(4)]
            for k in range(len(ATTRIBUTES))
        ]
        for i in range(n)
    ]
    mean = [[sum(copy) / 8 for copy in site] for site in copies]

    crystal, variances = [], []
    for k in range(4, 11):
        everything = [copy for site in copies for copy in site[k]]
        crystal.append(sum(everything) / len(everything))
        variances.append(sum((v - crystal[-1]) ** 2 for v in everything) / len(everything))
    coordinate_variance = 0.0
    for i in range(n):
        for k in range(1, 4):
            spread = sum((copy - mean[i][k]) ** 2 for copy in copies[i][k]) / 8
            coordinate_variance += spread / (3 * n)

    disagreement = 0.0
    positions = []
    for j in range(n):
        position = []
        for k in range(3):
            guesses = [mean[j][1 + k]]
            for i in range(n):
                if i != j:
                    guess = mean[i][1 + k] - raw[1 + k, FIRST + i, FIRST + j]
                    guesses.append(guess)
                    disagreement += abs(guess - mean[j][1 + k])
            position.append(sum(guesses) / n)
        positions.append(position)

    pairwise = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                rebuilt = math.dist(positions[i], positions[j])
                pairwise += abs(rebuilt - raw[0, FIRST + i, FIRST + j]) / n

    return {
        "numbers": [site[0] for site in mean],
        "positions": positions,
        "lattice": crystal[:6],
        "space_group": crystal[6],
        "length_variance": sum(variances[:3]) / 3,
        "angle_variance": sum(variances[3:6]) / 3,
        "space_group_variance": variances[6],
        "coordinate_variance": coordinate_variance,
        "coordinate_disagreement": disagreement / (3 * n * (n - 1)) if n > 1 else 0.0,
        "pairwise_disagreement": pairwise,
    }


def decode(tensor, ranges, element_clusters=None, coordinate_clusters=None):
    """Return the structure of a normalised CrysTens and what :func:`read` found."""
    n = count_sites(tensor)
    found = read(unscale(tensor, n, ranges), n)
    numbers = clustered(found["numbers"], element_clusters)
    columns = [
        clustered([position[k] for position in found["positions"]], coordinate_clusters)
        for k in range(3)
    ]
    structure = Structure(
        Lattice.from_parameters(*found["lattice"]),
        [Element.from_Z(round(number)) for number in numbers],
        [[column[i] for column in columns] for i in range(n)],
    )
    return structure, found


def clustered(values, k):
    """Return the centre of the K-means cluster of each value; the values themselves for None."""
    distinct = len(set(values))
    if k is None or k >= distinct:
        return values
    from sklearn.cluster import KMeans

    points = np.array(values)[:, None]
    model = KMeans(k, n_init=1, random_state=0).fit(points)
    return [float(model.cluster_centers_[label][0]) for label in model.labels_]
