"""The substitution generator: templates, samples, conditions, checkpoints."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystens_flows.datasets import Dataset, Record, shipped
from crystens_flows.errors import CheckpointError, DatasetError, InputError, OutputFolderError
from crystens_flows.generators import load_generator, train_generator
from crystens_flows.generators.checkpoints import write_checkpoint
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.substitution.cells import Cells
from crystens_flows.generators.substitution.choice import choices
from crystens_flows.generators.substitution.drawing import draw, draw_from
from crystens_flows.generators.substitution.generator import SubstitutionGenerator
from crystens_flows.generators.substitution.templates import packed, primitive_crystals
from crystens_flows.representation import decode


def structures(generator, n, **asked):
    return [
        decoded.structure
        for decoded in decode(generator.sample(n, seed=0, conditions=Conditions(**asked)))
    ]


def ions_of(generator, made):
    return [int(k) for k in made.ions if k]


def test_loads_what_was_fitted(fitted, fitted_folder, few_crystals):
    assert fitted.card["data"] == "76 crystals"
    assert fitted.card["split"] == {"train": 60, "validation": 16}
    again = load_generator(fitted_folder)
    assert again.sha256 == fitted.sha256
    assert np.array_equal(again.sample(5, seed=1), fitted.sample(5, seed=1))
    # fitted once more: the same to the last bit, or loaded where it is done
    once_more = SubstitutionGenerator.fit(few_crystals, fitted_folder.parent / "again")
    assert once_more.sha256 == fitted.sha256
    assert SubstitutionGenerator.fit(few_crystals, fitted_folder).sha256 == fitted.sha256


@pytest.mark.parametrize("asked", [{}, {"formula": "NaCl"}, {"space_group": 225}])
def test_a_sample_depends_on_seed_and_index_alone(shipped_substitution, asked):
    conditions = Conditions(**asked)
    whole = shipped_substitution.sample(11, seed=5, conditions=conditions)
    other = load_generator("substitution")
    chunks = [other.sample(n, 5, s, conditions=conditions) for s, n in ((8, 3), (0, 1), (1, 7))]
    assert np.array_equal(whole, np.concatenate([chunks[1], chunks[2], chunks[0]]))
    assert not np.array_equal(whole, other.sample(11, seed=6, conditions=conditions))
    assert other.sample(0, seed=5).shape == (0, 4, 64, 64)


def test_samples_have_the_charge_of_their_template(shipped_substitution):
    """All are neutral, and none has the composition of its template."""
    generator = shipped_substitution
    table = generator.table
    made = generator.sample_substitutions(400, seed=2)
    charged = 0
    for each, structure in zip(made, decode(generator.sample(400, seed=2)), strict=True):
        ions = ions_of(generator, each)
        counts = generator.roles.counts[each.template, : len(ions)].astype(int)
        assert table.charges[ions].astype(int) @ counts == 0
        charged += bool(table.charges[ions].any())
        assert bool(table.charges[ions].any()) == generator.roles.charged[each.template]
        before = generator.crystals.atoms[each.template]
        assert len(set(table.numbers[ions])) == len(ions) == (before > 0).sum()
        found = structure.structure.composition.get_el_amt_dict()
        expected = zip(table.numbers[ions], counts, strict=True)
        assert found == {Element.from_Z(int(z)).symbol: n for z, n in expected}
        assert found != {Element.from_Z(int(z)).symbol: before[z] for z in np.flatnonzero(before)}
    assert 150 < charged < 250


def test_coordinates_are_kept_and_the_volume_is_refitted(shipped_substitution):
    generator = shipped_substitution
    made = generator.sample_substitutions(50, seed=3)
    for each, decoded in zip(made, decode(generator.sample(50, seed=3)), strict=True):
        crystals, structure = generator.crystals, decoded.structure
        n = int(crystals.n_sites[each.template])
        apart = structure.frac_coords - crystals.frac_coords[each.template, :n]
        np.testing.assert_allclose(apart, np.round(apart), atol=1e-5)
        lengths, angles = np.split(crystals.lattice[each.template].astype(float), 2)
        np.testing.assert_allclose(structure.lattice.angles, angles, rtol=1e-5)
        expected = crystals.volumes[each.template]
        sums = [
            sum(generator.volumes[z] for z in numbers)
            for numbers in (structure.atomic_numbers, crystals.numbers[each.template, :n])
        ]
        assert structure.volume == pytest.approx(expected * sums[0] / sums[1], rel=1e-4)
        np.testing.assert_allclose(
            structure.lattice.abc / lengths, np.cbrt(sums[0] / sums[1]), rtol=1e-4
        )


@pytest.mark.parametrize(
    ("formula", "space_group", "n_sites"),
    [
        ("SrTiO3", 221, None),
        ("SrTiO3", None, None),
        ("LiFePO4", 62, 28),
        ("AlNi3", 221, None),
        ("Fe3O4", None, 14),
        ("GaAs", 216, 2),
        ("Si", 194, None),
        ("NaCl", 225, 2),
    ],
)
def test_what_is_asked_of_a_formula_holds(shipped_substitution, formula, space_group, n_sites):
    asked = {"formula": formula, "space_group": space_group, "n_sites": n_sites}
    found = structures(shipped_substitution, 5, **asked)
    for structure in found:
        assert structure.composition.reduced_formula == Composition(formula).reduced_formula
        if space_group is not None:
            assert SpacegroupAnalyzer(structure, 0.1).get_space_group_number() == space_group
        if n_sites is not None:
            assert len(structure) == len(structure.get_primitive_structure()) == n_sites


@pytest.mark.parametrize("space_group", [2, 14, 62, 194, 225])
def test_a_space_group_alone_holds(shipped_substitution, space_group):
    for structure in structures(shipped_substitution, 10, space_group=space_group):
        assert SpacegroupAnalyzer(structure, 0.1).get_space_group_number() == space_group


def test_a_crystal_that_gains_symmetry_is_drawn_again(shipped_substitution):
    generator = shipped_substitution
    # titanium off the centre: 0.2 A from its mirror image in a large cell, 0.09 A in a small one
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5125], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    for length, holds in ((8.0, True), (3.5, False)):
        lattice = np.array([[length] * 3 + [90.0] * 3])
        cells = Cells(np.array([[56, 22, 8, 8, 8]]), frac[None], lattice, np.array([99]))
        assert cells.has_group(0) == holds
    asked = Conditions(formula="LiF", space_group=2)
    found = choices(asked, generator.crystals, generator.roles, generator.table)
    streams = [np.random.default_rng([0, k]) for k in range(30)]
    first = [draw_from(found, stream).template for stream in streams]
    assert len(set(first)) > 1
    lost = first[0]
    for k, before in enumerate(first):
        stream = np.random.default_rng([0, k])
        now = draw_from(found, stream, lambda made: made.template != lost).template
        assert (now == before) == (before != lost)
    with pytest.raises(InputError, match="no template keeps the space group"):
        draw_from(found, np.random.default_rng(0), lambda _: False)


@pytest.mark.parametrize(
    ("system", "balanced"), [("Li-Fe-O", True), ("Al-Ni", False), ("Na-Al-Si-O", True)]
)
def test_chemical_systems_hold(shipped_substitution, system, balanced):
    for structure in structures(shipped_substitution, 8, chemical_system=system):
        assert structure.chemical_system == "-".join(sorted(system.split("-")))
        if balanced:
            assert structure.composition.oxi_state_guesses()
    for structure in structures(shipped_substitution, 4, chemical_system=system, n_sites=14):
        assert len(structure) == 14


def test_numbers_of_sites_hold(shipped_substitution):
    assert {len(s) for s in structures(shipped_substitution, 10, n_sites=13)} == {13}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"formula": "NaCl2O7Fe13"}, "no template has the pattern AB2C7D13 of NaCl2O7Fe13:"),
        ({"formula": "NaCl", "space_group": 212}, "no template has the pattern AB of NaCl in "),
        ({"formula": "SrTiO3", "n_sites": 50}, "pattern ABC3 of SrTiO3 with 50 sites: ask for"),
        ({"formula": "Si", "space_group": 227}, "227 but crystals of that composition itself: ask"),
        ({"chemical_system": "Li-Na-K-Al-Si-O-H-F"}, "no template has the 8 elements of Li-Na-K"),
        ({"n_sites": 51, "space_group": 1}, "no template with 51 sites in space group 1:"),
        ({"band_gap": 1.0}, "cannot be asked for band_gap: they take chemical_system, formula"),
    ],
)
def test_impossible_requests_are_refused(shipped_substitution, asked, reason):
    with pytest.raises(InputError, match=reason) as caught:
        shipped_substitution.sample(1, seed=0, conditions=Conditions(**asked))
    if "band_gap" not in asked:
        assert "--generator default" in str(caught.value)


def test_a_formula_is_drawn_by_its_likelihood(shipped_substitution):
    """Shares of templates among draws, against likelihoods multiplied up by hand."""
    generator = shipped_substitution
    table, roles = generator.table, generator.roles
    asked = Conditions(formula="SrTiO3", space_group=221)
    found = choices(asked, generator.crystals, roles, table)
    ions = {(38, 2), (22, 4), (8, -2)}
    place = {
        (int(z), int(q)): k
        for k, (z, q) in enumerate(zip(table.numbers, table.charges, strict=True))
    }
    strontium, titanium, oxygen = (place[ion] for ion in ((38, 2), (22, 4), (8, -2)))
    expected = Counter()
    for k in range(len(generator.crystals)):
        counts = sorted(c for c in roles.counts[k] if c)
        if generator.crystals.space_groups[k] != 221 or not roles.charged[k]:
            continue
        if len(counts) != 3 or [c // counts[0] for c in counts] != [1, 1, 3]:
            continue
        role = [ion for _, ion in sorted(zip(roles.counts[k][:3], roles.ions[k][:3], strict=True))]
        for first, second in ((strontium, titanium), (titanium, strontium)):
            new = [first, second, oxygen]
            if [table.numbers[i] for i in new] == [table.numbers[i] for i in role]:
                continue
            likelihood = np.prod([table.conditional[n, o] for n, o in zip(new, role, strict=True)])
            expected[k, first] = likelihood**2
    assert len(expected) > 20
    assert {(int(t), int(i[0])) for t, i in zip(found.templates, found.ions, strict=True)} == set(
        expected
    )
    assert ions == {(int(table.numbers[k]), int(table.charges[k])) for k in found.ions[0, :3]}
    draws = 5_000
    drawn = Counter()
    for k in range(draws):
        made = draw_from(found, np.random.default_rng([7, k]))
        drawn[made.template, int(made.ions[0])] += 1
    total = sum(expected.values())
    for key, weight in expected.items():
        mean = draws * weight / total
        assert abs(drawn[key] - mean) < 5 * np.sqrt(mean) + 3, key


def test_ions_are_drawn_by_their_probability(shipped_substitution):
    """Of one template, against all pairs of ions, one after the other."""
    generator = shipped_substitution
    table, roles = generator.table, generator.roles
    wanted = (generator.crystals.atoms[:, [38, 8]] == 1).all(1) & (generator.crystals.n_sites == 2)
    template = int(np.flatnonzero(wanted & roles.charged)[0])
    old = roles.ions[template, :2]
    probability = [np.diff(table.drawable[ion], prepend=0.0) for ion in old]
    expected = {}
    for first in np.flatnonzero(probability[0] > 1e-15):
        for second in np.flatnonzero(probability[1] > 1e-15):
            numbers = {int(table.numbers[first]), int(table.numbers[second])}
            balanced = int(table.charges[first]) + int(table.charges[second]) == 0
            if len(numbers) == 2 and numbers != {8, 38} and balanced:
                expected[int(first), int(second)] = probability[0][first] * probability[1][second]
    draws = 3_000
    drawn = Counter(
        tuple(draw(np.array([template]), roles, table, np.random.default_rng([1, k])).ions[:2])
        for k in range(draws)
    )
    assert set(drawn) <= set(expected)
    assert len(expected) > 50
    total = sum(expected.values())
    for key, weight in expected.items():
        mean = draws * weight / total
        assert abs(drawn[key] - mean) < 5 * np.sqrt(mean) + 3, key


def test_cells_of_templates_are_primitive():
    """A conventional cell is reduced, a primitive one kept."""
    dataset = shipped()
    train = dataset.split["train"]
    wanted = (dataset.space_groups[train] == 225) & (dataset.n_sites[train] == 2)
    cubic = dataset.structure(int(train[wanted][0]))
    conventional = SpacegroupAnalyzer(cubic, 0.1).get_conventional_standard_structure()
    records = [
        Record(
            name,
            np.array(structure.atomic_numbers),
            structure.frac_coords,
            np.array(structure.lattice.parameters),
            225,
        )
        for name, structure in (("primitive", cubic), ("conventional", conventional))
    ]
    both = replace(Dataset.from_records(records), split={"train": np.array([0, 1])})
    crystals, left_out = primitive_crystals(both, "train")
    assert left_out == {}
    assert crystals.n_sites.tolist() == [2, 2]
    assert crystals.rows.tolist() == [0, -1]
    assert crystals.space_groups.tolist() == [225, 225]
    np.testing.assert_allclose(crystals.volumes, cubic.volume, rtol=1e-4)
    kept = Structure(
        Lattice.from_parameters(*crystals.lattice[1]),
        crystals.numbers[1, :2],
        crystals.frac_coords[1, :2],
    )
    assert StructureMatcher(scale=False).fit(kept, cubic)


def test_steps_and_settings_are_refused(few_crystals, tmp_path):
    with pytest.raises(InputError, match="not trained in steps"):
        SubstitutionGenerator.fit(few_crystals, tmp_path / "run", steps=5)
    with pytest.raises(InputError, match="sharpness is unknown"):
        SubstitutionGenerator.fit(few_crystals, tmp_path / "run", settings={"sharpness": 5})
    with pytest.raises(DatasetError, match="split 'train'"):
        SubstitutionGenerator.fit(replace(few_crystals, split={}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="negative"):
        load_generator("substitution").sample(-1, seed=0)


def test_a_time_limit_does_not_stop_it(few_crystals, tmp_path):
    file = few_crystals.save(tmp_path / "dataset.npz")
    seen = []
    trained = train_generator(
        "substitution",
        file,
        tmp_path / "run",
        seconds=1e-6,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k, 60) for k in range(1, 61)]
    assert len(trained.sample(2, seed=0)) == 2
    fewer = replace(few_crystals, split={"train": few_crystals.split["train"][:40]})
    with pytest.raises(OutputFolderError, match="data_sha256"):
        SubstitutionGenerator.fit(fewer, tmp_path / "run")


def test_damage_is_named(fitted_folder, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(fitted_folder, folder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or altered"):
        load_generator(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"has no weights\.safetensors"):
        load_generator(folder)
    shutil.copy(fitted_folder / "weights.safetensors", folder)
    header = json.loads((folder / "config.json").read_text())
    header["config"]["shipped_crystals_sha256"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="truncated or altered"):
        load_generator(folder)


def test_weights_of_another_version_are_named(fitted, tmp_path):
    arrays, *_ = packed(fitted.crystals, fitted.roles, None)
    whole = {**arrays, **fitted.table.arrays(), "volumes": fitted.volumes}
    config = {"shipped_crystals_sha256": None}
    for name, wrong in (
        ("volumes", None),
        ("roles.ions", arrays["roles.ions"][1:]),
        ("named", np.array([3], dtype=np.int32)),
        ("ions.pairs", fitted.table.pairs[:-1]),
    ):
        weights = {k: v for k, v in whole.items() if k != name}
        if wrong is not None:
            weights[name] = wrong
        folder = tmp_path / name
        write_checkpoint(folder, "substitution", config, {}, weights)
        with pytest.raises(CheckpointError, match=f"{name} does not fit this version's 'subst"):
            load_generator(folder)


def test_crystals_that_do_not_ship_are_named(tmp_path, shipped_substitution):
    generator = replace_sha256(shipped_substitution, "0" * 64)
    generator.save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="crystals that do not ship with this version"):
        load_generator(tmp_path / "other")


def replace_sha256(generator, shipped_sha256):
    return SubstitutionGenerator(
        generator.crystals,
        generator.roles,
        generator.table,
        generator.volumes,
        {},
        shipped_sha256=shipped_sha256,
    )


def test_crystals_written_out_give_the_same_samples(tmp_path, shipped_substitution):
    """Named or written, the templates are the same."""
    written = replace_sha256(shipped_substitution, None)
    written.save(tmp_path / "written")
    again = load_generator(tmp_path / "written")
    assert again.sha256 != shipped_substitution.sha256
    assert np.array_equal(again.sample(20, seed=4), shipped_substitution.sample(20, seed=4))


def test_the_shipped_generator_is_what_its_card_says(shipped_substitution):
    card = shipped_substitution.card
    assert shipped_substitution.kind == "substitution"
    assert card["split"]["train"] == len(shipped_substitution.crystals) > 15_000
    assert "CC BY 4.0" in card["data"]
    assert card["charge_balanced"] == shipped_substitution.roles.charged.sum()
    json.dumps(card)


def test_the_shipped_generator_makes_valid_crystals(shipped_substitution):
    from crystens_flows.screening.validity import structural_validity

    decoded = decode(shipped_substitution.sample(200, seed=1))
    valid = [d.structure is not None and structural_validity(d.structure) is None for d in decoded]
    assert sum(valid) >= 190
