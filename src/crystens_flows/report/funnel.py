"""How many candidates came as far as each step of a run, and why the others did not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

REASONS_SHOWN = 3
"""So many reasons of a step are shown at once; the others open."""

_NAMES = {
    "validity": "valid",
    "novelty": "passed novelty",
    "cgcnn": "passed CGCNN",
    "m3gnet": "passed M3GNet",
    "chgnet": "passed CHGNet",
    "sevennet": "passed SevenNet",
    "hull": "passed the hull",
}


@dataclass(frozen=True)
class Step:
    """
    One step of the funnel.

    Parameters
    ----------
    name
        What those are that came as far.
    count
        How many they are.
    fallen
        How many fell since the step before, by kind of reason.
    """

    name: str
    count: int
    fallen: Mapping[str, int] = field(default_factory=dict)


def funnel_steps(options: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Step]:
    """
    Return the steps of a run, from what was asked for to what was relaxed.

    Parameters
    ----------
    options
        What was asked for, by name: which screens there were.
    summary
        A :class:`crystens_flows.discovery_summary.DiscoverySummary` as a dictionary.

    Returns
    -------
    list of Step
        In the order in which candidates come to them.
    """
    funnel, rejected = summary["funnel"], summary["rejected"]
    steps = [Step("asked for", summary["n_samples"])]
    if "sampled" in funnel:
        steps.append(Step("sampled", funnel["sampled"], _lost("not sampled", steps, funnel)))
    if "decoded" in funnel:
        steps.append(Step("decoded", funnel["decoded"], rejected.get("decode", {})))
    for name in _screens(options, rejected):
        fallen = rejected.get(name, {})
        left = max(0, steps[-1].count - sum(fallen.values()))
        steps.append(Step(_NAMES.get(name, f"passed {name}"), left, fallen))
    steps += _selection(options, summary, steps[-1].count)
    if "relaxed" in funnel:
        fallen = rejected.get("relax", {})
        waiting = steps[-1].count - sum(fallen.values()) - funnel["relaxed"]
        if waiting > 0 and "selected" in funnel:
            fallen = {**fallen, "not relaxed": waiting}
        steps.append(Step("relaxed", funnel["relaxed"], fallen))
    return steps


def _lost(reason: str, steps: list[Step], funnel: Mapping[str, int]) -> dict[str, int]:
    lost = steps[-1].count - funnel["sampled"]
    return {reason: lost} if lost > 0 else {}


def _screens(options: Mapping[str, Any], rejected: Mapping[str, Any]) -> list[str]:
    """Return the screens in the order they are asked, those that the options do not name last."""
    screening = options.get("screening") or {}
    known = ["novelty"] if screening.get("reject_known") else []
    names = ["validity", *known, *screening.get("models", []), "hull"] if screening else []
    own = [name for name in rejected if name not in (*names, "decode", "select", "relax")]
    return [*names, *own]


def _selection(
    options: Mapping[str, Any], summary: Mapping[str, Any], before: int
) -> Iterator[Step]:
    funnel, reasons = summary["funnel"], summary["rejected"].get("select", {})
    if "screened" in funnel:
        missing = before - funnel["screened"]
        fallen = {"not screened": missing} if missing > 0 else {}
        yield Step("passed all screens", funnel["screened"], fallen)
        before = funnel["screened"]
    duplicates = {k: n for k, n in reasons.items() if k.startswith("duplicate")}
    filtered = {k: n for k, n in reasons.items() if k not in duplicates}
    if filtered:
        before -= sum(filtered.values())
        yield Step("within the limits", before, filtered)
    if "unique" in funnel:
        yield Step("unique", funnel["unique"], duplicates)
        before = funnel["unique"]
    novel = summary.get("n_novel")
    if novel is not None and (options.get("screening") or {}).get("known") is not None:
        known = before - novel
        yield Step("novel", novel, {"known crystals, marked and kept": known} if known else {})
    if "selected" in funnel:
        below = before - funnel["selected"]
        fallen = {"ranked below the selected": below} if below > 0 else {}
        yield Step("selected", funnel["selected"], fallen)


def funnel_section(steps: list[Step]) -> str:
    """
    Write the funnel as a table with a bar in each row.

    Parameters
    ----------
    steps
        As :func:`funnel_steps` returns them.

    Returns
    -------
    str
        HTML.
    """
    most = max(1, *(step.count for step in steps))
    rows = "".join(
        f'<tr><th scope="row"><div class="step"><span>{escape(step.name)}</span>'
        f'<div><div class="bar" style="width:{100 * step.count / most:.1f}%"></div></div></div>'
        f'</th><td class="number">{step.count}</td><td>{_reasons(step.fallen)}</td></tr>'
        for step in steps
    )
    return (
        '<table class="funnel"><thead><tr><th scope="col">came as far as</th>'
        '<th scope="col" class="number">count</th><th scope="col">fallen before, and why</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _reasons(fallen: Mapping[str, int]) -> str:
    ordered = sorted(fallen.items(), key=lambda item: (-item[1], item[0]))
    items = [f"<li>{count} {escape(reason)}</li>" for reason, count in ordered]
    shown, more = items[:REASONS_SHOWN], items[REASONS_SHOWN:]
    if not shown:
        return ""
    rest = f"<details><summary>{len(more)} more</summary><ul>{''.join(more)}</ul></details>"
    return f"<ul>{''.join(shown)}</ul>{rest if more else ''}"
