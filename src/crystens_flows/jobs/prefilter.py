"""Jobs that screen a chunk of candidates, one screen each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from jobflow import JobConfig, Maker, OnMissing, job

from crystens_flows.schemas import DecodedCandidate, ScreenDocument, ScreenRecord
from crystens_flows.screening.pipeline import ScreeningOptions
from crystens_flows.screening.screens import (
    MAX_FORMATION_ENERGY,
    Candidate,
    CGCNNScreen,
    CHGNetScreen,
    HullScreen,
    M3GNetScreen,
    NoveltyScreen,
    Screen,
    SevenNetScreen,
    ValidityScreen,
)


@dataclass
class PrefilterMaker(Maker):
    """
    Maker of a job that screens one chunk of candidates; each screen has its own subclass.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "crystens screen"
    screen_type: ClassVar[type[Any]]
    """The screen, whose fields are those of the maker."""

    def screen(self) -> Screen:
        """Return the screen that the job runs."""
        names = _settings(self.screen_type)
        return self.screen_type(**{name: getattr(self, name) for name in names})

    @job(output_schema=ScreenDocument, config=JobConfig(on_missing_references=OnMissing.NONE))
    def make(
        self,
        candidates: list[DecodedCandidate] | None,
        earlier: Sequence[tuple[str, list[ScreenRecord] | None]] = (),
    ) -> ScreenDocument:
        """
        Screen.

        Parameters
        ----------
        candidates
            Candidates from the decoding, or from
            :func:`crystens_flows.jobs.candidates_from_structures`. Those without a structure were
            rejected by the decoding and are passed over. None if their job failed.
        earlier
            Names and records of the screens before this one, in their order; None for one whose
            job failed. A candidate that one of them rejected is passed over.

        Returns
        -------
        ScreenDocument
            One record for each candidate with a structure that is still in, in the same order. No
            records and no model where there are no candidates: that the job before failed is said
            there, and in the selection. FireWorks keeps failed parents with each job that fails.
        """
        screen = self.screen()
        if candidates is None:
            return ScreenDocument(screen=screen.name, model={}, records=[])
        records = screen.screen(still_in(candidates, earlier))
        return ScreenDocument(screen=screen.name, model=screen.model(), records=records)


def _settings(screen_type: type[Any]) -> list[str]:
    return [each.name for each in fields(screen_type)]


def still_in(
    candidates: Sequence[DecodedCandidate],
    earlier: Sequence[tuple[str, list[ScreenRecord] | None]],
) -> list[Candidate]:
    """
    Put candidates and what screens found together, without those that were rejected.

    Parameters
    ----------
    candidates
        Candidates from the decoding.
    earlier
        Names and records of the screens, in their order; None for one whose job failed.

    Returns
    -------
    list of Candidate
        In the order of the candidates.
    """
    found: dict[str, dict[str, ScreenRecord]] = {c.candidate_id: {} for c in candidates}
    for name, records in earlier:
        for record in records or ():
            if record.candidate_id in found:
                found[record.candidate_id][name] = record
    return [
        Candidate(c.candidate_id, c.structure, found[c.candidate_id])
        for c in candidates
        if c.structure is not None and all(r.passed for r in found[c.candidate_id].values())
    ]


def is_screened(
    candidates: Sequence[DecodedCandidate] | None,
    screens: Sequence[tuple[str, list[ScreenRecord] | None]],
) -> bool:
    """
    Say whether the last screen of a chunk has looked at all candidates that came to it.

    It has not where its job failed; nor where that job failed when it was run again and the store
    still has what it left when it had no candidates.

    Parameters
    ----------
    candidates
        Candidates from the decoding; None if their job failed.
    screens
        Names and records of the screens, in their order; None for one whose job failed.

    Returns
    -------
    bool
        True for a chunk without screens.
    """
    if candidates is None:
        return False
    if not screens:
        return True
    *before, (_, last) = screens
    asked = {candidate.candidate_id for candidate in still_in(candidates, before)}
    return last is not None and asked <= {record.candidate_id for record in last}


