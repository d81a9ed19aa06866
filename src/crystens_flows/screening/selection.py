"""Which candidates are relaxed: no duplicates, lowest formation energy first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import SelectRecord
from crystens_flows.screening.duplicates import find_duplicates


def select(
    candidate_ids: Sequence[str],
    structures: Sequence[Structure],
    formation_energies: Sequence[float],
    n_pool: int = 35,
    n_select: int = 6,
) -> list[SelectRecord]:
    """
    Select the candidates of lowest formation energy, duplicates left out.

    The paper keeps a pool of the 35 lowest and relaxes 6 of them, chosen by hand; here it is the
    6 lowest of the pool.

    Parameters
    ----------
    candidate_ids
        Identifiers, in the order of the candidates' index.
    structures
        Their structures. Of equal ones the first is kept.
    formation_energies
        Their predicted formation energies, eV/atom. Equal energies keep the order given.
    n_pool
        Size of the pool.
    n_select
        How many of the pool are selected.

    Returns
    -------
    list of SelectRecord
        One for each candidate, in the order given: "duplicate", or its rank and "selected",
        "pool" or "ranked".

    Raises
    ------
    InputError
        If the numbers do not fit: ``0 <= n_select <= n_pool``, as many structures and energies as
        identifiers, all energies finite.
    """
    if not 0 <= n_select <= n_pool:
        raise InputError(
            f"n_select = {n_select} and n_pool = {n_pool}: give 0 <= n_select <= n_pool"
        )
    if not len(candidate_ids) == len(structures) == len(formation_energies):
        raise InputError(
            f"{len(candidate_ids)} candidates, {len(structures)} structures and "
            f"{len(formation_energies)} energies: give as many of each"
        )
    energies = np.asarray(formation_energies, dtype=float)
    if not np.isfinite(energies).all():
        worst = candidate_ids[int(np.argmin(np.isfinite(energies)))]
        raise InputError(f"the formation energy of {worst} is not finite: leave it out")
    duplicate_of = find_duplicates(structures)
    kept = [int(i) for i in np.argsort(energies, kind="stable") if duplicate_of[i] is None]
    records = [
        SelectRecord(candidate_id=candidate, decision="duplicate", duplicate_of=candidate_ids[j])
        if j is not None
        else SelectRecord(candidate_id=candidate, decision="ranked")
        for candidate, j in zip(candidate_ids, duplicate_of, strict=True)
    ]
    for rank, i in enumerate(kept, start=1):
        records[i].rank = rank
        if rank <= n_select:
            records[i].decision = "selected"
        elif rank <= n_pool:
            records[i].decision = "pool"
    return records
