from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.relaxation import potential_engines, summarise_relaxation
from crystens_flows.relaxation.batch import relax_four_times
from crystens_flows.screening.potentials import available_potentials
from crystens_flows.screening.potentials.registry import load_potential

pytest.importorskip("chgnet", reason="CHGNet relaxes")

EMT = "ase.calculators.emt.EMT"
STEPS = 30


def fcc(element="Al", a=3.9):
    lattice = Lattice([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Structure(lattice, [element], [[0, 0, 0]])


def rock_salt():
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    ).get_primitive_structure()


@pytest.fixture(scope="module")
def crystals():
    """Real crystals of 4 to 8 sites, strained and disturbed, one of them so that it is far off."""
    dataset = shipped()
    sizes = (dataset.numbers > 0).sum(axis=1)
    rows = [row for row in dataset.split["holdout_a"][::7] if 4 <= sizes[row] <= 8][:3]
    found = list(dataset.structures(np.array(rows)))
    for seed, (structure, size) in enumerate(zip(found, (0.05, 0.2, 0.02), strict=True)):
        structure.apply_strain([0.04, -0.03, size])
        structure.perturb(size, seed=seed)
    return found


@pytest.fixture(scope="module")
def together(crystals):
    return relax_four_times(crystals, steps=STEPS, candidate_ids=["a", "b", "c"])


@pytest.fixture(scope="module")
def by_atomate2(crystals, tmp_path_factory):
    """Relax each with atomate2's maker, four times one after another."""
    jobs = pytest.importorskip("atomate2.forcefields.jobs", reason="relaxations are held to it")
    documents = []
    with contextlib.chdir(tmp_path_factory.mktemp("atomate2")):
        for structure in crystals:
            tasks, start = [], structure
            for _ in range(4):
                maker = jobs.ForceFieldRelaxMaker(
                    force_field_name="CHGNet",
                    steps=STEPS,
                    relax_kwargs={"fmax": 0.02},
                    ionic_step_data=("energy",),
                )
                with contextlib.redirect_stdout(io.StringIO()):
                    tasks.append(maker.make.original(maker, start))
                start = tasks[-1].structure
            documents.append(summarise_relaxation(tasks, structure=structure))
    return documents


def test_equals_atomate2_four_times(together, by_atomate2, crystals):
    assert [each.candidate_id for each in together] == ["a", "b", "c"]
    for ours, theirs, crystal in zip(together, by_atomate2, crystals, strict=True):
        assert (ours.completed_steps, ours.reason, ours.engine) == (4, None, theirs.engine)
        assert ours.energies == pytest.approx(theirs.energies, abs=1e-4 * len(crystal))
        assert ours.energy == ours.energies[4]
        assert ours.pressures == pytest.approx(theirs.pressures, abs=0.3)
        assert ours.stress == pytest.approx(np.array(theirs.stress), abs=0.5)
        assert ours.converged == theirs.converged
        assert ours.n_sites == theirs.n_sites
        assert ours.initial_volume == theirs.initial_volume
        assert ours.initial_space_group == theirs.initial_space_group
        for one, other in zip(ours.steps, theirs.steps, strict=True):
            assert one.volume == pytest.approx(other.volume, rel=1e-3)
            assert one.rmsd == pytest.approx(other.rmsd, abs=2e-3)
            assert one.space_group == other.space_group
            # atomate2 counts the last one twice
            assert one.n_ionic_steps == pytest.approx(other.n_ionic_steps - 1, abs=2)
        assert ours.structure.lattice.matrix == pytest.approx(
            theirs.structure.lattice.matrix, abs=0.01
        )
        assert ours.structure.species == crystal.species
    # they went somewhere, some to the end and some not, and not all of it in the first step
    assert max(e.energies[0] - e.energies[4] for e in together) > 0.5
    converged = [state for each in together for state in each.converged]
    assert set(converged) == {True, False}
    assert max(abs(pressure) for each in together for pressure in each.pressures) > 0.3


def test_does_not_depend_on_who_else_is_relaxed(together, crystals, monkeypatch):
    monkeypatch.setattr(potential_engines, "MAX_BYTES", 1)
    apart = relax_four_times([rock_salt(), *crystals[::-1]], steps=STEPS)[:0:-1]
    for ours, others, crystal in zip(together, apart, crystals, strict=True):
        assert ours.energies == pytest.approx(others.energies, abs=1e-5 * len(crystal))
        assert ours.converged == others.converged


def test_each_step_begins_where_the_last_one_ended(together, crystals):
    longer = relax_four_times(crystals, steps=2)
    for document, crystal in zip(longer, crystals, strict=True):
        assert document.completed_steps == 4
        assert document.converged == [False] * 4
        assert [step.n_ionic_steps for step in document.steps] == [3] * 4
        alone, energies = crystal, [document.energies[0]]
        for energy in document.energies[1:]:
            (once,) = relax_four_times([alone], steps=2)
            energies.append(once.energies[1])
            assert energy == pytest.approx(once.energies[1], abs=1e-5 * len(crystal))
            alone = structure_after_first(alone)
        assert energies == sorted(energies, reverse=True) or energies[-1] < energies[0]


def structure_after_first(structure):
    """Relax two ionic steps with ASE itself."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = load_potential("chgnet").calculator()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=2)
    atoms.calc = None
    return AseAtomsAdaptor.get_structure(atoms)


@pytest.mark.skipif("7net-l3i5" not in available_potentials(), reason="sevenn is not installed")
def test_sevennet_goes_the_way_of_ase_with_its_own_calculator():
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    crystals = [rock_salt(), fcc("Cu", 3.5)]
    crystals[0].apply_strain([0.05, -0.02, 0.03])
    crystals[0].translate_sites([0], [0.03, 0.01, 0.02])
    found = relax_four_times(crystals, "7net-l3i5", steps=3)
    for crystal, document in zip(crystals, found, strict=True):
        atoms = AseAtomsAdaptor.get_atoms(crystal)
        atoms.calc = load_potential("7net-l3i5").calculator()
        energies = [atoms.get_potential_energy()]
        for _ in range(4):
            FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=3)
            energies.append(atoms.get_potential_energy())
        assert document.energies == pytest.approx(energies, abs=1e-4 * len(crystal))
        assert document.engine == "SevenNet-l3i5"
        assert document.energies[0] - document.energies[4] > 0.01


def broken_ones():
    """Structures that no relaxation comes through, with the reason each has."""
    wide, narrow = rock_salt(), rock_salt()
    wide.scale_lattice(5 * wide.volume)
    narrow.scale_lattice(narrow.volume / 5)
    return {
        "explodes": (narrow, "relaxation diverged: step 1 of 4, the cell exploded"),
        "collapses": (wide, "relaxation diverged: step 1 of 4, the cell collapsed"),
        "unknown element": (
            Structure(Lattice.cubic(4), ["Og"], [[0] * 3]),
            "relaxation failed: step 1 of 4, element unknown to the potential: Og",
        ),
        "coincide": (
            Structure(Lattice.cubic(4), ["Na", "O"], [[0] * 3, [0, 0, 0.01]]),
            "relaxation failed: step 1 of 4, sites too close",
        ),
        "overlap": (
            Structure(Lattice.cubic(5), ["Cs", "Cs"], [[0] * 3, [0, 0, 0.2]]),
            "relaxation failed: step 1 of 4, atoms overlap",
        ),
        "isolated": (
            Structure(Lattice.cubic(9), ["Na"], [[0] * 3]),
            "relaxation failed: step 1 of 4, isolated site",
        ),
        "disordered": (
            Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0] * 3]),
            "relaxation failed: step 1 of 4, disordered sites",
        ),
        "not a number": (
            Structure(Lattice.cubic(4), ["Na"], [[np.nan, 0, 0]]),
            "relaxation failed: step 1 of 4, lattice or coordinates are not finite",
        ),
    }


def test_those_that_fail_have_a_reason_and_do_not_stop_the_others():
    broken = broken_ones()
    slanted = rock_salt() * [[1, 0, 0], [9, 1, 0], [0, -7, 1]]
    structures = [rock_salt(), *(structure for structure, _ in broken.values()), slanted]
    found = relax_four_times(structures, steps=30, candidate_ids=[str(i) for i in range(10)])
    alone = relax_four_times([rock_salt()], steps=30)[0]
    for sound in (found[0], found[-1]):
        assert sound.energies == pytest.approx(alone.energies, abs=1e-5)
        assert (sound.completed_steps, sound.reason) == (4, None)
    for document, (name, (_, reason)) in zip(found[1:-1], broken.items(), strict=True):
        assert (document.reason or "").startswith(reason), name
        assert (document.completed_steps, document.structure, document.energy) == (0, None, None)
        assert document.energies == [None] * 5
    assert [document.candidate_id for document in found] == [str(i) for i in range(10)]


def test_a_pass_that_fails_is_made_again_for_each_alone(monkeypatch):
    """As where memory is short: torch then raises a RuntimeError of many lines."""
    potential = load_potential("chgnet")
    whole, asked = potential.derivatives, []

    def short_of_memory(graphs):
        asked.append(len(graphs))
        if sum(len(graph.atomic_number) for graph in graphs) > 2:
            raise RuntimeError("out of memory:\n tried to allocate 9 GB")
        return whole(graphs)

    alone = relax_four_times([rock_salt()], steps=2)[0]
    monkeypatch.setattr(potential, "derivatives", short_of_memory)
    found = relax_four_times([rock_salt(), rock_salt() * (1, 1, 2), fcc("Cu", 3.5)], steps=2)
    assert asked[:4] == [3, 1, 1, 1]
    assert [document.completed_steps for document in found] == [4, 0, 4]
    assert found[0].energies == pytest.approx(alone.energies, abs=2e-5)
    assert found[1].reason == (
        "relaxation failed: step 1 of 4, CHGNet failed: RuntimeError: out of memory: tried to "
        "allocate 9 GB"
    )


def test_what_was_found_before_a_failure_is_kept():
    metals = [fcc("Al", 4.4), fcc("Cu", 3.5)]
    whole, other = relax_four_times(metals, EMT, steps=2)
    volumes = [step.volume for step in whole.steps]
    assert volumes[0] > volumes[1] > volumes[2]  # the third is the first to fall under the limit
    kept, same = relax_four_times(
        metals,
        "batch_calculators:AboveVolume",
        steps=2,
        calculator_kwargs={"volumes": {"Al": (volumes[1] + volumes[2]) / 2}},
    )
    assert kept.completed_steps == 2
    assert kept.reason.startswith(
        "relaxation failed: step 3 of 4, abovevolume failed: ValueError: too small: Al"
    )
    assert kept.energies == [*whole.energies[:3], None, None]
    assert kept.pressures == [*whole.pressures[:2], None, None]
    assert kept.structure.volume == volumes[1]
    assert (same.energies, same.completed_steps) == (other.energies, 4)


@pytest.mark.parametrize("path", [EMT, "ase.calculators.emt:EMT"])
def test_any_calculator_of_ase_goes_the_way_of_ase(path):
    from ase.calculators import emt
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE
    from pymatgen.io.ase import AseAtomsAdaptor

    metals = [fcc("Al", 3.9), fcc("Na", 4.8), fcc("Cu", 3.5) * (1, 1, 2)]  # EMT has no sodium
    metals[2].apply_strain([0.03, 0, -0.02])
    found = relax_four_times(metals, path, steps=8, calculator_kwargs={"asap_cutoff": True})
    assert found[1].reason.startswith("relaxation failed: step 1 of 4, emt failed: ")
    for metal, document in ((metals[0], found[0]), (metals[2], found[2])):
        atoms = AseAtomsAdaptor.get_atoms(metal)
        atoms.calc = emt.EMT(asap_cutoff=True)
        energies = [atoms.get_potential_energy()]
        for _ in range(4):
            FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=8)
            energies.append(atoms.get_potential_energy())
        assert document.energies == pytest.approx(energies, abs=1e-8)
        assert document.structure.volume == pytest.approx(atoms.get_volume(), rel=1e-8)
        assert document.engine == "emt"
        assert document.method["calculator"] == path
        assert document.method["calculator_kwargs"] == {"asap_cutoff": True}


def test_one_that_has_converged_is_not_asked_about_again():
    import batch_calculators

    batch_calculators.asked.clear()
    found = relax_four_times(
        [fcc("Al", 4.4), fcc("Cu", 3.3)], "batch_calculators:CountingEMT", steps=100
    )
    assert [document.converged for document in found] == [[True] * 4] * 2
    steps = [[step.n_ionic_steps for step in document.steps] for document in found]
    asked = batch_calculators.asked
    for formula, (first, *later) in zip(("Al", "Cu"), steps, strict=True):
        assert asked.count(formula) == first + sum(n - 1 for n in later)
    assert asked == sorted(asked)  # one after the other
    assert min(first for first, *_ in steps) > 3


@pytest.mark.parametrize(
    ("calculator", "arguments", "message"),
    [
        ("mace", {}, "no potential is called 'mace': take one of chgnet, 7net-l3i5, or the path"),
        ("no_such_package.Calculator", {}, "cannot import the calculator no_such_package.Calc"),
        ("ase.calculators.emt.NoSuch", {}, "cannot import the calculator .*NoSuch"),
        ("ase.calculators.emt:", {}, "no potential is called"),
        ("batch_calculators:NOT_CALLABLE", {}, "is no calculator"),
        ("batch_calculators.NoStress", {}, "computes no stress"),
        ("ase.calculators.lj.LennardJones", {"sigma": 2.0, 3: 4}, "cannot make the calculator"),
        ("chgnet", {"use_device": "cpu"}, "'chgnet' takes no arguments"),
    ],
)
def test_calculators_that_cannot_relax_are_named(calculator, arguments, message):
    with pytest.raises(InputError, match=message):
        relax_four_times([fcc()], calculator, calculator_kwargs=arguments)


def test_limits_and_identifiers_are_checked():
    with pytest.raises(InputError, match="positive"):
        relax_four_times([], steps=0)
    with pytest.raises(InputError, match="positive"):
        relax_four_times([], fmax=float("nan"))
    with pytest.raises(InputError, match="1 identifiers given for 2 structures"):
        relax_four_times([fcc(), fcc()], candidate_ids=["a"])
    assert relax_four_times([]) == []
