from __future__ import annotations

import gzip

import pytest
from cif_examples import BAD_CIFS, NACL, PYMATGEN_P1, QUARTZ


@pytest.fixture
def cif_folder(tmp_path):
    """A folder with three good CIFs, one in a folder below and one gzipped, and all bad ones."""
    folder = tmp_path / "cifs"
    (folder / "below").mkdir(parents=True)
    (folder / "nacl.cif").write_text(NACL)
    (folder / "below" / "quartz.CIF").write_text(QUARTZ)
    (folder / "p1.cif.gz").write_bytes(gzip.compress(PYMATGEN_P1.encode()))
    for name, (text, _) in BAD_CIFS.items():
        (folder / f"bad {name}.cif").write_text(text)
    (folder / "README.txt").write_text("not a CIF")
    return folder
