"""Cards of the candidates of a run: everything in text, and a structure that can be turned."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pymatgen.core import Structure

from crystens_flows.relaxation import N_STEPS
from crystens_flows.report import html
from crystens_flows.report.plots import steps
from crystens_flows.report.relaxations import ENERGIES, PRESSURES, STAND_IN
from crystens_flows.report.scene import scene
from crystens_flows.schemas import CandidateDocument, RelaxDocument, ScreenRecord, TuneRecord

MAX_CARDS = 12
"""Browsers draw in three dimensions in about 16 places of a page."""

_A = "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}"
_VIEWS = {"a": "along a", "b": "along b", "c": "along c", "start": "reset"}


def shown_candidates(candidates: Sequence[CandidateDocument]) -> list[CandidateDocument]:
    """
    Choose whom there are cards of: those with a structure, by rank, at most :data:`MAX_CARDS`.

    Parameters
    ----------
    candidates
        Candidates that were selected.

    Returns
    -------
    list of CandidateDocument
        The relaxed ones first.
    """

    def place(candidate: CandidateDocument) -> tuple[bool, float]:
        rank = candidate.selection.rank if candidate.selection is not None else None
        return candidate.relaxed_structure is None, float("inf") if rank is None else rank

    shown = [each for each in candidates if latest_structure(each)[0] is not None]
    return sorted(shown, key=place)[:MAX_CARDS]


def card_section(candidates: Sequence[CandidateDocument]) -> str:
    """
    Write a card for each candidate.

    Parameters
    ----------
    candidates
        As :func:`shown_candidates` returns them.

    Returns
    -------
    str
        HTML, with what the viewer draws as JSON.
    """
    scenes, cards = {}, []
    for number, candidate in enumerate(candidates):
        structure, state = latest_structure(candidate)
        assert structure is not None
        scenes[f"viewer-{number}"] = scene(structure)
        cards.append(_card(candidate, structure, state, f"viewer-{number}"))
    note = "The structures are drawn where the browser has JavaScript and WebGL."
    return (
        f'<p id="viewer-note">{note}</p><div class="cards">{"".join(cards)}</div>'
        f"{html.data('scenes', scenes)}"
    )


def latest_structure(candidate: CandidateDocument) -> tuple[Structure | None, str]:
    """
    Find the structure that a candidate came to.

    Parameters
    ----------
    candidate
        The candidate.

    Returns
    -------
    tuple
        Relaxed, else after the last relaxation, else tuned, else as decoded, None where there is
        none at all; and which of these it is, in words.
    """
    relaxation, tuning = candidate.relaxation, candidate.tuning
    if candidate.relaxed_structure is not None:
        return candidate.relaxed_structure, "relaxed"
    if relaxation is not None and relaxation.structure is not None:
        return relaxation.structure, "after the last relaxation"
    if tuning is not None:
        return tuning.structure, "tuned, not relaxed" if tuning.changed else "not relaxed"
    return candidate.structure, "as decoded"


def _card(candidate: CandidateDocument, structure: Structure, state: str, viewer: str) -> str:
    formula = structure.composition.reduced_formula
    relaxation = candidate.relaxation
    rank = candidate.selection.rank if candidate.selection is not None else None
    group = _group(candidate)
    label = f"{formula}, {len(structure)} sites, {state}, drawn in three dimensions"
    parts = [
        f"<h3>{html.formula(formula)}</h3>",
        f'<p class="sub">{"" if rank is None else f"rank {rank}, "}{escape(state)}, '
        f"<code>{escape(candidate.candidate_id)}</code></p>",
        _viewer(viewer, label),
        html.facts(
            [
                ("space group", html.space_group(group)),
                *_energies(candidate),
                ("cell", _cell(structure)),
                ("sites", f"{len(structure)}, {structure.density:.2f} g/cm³"),
                ("known", _known(candidate)),
                ("charges", _charges(candidate.smact_valid)),
            ]
        ),
        _tuned(candidate, candidate.tuning),
        "" if relaxation is None else _relaxed(relaxation),
        _why(candidate),
        _download(structure, formula, candidate.candidate_id),
    ]
    name = f"{formula} {candidate.candidate_id}"
    return f'<article class="card" aria-label="{escape(name)}">{"".join(parts)}</article>'


def _viewer(identifier: str, label: str) -> str:
    """Write the place of a viewer, which stays hidden where nothing can be drawn in it."""
    buttons = "".join(
        f'<button type="button" data-view="{view}">{name}</button>' for view, name in _VIEWS.items()
    )
    return (
        f'<div class="viewer" id="{identifier}" data-label="{escape(label)}" hidden>'
        f'<div class="stage"></div><p class="legend"></p>'
        f'<div class="views" role="group" aria-label="Views">{buttons}</div></div>'
    )


def _group(candidate: CandidateDocument) -> int | None:
    """Return the space group of the latest structure, as it was found or stated."""
    relaxation, tuning = candidate.relaxation, candidate.tuning
    if relaxation is not None and relaxation.steps and relaxation.steps[-1].space_group:
        return relaxation.steps[-1].space_group
    after = None if tuning is None else tuning.values.get("space_group_after")
    return after if isinstance(after, int) else candidate.space_group


def _energies(candidate: CandidateDocument) -> list[tuple[str, str]]:
    record = candidate.screens.get("hull")
    formation, above = candidate.formation_energy_per_atom, candidate.energy_above_hull
    pairs = [
        ("formation energy, predicted", _ev(formation) + _models(record)),
        ("above hull, predicted", _ev(above) + ("" if above is None else _mixture(record))),
    ]
    relaxation = candidate.relaxation
    if relaxation is not None and relaxation.formation_energy_per_atom is not None:
        pairs += [
            ("formation energy, DFT", _ev(relaxation.formation_energy_per_atom)),
            ("above hull, DFT", _ev(relaxation.energy_above_hull)),
        ]
    return pairs


def _ev(energy: float | None) -> str:
    return "not known" if energy is None else f"<strong>{html.text(energy)}</strong> eV/atom"


def _models(record: ScreenRecord | None) -> str:
    models = None if record is None else record.values.get("energy_models")
    if record is None or not models:
        return ""
    apart = "" if record.uncertainty is None else f", {record.uncertainty:.3f} eV/atom apart"
    return f"<br><small>from {escape(' and '.join(map(str, models)))}{apart}</small>"


def _mixture(record: ScreenRecord | None) -> str:
    """Write what the hull has at this composition."""
    found = None if record is None else record.values.get("decomposition")
    if not isinstance(found, Mapping) or not found:
        return ""
    parts = [
        html.formula(name) if len(found) == 1 else f"{100 * share:.0f} % {html.formula(name)}"
        for name, share in sorted(found.items(), key=lambda item: -item[1])
    ]
    return f"<br><small>the hull has here: {' + '.join(parts)}</small>"


def _cell(structure: Structure) -> str:
    lattice = structure.lattice
    lengths = ", ".join(
        f"<i>{name}</i>&nbsp;{value:.3f}" for name, value in zip("abc", lattice.abc, strict=True)
    )
    angles = ", ".join(
        f"{name}&nbsp;{value:.1f}°" for name, value in zip("αβγ", lattice.angles, strict=True)
    )
    return f"{lengths}&nbsp;{_A}<br>{angles}"


def _known(candidate: CandidateDocument) -> str:
    if candidate.known_as is not None:
        return f"equals {escape(candidate.known_as)}"
    return "not among the known crystals" if "novelty" in candidate.screens else ""


def _charges(valid: bool | None) -> str:
    return "" if valid is None else ("can balance" if valid else "cannot balance")


def _tuned(candidate: CandidateDocument, tuning: TuneRecord | None) -> str:
    if tuning is None:
        return ""
    heading = "<h4>Tuning</h4>"
    if not tuning.changed:
        return f"{heading}<p>Unchanged: {escape(tuning.reason or 'nothing to improve')}</p>"
    values, decoded = tuning.values, candidate.structure
    energies = (values.get("energy_before"), values.get("energy_after"))
    above = (values.get("energy_above_hull_before"), values.get("energy_above_hull_after"))
    volumes = [each.volume if each is not None else None for each in (decoded, tuning.structure)]
    names = [
        html.formula(None if each is None else each.composition.reduced_formula)
        for each in (decoded, tuning.structure)
    ]
    groups = (values.get("space_group_before"), values.get("space_group_after"))
    rows = [
        ("formula", *names),
        ("space group", *map(html.space_group, groups)),
        ("energy, eV/atom", *map(html.text, energies)),
        ("above hull, eV/atom", *map(html.text, above)),
        (f"volume, {_A}³", *map(html.text, volumes)),
    ]
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{before}</td><td>{after}</td></tr>'
        for name, before, after in rows
        if (before, after) != ("&ndash;", "&ndash;")
    )
    said = f"<p>{escape(tuning.reason)}</p>" if tuning.reason else ""
    return (
        f'{heading}<table class="tuning"><thead><tr><td></td><th scope="col">before</th>'
        f'<th scope="col">after</th></tr></thead><tbody>{body}</tbody></table>{said}'
    )


def _relaxed(relaxation: RelaxDocument) -> str:
    n_sites = relaxation.n_sites or 1
    engine = f" with {escape(relaxation.engine)}" if relaxation.engine else ""
    converged = sum(each is True for each in relaxation.converged)
    parts = [f"<h4>Four relaxations{engine}</h4>"]
    if relaxation.stand_in:
        parts.append(f'<p class="warning">Energies and pressures were {STAND_IN}.</p>')
    parts += [
        steps("energy (eV a cell)", relaxation.energies, ENERGIES, 3, 0.02 * n_sites),
        steps("external pressure (kbar)", relaxation.pressures, PRESSURES, 2, 2.0),
    ]
    said = [f"{relaxation.completed_steps} of {N_STEPS} finished, {converged} converged"]
    last = relaxation.steps[-1] if relaxation.steps else None
    if last is not None and last.volume and relaxation.initial_volume:
        said.append(f"volume {100 * (last.volume / relaxation.initial_volume - 1):+.1f} %")
    if relaxation.reason:
        said.append(relaxation.reason)
    return "".join([*parts, f"<p>{escape('; '.join(said))}.</p>"])


def _why(candidate: CandidateDocument) -> str:
    from crystens_flows.explanation import explain

    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in explain(candidate))
    return f"<details><summary>What each stage found</summary><ul>{items}</ul></details>"


def _download(structure: Structure, formula: str, identifier: str) -> str:
    content: Any = structure.to(fmt="cif")
    encoded = b64encode(str(content).encode()).decode()
    name = "".join(
        c for c in f"{formula}-{identifier}" if c.isascii() and (c.isalnum() or c in "-_")
    )
    return (
        f'<p><a class="download" download="{name}.cif" '
        f'href="data:chemical/x-cif;base64,{encoded}">'
        f"Download {html.formula(formula)} as CIF</a></p>"
    )
