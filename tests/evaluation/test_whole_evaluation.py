"""The whole evaluation, in Python, as a job and from the command line."""

import contextlib
import csv
import io
import json
from html import escape

import numpy as np
import pytest
from jobflow import run_locally
from pymatgen.core import Lattice, Structure

from crystens_flows.datasets import shipped
from crystens_flows.errors import InputError
from crystens_flows.evaluation.evaluation import (
    METASTABLE,
    Evaluation,
    EvaluationOptions,
    SourceEvaluation,
    evaluate,
)
from crystens_flows.evaluation.figures import write_figures
from crystens_flows.evaluation.metrics import METRICS, SOURCES, prediction_metrics
from crystens_flows.evaluation.page import render_page, table_rows
from crystens_flows.evaluation.reference import FLOOR
from crystens_flows.evaluation.run import EVALUATION_FILE, PAGE_FILE, TABLE_FILE, evaluate_into
from crystens_flows.evaluation.samples import (
    CHUNK,
    Sample,
    SampleSource,
    from_files,
    from_generator,
    from_real,
    from_structures,
)
from crystens_flows.generators import load_generator
from crystens_flows.representation import encode

FEW = EvaluationOptions(n_samples=6, n_relax=0, n_formulas=0)


def known_share(reference):
    """Crystals of which everything is known: training, repeated, overlapping, unreadable."""
    train = shipped().split["train"][:2]
    first, second = shipped().structures(train)
    squeezed = Structure(Lattice.cubic(3), ["Na", "Cl"], [[0, 0, 0], [0.1, 0, 0]])
    samples = [
        Sample(first),
        Sample(second),
        Sample(first),
        Sample(squeezed),
        Sample(None, "bad: x"),
    ]
    return SampleSource("mine", iter([samples[:2], samples[2:]]))


def test_shares_are_of_all_samples(small_reference):
    found = evaluate([known_share(small_reference)], small_reference, FEW).sources[0]
    metrics = found.metrics
    assert found.n_samples == 5
    assert metrics["decoded"] == 0.8
    assert metrics["structurally_valid"] == 0.6
    assert metrics["unique"] == 0.6
    assert metrics["novel"] == 0.2
    assert found.reasons == {"bad": 1}
    assert metrics["samples_per_second"] is metrics["length_variance"] is None
    assert len(found.shown) == 4
    assert set(METRICS) <= set(metrics)


def test_only_the_first_samples_get_fingerprints_and_energies(small_reference):
    options = FEW.model_copy(update={"n_detailed": 2})
    whole = evaluate([known_share(small_reference)], small_reference, FEW).sources[0]
    part = evaluate([known_share(small_reference)], small_reference, options).sources[0]
    energies = whole.values["energy_above_hull"]
    assert len(energies) > 2
    assert part.values["energy_above_hull"] == pytest.approx(energies[:2], abs=1e-4)
    assert part.metrics["metastable"] == sum(each <= METASTABLE for each in energies[:2]) / 2
    limited = ("metastable", "energy_above_hull", "formation_energy_per_atom")
    for name, value in whole.metrics.items():
        if not name.startswith(("cov_", "ks_energy", "ks_model")) and name not in limited:
            assert part.metrics[name] == value, name


def test_real_crystals_are_the_floor(small_reference):
    evaluation = evaluate([from_real(small_reference.floor, "again")], small_reference, FEW)
    again, floor = evaluation.sources
    assert floor.name == FLOOR
    energies = {"guided_energy_change": None}  # those of the data set stand beside the floor
    assert again.metrics == floor.metrics | energies
    assert floor.metrics["structurally_valid"] == floor.metrics["unique"] == 1.0
    assert floor.metrics["energy_above_hull"] < 0.2
    # their CrysTens agree with themselves as far as single precision goes
    assert 0 <= floor.metrics["length_variance"] < 1e-8
    assert 0 <= floor.metrics["pairwise_disagreement"] < 1e-3

    itself = evaluate(
        [from_structures(small_reference.crystals, "itself")], small_reference, FEW
    ).sources[0]
    statistics = {name: value for name, value in itself.metrics.items() if name.startswith("ks_")}
    assert len(statistics) == 17
    assert set(statistics.values()) == {0.0}
    assert itself.metrics["cov_recall"] == itself.metrics["valid"]


def test_names_must_differ(small_reference):
    twins = [from_structures([], "a"), from_structures([], "a")]
    with pytest.raises(InputError, match="names of their own"):
        evaluate(twins, small_reference, FEW)
    with pytest.raises(InputError, match="names of their own"):
        evaluate([from_structures([], FLOOR)], small_reference, FEW)
    with pytest.raises(InputError, match="empty has no samples"):
        evaluate([from_structures([], "empty")], small_reference, FEW)


class Recorder:
    """A generator of real crystals, with a disagreement put into each tensor."""

    def __init__(self):
        self.asked = []
        self.kind, self.sha256 = "recorder", "0" * 64

    def sample(self, n_samples, seed, start=0):
        self.asked.append((n_samples, seed, start))
        tensors = encode([shipped().structure(0)] * n_samples)
        tensors[:, :, 4, 12] += 0.01  # one copy in eight of a's, for the first site
        return tensors


