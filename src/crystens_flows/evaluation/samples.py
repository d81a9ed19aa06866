"""What is evaluated: samples of a generator, or structures from anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pymatgen.core import Structure

from crystens_flows.datasets.rows import read_rows
from crystens_flows.representation import decode, encode
from crystens_flows.representation.consistency import Consistency

if TYPE_CHECKING:
    from crystens_flows.generators.base import Generator

CHUNK = 128
"""Tensors that are in memory at once."""


@dataclass(frozen=True)
class Sample:
    """
    One sample.

    Parameters
    ----------
    structure
        The structure; None where there is none.
    reason
        Why there is none.
    space_group
        Number of the space group that the sample states; None where it states none.
    consistency
        How well the entries of its CrysTens agree; None for what was no CrysTens.
    """

    structure: Structure | None
    reason: str | None = None
    space_group: int | None = None
    consistency: Consistency | None = None


@dataclass
class SampleSource:
    """
    Samples under a name, made or read when they are asked for.

    Parameters
    ----------
    name
        What the column of the table is called.
    samples
        Yields lists of samples.
    seconds
        Seconds spent in the generator itself, decoding not counted; None for what was read.
    generator
        The generator, where there is one.
    origin
        What it is read or sampled from, for whoever repeats it.
    """

    name: str
    samples: Iterator[list[Sample]]
    seconds: float | None = None
    generator: Generator | None = field(default=None, repr=False)
    origin: dict[str, str] = field(default_factory=dict)


def from_generator(generator: Generator, name: str, n_samples: int, seed: int) -> SampleSource:
    """
    Sample a generator, some tensors at a time, and decode.

    Parameters
    ----------
    generator
        The generator.
    name
        What it is called.
    n_samples
        How many samples.
    seed
        Seed of the sampling.

    Returns
    -------
    SampleSource
        Yields the decoded samples.
    """
    origin = {"generator": generator.kind, "sha256": generator.sha256}
    source = SampleSource(name, iter(()), 0.0, generator, origin)

    def chunks() -> Iterator[list[Sample]]:
        for start in range(0, n_samples, CHUNK):
            began = time.perf_counter()
            tensors = generator.sample(min(CHUNK, n_samples - start), seed, start)
            source.seconds = (source.seconds or 0.0) + time.perf_counter() - began
            yield [
                Sample(each.structure, each.reason, each.space_group, each.consistency)
                for each in decode(tensors)
            ]

    source.samples = chunks()
    return source


def from_structures(structures: Sequence[Structure], name: str) -> SampleSource:
    """
    Take structures that are in memory.

    Parameters
    ----------
    structures
        The structures.
    name
        What they are called.

    Returns
    -------
    SampleSource
        Yields them as samples.
    """
    return SampleSource(name, iter([[Sample(structure) for structure in structures]]))


def from_real(structures: Sequence[Structure], name: str) -> SampleSource:
    """
    Take real crystals that are in memory, and what their CrysTens say of themselves.

    Parameters
    ----------
    structures
        The crystals, each as it is: no copy decoded from its CrysTens.
    name
        What they are called.

    Returns
    -------
    SampleSource
        Yields them as samples, some at a time.

    Raises
    ------
    InputError
        If one has more sites than a CrysTens.
    """

    def chunks() -> Iterator[list[Sample]]:
        for start in range(0, len(structures), CHUNK):
            chunk = structures[start : start + CHUNK]
            yield [
                Sample(structure, None, decoded.space_group, decoded.consistency)
                for structure, decoded in zip(chunk, decode(encode(chunk)), strict=True)
            ]

    return SampleSource(name, chunks())


def from_files(source: str | Path, name: str, limit: int) -> SampleSource:
    """
    Read structures of any generator: a folder, CSV or other file of structures.

    Parameters
    ----------
    source
        What :func:`crystens_flows.datasets.read_rows` reads.
    name
        What they are called.
    limit
        How many to read.

    Returns
    -------
    SampleSource
        Yields the samples; an entry that cannot be read is one without a structure.

    Raises
    ------
    DatasetError
        If the source does not exist or is of an unknown kind.
    """
    rows = read_rows([source])

    def chunks() -> Iterator[list[Sample]]:
        chunk: list[Sample] = []
        for row, _ in zip(rows, range(limit), strict=False):
            chunk.append(Sample(row.structure, row.reason))
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    return SampleSource(name, chunks(), origin={"structures": str(source)})
