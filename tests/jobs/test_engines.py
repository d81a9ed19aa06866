"""Names of engines become Makers."""

from __future__ import annotations

import pytest

from crystens_flows.cli.relax import ENGINES as NAMED_IN_THE_HELP
from crystens_flows.errors import InputError
from crystens_flows.jobs import BatchRelaxMaker, QuadrupleRelaxMaker
from crystens_flows.jobs.engines import ENGINES, find_engine, relax_maker
from crystens_flows.screening.potentials import POTENTIALS

NAMES = [f"crystens relax {k}" for k in (1, 2, 3, 4)]


def test_the_help_names_them_all():
    assert list(NAMED_IN_THE_HELP) == list(ENGINES)


@pytest.mark.parametrize("name", POTENTIALS)
def test_potentials_relax_many_structures_in_a_job(name):
    maker = relax_maker(name, steps=7, fmax=0.3)
    assert isinstance(maker, BatchRelaxMaker)
    assert (maker.calculator, maker.steps, maker.fmax) == (name, 7, 0.3)
    default = relax_maker(name, steps=None, fmax=None)
    assert (default.steps, default.fmax) == (BatchRelaxMaker().steps, BatchRelaxMaker().fmax)


def test_vasp_as_in_the_paper():
    pytest.importorskip("atomate2.vasp.jobs.base", reason="the extra vasp brings it")
    from crystens_flows.jobs.vasp import PaperRelaxMaker

    maker = relax_maker("vasp", steps=40)
    steps = [getattr(maker, f"relax_maker_{k}") for k in (1, 2, 3, 4)]
    assert isinstance(maker, QuadrupleRelaxMaker)
    assert all(isinstance(step, PaperRelaxMaker) for step in steps)
    assert [step.name for step in steps] == NAMES
    assert {step.input_set_generator.max_ionic_steps for step in steps} == {40}
    assert relax_maker("vasp").relax_maker_1.input_set_generator.max_ionic_steps == 99


def test_vasp_as_the_materials_project():
    pytest.importorskip("atomate2.vasp.jobs.mp", reason="the extra vasp brings it")
    from atomate2.vasp.jobs.mp import MPGGARelaxMaker, MPGGAStaticMaker

    maker = relax_maker("vasp-mp")
    assert isinstance(maker, QuadrupleRelaxMaker)
    assert isinstance(maker.relax_maker_4, MPGGARelaxMaker)
    assert isinstance(maker.static_maker, MPGGAStaticMaker)
    assert relax_maker("vasp-mp", hull_entries="mp").hull_entries == "mp"
    with pytest.raises(
        InputError, match="vasp-mp has no option --steps; it is one of vasp, gpaw, chgnet"
    ):
        relax_maker("vasp-mp", steps=3)


def test_gpaw():
    from crystens_flows.jobs.gpaw import GpawRelaxMaker

    maker = relax_maker("gpaw", steps=5, fmax=0.2)
    assert isinstance(maker.relax_maker_1, GpawRelaxMaker)
    assert (maker.relax_maker_4.max_ionic_steps, maker.relax_maker_4.max_force) == (5, 0.2)
    assert (
        relax_maker("gpaw").relax_maker_1
        == QuadrupleRelaxMaker.from_relax_maker(GpawRelaxMaker()).relax_maker_1
    )


@pytest.mark.parametrize("path", ["ase.calculators.emt.EMT", "ase.calculators.emt:EMT"])
def test_any_calculator_of_ase(path):
    maker = relax_maker(path, steps=9, fmax=0.5)
    assert isinstance(maker, QuadrupleRelaxMaker)
    assert maker.relax_maker_3.steps == 9
    assert maker.relax_maker_3.relax_kwargs == {"fmax": 0.5}
    assert type(maker.relax_maker_3.calculator).__name__ == "EMT"


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("VASP", "no engine 'VASP': known are vasp, vasp-mp, gpaw, chgnet, 7net-l3i5, and the"),
        ("", "no engine ''"),
        ("ase.calculators.nothing.Thing", "cannot import the calculator"),
        ("ase.calculators.emt.Thing", "cannot import the calculator"),
        ("math.pi", "is no calculator"),
        ("collections.OrderedDict", "computes no stress"),
    ],
)
def test_what_is_no_engine(engine, words):
    with pytest.raises(InputError, match=words):
        relax_maker(engine)


def test_options_an_engine_does_not_have():
    with pytest.raises(InputError, match=r"vasp has no option --fmax; it is one of gpaw, .*, ASE"):
        relax_maker("vasp", fmax=0.1)
    with pytest.raises(InputError, match="steps = 1: give at least 2"):
        relax_maker("ase.calculators.emt.EMT", steps=1)
    with pytest.raises(InputError, match="no engine has an option colour"):
        relax_maker("chgnet", colour="blue")


def test_only_vasp_is_vasp():
    vasp = {name for name in [*ENGINES, "ase.calculators.emt.EMT"] if find_engine(name).vasp}
    assert vasp == {"vasp", "vasp-mp"}
