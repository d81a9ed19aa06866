"""An evaluation as a table and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from crystens_flows.evaluation.evaluation import Evaluation
from crystens_flows.evaluation.metrics import METRICS
from crystens_flows.report.page import STYLE

_STYLE = """
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; background: white; }
th.group { padding-top: 1.2rem; } td small { opacity: .75; }
"""


def table_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """
    Return the table: a row for each metric, a column for each source.

    Parameters
    ----------
    evaluation
        What was measured.

    Returns
    -------
    list of dict
        ``group``, ``metric`` and the shown value by name of the source; metrics that no source has
        are left out.
    """
    rows = []
    for name, metric in METRICS.items():
        values = [source.metrics.get(name) for source in evaluation.sources]
        if all(value is None for value in values):
            continue
        shown = {
            source.name: _shown(value, metric.percent)
            for source, value in zip(evaluation.sources, values, strict=True)
        }
        rows.append({"group": metric.group, "metric": metric.label, **shown})
    return rows


def _shown(value: float | None, percent: bool) -> str:
    if value is None:
        return "-"
    if percent:
        return f"{value:.1%}"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.2e}"


def render_page(evaluation: Evaluation, figures: Mapping[str, Path]) -> str:
    """
    Render an evaluation as one HTML page that needs no other file.

    Parameters
    ----------
    evaluation
        What was measured.
    figures
        SVG files by title.

    Returns
    -------
    str
        The page; every value is escaped.
    """
    names = [source.name for source in evaluation.sources]
    options = evaluation.options
    parts = [
        "<h1>Generators against real crystals</h1>",
        f"<p>{options.n_samples} samples of each, seed {options.seed}, against "
        f"{evaluation.n_reference} held-out crystals of {escape(evaluation.reference)}. The last "
        "column is the same of other held-out crystals: what can be had at best.</p>",
        _table(evaluation, names),
    ]
    for title, path in figures.items():
        svg = path.read_text()
        parts.append(f"<h2>{escape(title)}</h2><figure>{svg[svg.index('<svg') :]}</figure>")
    parts.append("<h2>Samples without a structure</h2>")
    reasons = [
        (source.name, reason, str(count))
        for source in evaluation.sources
        for reason, count in source.reasons.items()
    ]
    parts.append(_plain(("source", "reason", "samples"), reasons) if reasons else "<p>None.</p>")
    parts.append("<h2>What is measured</h2>")
    parts.append(
        _plain(
            ("metric", "definition"),
            [(f"{m.group}: {m.label}", m.definition) for m in METRICS.values()],
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crystens: evaluation</title><style>{STYLE}{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _table(evaluation: Evaluation, names: Sequence[str]) -> str:
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in names)
    body = []
    for group, rows in groupby(table_rows(evaluation), key=lambda row: row["group"]):
        body.append(f'<tr><th class="group" colspan="{len(names) + 1}">{escape(group)}</th></tr>')
        for row in rows:
            cells = "".join(f'<td class="number">{escape(row[name])}</td>' for name in names)
            body.append(f"<tr><td>{escape(row['metric'])}</td>{cells}</tr>")
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
