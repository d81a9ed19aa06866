"""What is kept of the samples of a source while they pass by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pymatgen.core import Structure

from crystens_flows.evaluation.distributions import Distributions
from crystens_flows.evaluation.samples import SampleSource

Progress = Callable[[str], None]


@dataclass
class Collected:
    """
    What is kept of the samples: structures and numbers, no tensors.

    Parameters
    ----------
    structures
        Of the samples that have one.
    places
        Which of the samples they are of, from 0.
    space_groups
        The numbers that these samples state, None where one states none.
    distributions
        Of these structures.
    consistency
        Values of tables 1 and 2 by name, one for each sample that has one.
    reasons
        Samples without a structure, by kind of reason.
    n_samples
        How many samples came.
    """

    structures: list[Structure] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    space_groups: list[int | None] = field(default_factory=list)
    distributions: Distributions = field(default_factory=Distributions)
    consistency: dict[str, list[float]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    n_samples: int = 0


def collect(source: SampleSource, say: Progress) -> Collected:
    """
    Take the samples of a source, some at a time.

    Parameters
    ----------
    source
        The source; it is used up.
    say
        Called with how many there are so far.

    Returns
    -------
    Collected
        What is kept of them.
    """
    kept = Collected()
    for chunk in source.samples:
        for sample in chunk:
            kept.n_samples += 1
            if sample.consistency is not None:
                for name, value in sample.consistency.as_dict().items():
                    if value is not None:
                        kept.consistency.setdefault(name, []).append(value)
            if sample.structure is None:
                kind = (sample.reason or "no structure").split(":")[0]
                kept.reasons[kind] = kept.reasons.get(kind, 0) + 1
                continue
            kept.structures.append(sample.structure)
            kept.places.append(kept.n_samples - 1)
            kept.space_groups.append(sample.space_group)
            kept.distributions.add(sample.structure, sample.space_group)
        say(f"{source.name}: {kept.n_samples} samples")
    return kept
