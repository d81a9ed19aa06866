"""The paper's figure 13 as a plot: energies and pressures before and after four relaxations."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crystens_flows.errors import InputError, OutputFolderError
from crystens_flows.report.relaxations import STAND_IN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")

# Okabe and Ito's blue and vermilion, told apart by all kinds of colour vision; the markers differ
# too, for print without colours.
_BEFORE: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "color": "#0072B2",
    "markerfacecolor": "white",
}
_AFTER: dict[str, Any] = {"marker": "D", "markersize": 5.5, "color": "#D55E00"}
_JOIN: dict[str, Any] = {"color": "#999999", "linewidth": 1.4, "zorder": 1}
_WARN = "#B22222"

_NUMBER: dict[str, Any] = {"va": "center", "ha": "right", "fontsize": 9, "color": "#333333"}

# in inches, so that one candidate and forty look the same
_ROW, _PANEL, _BETWEEN, _RIGHT, _CHARACTER = 0.30, 3.4, 1.0, 0.3, 0.088

_LINEAR_UP_TO = 10.0
"""Pressures beyond this, kbar, are drawn on an axis that is logarithmic above 1 kbar."""

_RC: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "crystens",
    "pdf.fonttype": 42,
}


def save_figure(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """
    Draw energies and pressures of relaxed candidates to a file.

    Parameters
    ----------
    records
        As :func:`crystens_flows.report.relaxations.relaxation_record` makes them.
    path
        The file, with the ending of one of :data:`FORMATS`; an earlier one is replaced.

    Raises
    ------
    InputError
        If the ending is of another kind, or no record has an energy.
    OutputFolderError
        If the file cannot be written.
    """
    kind = check_format(path)
    content = _rendered(records, kind)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as exc:
        raise OutputFolderError(
            f"cannot write {path}: {exc.strerror or exc}: give another file"
        ) from exc


def check_format(path: Path) -> str:
    """
    Return the format that a file's ending asks for.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        One of :data:`FORMATS`.

    Raises
    ------
    InputError
        If it is none of them.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: a plot ends in .{', .'.join(FORMATS)}")
    return kind


def inline_svg(records: Sequence[Mapping[str, Any]]) -> str:
    """
    Draw energies and pressures of relaxed candidates for an HTML page.

    Parameters
    ----------
    records
        As :func:`crystens_flows.report.relaxations.relaxation_record` makes them.

    Returns
    -------
    str
        An ``svg`` element that names no other file.

    Raises
    ------
    InputError
        If no record has an energy.
    """
    text = _rendered(records, "svg").decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    label = "Energies and pressures before and after four relaxations"
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _rendered(records: Sequence[Mapping[str, Any]], kind: str) -> bytes:
    from matplotlib import rc_context

    shown = [record for record in records if record["E0"] is not None or record["E4"] is not None]
    if not shown:
        raise InputError(
            "no candidate has energies of a relaxation: there is nothing to plot, relax some first"
        )
    buffer = io.BytesIO()
    # without the date the same records give the same file
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[kind]
    with rc_context(_RC):
        figure = _drawn(shown)
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()


