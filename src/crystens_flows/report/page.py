"""A self-contained HTML page on one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crystens_flows.relaxation import N_STEPS
from crystens_flows.report.cards import card_section, shown_candidates
from crystens_flows.report.figure13 import inline_svg
from crystens_flows.report.funnel import funnel_section, funnel_steps
from crystens_flows.report.html import asset, table
from crystens_flows.report.relaxations import ENERGY_CHANGES, STAND_IN
from crystens_flows.report.samples import Comparison, comparison_section
from crystens_flows.schemas import CandidateDocument
from crystens_flows.schemas.provenance import package_versions

if TYPE_CHECKING:
    from crystens_flows.report.funnel import Step

STYLE = asset("assets/tables.css")
"""Style of pages of tables; that of an evaluation has it too."""

FIGURE_ROWS = 40
"""So many relaxations are drawn in one figure; the table beside it has all."""

NO_NETWORK = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""What browsers hold the page to: they load nothing for it."""


def render_report(
    options: Mapping[str, Any],
    summary: Mapping[str, Any],
    candidates: Sequence[CandidateDocument] = (),
    comparisons: Sequence[Comparison] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """
    Render the report of a run.

    Parameters
    ----------
    options
        What was asked for, by name.
    summary
        A :class:`crystens_flows.discovery_summary.DiscoverySummary` as a dictionary.
    candidates
        Candidates that were selected; the best of them get a card each, with their structure.
    comparisons
        The samples beside real crystals, as :func:`crystens_flows.report.samples.compare` makes
        them.
    files
        What lies beside the page: what it is, by its name.

    Returns
    -------
    str
        One HTML page that needs no other file and no network; every value is escaped.
    """
    steps = funnel_steps(options, summary)
    shown = shown_candidates(candidates)
    relaxed = [_relaxed(summary["best"]), _changes(summary.get("relaxations") or [])]
    sections = {
        "What became of the samples": funnel_section(steps),
        "Candidates": card_section(shown) if shown else "",
        "Relaxed candidates": "".join(relaxed),
        "Samples beside real crystals": comparison_section(comparisons) if comparisons else "",
        "Failed jobs": _failed(summary["failed_jobs"]),
        "To repeat this run": _repeat(options, summary, files or {}),
    }
    sections = {title: content for title, content in sections.items() if content}
    body = "".join(
        f'<section aria-labelledby="{_anchor(title)}"><h2 id="{_anchor(title)}">{title}</h2>'
        f"{content}</section>"
        for title, content in sections.items()
    )
    licences, scripts = (_licences(), _scripts()) if shown else ("", "")
    campaign, style = escape(str(summary["campaign"])), asset("assets/report.css")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{NO_NETWORK}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crystens: {campaign}</title><style>{STYLE}{style}</style></head>"
        f"<body><main><header><h1>Campaign {campaign}</h1>{_numbers(steps)}"
        f"{_contents(sections)}</header>{body}{licences}</main>{scripts}</body></html>\n"
    )


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _contents(titles: Iterable[str]) -> str:
    links = "".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title in titles)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def _numbers(steps: Sequence[Step]) -> str:
    told = ("sampled", "passed all screens", "novel", "selected", "relaxed")
    items = "".join(
        f"<div><dt>{step.name}</dt><dd>{step.count}</dd></div>"
        for step in steps
        if step.name in told
    )
    return f'<dl class="numbers">{items}</dl>'


def _scripts() -> str:
    library, viewer = asset("vendor/3Dmol-min.js"), asset("assets/viewer.js")
    return (
        f'<script type="text/javascript">{library}</script>'
        f'<script type="text/javascript">{viewer}</script>'
    )


def _licences() -> str:
    texts = escape(asset("vendor/3Dmol-LICENSE.txt") + asset("vendor/bundled-LICENSES.txt"))
    return (
        "<footer><details><summary>Licences of the viewer in this page, 3Dmol.js</summary>"
        f"<pre>{texts}</pre></details></footer>"
    )


def _relaxed(best: Sequence[Mapping[str, Any]]) -> str:
    if not best:
        return "<p>None.</p>"
    engines = ", ".join(sorted({str(candidate["engine"]) for candidate in best}))
    header = (
        "candidate",
        "formula",
        "sites",
        "rank",
        "formation energy, predicted, eV/atom",
        "above hull, predicted, eV/atom",
        *(f"E{k}, eV" for k in range(5)),
        *(f"P{k}, kbar" for k in range(1, 5)),
    )
    rows = (
        (
            candidate["candidate_id"],
            candidate["formula"],
            candidate["n_sites"],
            candidate["rank"],
            candidate["formation_energy_per_atom"],
            candidate["energy_above_hull"],
            *candidate["energies"],
            *candidate["pressures"],
        )
        for candidate in best
    )
    explained = (
        f"<p>E0 before and E1 to E4 after each of four successive relaxations with "
        f"{escape(engines)}, eV a cell; P1 to P4 the external pressure after each, kbar.</p>"
    )
    return explained + table(header, rows, "Relaxed candidates")


def _changes(records: Sequence[Mapping[str, Any]]) -> str:
    """Show what relaxations changed, drawn and as a table, failed ones included."""
    if not records:
        return ""
    parts = []
    if any(record["stand_in"] for record in records):
        parts.append(f'<p class="warning">Energies and pressures marked so were {STAND_IN}.</p>')
    drawn = [r for r in records if r["E0"] is not None or r["E4"] is not None][:FIGURE_ROWS]
    if drawn:
        parts.append(
            '<div class="scroll figure" tabindex="0" role="region" '
            f'aria-label="Changes by relaxation, drawn">{inline_svg(drawn)}</div>'
        )
    if len(drawn) == FIGURE_ROWS < len(records):
        parts.append(f"<p>The figure shows the first {FIGURE_ROWS}, the table all.</p>")
    header = (
        *("candidate", "formula", "engine", "E4 - E0, eV/atom"),
        *(f"in step {k}, eV/atom" for k in range(1, N_STEPS + 1)),
        *("volume, %", "space group", "sites moved, A", "converged", "reason"),
    )
    rows = (
        (
            *(record["candidate_id"], record["formula"], record["engine"]),
            _sum([record[name] for name in ENERGY_CHANGES]),
            *(record[name] for name in (*ENERGY_CHANGES, "volume_change", "space_group", "rmsd")),
            *(record["converged"], record["reason"]),
        )
        for record in records
    )
    explained = (
        "<p>What four successive relaxations changed: energies in all and in each, the volume, the "
        "space group within 0.01 A, and the root mean square displacement of the sites.</p>"
    )
    return "".join([*parts, explained, table(header, rows, "Changes by relaxation")])


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _failed(jobs: Mapping[str, str]) -> str:
    return table(("job", "error"), jobs.items(), "Failed jobs") if jobs else ""


def _repeat(
    options: Mapping[str, Any], summary: Mapping[str, Any], files: Mapping[str, str]
) -> str:
    links = "".join(
        f'<li><a href="{escape(quote(name))}">{escape(name)}</a>: {escape(what)}</li>'
        for name, what in files.items()
    )
    return "".join(
        [
            f"<h3>Files beside this page</h3><ul>{links}</ul>" if links else "",
            f"<p>Store: <code>{escape(str(summary['store']))}</code></p>",
            "<h3>Settings</h3>",
            table(("option", "value"), _spread(options), "Settings"),
            "<h3>Versions</h3>",
            table(("package", "version"), package_versions().items(), "Versions"),
        ]
    )


def _spread(options: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Give options within options a row each, under dotted names."""
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _spread(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", str(shown)
