"""Job that takes structures that no generator made as candidates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from jobflow import job
from pymatgen.core import Structure

from crystens_flows.schemas import DecodedCandidate, DecodeDocument, Provenance, candidate_id


@job(name="crystens read", output_schema=DecodeDocument)
def candidates_from_structures(
    structures: Sequence[Structure], provenance: Provenance | None = None, start: int = 0
) -> DecodeDocument:
    """
    Take structures that no generator made, such as those of a user's own CIFs, as candidates.

    Parameters
    ----------
    structures
        The structures.
    provenance
        Where they come from, by default :func:`provenance_of_structures`.
    start
        Index of the first.

    Returns
    -------
    DecodeDocument
        One candidate a structure, as if they had been decoded.
    """
    if provenance is None:
        provenance = provenance_of_structures(structures)
    candidates = [
        DecodedCandidate(
            candidate_id=candidate_id(provenance, index), index=index, structure=structure
        )
        for index, structure in enumerate(structures, start=start)
    ]
    return DecodeDocument(provenance=provenance, candidates=candidates)


def provenance_of_structures(
    structures: Sequence[Structure], campaign: str = "default"
) -> Provenance:
    """
    Say where structures come from that no generator made.

    Parameters
    ----------
    structures
        The structures.
    campaign
        Name of the campaign they belong to.

    Returns
    -------
    Provenance
        With "files" as generator and the SHA-256 of the structures in place of a checkpoint's.
    """
    sha256 = hashlib.sha256()
    for structure in structures:
        sites = [(site.species_string, *site.frac_coords.tolist()) for site in structure]
        sha256.update(json.dumps([structure.lattice.matrix.tolist(), sites]).encode())
    return Provenance(campaign=campaign, generator="files", checkpoint_sha256=sha256.hexdigest())
