"""An evaluation as a table and as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from crystens_flows.evaluation.evaluation import Evaluation
from crystens_flows.evaluation.figures import Drawn
from crystens_flows.evaluation.metrics import METRICS, SOURCES, Metric, prediction_metrics
from crystens_flows.evaluation.reference import FLOOR
from crystens_flows.report.page import STYLE

_STYLE = """
:root { color-scheme: light; }
th.group { padding-top: 1.2rem; } td small { opacity: .6; }
.results { max-width: 60rem; }
.results td:last-child, .results thead th:last-child { background: var(--soft); }
td { vertical-align: top; }
"""

_SIGNS = {"high": "▲", "low": "▼", "near": "◆"}


def _metrics(evaluation: Evaluation) -> dict[str, Metric]:
    """All metrics of an evaluation by name: those of its hold-outs before the paper's tables."""
    predicted = {
        name: metric
        for hold_out in evaluation.hold_outs
        for name, metric in prediction_metrics(hold_out).items()
    }
    first_of_paper = list(METRICS).index("length_variance")
    own = list(METRICS.items())
    return {**dict(own[:first_of_paper]), **predicted, **dict(own[first_of_paper:])}


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
    for name, metric in _metrics(evaluation).items():
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
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 1000:
        return f"{value:#.3g}".rstrip(".")
    return f"{value:.0f}" if 1000 <= abs(value) < 100_000 else f"{value:.1e}"


def render_page(evaluation: Evaluation, figures: Sequence[Drawn]) -> str:
    """
    Render an evaluation as one HTML page that needs no other file.

    Parameters
    ----------
    evaluation
        What was measured.
    figures
        The figures.

    Returns
    -------
    str
        The page; every value is escaped.
    """
    parts = [
        "<h1>Generators against real crystals</h1>",
        f"<p>{_counts(evaluation)}, against {evaluation.n_reference} crystals of "
        f"{escape(evaluation.reference)} that are not for training. The last column, "
        f"<b>{escape(FLOOR)}</b>, is the same of others of them: what can be had at best, by as "
        "many crystals. Shares are of all samples: what has no structure is not valid, unique or "
        "novel.</p>",
        "<p>▲ more is better, ▼ less is better, ◆ near to real crystals is better. A dash: not "
        "measured, or not to be had of this source. What each row is, stands "
        '<a href="#measured">below</a>.</p>',
        _table(evaluation),
    ]
    for figure in figures:
        svg = figure.path.read_text()
        parts.append(
            f'<h2>{escape(figure.title)}</h2><div class="figure scroll">{svg[svg.index("<svg") :]}'
            f"</div><p>{escape(figure.caption)}</p>"
        )
    parts += ["<h2>Samples without a structure</h2>", _reasons(evaluation)]
    parts += ['<h2 id="measured">What is measured</h2>', _definitions(evaluation)]
    parts += ["<h2>Sources of the definitions</h2>", _plain(("", ""), list(SOURCES.items()))]
    asked = {
        **{
            f"{source.name}: {what}": value
            for source in evaluation.sources
            for what, value in source.origin.items()
        },
        **evaluation.options.model_dump(),
        **evaluation.versions,
    }
    parts += [
        "<h2>To repeat it</h2>",
        _plain(
            ("source, option or package", ""), [(name, str(value)) for name, value in asked.items()]
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crystens: evaluation</title><style>{STYLE}{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _counts(evaluation: Evaluation) -> str:
    """Say how many samples there are of each source; a file may have fewer than were asked for."""
    counts = {source.name: source.n_samples for source in evaluation.sources}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} samples of each"
    return "Samples: " + ", ".join(f"{n} of {escape(name)}" for name, n in counts.items())


def _table(evaluation: Evaluation) -> str:
    names = [source.name for source in evaluation.sources]
    head = "".join(f'<th class="number">{escape(name)}</th>' for name in names)
    by_label = {(each.group, each.label): each for each in _metrics(evaluation).values()}
    body = []
    for group, rows in groupby(table_rows(evaluation), key=lambda row: row["group"]):
        body.append(f'<tr><th class="group" colspan="{len(names) + 1}">{escape(group)}</th></tr>')
        for row in rows:
            metric = by_label[group, row["metric"]]
            cells = "".join(f'<td class="number">{escape(row[name])}</td>' for name in names)
            label = f"{escape(row['metric'])} <small>{_SIGNS[metric.better]}</small>"
            body.append(f'<tr title="{escape(metric.definition)}"><td>{label}</td>{cells}</tr>')
    table = f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return f'<div class="scroll results">{table}</div>'


def _reasons(evaluation: Evaluation) -> str:
    rows = [
        (source.name, reason, str(count))
        for source in evaluation.sources
        for reason, count in source.reasons.items()
    ]
    return _plain(("source", "reason", "samples"), rows) if rows else "<p>None.</p>"


def _definitions(evaluation: Evaluation) -> str:
    metrics = _metrics(evaluation).values()
    rows = [(m.group, m.label, m.definition, m.source or "") for m in metrics]
    return _plain(("", "row", "definition", "source"), rows)


def _plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'
