"""Formation energies by M3GNet, for many structures in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure

from crystens_flows.errors import CheckpointError, import_extra
from crystens_flows.screening.m3gnet.folder import (
    Target,
    file_digests,
    model_folder,
    read_network,
)
from crystens_flows.screening.m3gnet.uncertainty import Uncertainty
from crystens_flows.screening.validity import structural_validity

if TYPE_CHECKING:
    from crystens_flows.screening.m3gnet.network import Graph

DECIMALS = 5
"""Values are rounded to these decimals of an eV/atom: float32 sums differ a little below them."""

BATCH_PAIRS = 5000
"""Pairs of neighbours in one pass through the network, which then fit a processor's cache."""

MAX_PAIRS = 300_000
"""Structures with more pairs of neighbours, about 500 MB in the network, are not predicted."""

CHUNK = 64
"""Structures that a thread takes at a time."""


@dataclass(frozen=True)
class M3GNetPrediction:
    """
    The formation energy of one structure, or why there is none.

    Parameters
    ----------
    formation_energy_per_atom
        In eV/atom; None where the model cannot be asked.
    uncertainty
        Standard deviation of the error to be expected, eV/atom; None where there is no energy, or
        the model has no estimate.
    reason
        Why there is no energy; None where there is one.
    """

    formation_energy_per_atom: float | None = None
    uncertainty: float | None = None
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """
    What a network says of one structure.

    Parameters
    ----------
    energy
        Formation energy in eV/atom, not rounded; None where the network cannot be asked.
    features
        What enters its last layer, shape ``(features,)``; None for models not of this package.
    reason
        Why there is no energy.
    """

    energy: float | None = None
    features: NDArray[np.float32] | None = None
    reason: str | None = None


def load_m3gnet(model: str | Path = "default") -> M3GNetModel:
    """
    Load an M3GNet, or another model of matgl's.

    Parameters
    ----------
    model
        "default" for the model that ships; the folder of one that
        :func:`crystens_flows.screening.m3gnet.training.train_m3gnet` made or matgl saved; or the
        name of one that matgl publishes, which is fetched. The output of a model that is not of
        this package is taken as the formation energy in eV/atom.

    Returns
    -------
    M3GNetModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        If there is no such model, or a file of it is missing or damaged.
    MissingExtraError
        If matgl is not installed.
    """
    folder = model_folder(model)
    return _loaded(str(model), folder, tuple(file_digests(folder).items()))


@lru_cache(maxsize=2)
def _loaded(name: str, folder: Path, _: tuple[tuple[str, str], ...]) -> M3GNetModel:
    """Keep models, which take half a second to build, as long as their files do not change."""
    return M3GNetModel(name, folder, read_network(folder), Target.read(folder))


