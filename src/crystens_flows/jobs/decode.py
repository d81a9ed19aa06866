"""Job that turns CrysTens into crystal structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jobflow import Maker, job

from crystens_flows.schemas import (
    ArrayBlob,
    DecodedCandidate,
    DecodeDocument,
    Provenance,
    candidate_id,
)


@dataclass
class DecodeMaker(Maker):
    """
    Maker of a job that decodes one chunk of CrysTens.

    A tensor that is no crystal becomes a candidate without a structure, with the reason.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "crystens decode"

    @job(output_schema=DecodeDocument)
    def make(
        self, crystens: ArrayBlob | np.ndarray, provenance: Provenance, start: int = 0
    ) -> DecodeDocument:
        """
        Decode.

        Parameters
        ----------
        crystens
            Normalised tensors of shape (n, 4, 64, 64).
        provenance
            Where they come from; it decides the identifiers of the candidates.
        start
            Index of the first.

        Returns
        -------
        DecodeDocument
            One candidate a tensor, in the same order.
        """
        from crystens_flows.representation import decode

        tensors = crystens.array if isinstance(crystens, ArrayBlob) else crystens
        candidates = [
            DecodedCandidate(
                candidate_id=candidate_id(provenance, start + k),
                index=start + k,
                structure=decoded.structure,
                reason=decoded.reason,
                space_group=decoded.space_group,
                consistency=decoded.consistency.as_dict() if decoded.consistency else None,
            )
            for k, decoded in enumerate(decode(tensors))
        ]
        return DecodeDocument(provenance=provenance, candidates=candidates)