@dataclass
class ValidityPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that rejects what is no crystal.

    Parameters
    ----------
    name
        Name of the job.
    require_charge_balance
        Whether to reject compositions whose charges cannot balance, by SMACT.
    """

    name: str = "crystens validity"
    screen_type: ClassVar[type[Any]] = ValidityScreen
    require_charge_balance: bool = False


@dataclass
class NoveltyPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that finds the candidates that are known crystals.

    Parameters
    ----------
    name
        Name of the job.
    known
        "shipped" for the crystals that ship with the package, or a data set file or structures.
    reject
        Whether known crystals are rejected, or only marked.
    """

    name: str = "crystens novelty"
    screen_type: ClassVar[type[Any]] = NoveltyScreen
    known: str = "shipped"
    reject: bool = False


@dataclass
class CGCNNPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that predicts seven properties with the original CGCNN weights.

    Parameters
    ----------
    name
        Name of the job.
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: str = "crystens cgcnn"
    screen_type: ClassVar[type[Any]] = CGCNNScreen
    max_formation_energy_per_atom: float | None = MAX_FORMATION_ENERGY


@dataclass
class M3GNetPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that predicts formation energies and their uncertainty with M3GNet.

    Parameters
    ----------
    name
        Name of the job.
    weights
        "default" for the weights that ship with the package, the folder of a matgl model, or the
        name of one that matgl can download.
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: str = "crystens m3gnet"
    screen_type: ClassVar[type[Any]] = M3GNetScreen
    weights: str = "default"
    max_formation_energy_per_atom: float | None = MAX_FORMATION_ENERGY


@dataclass
class PotentialPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that predicts formation energies with a potential; a subclass for each.

    Parameters
    ----------
    name
        Name of the job.
    max_formation_energy_per_atom
        Candidates above it are rejected, eV/atom; None rejects nobody.
    relax_steps
        So many steps of relaxation, at most, before the energy is taken; 0 for the structure as it
        is.
    """

    max_formation_energy_per_atom: float | None = None
    relax_steps: int = 0


@dataclass
class CHGNetPrefilterMaker(PotentialPrefilterMaker):
    """Maker of a job that asks CHGNet; see :class:`PotentialPrefilterMaker`."""

    name: str = "crystens chgnet"
    screen_type: ClassVar[type[Any]] = CHGNetScreen


@dataclass
class SevenNetPrefilterMaker(PotentialPrefilterMaker):
    """Maker of a job that asks SevenNet-l3i5; see :class:`PotentialPrefilterMaker`."""

    name: str = "crystens sevennet"
    screen_type: ClassVar[type[Any]] = SevenNetScreen


@dataclass
class HullPrefilterMaker(PrefilterMaker):
    """
    Maker of a job that judges the models' formation energies by the hull of known compounds.

    Parameters
    ----------
    name
        Name of the job.
    reference
        "shipped" for the Materials Project's entries that ship with the package, "mp" for the
        Materials Project itself (with an API key), or a CSV file of formulas and formation
        energies.
    max_energy_above_hull
        Candidates above it are rejected, eV/atom; None rejects nobody.
    """

    name: str = "crystens hull"
    screen_type: ClassVar[type[Any]] = HullScreen
    reference: str = "shipped"
    max_energy_above_hull: float | None = None


MAKERS: tuple[type[PrefilterMaker], ...] = (
    ValidityPrefilterMaker,
    NoveltyPrefilterMaker,
    CGCNNPrefilterMaker,
    M3GNetPrefilterMaker,
    CHGNetPrefilterMaker,
    SevenNetPrefilterMaker,
    HullPrefilterMaker,
)


def prefilter_makers(options: ScreeningOptions | None = None) -> list[PrefilterMaker]:
    """
    Return the makers of the screens that options name, in their order.

    Parameters
    ----------
    options
        The options; by default all screens, SevenNet only where it is installed.

    Returns
    -------
    list of PrefilterMaker
        One for each screen.
    """
    by_screen = {maker.screen_type: maker for maker in MAKERS}
    return [
        by_screen[type(screen)](**{name: getattr(screen, name) for name in _settings(type(screen))})
        for screen in (options or ScreeningOptions()).screens()
    ]
