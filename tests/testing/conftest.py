from __future__ import annotations

import pytest

from crystens_flows.testing import stand_in_environment


@pytest.fixture(autouse=True, scope="session")
def potcars(tmp_path_factory):
    pytest.importorskip("pymatgen.io.vasp", reason="VASP's files are pymatgen's")
    with stand_in_environment(tmp_path_factory.mktemp("potcars")) as folder:
        yield folder
