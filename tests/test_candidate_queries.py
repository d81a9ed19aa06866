"""Queries on random candidates against a filter in Python, and input that means harm."""

from __future__ import annotations

import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from maggma.stores import MemoryStore
from pymatgen.core import Composition

from crystens_flows.candidate_criteria import OPERATORS, check_criteria
from crystens_flows.candidate_export import nested_value
from crystens_flows.candidate_filters import Filters, filter_criteria, reduced_formula
from crystens_flows.candidates import INDEXES, CandidateStore
from crystens_flows.errors import InputError
from crystens_flows.schemas import CandidateDocument
from crystens_flows.stores import open_stores
from random_candidates import SORTS, candidates, matches, ordered, queries


@pytest.fixture(params=["embedded", pytest.param("mongo", marks=pytest.mark.mongo)])
def store(request, tmp_path):
    place = request.getfixturevalue("mongo_uri") if request.param == "mongo" else tmp_path / "store"
    return open_stores(place).candidates


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 15))
def test_as_a_filter_in_python(store, data, n):
    docs = [data.draw(candidates(index)) for index in range(n)]
    store.store.remove_docs({})
    store.store.update([dict(doc) for doc in docs])
    for _ in range(4):
        query = data.draw(queries)
        sort, descending = data.draw(st.sampled_from(SORTS)), data.draw(st.booleans())
        skip, limit = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
        expected = ordered([doc for doc in docs if matches(doc, query)], sort, descending)
        expected = [doc["candidate_id"] for doc in expected]
        assert store.count(**query) == len(expected)
        found = store.query(sort=sort, descending=descending, skip=skip, limit=limit, **query)
        page = expected[skip : skip + limit if limit else None]
        assert [doc["candidate_id"] for doc in found] == page


fields = st.lists(
    st.sampled_from(
        [*CandidateDocument.model_fields, "selection.rank", "relaxation.engine", "provenance.seed"]
    )
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=fields, doc=candidates(1))
def test_only_the_fields_asked_for_are_sent(store, names, doc):
    store.store.remove_docs({})
    store.store.update([dict(doc)])
    (found,) = store.query(properties=names)
    assert set(found) <= {"candidate_id", *(name.split(".")[0] for name in names)}
    for name in {"candidate_id", *names} - {"last_updated"}:
        assert nested_value(found, name) == nested_value(doc, name)


@pytest.mark.mongo
def test_the_server_filters_sorts_and_cuts(mongo_uri):
    """What travels is the page: the commands that the server was sent say so."""
    from pymongo import monitoring

    sent = []

    class Listener(monitoring.CommandListener):
        def started(self, event):
            if event.command_name in ("find", "getMore"):
                sent.append(dict(event.command))

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    store = open_stores(mongo_uri).candidates
    store.store.mongoclient_kwargs = {"event_listeners": [Listener()]}
    store.store.connect(force_reset=True)
    docs = [
        {"candidate_id": f"c-{k:03}", "campaign": "a", "index": k, "energy_above_hull": k / 100}
        for k in range(300)
    ]
    store.store.update(docs)
    sent.clear()
    found = list(
        store.query(
            campaign="a", sort="energy_above_hull", skip=20, limit=5, properties=["campaign"]
        )
    )
    assert [doc["candidate_id"] for doc in found] == [f"c-{k:03}" for k in range(20, 25)]
    (command,) = sent
    assert (command["skip"], command["limit"]) == (20, 5)
    assert command["sort"] == {"energy_above_hull": 1, "candidate_id": 1}
    assert command["projection"] == {"campaign": 1, "candidate_id": 1}
    # candidates without a value are asked for apart only where there may be some
    for more, n_finds in (({}, 2), ({"energy_above_hull": (0, 9)}, 1), ({"descending": True}, 1)):
        sent.clear()
        assert len(list(store.query(sort="energy_above_hull", **more))) == 300
        assert sum("find" in command for command in sent) == n_finds
    made = store.store._collection.index_information().values()
    keys = [tuple(name for name, _ in index["key"]) for index in made]
    assert set(INDEXES) <= set(keys)
    assert ("candidate_id",) in keys