def test_tensors_come_in_chunks_and_tables_1_and_2_are_means():
    generator = Recorder()
    source = from_generator(generator, "recorder", CHUNK + 2, seed=3)
    chunks = list(source.samples)
    assert generator.asked == [(CHUNK, 3, 0), (2, 3, CHUNK)]
    assert [len(chunk) for chunk in chunks] == [CHUNK, 2]
    assert source.seconds > 0
    variances = [sample.consistency.length_variance for chunk in chunks for sample in chunk]
    assert min(variances) > 1e-4
    assert np.ptp(variances) < 1e-6


def test_files_of_others_are_read(tmp_path):
    for i in range(3):
        shipped().structure(i).to(tmp_path / f"{i}.cif")
    (tmp_path / "bad.cif").write_text("no crystal")
    source = from_files(tmp_path, "theirs", limit=10)
    (chunk,) = source.samples
    assert sum(sample.structure is not None for sample in chunk) == 3
    assert sum(bool(sample.reason) for sample in chunk) == 1
    limited = from_files(tmp_path, "theirs", limit=2)
    assert sum(len(chunk) for chunk in limited.samples) == 2


@pytest.mark.slow
def test_everything_into_one_folder(tmp_path):
    options = EvaluationOptions(n_samples=4, n_relax=2, n_formulas=2, seed=1)  # of small crystals
    told = []
    evaluation = evaluate_into(tmp_path, ["default"], {}, "shipped", options, progress=told.append)
    default, baseline, floor = evaluation.sources
    assert baseline.name == "substitution"
    assert baseline.metrics["formula_answered_holdout_a"] > 0
    assert default.metrics["length_variance"] < 1e-6
    for hold_out in ("holdout_a", "holdout_b"):
        assert 0 <= default.metrics[f"formula_matched_{hold_out}"] <= 1
        assert floor.metrics[f"formula_matched_{hold_out}"] is None
    assert floor.metrics["rmsd"] < 0.5
    assert "default: relaxing" in told

    with (tmp_path / TABLE_FILE).open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["metric"] for row in rows] == [r["metric"] for r in table_rows(evaluation)]
    assert json.loads((tmp_path / EVALUATION_FILE).read_text())["n_reference"] == 4
    page = (tmp_path / PAGE_FILE).read_text()
    assert page.count("<svg") == len(list((tmp_path / "figures").glob("*.svg"))) == 6
    assert len(list((tmp_path / "figures").glob("*.png"))) == 6
    assert "http://www.w3.org" in page  # names of formats, not addresses that are fetched
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_a_source_without_any_structure_is_shown_too(small_reference, tmp_path):
    samples = [Sample(None, "the tensor holds no sites")] * 3
    nothing = SampleSource("nothing", iter([samples]))
    evaluation = evaluate([nothing], small_reference, FEW)
    found = evaluation.sources[0].metrics
    assert found["decoded"] == found["valid"] == found["novel"] == found["metastable"] == 0.0
    assert found["p1"] is found["ks_a"] is found["rmsd"] is found["cov_recall"] is None
    page = render_page(evaluation, write_figures(evaluation, tmp_path))
    assert "the tensor holds no sites" in page
    assert "no structure" in page


def test_every_row_says_where_it_is_from_and_names_are_escaped(small_reference):
    metrics = {**METRICS, **prediction_metrics("test")}
    assert {metric.source for metric in metrics.values()} == {*SOURCES, None}
    name = "<script>alert(1)</script>"
    evaluation = evaluate([from_real(small_reference.floor, name)], small_reference, FEW)
    page = render_page(evaluation, [])
    assert name not in page
    assert escape(name) in page
    for row in table_rows(evaluation):
        assert escape(row["metric"]) in page
        assert len(row["metric"]) <= 28  # five columns beside it go on a hundred characters
    assert all(citation.split(",")[0] in page for citation in SOURCES.values())


def test_numbers_have_three_digits():
    shown = {
        0.0: "0",
        582.23: "582",
        31.18: "31.2",
        0.35: "0.350",
        4.36e-4: "4.4e-04",
        6322.1: "6322",
        -0.5123: "-0.512",
        1.23e6: "1.2e+06",
    }
    sources = [
        SourceEvaluation(
            name=str(value),
            origin={},
            n_samples=1,
            metrics={"length_variance": value, "decoded": 0.12345},
            values={},
            reasons={},
            shown=[],
        )
        for value in shown
    ]
    evaluation = Evaluation(
        reference="r", n_reference=1, options=FEW, reference_values={}, sources=sources
    )
    decoded, lengths = table_rows(evaluation)
    assert [lengths[str(value)] for value in shown] == list(shown.values())
    assert decoded["0.0"] == "12.3%"


def test_the_job_gives_the_metrics(tmp_path):
    from crystens_flows.jobs.evaluate import EvaluateMaker

    shipped().structure(0).to(tmp_path / "one.cif")
    maker = EvaluateMaker(n_samples=2, n_relax=0, n_formulas=0)
    job = maker.make([], {"theirs": str(tmp_path / "one.cif")})
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(io.StringIO()):
        output = run_locally(job, log=False, create_folders=True)[job.uuid][1].output
    assert set(output.metrics) == {"theirs", FLOOR}
    assert output.metrics["theirs"]["novel"] == 0.0 or output.metrics["theirs"]["novel"] == 1.0
    assert (tmp_path / output.folder / PAGE_FILE).is_file()


def test_generators_do_not_have_to_take_a_formula():
    assert "formula" in load_generator("default").takes
