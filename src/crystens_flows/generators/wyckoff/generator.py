"""The default generator: Wyckoff positions by a specification model, geometry by a flow on them."""

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
from crystens_flows.generators.processes import Processes
from crystens_flows.generators.settings import NoSettings, read_settings
from crystens_flows.generators.trainer import Trainer
from crystens_flows.generators.training_set import fingerprint_of
from crystens_flows.generators.wyckoff.arrays import frames
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.decoding import sample_specifications
from crystens_flows.generators.wyckoff.network import (
    COORDINATE_SCALE,
    SymmetricFlow,
    TensorFrames,
)
from crystens_flows.generators.wyckoff.positions import space_group
from crystens_flows.generators.wyckoff.sentences import Specification
from crystens_flows.generators.wyckoff.specification import SpecificationModel
from crystens_flows.generators.wyckoff.training import (
    symmetric_set,
    train_flow,
    train_specification,
)
from crystens_flows.representation import MAX_SITES, render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

DEFAULT_STEPS = 16_000
SPECIFICATION_SHARE = 0.4
"""Steps of the specification model for each of the flow network."""

COORDINATE_DECIMALS = 8
LATTICE_DECIMALS = 6


@dataclass(frozen=True)
class SamplingSettings:
    """
    How samples are drawn; stored with the checkpoint.

    Parameters
    ----------
    evaluations
        Evaluations of the flow network for one sample.
    acceleration
        The velocity of sites at time t is multiplied by ``1 + acceleration * t``, which sharpens
        positions near the end.
    temperature
        Divides the logits of the specification model.
    """

    evaluations: int = 16
    acceleration: float = 4.0
    temperature: float = 1.0