class M3GNetModel:
    """
    A model of the formation energy; see :func:`load_m3gnet`.

    Parameters
    ----------
    name
        What it was loaded by.
    folder
        Where it is from.
    network
        matgl's model.
    target
        What the network learned; None for a model that was not trained by this package.

    Raises
    ------
    CheckpointError
        If the network is of another form than this package trains, or says no elements.
    """

    def __init__(self, name: str, folder: Path, network: Any, target: Target | None) -> None:
        self.name = name
        self.folder = folder
        self.target = target
        self.elements = _elements(network, folder)
        self.uncertainty: Uncertainty | None = None
        if target is None:
            self._network = network
            return
        from crystens_flows.screening.m3gnet.network import Evaluator

        try:
            self._evaluator = Evaluator(network)
        except (AttributeError, TypeError, ValueError) as exc:
            raise CheckpointError(
                f"{folder} holds a network of another form than 'crystens train-m3gnet' makes "
                f"({exc}): train anew"
            ) from exc
        self.elements &= set(target.references.to_dict())
        self.uncertainty = Uncertainty.read(folder)
        self._cutoff = float(network.cutoff)

    def predict(
        self,
        structures: Sequence[Structure],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[M3GNetPrediction]:
        """
        Predict formation energies.

        The network is evaluated in float32, on as many threads as torch is set to use, and the
        energy rounded to 1e-5 eV/atom; with other structures beside it, it is the same within
        1e-4 eV/atom.

        Parameters
        ----------
        structures
            The structures, of any number of sites.
        progress
            Called with the structures done and the structures in all.

        Returns
        -------
        list of M3GNetPrediction
            One for each structure. Structures that are not valid, hold elements that the training
            structures lack, or have a site without a neighbour, or too many neighbours, within the
            cutoff, have a reason instead of an energy.
        """
        found = self.evaluate(structures, progress)
        sigmas: dict[int, float] = {}
        known = [i for i, each in enumerate(found) if each.features is not None]
        if self.uncertainty is not None and known:
            features = np.array([found[i].features for i in known])
            numbers = [np.array(structures[i].atomic_numbers) for i in known]
            sigmas = dict(zip(known, self.uncertainty.of(features, numbers).tolist(), strict=True))
        return [
            M3GNetPrediction(_rounded(each.energy), _rounded(sigmas.get(i)), each.reason)
            for i, each in enumerate(found)
        ]

    def evaluate(
        self,
        structures: Sequence[Structure],
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Evaluation]:
        """
        Evaluate the network alone; :meth:`predict` is what is usually wanted.

        Parameters
        ----------
        structures, progress
            As of :meth:`predict`.

        Returns
        -------
        list of Evaluation
            One for each structure.
        """
        torch = import_extra("torch", "screen", "M3GNet")
        function = self._evaluate if self.target else self._evaluate_singly
        chunks = [structures[i : i + CHUNK] for i in range(0, len(structures), CHUNK)]
        threads = torch.get_num_threads()
        if threads == 1 or len(chunks) == 1:
            return _collect(map(function, chunks), len(structures), progress)
        # Batches are too small to divide their operations among threads.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            found = _collect(pool.map(function, chunks), len(structures), progress)
        torch.set_num_threads(threads)
        return found

    def card(self) -> dict[str, Any]:
        """
        Say which model predicts.

        Returns
        -------
        dict
            Name, packages and their versions, SHA-256 of the files, number of training structures
            and where they are from (None where not known).
        """
        return {
            "name": f"M3GNet {self.name}",
            "packages": {package: version(package) for package in ("matgl", "torch")},
            "sha256": file_digests(self.folder),
            "n_train": self.target.n_train if self.target else None,
            "data": self.target.data if self.target else None,
        }

    def _evaluate(self, structures: Sequence[Structure]) -> list[Evaluation]:
        assert self.target is not None
        references = self.target.references.energies
        found = [Evaluation(reason=self._unfit(structure)) for structure in structures]
        graphs: dict[int, Graph] = {}
        for i, structure in enumerate(structures):
            if found[i].reason is None:
                graph = self._graph(structure)
                if reason := self._unfit_graph(graph):
                    found[i] = Evaluation(reason=reason)
                else:
                    graphs[i] = graph
        rows = iter(graphs)
        for batch in _batches(list(graphs.values())):
            features = self._evaluator.features(batch)
            outputs = self._evaluator.energies(features).double().numpy() * self.target.std
            for output, row in zip(outputs, features.numpy(), strict=True):
                i = next(rows)
                reference = references[list(structures[i].atomic_numbers)].mean()
                found[i] = _evaluation(output + reference, row)
        return found

    def _evaluate_singly(self, structures: Sequence[Structure]) -> list[Evaluation]:
        found = []
        for structure in structures:
            if reason := _unfit(structure, self.elements):
                found.append(Evaluation(reason=reason))
                continue
            # matgl's models fail in ways of their own, as where a site has no neighbour
            try:
                found.append(_evaluation(float(self._network.predict_structure(structure)), None))
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as exc:
                found.append(Evaluation(reason=f"matgl fails: {type(exc).__name__}: {exc}"))
        return found

    def _graph(self, structure: Structure) -> Graph:
        from crystens_flows.screening.m3gnet.network import Graph

        return Graph.of(structure, self._cutoff, self._evaluator.index)

    def _unfit(self, structure: Structure) -> str | None:
        if reason := _unfit(structure, self.elements):
            return reason
        # those of so dense a crystal would take long to find
        n_pairs = len(structure) ** 2 * 4 / 3 * np.pi * self._cutoff**3 / structure.volume
        return self._too_many(f"some {n_pairs:.0f}") if n_pairs > MAX_PAIRS else None

    def _unfit_graph(self, graph: Graph) -> str | None:
        alone = np.bincount(graph.pairs[0], minlength=len(graph.species)) == 0
        if alone.any():
            return f"site without a neighbour within {self._cutoff:g} A: site {alone.argmax()}"
        n_pairs = graph.pairs.shape[1]
        return self._too_many(str(n_pairs)) if n_pairs > MAX_PAIRS else None

    def _too_many(self, n_pairs: str) -> str:
        return (
            f"too many neighbours: {n_pairs} pairs within {self._cutoff:g} A, at most {MAX_PAIRS}"
        )


def _unfit(structure: Structure, elements: set[str]) -> str | None:
    if reason := structural_validity(structure):
        return reason
    unknown = sorted({site.specie.symbol for site in structure} - elements)
    return f"element unknown to the M3GNet: {', '.join(unknown)}" if unknown else None


def _batches(graphs: Sequence[Graph]) -> Iterator[list[Graph]]:
    """Divide graphs, in their order, into batches with few pairs of neighbours."""
    batch: list[Graph] = []
    n_pairs = 0
    for graph in graphs:
        if batch and n_pairs + graph.pairs.shape[1] > BATCH_PAIRS:
            yield batch
            batch, n_pairs = [], 0
        batch.append(graph)
        n_pairs += graph.pairs.shape[1]
    if batch:
        yield batch


def _collect(
    results: Iterator[list[Evaluation]], total: int, progress: Callable[[int, int], None] | None
) -> list[Evaluation]:
    found: list[Evaluation] = []
    for result in results:
        found.extend(result)
        if progress is not None:
            progress(len(found), total)
    return found


def _evaluation(energy: float, features: NDArray[np.float32] | None) -> Evaluation:
    if not np.isfinite(energy):
        return Evaluation(reason="the M3GNet's energy is not finite")
    return Evaluation(float(energy), features)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS)


def _elements(network: Any, folder: Path) -> set[str]:
    for model in (network, getattr(network, "model", None)):
        if types := getattr(model, "element_types", None):
            return set(types)
    raise CheckpointError(
        f"{folder} holds a {type(network).__name__} that does not say which elements it knows: "
        "give a model of the formation energy"
    )