def _drawn(records: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.figure import Figure

    n = len(records)
    stand_in = any(record["stand_in"] for record in records)
    labels = _labels(records)
    left = 0.35 + _CHARACTER * max(map(len, labels))
    top, bottom = 0.5 + 0.3 * stand_in, 0.6
    width = left + 2 * _PANEL + _BETWEEN + _RIGHT
    height = top + bottom + _ROW * n
    figure = Figure(figsize=(width, height), facecolor="white")
    places = (left / width, (left + _PANEL + _BETWEEN) / width)
    energy, pressure = (
        figure.add_axes((place, bottom / height, _PANEL / width, _ROW * n / height))
        for place in places
    )
    _rows(energy, n)
    _rows(pressure, n)
    energy.set_yticks(range(n), labels)
    pressure.set_yticks([])
    _energies(energy, records)
    _pressures(pressure, records)
    _legend(energy, "E0, before", "E4, after four")
    _legend(pressure, "P1, after the first", "P4, after the fourth")
    if stand_in:
        every = all(record["stand_in"] for record in records)
        figure.text(
            0.5,
            1 - 0.1 / height,
            f"{'' if every else 'those marked (stand-in) were '}{STAND_IN}",
            ha="center",
            va="top",
            color=_WARN,
            weight="bold",
        )
    return figure


def _labels(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name each candidate by its formula, and by its identifier where that is not enough."""
    formulas = Counter(record["formula"] for record in records)
    some_stand_in = len({record["stand_in"] for record in records}) > 1
    labels = []
    for record in records:
        text = _subscripts(str(record["formula"] or "?"))
        if formulas[record["formula"]] > 1 and record["candidate_id"]:
            text += f" {record['candidate_id'][:8]}"
        if some_stand_in and record["stand_in"]:
            text += " (stand-in)"
        labels.append(text)
    return labels


def _subscripts(formula: str) -> str:
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _rows(axes: Axes, n: int) -> None:
    axes.set_ylim(n - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for row in range(0, n, 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f7f7f7", zorder=0, linewidth=0)


def _energies(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    free = all(str(record["engine"]).startswith(("VASP", "GPAW")) for record in records)
    axes.set_xlabel(f"{'free energy' if free else 'energy'} (eV/atom)")
    for row, record in enumerate(records):
        n = record["n_sites"] or 1
        before, after = (
            None if record[name] is None else record[name] / n for name in ("E0", "E4")
        )
        _pair(axes, row, before, after)
        change = "\N{EN DASH}"
        if before is not None and after is not None:
            change = f"{1000 * (after - before):+.1f}".replace("-", "\N{MINUS SIGN}")
        # right of the panel, for most changes are too small to be seen in it
        axes.text(1.2, row, change, transform=axes.get_yaxis_transform(), **_NUMBER)
    axes.text(
        *(1.2, -0.55, "E4 \N{MINUS SIGN} E0\nmeV/atom"),
        transform=axes.get_yaxis_transform(),
        **{**_NUMBER, "va": "bottom"},
    )
    axes.margins(x=0.08)
    low, high = axes.get_xlim()
    if high - low < 0.1:  # a range of rounding errors would magnify them
        middle = (low + high) / 2
        axes.set_xlim(middle - 0.05, middle + 0.05)
    axes.locator_params(axis="x", nbins=5)


def _pressures(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    axes.set_xlabel("external pressure (kbar)")
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0.5)
    known = [0.0]
    for row, record in enumerate(records):
        pair = (record["P1"], record["P4"])
        _pair(axes, row, *pair)
        known += [value for value in pair if value is not None]
    low, high = min(known), max(known)
    if max(-low, high) <= _LINEAR_UP_TO:
        room = max(0.1 * (high - low), 0.2)
        axes.set_xlim(min(low - room, -1.0), max(high + room, 1.0))
        axes.locator_params(axis="x", nbins=5)
        return
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("symlog", linthresh=1.0, linscale=0.6)
    low = -2.0 * max(-low, 0.7) if low < 0 else -1.0
    high = 2.0 * max(high, 0.7) if high > 0 else 1.0
    axes.set_xlim(low, high)
    decades = [10.0**k for k in range(8)]
    ticks = [*(-each for each in reversed(decades)), 0.0, *decades]
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0f}".replace("-", "\N{MINUS SIGN}"))
    )


def _pair(axes: Axes, row: int, before: float | None, after: float | None) -> None:
    if before is not None and after is not None:
        axes.plot([before, after], [row, row], **_JOIN)
    for value, style in ((before, _BEFORE), (after, _AFTER)):
        if value is not None:
            axes.plot([value], [row], linestyle="none", zorder=3, **style)


def _legend(axes: Axes, before: str, after: str) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", label=label, **style)
        for label, style in ((before, _BEFORE), (after, _AFTER))
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.03, 1.0),
        ncols=2,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
        borderaxespad=0.2,
    )