SPELT = [
    "NaCl",
    "ClNa",
    "Na4Cl4",
    " Na Cl ",
    "Na2(Cl)2",
    "Na₂Cl₂",
    "Na$_{2}$Cl$_{2}$",
    "Na0.5Cl0.5",
]


@pytest.mark.parametrize("formula", SPELT)
def test_spellings_of_a_formula(formula):
    assert reduced_formula(formula) == "NaCl"


harm = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from(["$where", "$ne", "a.b", "\0", "sleep(1000)", "$gt", "Na", ".*", "selected"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$where", "$ne", "$function", "$expr", "$gt", "a"]) | st.text(), inner
        )
    ),
    max_leaves=6,
)
GIVEN = [name for name in Filters.__annotations__ if name != "criteria"]
OURS = OPERATORS | {"$and", "$or"}


def check_made(criteria, depth=0):
    """Only our own operators stand as names, and nothing but plain values beside them."""
    if isinstance(criteria, dict):
        for name, inner in criteria.items():
            if name.startswith("$"):
                assert name in OURS
            else:
                assert name.split(".")[0] in CandidateDocument.model_fields
            check_made(inner, depth + 1)
    elif isinstance(criteria, list):
        for inner in criteria:
            assert not isinstance(inner, dict) or depth <= 2
            check_made(inner, depth + 1)
    else:
        assert criteria is None or isinstance(criteria, str | int | float)
        assert not isinstance(criteria, str) or "\0" not in criteria


@settings(max_examples=300)
@given(name=st.sampled_from(GIVEN), value=harm)
def test_what_a_user_gives_is_never_an_operator(name, value):
    store = MEMORY
    try:
        criteria = filter_criteria(**{name: value})
    except InputError:
        return
    check_made(criteria)
    if isinstance(value, dict):
        pytest.fail(f"a dictionary was taken for {name}")
    store.count(**{name: value})  # and every store takes it


MEMORY = CandidateStore(MemoryStore("harm"))
MEMORY.connect()


@given(value=harm)
def test_names_identifiers_and_pages_are_checked(value):
    for arguments in ({"sort": value}, {"properties": [value]}, {"limit": value}, {"skip": value}):
        try:
            list(MEMORY.query(**arguments))
        except InputError:
            continue
        (given,) = arguments.values()
        known = given is None or given == [] or type(given) is int
        assert known or str(value).split(".")[0] in CandidateDocument.model_fields
    with pytest.raises(InputError):
        MEMORY.get(value)


BAD_CRITERIA = [
    {"$where": "sleep(1000)"},
    {"$expr": {"$function": {"body": "f", "args": [], "lang": "js"}}},
    {"$and": [{"$where": "1"}]},
    {"$or": [{"status": "relaxed"}, {"$nor": [{"$text": {"$search": "a"}}]}]},
    {"status": {"$function": "f"}},
    {"status": {"$not": {"$regex": ".*"}}},
    {"selection": {"$elemMatch": {"$where": "1"}}},
    {"nothing": 1},
    {"selection.$where": 1},
    {"status": b"bytes"},
    {"index": 2**70},
    {"status": {"a\0": 1}},
    {1: 2},
    "status",
]


@pytest.mark.parametrize("criteria", BAD_CRITERIA, ids=str)
def test_criteria_hold_comparisons_alone(criteria):
    with pytest.raises(InputError):
        check_criteria(criteria)
    with pytest.raises(InputError):
        filter_criteria(criteria=criteria)


@given(st.text(alphabet=string.printable, max_size=12))
def test_text_is_a_formula_or_refused(text):
    try:
        found = reduced_formula(text)
    except InputError:
        return
    assert Composition(found).reduced_formula == found
