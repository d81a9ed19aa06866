"""Small plots as SVG that take their colours from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from crystens_flows.report.html import text

_WIDTH, _HEIGHT = 260, 120
_LEFT, _RIGHT, _TOP, _BOTTOM = 10, 10, 24, 22

_LONG = 8
"""Numbers of so many characters are written smaller, for they would touch each other."""


def steps(
    title: str, values: Sequence[float | None], names: Sequence[str], decimals: int, room: float
) -> str:
    """
    Draw a value after each of some steps, each with its number.

    Parameters
    ----------
    title
        What is drawn, with the unit.
    values
        The values; None for a step without one.
    names
        What stands under each.
    decimals
        Decimals of the numbers.
    room
        The range that is shown at least, so that rounding errors do not look like changes.

    Returns
    -------
    str
        An ``svg`` element; its label says the numbers.
    """
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    low, high = min(low, (low + high - room) / 2), max(high, (low + high + room) / 2)
    inside = _HEIGHT - _TOP - _BOTTOM
    between = (_WIDTH - _LEFT - _RIGHT) / len(values)
    points = [
        (_LEFT + (k + 0.5) * between, _TOP + 14 + (inside - 20) * (high - value) / (high - low))
        for k, value in enumerate(values)
        if value is not None
    ]
    shown = [f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in known]
    said = "; ".join(
        f"{name} {'none' if value is None else f'{value:.{decimals}f}'}"
        for name, value in zip(names, values, strict=True)
    )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    size = "value small" if max(map(len, shown)) >= _LONG else "value"
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        f'<text class="{size}" x="{x:.1f}" y="{y - 7:.1f}">{number}</text>'
        for (x, y), number in zip(points, shown, strict=True)
    )
    below = "".join(
        f'<text x="{_LEFT + (k + 0.5) * between:.1f}" y="{_HEIGHT - 6}">{escape(name)}</text>'
        for k, name in enumerate(names)
    )
    return (
        f'<svg class="steps" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title}: {said}")}">'
        f'<text class="title" x="{_LEFT}" y="12">{escape(title)}</text>'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_HEIGHT - _BOTTOM + 2}" '
        f'y2="{_HEIGHT - _BOTTOM + 2}"/><polyline points="{line}"/>{dots}{below}</svg>'
    )


def histograms(
    title: str,
    ends: tuple[float, float],
    samples: Sequence[float],
    reference: Sequence[float],
) -> str:
    """
    Draw the histogram of samples as bars before that of a reference as a line.

    Parameters
    ----------
    title
        What is drawn, with the unit.
    ends
        What stands under the first bin and the last.
    samples, reference
        The share of each bin, 0 to 1.

    Returns
    -------
    str
        An ``svg`` element.
    """
    highest = max([*samples, *reference, 1e-9])
    first, last = (text(f"{end:.3g}") for end in ends)
    floor, inside = _HEIGHT - _BOTTOM + 2, _HEIGHT - _TOP - _BOTTOM + 2
    between = (_WIDTH - _LEFT - _RIGHT) / len(samples)
    bars = "".join(
        f'<rect x="{_LEFT + k * between + 0.5:.1f}" y="{floor - inside * share / highest:.1f}" '
        f'width="{between - 1:.1f}" height="{inside * share / highest:.1f}"/>'
        for k, share in enumerate(samples)
        if share
    )
    outline = [f"{_LEFT},{floor}"]
    for k, share in enumerate(reference):
        y = floor - inside * share / highest
        outline += [f"{_LEFT + (k + step) * between:.1f},{y:.1f}" for step in (0, 1)]
    outline.append(f"{_WIDTH - _RIGHT},{floor}")
    return (
        f'<svg class="histogram" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(f"Histograms of samples and real crystals: {title}")}">'
        f'<text class="title" x="{_LEFT}" y="12">{escape(title)}</text>{bars}'
        f'<polyline points="{" ".join(outline)}"/>'
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>'
        f'<text class="from" x="{_LEFT}" y="{_HEIGHT - 6}">{first}</text>'
        f'<text class="to" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}">{last}</text></svg>'
    )