class WyckoffGenerator(Generator):
    """
    Composition, space group and Wyckoff positions first, then what they leave free.

    A sample has the space group by construction, or one that contains it.

    Parameters
    ----------
    specification
        Model of composition, space group and Wyckoff positions.
    network
        Model of free coordinates and lattice.
    card
        The model card.
    sha256
        SHA-256 of weights and configuration; empty until saved.
    settings
        How samples are drawn.
    architecture
        Arguments that `specification` and `network` were built with.
    """

    kind: ClassVar[str] = "wyckoff"
    takes: ClassVar[frozenset[str]] = frozenset(Conditions.model_fields) - {"guidance"}

    def __init__(
        self,
        specification: SpecificationModel,
        network: SymmetricFlow,
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
    ) -> WyckoffGenerator:
        """
        Train on the ``train`` split of a data set and save the result in `folder`.

        See :meth:`Generator.fit`; `steps` is the number of steps of the flow network (default
        16000), the specification model takes two fifths of it.
        """
        read_settings(NoSettings, settings, cls.kind)
        steps = DEFAULT_STEPS if steps is None else steps
        if steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        data_sha256 = fingerprint_of(dataset, "train", "validation")
        processes = Processes()
        if processes.is_main:
            claim_folder(folder, {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256})
        processes.wait()
        train, validation = symmetric_set(dataset, "train"), symmetric_set(dataset, "validation")
        device, together = processes.device, processes.together(progress)
        torch.manual_seed(seed)
        specification = Trainer(
            "specification",
            SpecificationModel().to(device),
            folder,
            max(1, round(SPECIFICATION_SHARE * steps)),
            1e-3,
            0.1,
            seed,
            processes,
        )
        network = Trainer(
            "flow", SymmetricFlow().to(device), folder, steps, 1e-3, 0.01, seed, processes
        )
        total = specification.steps + network.steps

        def report(offset: int) -> Progress | None:
            return None if together is None else lambda done, _: together(offset + done, total)

        specification_loss = train_specification(
            specification, train, validation, progress=report(0)
        )
        flow_loss = train_flow(network, train, validation, progress=report(specification.steps))
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {"train": len(train), "validation": len(validation)},
            "left_out": train.left_out,
            "seed": seed,
            "steps": {"specification": specification.step, "flow": network.step},
            "training_minutes": round((specification.seconds + network.seconds) / 60, 1),
            "device": device.type,
            "processes": processes.count,
            "parameters": sum(
                p.numel() for t in (specification, network) for p in t.model.parameters()
            ),
            "validation": {"specification_nats": specification_loss, "flow_loss": flow_loss},
        }
        generator = cls(specification.average, network.average, card)
        if processes.is_main:
            generator.save(folder)
        processes.wait()
        return cls.load(folder)

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see :meth:`Generator.save`."""
        weights = {f"specification.{k}": v for k, v in self.specification.state_dict().items()}
        weights |= {f"network.{k}": v for k, v in self.network.state_dict().items()}
        weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        config = {"architecture": self.architecture, "sampling": asdict(self.settings)}
        self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)

    @classmethod
    def load(cls, folder: Path) -> WyckoffGenerator:
        """Load a checkpoint; see :meth:`Generator.load`."""
        config, card, weights, sha256 = read_checkpoint(folder, cls.kind)
        try:
            specification = SpecificationModel(**config["architecture"]["specification"])
            network = SymmetricFlow(**config["architecture"]["network"])
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
        """Sample CrysTens; see :meth:`Generator.sample`."""
        crystals = self.sample_crystals(n_samples, seed, start, progress, conditions)
        numbers = np.zeros((n_samples, MAX_SITES), dtype=np.int64)
        frac = np.zeros((n_samples, MAX_SITES, 3))
        lattice = np.ones((n_samples, 6))
        for k, crystal in enumerate(crystals):
            elements, coordinates = crystal.sites()
            numbers[k, : len(elements)] = elements
            frac[k, : len(elements)] = coordinates
            lattice[k] = crystal.structure().lattice.parameters
        return render(
            numbers,
            np.round(frac, COORDINATE_DECIMALS) % 1.0,
            np.round(lattice, LATTICE_DECIMALS),
            np.array([crystal.number for crystal in crystals], dtype=np.int64),
            (numbers > 0).sum(1),
        )

    def sample_crystals(
        self,
        n_samples: int,
        seed: int,
        start: int = 0,
        progress: Progress | None = None,
        conditions: Conditions | None = None,
    ) -> list[SymmetricCrystal]:
        """
        Sample crystals with their Wyckoff positions.

        Parameters
        ----------
        n_samples, seed, start, progress, conditions
            As for :meth:`sample`.

        Returns
        -------
        list of SymmetricCrystal
            In the order of their indices.
        """
        self.check_sampling(n_samples, seed, start, conditions)
        streams = [np.random.default_rng([seed, start + k]) for k in range(n_samples)]
        specifications = sample_specifications(
            self.specification, conditions or Conditions(), streams, self.settings.temperature
        )
        return self.arrange(specifications, streams, progress)

    @torch.no_grad()
    def arrange(
        self,
        specifications: list[Specification],
        streams: list[np.random.Generator],
        progress: Progress | None = None,
    ) -> list[SymmetricCrystal]:
        """
        Carry noise on Wyckoff positions along the flow to crystals, by Euler steps.

        Parameters
        ----------
        specifications
            Space group, elements and letters of each.
        streams
            One source of noise for each.
        progress
            Called with the crystals done and the crystals in all.

        Returns
        -------
        list of SymmetricCrystal
            In the order of the specifications.
        """
        arranged: dict[int, SymmetricCrystal] = {}
        for batch in _size_batches(specifications):
            chosen = [specifications[k] for k in batch]
            firsts, lattice = self._integrate(chosen, [streams[k] for k in batch])
            for k, x, parameters, made in zip(batch, firsts, lattice, chosen, strict=True):
                arranged[k] = SymmetricCrystal(
                    made.space_group,
                    np.array(made.numbers),
                    np.array(made.letters),
                    x[: len(made.letters)] % 1.0,
                    parameters,
                )
            if progress is not None:
                progress(len(arranged), len(specifications))
        return [arranged[k] for k in range(len(specifications))]

    def _integrate(
        self, specifications: list[Specification], streams: list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        known = frames(
            [s.space_group for s in specifications],
            [(np.array(s.numbers), np.array(s.letters)) for s in specifications],
        )
        tensors = TensorFrames.of(known, self.device, torch.float64)
        firsts = known.offsets.copy()
        lattice = np.zeros((len(specifications), 6))
        for row, (specification, stream) in enumerate(zip(specifications, streams, strict=True)):
            positions = space_group(specification.space_group).positions
            for orbit, letter in enumerate(specification.letters):
                basis = positions[letter].basis
                firsts[row, orbit] += basis @ stream.random(basis.shape[1])
            lattice[row] = stream.standard_normal(6)
        x, y = (torch.from_numpy(a).to(self.device) for a in (firsts, lattice))
        y = y * self.network.codec.mask(tensors.groups)
        evaluations = self.settings.evaluations
        for step in range(evaluations):
            t = step / evaluations
            time = torch.full((len(x),), t, dtype=x.dtype, device=self.device)
            velocity, cell = self.network(x, y, time, tensors)
            ahead = min(1 - t, (1 + self.settings.acceleration * t) / evaluations)
            x = x + ahead * COORDINATE_SCALE * velocity
            y = y + cell / evaluations
        return x.cpu().numpy(), self.network.parameters_of(y, tensors).cpu().numpy()


def _size_batches(specifications: list[Specification], max_pairs: int = 12_000) -> list[list[int]]:
    """Divide specifications into batches of similar size, the smallest first."""
    size = []
    for made in specifications:
        positions = space_group(made.space_group).positions
        sites = sum(positions[letter].multiplicity for letter in made.letters)
        size.append(sites * len(made.letters))
    batches: list[list[int]] = [[]]
    for k in np.argsort(size, kind="stable"):
        if batches[-1] and (len(batches[-1]) + 1) * size[k] > max_pairs:
            batches.append([])
        batches[-1].append(int(k))
    return [batch for batch in batches if batch]


__all__ = ["Conditions", "SamplingSettings", "WyckoffGenerator"]
