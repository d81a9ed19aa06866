"""The default generator: a specification model, a flow, and CrysTens rendered from the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import (
    claim_folder,
    read_checkpoint,
    write_checkpoint,
)
from crystens_flows.generators.conditions import Conditions
from crystens_flows.generators.flow.network import COORDINATE_SCALE, FlowNetwork
from crystens_flows.generators.flow.specification import (
    Specification,
    SpecificationModel,
    sample_specifications,
    sample_specifications_of,
)
from crystens_flows.generators.flow.training import train_flow, train_specification
from crystens_flows.generators.settings import NoSettings, read_settings
from crystens_flows.generators.trainer import Trainer
from crystens_flows.generators.training_set import fingerprint, training_set
from crystens_flows.representation import MAX_SITES, render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

DEFAULT_STEPS = 8000
SPECIFICATION_STEPS = 2500
COORDINATE_DECIMALS = 6
LATTICE_DECIMALS = 5


@dataclass(frozen=True)
class SamplingSettings:
    """
    How samples are drawn; stored with the checkpoint.

    Parameters
    ----------
    evaluations
        Evaluations of the flow network for one sample.
    acceleration
        The coordinate velocity at time t is multiplied by ``1 + acceleration * t``, which
        sharpens positions near the end.
    temperature
        Divides the logits of the specification model.
    """

    evaluations: int = 32
    acceleration: float = 8.0
    temperature: float = 1.0


class FlowGenerator(Generator):
    """
    Space group and composition by an autoregressive model, geometry by a flow.

    The CrysTens are rendered from elements, coordinates, lattice and space group, so their
    redundant entries agree by construction.

    Parameters
    ----------
    specification
        Model of space group and composition.
    network
        Model of coordinates and lattice.
    card
        The model card.
    sha256
        SHA-256 of weights and configuration; empty until saved.
    settings
        How samples are drawn.
    architecture
        Arguments that `specification` and `network` were built with.
    """

    kind: ClassVar[str] = "flow"
    takes: ClassVar[frozenset[str]] = frozenset({"formula"})

    def __init__(
        self,
        specification: SpecificationModel,
        network: FlowNetwork,
        card: dict[str, Any],
        sha256: str = "",
        settings: SamplingSettings | None = None,
        architecture: dict[str, dict[str, int]] | None = None,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Double precision makes a sample the same to far more digits than are kept, however
        # samples are batched; see docs/decisions.md.
        self.specification = specification.double().eval().to(self.device)
        self.network = network.double().eval().to(self.device)
        self.card = card
        self.sha256 = sha256
        self.settings = settings or SamplingSettings()
        self.architecture = architecture or {"specification": {}, "network": {}}

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        folder: Path,
        *,
        data: str = "unnamed",
        seed: int = 0,
        steps: int | None = None,
        settings: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> FlowGenerator:
        """
        Train on the ``train`` split of a data set and save the result in `folder`.

        See :meth:`Generator.fit`; `steps` is the number of steps of the flow network (default
        8000), the specification model takes at most 2500.
        """
        read_settings(NoSettings, settings, cls.kind)
        steps = DEFAULT_STEPS if steps is None else steps
        if steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        train, validation = training_set(dataset, "train"), training_set(dataset, "validation")
        data_sha256 = fingerprint(train, validation)
        claim_folder(folder, {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256})
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(seed)
        specification = Trainer(
            "specification",
            SpecificationModel().to(device),
            folder,
            min(steps, SPECIFICATION_STEPS),
            2e-3,
            0.05,
            seed,
        )
        network = Trainer("flow", FlowNetwork().to(device), folder, steps, 1e-3, 0.01, seed)
        total = specification.steps + network.steps

        def report(offset: int) -> Progress | None:
            return None if progress is None else lambda done, _: progress(offset + done, total)

        specification_loss = train_specification(
            specification,
            train,
            validation,
            device=device,
            progress=report(0),
        )
        flow_loss = train_flow(
            network,
            train,
            validation,
            device=device,
            progress=report(specification.steps),
        )
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {"train": len(train), "validation": len(validation)},
            "seed": seed,
            "steps": {"specification": specification.step, "flow": network.step},
            "training_minutes": round((specification.seconds + network.seconds) / 60, 1),
            "device": device.type,
            "parameters": sum(
                p.numel() for t in (specification, network) for p in t.model.parameters()
            ),
            "validation": {"specification_nats": specification_loss, "flow_loss": flow_loss},
        }
        generator = cls(specification.average, network.average, card)
        generator.save(folder)
        return generator

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see :meth:`Generator.save`."""
        weights = {f"specification.{k}": v for k, v in self.specification.state_dict().items()}
        weights |= {f"network.{k}": v for k, v in self.network.state_dict().items()}
        weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        config = {"architecture": self.architecture, "sampling": asdict(self.settings)}
        self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)

    @classmethod
    def load(cls, folder: Path) -> FlowGenerator:
        """Load a checkpoint; see :meth:`Generator.load`."""
        config, card, weights, sha256 = read_checkpoint(folder, cls.kind)
        try:
            specification = SpecificationModel(**config["architecture"]["specification"])
            network = FlowNetwork(**config["architecture"]["network"])
            settings = SamplingSettings(**config["sampling"])
            for name, model in (("specification", specification), ("network", network)):
                prefix = f"{name}."
                model.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
                )
        except (KeyError, TypeError, RuntimeError) as exc:
            raise CheckpointError(
                f"{folder} does not fit this version's '{cls.kind}' generator "
                f"({type(exc).__name__}): use the version that wrote it or train anew"
            ) from exc
        return cls(specification, network, card, sha256, settings, config["architecture"])

    def sample(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> np.ndarray:
        """
        Sample CrysTens; see :meth:`Generator.sample`.

        Where a formula is asked for, space group and number of formula units come from the model's
        own distribution under the condition of the composition, which is exact: all of them are
        enumerated.
        """
        self.check_sampling(n_samples, seed, start, conditions)
        streams = [np.random.default_rng([seed, start + k]) for k in range(n_samples)]
        temperature = self.settings.temperature
        if conditions is not None and conditions.formula is not None:
            specifications = sample_specifications_of(
                self.specification, conditions.formula, streams, temperature
            )
        else:
            specifications = sample_specifications(self.specification, streams, temperature)
        return self._crystals(specifications, streams, progress)

    def _crystals(
        self,
        specifications: list[Specification],
        streams: list[np.random.Generator],
        progress: Progress | None = None,
    ) -> np.ndarray:
        n_samples = len(specifications)
        numbers = np.zeros((n_samples, MAX_SITES), dtype=np.int64)
        frac = np.zeros((n_samples, MAX_SITES, 3))
        lattice = np.ones((n_samples, 6))
        for k, specification in enumerate(specifications):
            numbers[k, : len(specification.numbers)] = specification.numbers
        n_sites = (numbers > 0).sum(1)
        groups = np.array([s.space_group for s in specifications], dtype=np.int64)
        done = 0
        for batch in _size_batches(n_sites):
            sites = int(n_sites[batch].max())
            x = np.zeros((len(batch), sites, 3))
            y = np.zeros((len(batch), 6))
            for row, k in enumerate(batch):
                x[row, : n_sites[k]] = streams[k].random((n_sites[k], 3))
                y[row] = streams[k].standard_normal(6)
            x, y = self.integrate(x, y, numbers[batch, :sites], groups[batch])
            frac[batch, :sites], lattice[batch] = x, y
            done += len(batch)
            if progress is not None:
                progress(done, n_samples)
        return render(
            numbers,
            np.round(frac, COORDINATE_DECIMALS) % 1.0,
            np.round(lattice, LATTICE_DECIMALS),
            groups,
            n_sites,
        )

    @torch.no_grad()
    def integrate(
        self,
        frac: np.ndarray,
        lattice: np.ndarray,
        numbers: np.ndarray,
        space_groups: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Carry noise along the flow to crystals by Euler steps.

        Parameters
        ----------
        frac
            Uniform noise on the torus, shape (batch, sites, 3).
        lattice
            Normal noise, shape (batch, 6).
        numbers
            Atomic numbers, 0 for no site, shape (batch, sites).
        space_groups
            Space group numbers, shape (batch,).

        Returns
        -------
        tuple of numpy.ndarray
            Fractional coordinates in [0, 1) and lattice parameters (Angstrom, degrees).
        """
        x, y = (torch.from_numpy(a).to(self.device) for a in (frac, lattice))
        atoms, groups = (torch.from_numpy(a).to(self.device) for a in (numbers, space_groups))
        evaluations = self.settings.evaluations
        for step in range(evaluations):
            t = step / evaluations
            time = torch.full((len(x),), t, dtype=x.dtype, device=self.device)
            velocity, cell = self.network(x, y, time, atoms, groups)
            ahead = min(1 - t, (1 + self.settings.acceleration * t) / evaluations)
            x = (x + ahead * COORDINATE_SCALE * velocity) % 1.0
            y = y + cell / evaluations
        parameters = self.network.codec.decode(y, (atoms > 0).sum(1))
        return x.cpu().numpy(), parameters.cpu().numpy()


def _size_batches(n_sites: np.ndarray, max_sites: int = 1024, max_pairs: int = 20_000) -> list:
    """Divide samples into batches of similar size, the smallest first."""
    batches: list[list[int]] = [[]]
    for k in np.argsort(n_sites, kind="stable"):
        size, count = int(n_sites[k]), len(batches[-1]) + 1
        if count > 1 and (count * size > max_sites or count * size**2 > max_pairs):
            batches.append([])
        batches[-1].append(int(k))
    return [np.array(batch) for batch in batches if batch]


__all__ = ["FlowGenerator", "SamplingSettings", "Specification"]
