"""A self-contained HTML page on one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from crystens_flows.relaxation import N_STEPS
from crystens_flows.report.figure13 import inline_svg
from crystens_flows.report.relaxations import ENERGY_CHANGES, STAND_IN

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; }
td:first-child { white-space: nowrap; }
.scroll { overflow-x: auto; }
.funnel td:nth-child(3) { width: 55%; }
.bar { background: var(--bar); height: 1rem; border-radius: 3px; min-width: 2px; }
code { background: var(--soft); padding: .1rem .3rem; border-radius: 3px; overflow-wrap: anywhere; }
.figure { background: #fff; border-radius: 6px; margin: 1rem 0; }
.figure svg { display: block; height: auto; margin: auto; max-width: 100%; min-width: 36rem; }
.warning { border-left: .3rem solid #b22222; font-weight: 600; padding-left: .6rem; }
"""


def render_report(options: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """
    Render the report of a run.

    Parameters
    ----------
    options
        What was asked for, by name.
    summary
        A :class:`crystens_flows.discovery_summary.DiscoverySummary` as a dictionary.

    Returns
    -------
    str
        One HTML page that needs no other file and no network; every value is escaped.
    """
    parts = [
        f"<h1>Campaign {escape(str(summary['campaign']))}</h1>",
        "<h2>What became of the samples</h2>",
        _funnel(summary),
        "<h2>Relaxed candidates</h2>",
        _relaxed(summary["best"]),
        _changes(summary.get("relaxations") or []),
        "<h2>Rejected, and why</h2>",
        _rejected(summary["rejected"]),
    ]
    if summary["failed_jobs"]:
        parts += ["<h2>Failed jobs</h2>", _table(("job", "error"), summary["failed_jobs"].items())]
    parts += ["<h2>To repeat this run</h2>", _table(("option", "value"), _spread(options))]
    parts.append(f"<p>Store: <code>{escape(str(summary['store']))}</code></p>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crystens: {escape(str(summary['campaign']))}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _spread(options: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Give options within options a row each, under dotted names."""
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _spread(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            yield f"{prefix}{name}", str(shown)


def _funnel(summary: Mapping[str, Any]) -> str:
    steps = {"asked for": summary["n_samples"], **summary["funnel"]}
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{count}</td><td><div class="bar" '
        f'style="width:{100 * count / max(1, summary["n_samples"]):.1f}%"></div></td></tr>'
        for name, count in steps.items()
    )
    return f'<table class="funnel">{rows}</table>'


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
    return explained + _table(header, rows)


def _changes(records: Sequence[Mapping[str, Any]]) -> str:
    """Show what relaxations changed, drawn and as a table, failed ones included."""
    if not records:
        return ""
    parts = []
    if any(record["stand_in"] for record in records):
        parts.append(f'<p class="warning">Energies and pressures marked so were {STAND_IN}.</p>')
    if any(record["E0"] is not None for record in records):
        parts.append(f'<div class="scroll figure">{inline_svg(records)}</div>')
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
    return "".join([*parts, explained, _table(header, rows)])


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _rejected(rejected: Mapping[str, Mapping[str, int]]) -> str:
    rows = [
        (stage, reason, count)
        for stage, reasons in rejected.items()
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    return _table(("stage", "reason", "candidates"), rows) if rows else "<p>None.</p>"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    rows = list(rows)
    numeric = [
        bool(rows) and all(isinstance(row[k], int | float | None) for row in rows)
        for k in range(len(header))
    ]
    head = "".join(
        f'<th class="number">{escape(name)}</th>' if number else f"<th>{escape(name)}</th>"
        for name, number in zip(header, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, numeric))}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _cell(value: Any, number: bool) -> str:
    if value is None:
        return "<td>&ndash;</td>"
    text = f"{value:.3f}" if isinstance(value, float) else escape(str(value))
    return f'<td class="number">{text}</td>' if number else f"<td>{text}</td>"
