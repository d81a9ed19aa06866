"""Random candidates and queries, and what a filter in Python finds of them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from hypothesis import strategies as st
from pymatgen.core import Composition

from crystens_flows.candidate_export import nested_value
from crystens_flows.candidate_filters import RANGES
from crystens_flows.schemas import CandidateDocument, CandidateStatus, Provenance

ELEMENTS = ("Na", "Cl", "O", "Fe")
ENGINES = ("CHGNet", "VASP", "VASP 6.4.2", "VASPsol", "VASP!", None)
STATUSES = [str(each) for each in CandidateStatus]
NUMBERS = (-1.0, -0.5, 0.0, 0.25, 1.0)

amounts = st.dictionaries(st.sampled_from(ELEMENTS), st.integers(1, 4), max_size=3)
value = st.none() | st.sampled_from(NUMBERS)


@st.composite
def candidates(draw, index: int) -> dict:
    """Return a candidate as the builder stores it, as far as queries go."""
    composition = draw(amounts)
    campaign = draw(st.sampled_from(["a", "b", "$where", "a.b"]))
    doc = CandidateDocument(
        candidate_id=f"c-{index:020x}",
        campaign=campaign,
        index=draw(st.integers(0, 9)),
        status=draw(st.sampled_from(STATUSES)),
        provenance=Provenance(campaign=campaign, generator="wyckoff", checkpoint_sha256="ab"),
        space_group=draw(st.none() | st.sampled_from([1, 2, 225])),
        formation_energy_per_atom=draw(value),
        energy_above_hull=draw(value),
        energy_per_atom=draw(value),
        energy_above_hull_dft=draw(value),
    ).model_dump(mode="json", exclude={"last_updated"})
    if composition:
        elements = sorted(composition)
        doc |= {
            "formula": Composition(composition).reduced_formula,
            "chemsys": "-".join(elements),
            "elements": elements,
            "n_elements": len(elements),
            "n_sites": sum(composition.values()),
        }
    rank, engine = draw(st.none() | st.integers(1, 5)), draw(st.sampled_from(ENGINES))
    doc["selection"] = rank and {"candidate_id": doc["candidate_id"], "rank": rank}
    doc["relaxation"] = engine and {"engine": engine, "energy": draw(value)}
    return {**doc, "last_updated": datetime(2026, 1, 1, tzinfo=UTC)}


bound = st.none() | st.sampled_from(NUMBERS)
ranges = st.tuples(bound, bound)
whole = st.none() | st.integers(0, 8)
queries = st.fixed_dictionaries(
    {},
    optional={
        "formula": amounts.filter(bool).map(
            lambda each: "".join(f"{name}{n}" for name, n in each.items())
        ),
        "chemsys": st.sets(st.sampled_from(ELEMENTS), min_size=1).map("-".join),
        "elements": st.sets(st.sampled_from(ELEMENTS), max_size=2),
        "without_elements": st.sets(st.sampled_from(ELEMENTS), max_size=2),
        "status": st.sampled_from(STATUSES) | st.sets(st.sampled_from(STATUSES)),
        "campaign": st.sampled_from(["a", "b", "$where", "a.b", "none"]),
        "engine": st.sampled_from(["VASP", "VASP 6.4.2", "CHGNet", "VAS", ".*"]),
        "space_group": st.sampled_from([1, 225]) | st.sets(st.sampled_from([1, 2, 225])),
        "n_sites": st.tuples(whole, whole),
        "rank": st.tuples(whole, whole),
        **{name: ranges for name in RANGES if "energy" in name},
    },
)


def matches(doc: dict, query: dict) -> bool:
    """Judge a candidate by a query, as the documentation of the filters says."""
    for name, wanted in query.items():
        if name in RANGES:
            found = nested_value(doc, RANGES[name])
            low, high = (-math.inf, math.inf)
            low = low if wanted[0] is None else wanted[0]
            high = high if wanted[1] is None else wanted[1]
            if found is None or not low <= found <= high:
                return False
        elif name == "formula":
            if doc["formula"] != Composition(wanted).reduced_formula:
                return False
        elif name == "chemsys":
            if set(doc["elements"]) != set(wanted.split("-")):
                return False
        elif name == "elements":
            if not set(wanted) <= set(doc["elements"]):
                return False
        elif name == "without_elements":
            if wanted and (not doc["elements"] or set(wanted) & set(doc["elements"])):
                return False
        elif name == "engine":
            engine = nested_value(doc, "relaxation.engine")
            if engine is None or not (engine == wanted or engine.startswith(wanted + " ")):
                return False
        else:
            among = {wanted} if isinstance(wanted, str | int) else wanted
            if doc[name] not in among:
                return False
    return True


def ordered(docs: list[dict], sort: str | None, descending: bool) -> list[dict]:
    if sort is None:
        key = ("campaign", "index", "candidate_id")
        return sorted(docs, key=lambda d: [d[name] for name in key], reverse=descending)
    known = [doc for doc in docs if nested_value(doc, sort) is not None]
    unknown = [doc for doc in docs if nested_value(doc, sort) is None]
    return [
        *sorted(
            known, key=lambda d: (nested_value(d, sort), d["candidate_id"]), reverse=descending
        ),
        *sorted(unknown, key=lambda d: d["candidate_id"], reverse=descending),
    ]


SORTS = (None, "energy_above_hull", "formula", "n_sites", "selection.rank", "relaxation.engine")
