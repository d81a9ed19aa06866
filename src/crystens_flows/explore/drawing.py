"""Hull diagrams of two and three elements as SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from urllib.parse import quote

from crystens_flows.explore.hull import HullDiagram, Phase

NEAR = 0.1
"""Candidates at most so far above the hull, eV/atom, are drawn as near it."""

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 24, 56
_SIDE = 440
_MARGIN = 60
_HEAD_ROOM = 0.15

Place = Callable[[Phase], tuple[float, float]]


def draw_hull(diagram: HullDiagram, candidate_url: str) -> str:
    """
    Draw a hull.

    Parameters
    ----------
    diagram
        The hull of two or three elements.
    candidate_url
        What stands before the candidate_id in the address of a candidate's page.

    Returns
    -------
    str
        An ``svg`` element; empty for another number of elements.
    """
    drawings = {2: _binary, 3: _ternary}
    draw = drawings.get(len(diagram.elements))
    return "" if draw is None else draw(diagram, candidate_url)


def _binary(diagram: HullDiagram, url: str) -> str:
    energies = [each.energy for each in (*diagram.phases, *diagram.candidates)]
    low, high = min(energies), max(0.0, *energies)
    room = _HEAD_ROOM * (high - low or 1.0)
    low, high = low - room, high + room

    def height(energy: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - energy) / (high - low)

    def place(phase: Phase) -> tuple[float, float]:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * phase.fractions[1], height(phase.energy)

    floor, middle = _HEIGHT - _BOTTOM, (_TOP + _HEIGHT - _BOTTOM) / 2
    first, second = diagram.elements
    parts = [
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height(0):.1f}" '
        f'y2="{height(0):.1f}"/>',
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{floor}"/>',
        *(
            f'<text class="tick" x="{_LEFT - 8}" y="{height(value) + 4:.1f}">'
            f"{_signed(value)}</text>"
            for value in _ticks(low, high)
        ),
        *(
            f'<text x="{_LEFT + (_WIDTH - _LEFT - _RIGHT) * share:.1f}" y="{floor + 20}">'
            f"{share:g}</text>"
            for share in (0, 0.25, 0.5, 0.75, 1)
        ),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}">share of {second} in '
        f"{first}-{second}</text>",
        f'<text transform="translate(14 {middle}) rotate(-90)">formation energy (eV/atom)</text>',
    ]
    return _svg(diagram, parts, place, url, (_WIDTH, _HEIGHT))


def _ternary(diagram: HullDiagram, url: str) -> str:
    tall = _SIDE * 3**0.5 / 2
    corners = (
        (float(_MARGIN), _MARGIN + tall),
        (float(_MARGIN + _SIDE), _MARGIN + tall),
        (_MARGIN + _SIDE / 2, float(_MARGIN)),
    )

    def place(phase: Phase) -> tuple[float, float]:
        parts = list(zip(phase.fractions, corners, strict=True))
        return sum(share * x for share, (x, _) in parts), sum(share * y for share, (_, y) in parts)

    below = (22, 22, -14)
    parts = [
        f'<text class="corner" x="{x:.1f}" y="{y + shift:.1f}">{element}</text>'
        for (x, y), shift, element in zip(corners, below, diagram.elements, strict=True)
    ]
    return _svg(diagram, parts, place, url, (_SIDE + 2 * _MARGIN, tall + 2 * _MARGIN - 10))


def _svg(
    diagram: HullDiagram, parts: Sequence[str], place: Place, url: str, size: tuple[float, float]
) -> str:
    edges = []
    for i, j in diagram.edges:
        (x1, y1), (x2, y2) = place(diagram.phases[i]), place(diagram.phases[j])
        edges.append(
            f'<line class="edge" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )
    known = []
    for phase in diagram.phases:
        x, y = place(phase)
        source = f" ({phase.identifier})" if phase.identifier else ""
        title = escape(f"{phase.name}{source}, {phase.energy:.3f} eV/atom, on the hull")
        known.append(
            f'<circle class="known" cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{title}</title></circle>'
        )
        if phase.identifier:
            label = f"{y + (-10 if len(diagram.elements) == 3 else 18):.1f}"
            known.append(f'<text class="name" x="{x:.1f}" y="{label}">{escape(phase.name)}</text>')
    # the lowest are drawn last, before the others
    found = [_candidate(each, place(each), url) for each in reversed(diagram.candidates)]
    said = (
        f"Hull of {'-'.join(diagram.elements)}: {len(diagram.phases)} phases on it, "
        f"{len(diagram.candidates)} candidates; the tables below say the same"
    )
    return (
        f'<svg class="hull" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="group" '
        f'aria-label="{escape(said)}">{"".join([*parts, *edges, *found, *known])}</svg>'
    )


def _candidate(phase: Phase, at: tuple[float, float], url: str) -> str:
    x, y = at
    above = phase.above_hull
    kind = "unknown" if above is None else "below" if above < 0 else "near" if above <= NEAR else ""
    said = "not known" if above is None else f"{above:.3f} eV/atom"
    name = escape(f"{phase.name} {phase.identifier}, above hull {said}")
    return (
        f'<a href="{escape(url + quote(phase.identifier, safe=""))}" aria-label="{name}">'
        f'<circle class="candidate {kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
        f"<title>{name}</title></circle></a>"
    )


def _ticks(low: float, high: float) -> list[float]:
    steps = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    step = next((each for each in steps if (high - low) / each <= 7), high - low)
    first = int(low / step) - 1
    values = [step * k for k in range(first, first + 20)]
    return [value for value in values if low <= value <= high]


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "\N{MINUS SIGN}")
