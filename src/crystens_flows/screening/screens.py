"""The screens: each asks one model or table about many candidates and may reject some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pymatgen.core import Structure

from crystens_flows.errors import DatasetError
from crystens_flows.schemas import ScreenRecord
from crystens_flows.screening.consensus import Consensus, combine

if TYPE_CHECKING:
    from crystens_flows.screening.hull import HullResult, ShiftedEnergy
    from crystens_flows.screening.novelty import KnownCrystals

MAX_FORMATION_ENERGY = 0.5
"""No stable crystal has a formation energy near this, in eV/atom, by far more than models err."""


@dataclass(frozen=True)
class Candidate:
    """
    A candidate on its way through the screens.

    Parameters
    ----------
    candidate_id
        Its identifier.
    structure
        Its structure.
    records
        What earlier screens found, by the name of the screen.
    """

    candidate_id: str
    structure: Structure
    records: Mapping[str, ScreenRecord] = field(default_factory=dict)


class Screen(Protocol):
    """
    What can screen candidates.

    Attributes
    ----------
    name
        Under which a candidate keeps what the screen found.
    """

    name: ClassVar[str]

    def model(self) -> dict[str, Any]:
        """Say which model or table is asked: name, versions, hashes."""

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Return one record for each candidate, in the same order."""


@dataclass(frozen=True)
class ValidityScreen:
    """
    Rejects what is no crystal: overlapping atoms, collapsed cells, impossible densities.

    Parameters
    ----------
    require_charge_balance
        Whether to reject compositions whose charges cannot balance, by SMACT.
    """

    name: ClassVar[str] = "validity"
    require_charge_balance: bool = False

    def model(self) -> dict[str, Any]:
        """Say which rules are applied."""
        from importlib.metadata import version

        return {"name": "validity", "package": "smact", "version": version("smact")}

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Check each candidate."""
        from crystens_flows.screening.validity import validity_report

        records = []
        for candidate in candidates:
            report = validity_report(candidate.structure)
            reason = report.reason
            valid = report.electronegativities_ordered if report.charge_neutral else None
            if report.charge_neutral is False:
                valid = False
            if reason is None and self.require_charge_balance and valid is False:
                reason = "charges cannot balance"
            values = asdict(report)
            values.pop("reason")
            records.append(
                ScreenRecord(
                    candidate_id=candidate.candidate_id,
                    passed=reason is None,
                    reason=reason,
                    smact_valid=valid,
                    values=values,
                )
            )
        return records


@dataclass(frozen=True)
class NoveltyScreen:
    """
    Finds the candidates that are known crystals.

    Parameters
    ----------
    known
        "shipped" for the crystals that ship with the package, or a data set file or structures.
    reject
        Whether known crystals are rejected, or only marked.
    """

    name: ClassVar[str] = "novelty"
    known: str = "shipped"
    reject: bool = False

    def model(self) -> dict[str, Any]:
        """Say with what the candidates are compared."""
        return {"source": self.known, "n_crystals": len(_known_crystals(self.known))}

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Compare each candidate with the known crystals."""
        found = _known_crystals(self.known).find([c.structure for c in candidates])
        return [
            ScreenRecord(
                candidate_id=candidate.candidate_id,
                passed=not (self.reject and known_as is not None),
                reason=f"known crystal: {known_as}" if self.reject and known_as else None,
                known_as=known_as,
            )
            for candidate, known_as in zip(candidates, found, strict=True)
        ]


@lru_cache(maxsize=4)
def _known_crystals(source: str) -> KnownCrystals:
    from crystens_flows.datasets import read_rows
    from crystens_flows.screening.novelty import KnownCrystals

    if source == "shipped":
        return KnownCrystals.from_dataset()
    read = [(row.material_id, row.structure) for row in read_rows([source]) if row.structure]
    if not read:
        raise DatasetError(f"{source} holds no crystal that can be read: give known crystals")
    return KnownCrystals.from_structures(*(list(each) for each in zip(*read, strict=True)))


@dataclass(frozen=True)
class CGCNNScreen:
    """
    Predicts with the original CGCNN weights: formation energy, band gap, elastic moduli and more.

    Parameters
    ----------
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: ClassVar[str] = "cgcnn"
    max_formation_energy_per_atom: float | None = MAX_FORMATION_ENERGY

    def model(self) -> dict[str, Any]:
        """Say which weights are used."""
        from crystens_flows.screening.cgcnn import model_card

        return model_card()

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Predict for each candidate."""
        from crystens_flows.screening.cgcnn import predict_properties

        found = predict_properties([c.structure for c in candidates])
        return [
            _energy_record(
                candidate,
                each.formation_energy_per_atom,
                each.reason,
                self.max_formation_energy_per_atom,
                values={k: v for k, v in each.values.items() if k != "formation_energy_per_atom"},
            )
            for candidate, each in zip(candidates, found, strict=True)
        ]


@dataclass(frozen=True)
class M3GNetScreen:
    """
    Predicts formation energies, and how far they may be off, with M3GNet.

    Parameters
    ----------
    weights
        "default" for the weights that ship with the package, the folder of a matgl model, or the
        name of one that matgl can download.
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: ClassVar[str] = "m3gnet"
    weights: str = "default"
    max_formation_energy_per_atom: float | None = MAX_FORMATION_ENERGY

    def model(self) -> dict[str, Any]:
        """Say which weights are used."""
        from crystens_flows.screening.m3gnet.model import load_m3gnet

        return load_m3gnet(self.weights).card()

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Predict for each candidate."""
        from crystens_flows.screening.m3gnet.model import load_m3gnet

        found = load_m3gnet(self.weights).predict([c.structure for c in candidates])
        return [
            _energy_record(
                candidate,
                each.formation_energy_per_atom,
                each.reason,
                self.max_formation_energy_per_atom,
                uncertainty=each.uncertainty,
            )
            for candidate, each in zip(candidates, found, strict=True)
        ]


