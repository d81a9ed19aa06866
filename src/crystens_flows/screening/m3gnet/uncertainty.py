"""How far a predicted formation energy may be off."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crystens_flows.datasets import Dataset
from crystens_flows.errors import CheckpointError, DatasetError
from crystens_flows.screening.m3gnet.folder import UNCERTAINTY_FILE

Array = NDArray[np.float64]

WITHIN_ONE_SIGMA = erf(2**-0.5)
"""Share of a normal distribution within a standard deviation, 68 %."""

LEVERAGES = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Weights tried for the distance from the training structures."""

STRETCHES = (0.75, 1.0, 1.25, 1.5, 1.75)
"""Factors tried for the slope: a ridge regression, and errors of training, make it small."""


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """
    The standard deviation of the error of a prediction.

    It rests on what describes a crystal to the model: the features that enter the last layer, and
    the shares of the elements. One part says how large errors are for crystals of the kind, by a
    ridge regression of the logarithm of the errors. The other is the variance of a Bayesian
    linear regression, which grows with the distance from the training structures.

    Parameters
    ----------
    elements
        Atomic numbers of the elements whose shares count.
    mean, scale
        Of the descriptors of the training structures, shape ``(k,)``: features, then shares.
    slope
        Of the logarithm of the error, in standardised descriptors, shape ``(k,)``.
    level
        The logarithm of the error at the mean, and its least and greatest values, shape ``(3,)``.
    covariance
        Of the linear regression, shape ``(k + 1, k + 1)``; the last row is the constant's.
    factor
        Makes of both a standard deviation in eV/atom.

    References
    ----------
    C. M. Bishop, Pattern Recognition and Machine Learning (2006), eq. 3.59, for the variance.
    """

    elements: NDArray[np.int64]
    mean: Array
    scale: Array
    slope: Array
    level: Array
    covariance: Array
    factor: float

    def of(self, features: NDArray, numbers: Sequence[NDArray]) -> Array:
        """
        Say how far predictions may be off.

        Parameters
        ----------
        features
            What enters the last layer, shape ``(n, features)``.
        numbers
            Atomic numbers of the sites of each structure.

        Returns
        -------
        numpy.ndarray
            Standard deviations in eV/atom, shape ``(n,)``.
        """
        described = (_descriptors(features, numbers, self.elements) - self.mean) / self.scale
        middle, least, greatest = self.level
        usual = np.clip(middle + described @ self.slope, least, greatest)
        extended = _with_constant(described)
        distant = np.einsum("ij,jk,ik->i", extended, self.covariance, extended)
        return self.factor * np.sqrt(np.exp(2 * usual) + distant)

    @classmethod
    def fit(
        cls,
        features: NDArray,
        numbers: Sequence[NDArray],
        errors: Array,
        n_validation: int,
    ) -> Uncertainty:
        """
        Fit to the errors of known structures.

        The kinds of crystals are learned from the training structures. How much they count, and
        the distance, is what makes the errors of the validation structures likeliest; then 68 % of
        them are within the uncertainty.

        Parameters
        ----------
        features
            What enters the last layer, shape ``(n, features)``.
        numbers
            Atomic numbers of the sites of each structure.
        errors
            Predicted less known formation energies, eV/atom, shape ``(n,)``.
        n_validation
            The last so many structures are those to validate with, the others were trained on.
        """
        from sklearn.linear_model import RidgeCV

        n_train = len(errors) - n_validation
        elements = np.unique(np.concatenate(numbers[:n_train]))
        descriptors = _descriptors(features, numbers, elements)
        mean = descriptors[:n_train].mean(axis=0)
        scale = np.maximum(descriptors[:n_train].std(axis=0), 1e-6)
        described = (descriptors - mean) / scale
        sizes = np.abs(errors)
        floor = 0.1 * np.median(sizes[:n_train]) + 1e-6
        ridge = RidgeCV(np.logspace(-1, 5, 19)).fit(
            described[:n_train], np.log(sizes[:n_train] + floor)
        )
        found = ridge.predict(described[:n_train])
        extended = _with_constant(described[:n_train])
        inverse = np.linalg.inv(extended.T @ extended + np.eye(extended.shape[1]))
        leverage = np.einsum("ij,jk,ik->i", extended, inverse, extended)
        covariance = np.asarray(inverse, dtype=np.float64) * float(
            np.exp(2 * np.median(found)) / leverage.mean()
        )
        tried = []
        bounds = np.quantile(found, [0.005, 0.995]) - ridge.intercept_
        for weight, stretch in product(LEVERAGES, STRETCHES):
            uncertainty = cls(
                elements=elements,
                mean=mean,
                scale=scale,
                slope=stretch * ridge.coef_,
                level=ridge.intercept_ + np.array([0.0, *(stretch * bounds)]),
                covariance=weight * covariance,
                factor=1.0,
            )
            sigmas = uncertainty.of(features[n_train:], numbers[n_train:])
            ratios = sizes[n_train:] / sigmas
            # of a Laplace distribution of the best width; errors have tails
            unlikelihood = np.log(sigmas).mean() + np.log(ratios.mean() + 1e-12)
            factor = float(np.quantile(ratios, WITHIN_ONE_SIGMA))
            tried.append((unlikelihood, factor, uncertainty))
        _, factor, best = min(tried, key=lambda each: each[0])
        return replace(best, factor=factor)

    def write(self, folder: Path) -> None:
        """Write ``uncertainty.npz`` beside the weights it was fitted to."""
        arrays: dict[str, Any] = {
            name: np.asarray(value, dtype=np.int64 if name == "elements" else np.float32)
            for name, value in asdict(self).items()
        }
        arrays["weights"] = np.frombuffer(_weights_digest(folder), dtype=np.uint8)
        np.savez_compressed(folder / UNCERTAINTY_FILE, **arrays)

    @classmethod
    def read(cls, folder: Path) -> Uncertainty | None:
        """
        Read ``uncertainty.npz``; None where there is none.

        Raises
        ------
        CheckpointError
            If it is damaged, or was fitted to other weights.
        """
        path = folder / UNCERTAINTY_FILE
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            weights = arrays.pop("weights").tobytes()
            elements, factor = arrays.pop("elements"), float(arrays.pop("factor"))
            values = {name: array.astype(np.float64) for name, array in arrays.items()}
            uncertainty = cls(elements=elements, factor=factor, **values)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise CheckpointError(_damaged(path, exc)) from exc
        except (zipfile.BadZipFile, zlib.error, NotImplementedError) as exc:
            raise CheckpointError(_damaged(path, exc)) from exc
        if weights != _weights_digest(folder):
            raise CheckpointError(
                f"{path} was fitted to other weights than those beside it: copy the model again, "
                "or remove the file to do without uncertainties"
            )
        return uncertainty


