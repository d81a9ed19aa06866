"""What the viewer draws: all atoms in and on the cell, and views along its axes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from report_run import CRYSTALS, crystal
from scipy.spatial.transform import Rotation

from crystens_flows.report.scene import scene


def test_atoms_on_faces_edges_and_corners_are_drawn_on_all_sides():
    counts = Counter(atom[0] for atom in scene(crystal("rutile"))["atoms"])
    # titanium on eight corners and in the centre; two oxygen atoms on two faces each, two inside
    assert counts == {"Ti": 9, "O": 6}
    counts = Counter(atom[0] for atom in scene(crystal("perovskite"))["atoms"])
    assert counts == {"Sr": 1, "Ti": 8, "O": 12}


def test_a_site_just_outside_the_cell_is_drawn_inside():
    structure = crystal("perovskite")
    structure.translate_sites([1], [-0.001, 1.0, 0.9999], to_unit_cell=False)
    atoms = scene(structure)["atoms"]
    assert Counter(atom[0] for atom in atoms)["Ti"] == 8
    half = 3.905 / 2 + 0.01
    assert all(abs(x) <= half for _, *place in atoms for x in place)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_views_turn_the_axes_to_the_eye(name):
    drawn = scene(crystal(name))
    for axis, vector in zip("abc", np.array(drawn["cell"]), strict=True):
        turned = Rotation.from_quat(drawn["views"][axis]).apply(vector)
        assert turned == pytest.approx([0, 0, np.linalg.norm(vector)], abs=1e-4)
    up = Rotation.from_quat(drawn["views"]["start"]).apply(drawn["cell"][2])
    assert up[0] == pytest.approx(0, abs=1e-4)
    assert up[1] > 0