@dataclass(frozen=True)
class PotentialScreen:
    """
    Predicts formation energies with a potential and fitted references of the elements.

    Parameters
    ----------
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    relax_steps
        So many steps of relaxation, at most, before the energy is taken; 0 for the structure as it
        is.
    """

    name: ClassVar[str]
    potential: ClassVar[str]
    max_formation_energy_per_atom: float | None = None
    relax_steps: int = 0

    def model(self) -> dict[str, Any]:
        """Say which weights and references are used."""
        from crystens_flows.screening.potentials import card

        return {**card(self.potential), "relax_steps": self.relax_steps}

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Predict for each candidate."""
        from crystens_flows.screening.potentials import predict, relax

        structures = [c.structure for c in candidates]
        found: Sequence[Any] = (
            relax(structures, self.potential, steps=self.relax_steps)
            if self.relax_steps
            else predict(structures, self.potential)
        )
        return [
            _energy_record(
                candidate,
                each.formation_energy_per_atom,
                each.reason,
                self.max_formation_energy_per_atom,
                values=(
                    {"n_steps": each.n_steps, "converged": each.converged}
                    if self.relax_steps
                    else {}
                ),
            )
            for candidate, each in zip(candidates, found, strict=True)
        ]


@dataclass(frozen=True)
class CHGNetScreen(PotentialScreen):
    """Predicts formation energies with CHGNet; see :class:`PotentialScreen`."""

    name: ClassVar[str] = "chgnet"
    potential: ClassVar[str] = "chgnet"


@dataclass(frozen=True)
class SevenNetScreen(PotentialScreen):
    """Predicts formation energies with SevenNet-l3i5; see :class:`PotentialScreen`."""

    name: ClassVar[str] = "sevennet"
    potential: ClassVar[str] = "7net-l3i5"


@dataclass(frozen=True)
class HullScreen:
    """
    Compares the formation energy that the models agree on with the hull of known compounds.

    Parameters
    ----------
    reference
        "shipped" for the Materials Project's entries that ship with the package, "mp" for the
        Materials Project itself (with an API key), or a CSV file of formulas and formation
        energies.
    max_energy_above_hull
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: ClassVar[str] = "hull"
    reference: str = "shipped"
    max_energy_above_hull: float | None = None

    def model(self) -> dict[str, Any]:
        """Say which entries the hull is of."""
        from crystens_flows.screening.hull import load_hull

        return load_hull(self.reference).card()

    def screen(self, candidates: Sequence[Candidate]) -> list[ScreenRecord]:
        """Judge each candidate."""
        from crystens_flows.screening.hull import load_hull

        agreed = [
            combine({name: r.formation_energy_per_atom for name, r in c.records.items()})
            for c in candidates
        ]
        found = load_hull(self.reference).evaluate(
            [c.structure.composition for c in candidates],
            [None if a is None else a.formation_energy_per_atom for a in agreed],
        )
        return [
            self._record(candidate, consensus, result, shifted)
            for candidate, consensus, (result, shifted) in zip(
                candidates, agreed, found, strict=True
            )
        ]

    def _record(
        self,
        candidate: Candidate,
        consensus: Consensus | None,
        result: HullResult,
        shifted: ShiftedEnergy | None,
    ) -> ScreenRecord:
        from crystens_flows.screening.hull import load_hull

        above, reason, limit = result.energy_above_hull, result.reason, self.max_energy_above_hull
        symbols = {element.symbol for element in candidate.structure.composition.elements}
        incomplete = sorted(symbols & load_hull(self.reference).incomplete)
        if reason is None and incomplete:
            reason = f"hull incomplete: the reference has few compounds of {', '.join(incomplete)}"
        if reason is None and limit is not None and above is not None and above > limit:
            reason = f"energy above hull too high: {above:.3f} eV/atom, at most {limit:g}"
        energy = None if consensus is None else round(consensus.formation_energy_per_atom, 6)
        return ScreenRecord(
            candidate_id=candidate.candidate_id,
            passed=reason is None,
            reason=reason,
            formation_energy_per_atom=energy,
            energy_above_hull=None if above is None else round(above, 6),
            uncertainty=None if consensus is None else consensus.disagreement,
            values={
                "energy_models": [] if consensus is None else list(consensus.models),
                "agree": None if consensus is None else consensus.agree,
                "shift": None if shifted is None else shifted.shift,
                "decomposition": result.decomposition,
                "decomposition_ids": list(result.decomposition_ids),
                "n_entries": result.n_entries,
                "elements_only": result.elements_only,
            },
        )


def _energy_record(
    candidate: Candidate,
    energy: float | None,
    reason: str | None,
    limit: float | None,
    *,
    uncertainty: float | None = None,
    values: Mapping[str, Any] | None = None,
) -> ScreenRecord:
    if reason is None and limit is not None and energy is not None and energy > limit:
        reason = f"formation energy too high: {energy:.3f} eV/atom, at most {limit:g}"
    return ScreenRecord(
        candidate_id=candidate.candidate_id,
        passed=reason is None,
        reason=reason,
        formation_energy_per_atom=energy,
        uncertainty=uncertainty,
        values=dict(values or {}),
    )