def fit_uncertainty(
    folder: Path, dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> Uncertainty:
    """
    Fit the uncertainty of a trained model, and write it beside the weights.

    Parameters
    ----------
    folder
        The folder of a model that :func:`train_m3gnet` made.
    dataset
        The data set it was trained with.
    progress
        Called with the structures done and the structures in all.

    Returns
    -------
    Uncertainty
        Also written as ``uncertainty.npz``.

    Raises
    ------
    CheckpointError
        If the folder holds no such model.
    DatasetError
        If a split is missing, or no structure of it can be predicted.
    """
    from crystens_flows.screening.m3gnet.model import load_m3gnet
    from crystens_flows.screening.m3gnet.training import training_rows

    (folder / UNCERTAINTY_FILE).unlink(missing_ok=True)
    model = load_m3gnet(folder)
    try:
        settings = json.loads((folder / "model.json").read_text())["metadata"]["settings"]
        train, validation = training_rows(dataset, settings["n_train"], settings["seed"])
    except (KeyError, TypeError) as exc:
        raise CheckpointError(
            f"{folder} does not say how it was trained: give a folder of 'crystens train-m3gnet'"
        ) from exc
    rows = np.concatenate([train, validation])
    structures = list(dataset.structures(rows))
    found = model.evaluate(structures, progress)
    fit = np.array([each.energy is not None for each in found])
    n_validation = int(fit[len(train) :].sum())
    if not n_validation or n_validation == fit.sum():
        raise DatasetError(
            f"{folder} predicts no structure to train on, or none to validate with: give the data "
            "set it was trained with"
        )
    features = np.array([each.features for each in found if each.features is not None])
    energies = np.array([each.energy for each in found if each.energy is not None])
    errors = energies - dataset.formation_energy_per_atom[rows[fit]]
    numbers = [dataset.numbers[row, : dataset.n_sites[row]] for row in rows[fit]]
    uncertainty = Uncertainty.fit(features, numbers, errors, n_validation)
    uncertainty.write(folder)
    return uncertainty


def _descriptors(
    features: NDArray, numbers: Sequence[NDArray], elements: NDArray[np.int64]
) -> Array:
    shares = np.array([(each[:, None] == elements).mean(axis=0) for each in numbers])
    return np.concatenate([np.asarray(features, dtype=float), shares], axis=1)


def _with_constant(described: Array) -> Array:
    return np.concatenate([described, np.ones((len(described), 1))], axis=1)


def _weights_digest(folder: Path) -> bytes:
    return hashlib.sha256((folder / "state.pt").read_bytes()).digest()


def _damaged(path: Path, exc: Exception) -> str:
    return f"{path} is damaged ({exc}): copy the model again, or remove it to do without"
