"""Job that rejects candidates cheaply and predicts the formation energy of the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from jobflow import Maker, job
from pymatgen.core import Structure

from crystens_flows.errors import InputError
from crystens_flows.schemas import (
    DecodedCandidate,
    DecodeDocument,
    Provenance,
    ScreenDocument,
    ScreenRecord,
    candidate_id,
)


@dataclass
class CGCNNPrefilterMaker(Maker):
    """
    Maker of a job that screens one chunk of candidates with CGCNN.

    Structures that are not valid are rejected with the reason, the others get a formation energy.
    Whether charges can balance is recorded, and rejects nobody.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "crystens cgcnn"

    @job(output_schema=ScreenDocument)
    def make(self, candidates: list[DecodedCandidate]) -> ScreenDocument:
        """
        Screen.

        Parameters
        ----------
        candidates
            Candidates from the decoding, or from :func:`candidates_from_structures`. Those without
            a structure were rejected by the decoding and are passed over.

        Returns
        -------
        ScreenDocument
            One record for each candidate with a structure, in the same order.
        """
        from crystens_flows.screening.cgcnn import model_card, predict_formation_energies
        from crystens_flows.screening.validity import smact_validity

        if candidates is None:
            raise InputError("no candidates to screen: the job that makes them failed")
        structures = {c.candidate_id: c.structure for c in candidates if c.structure is not None}
        predictions = predict_formation_energies(list(structures.values()))
        records = [
            ScreenRecord(
                candidate_id=identifier,
                passed=prediction.reason is None,
                reason=prediction.reason,
                formation_energy_per_atom=prediction.formation_energy_per_atom,
                smact_valid=smact_validity(structure),
            )
            for (identifier, structure), prediction in zip(
                structures.items(), predictions, strict=True
            )
        ]
        return ScreenDocument(screen="cgcnn", model=model_card(), records=records)


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
