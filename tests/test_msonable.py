"""Documents of others import no class that is not on the list."""

from __future__ import annotations

import gzip
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Species, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

from crystens_flows.datasets.parse import Entry, Rejection, parse_structure
from crystens_flows.errors import DatasetError, InputError
from crystens_flows.msonable import ENTRY_CLASSES, check_classes, decoded, structure_from_dict
from crystens_flows.relaxation.mp_entries import _read_file
from crystens_flows.schemas import DecodedCandidate

EVIL = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
class Evil:
    @classmethod
    def from_dict(cls, d):
        return cls()
def evil():
    pass
"""


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """Return a file that exists once the module of somebody else has been imported."""
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "ran"
    sys.modules.pop("evil_module", None)


SALT = Structure(Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3])
ATTACKS = [
    {"@module": "evil_module", "@class": "Evil"},
    {"@module": "evil_module", "@callable": "evil"},
    {"@module": "pymatgen.core.structure", "@callable": "evil", "@bound": None},
    {"@module": "evil_module", "@class": "Evil", "@version": None, "a": 1},
]


def attacked(attack) -> dict:
    content = SALT.as_dict()
    content["sites"][1]["properties"] = {"magmom": {"inner": [attack]}}
    return content


def test_pymatgen_itself_runs_it(evil):
    """What this is about: it is no imagined danger."""
    Structure.from_dict(attacked(ATTACKS[0]))
    assert evil.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_structures_import_nothing(evil, attack):
    content = attacked(attack)
    with pytest.raises(InputError, match="is no class that is read from documents of others"):
        structure_from_dict(content)
    with pytest.raises(InputError, match="evil"):
        DecodedCandidate(candidate_id="c", index=0, structure=attacked(attack))
    entry = Entry("here", "here", "json", json.dumps(content))
    found = parse_structure(entry)
    assert isinstance(found, Rejection)
    assert "is no class that is read" in found.reason
    assert not evil.exists()


def test_entries_import_nothing(evil, tmp_path):
    entry = ComputedEntry("NaCl", -6.7, parameters={"a": 1}).as_dict()
    entry["parameters"]["a"] = ATTACKS[0]
    file = tmp_path / "entries.json"
    file.write_text(json.dumps([entry]))
    with pytest.raises(DatasetError, match=r"evil_module\.Evil is no class"):
        _read_file(file)
    assert not evil.exists()


def test_structures_are_read_as_pymatgen_does():
    spins = SALT.copy(site_properties={"magmom": [1.0, None], "selective": [[True] * 3] * 2})
    charged = Structure(
        Lattice.hexagonal(3, 5), [Species("Fe", 3), Species("O", -2)], [[0, 0, 0], [0.5] * 3]
    )
    shared = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]], charge=1)
    for structure in (SALT, spins, charged, shared):
        stored = json.loads(json.dumps(structure, cls=MontyEncoder))
        assert structure_from_dict(stored) == structure == Structure.from_dict(stored)


@pytest.mark.parametrize("name", ["entries.json", "entries.json.gz"])
def test_entries_are_read(tmp_path, name):
    entries = [ComputedEntry("NaCl", -6.7, entry_id="a"), ComputedStructureEntry(SALT, -6.7)]
    text = json.dumps(entries, cls=MontyEncoder).encode()
    file = tmp_path / name
    file.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert _read_file(file) == entries
    assert decoded(text, ENTRY_CLASSES) == entries
    with pytest.raises(InputError, match=r"Computed\w*Entry is no class"):
        check_classes(json.loads(text))


plain = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
names = st.text() | st.sampled_from(["os", "evil_module", "pymatgen.core.structure", "Structure"])


@given(plain, names | plain, names | plain, st.sampled_from(["@class", "@callable"]))
def test_no_document_gets_through_with_another_class(content, module, name, kind):
    wanted = (module, name) == ("pymatgen.core.structure", "Structure") and kind == "@class"
    hidden = {"a": [content, {"b": {"@module": module, kind: name}}]}
    if wanted:
        check_classes(hidden)
    else:
        with pytest.raises(InputError):
            check_classes(hidden)
