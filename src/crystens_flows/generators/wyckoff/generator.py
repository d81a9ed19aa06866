"""The default generator: structure types recalled or written, geometry by a flow on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from crystens_flows.errors import CheckpointError, InputError
from crystens_flows.generators.base import Generator, Progress
from crystens_flows.generators.checkpoints import (
    claim_folder,
    read_checkpoint,
    write_checkpoint,
)
from crystens_flows.generators.conditions import AIMS, Conditions
from crystens_flows.generators.processes import Processes
from crystens_flows.generators.settings import NoSettings, read_settings
from crystens_flows.generators.trainer import Model, Trainer
from crystens_flows.generators.training_set import fingerprint_of
from crystens_flows.generators.wyckoff.arrangement import Arrangement, Arranger
from crystens_flows.generators.wyckoff.arrays import frames
from crystens_flows.generators.wyckoff.calibration import Calibration, calibrate
from crystens_flows.generators.wyckoff.coupling import START_NOISE
from crystens_flows.generators.wyckoff.crystal import SymmetricCrystal
from crystens_flows.generators.wyckoff.network import SymmetricFlow, TensorFrames
from crystens_flows.generators.wyckoff.positions import space_group
from crystens_flows.generators.wyckoff.prototypes import Prototypes
from crystens_flows.generators.wyckoff.recall import Formulas, Memory, Recall
from crystens_flows.generators.wyckoff.specification import SpecificationModel
from crystens_flows.generators.wyckoff.starts import known_lattices
from crystens_flows.generators.wyckoff.training import (
    require_split,
    symmetric_set,
    train_flow,
    train_recall,
    train_specification,
)
from crystens_flows.representation import MAX_SITES, render

if TYPE_CHECKING:
    from crystens_flows.datasets import Dataset

DEFAULT_STEPS = 6_000
RECALL_SHARE, SPECIFICATION_SHARE = 0.225, 0.75
"""Steps of the models of recall and of specifications for each of the flow network."""

MIN_DISTANCE = 0.5
"""Sites nearer to each other than this, in angstrom, make a sample be drawn again."""

MAX_ATTEMPTS = 5
"""How often a sample is drawn at most."""

MAX_TOGETHER = 256
"""Most crystals that are sampled at once, for the sake of memory."""

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
        positions near the end, where a flow starts from noise.
    temperature, formula_temperature
        Divide the logits of the specification model, the second where a formula is asked for.
    recall
        How often the structure type of a known crystal is taken, where there is any with the
        counts of the formula; else the specification model writes it.
    power
        Structure types are drawn by this power of how likely they are recalled.
    known
        What is left of how likely a structure type is in which a formula that is asked for is
        known; where none is asked for, such types are not recalled.
    shaking
        Noise that is put on known crystals that flows start from, in units of that of training.
    following
        How far the coordinates of known crystals follow the flow; their lattices follow it whole.
    """

    evaluations: int = 8
    acceleration: float = 4.0
    temperature: float = 0.85
    formula_temperature: float = 0.5
    recall: float = 0.95
    power: float = 4.0
    known: float = 0.1
    shaking: float = 0.1
    following: float = 0.5


class WyckoffGenerator(Generator):
    """
    Composition, space group and Wyckoff positions first, then what they leave free.

    A sample has the space group by construction, or one that contains it.

    Parameters
    ----------
    memory
        The known crystals, and the model that recalls those a formula is arranged like.
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
        Arguments that the models were built with.
    calibration
        What brings the shares of elements to those of the training crystals.
    """

    kind: ClassVar[str] = "wyckoff"
    takes = frozenset(Conditions.model_fields) - {"guidance"}

    def __init__(
        self,
        memory: Memory,
        specification: SpecificationModel,
        network: SymmetricFlow,
        card: dict[str, Any],
        sha256: str = "",
        settings: SamplingSettings | None = None,
        architecture: dict[str, dict[str, int]] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Double precision makes a sample the same to far more digits than are kept, however
        # samples are batched; see docs/decisions.md.
        memory.model.double().eval().to(self.device)
        self.memory = memory
        self.specification = specification.double().eval().to(self.device)
        self.network = network.double().eval().to(self.device)
        self.card = card
        self.sha256 = sha256
        self.settings = settings or SamplingSettings()
        self.calibration = calibration or Calibration()
        edges = (specification.energy_edges, specification.gap_edges)
        learned = (bool(each.any()) for each in edges)  # else none was known of any crystal
        unknown = [name for name, known in zip(AIMS, learned, strict=True) if not known]
        self.takes = type(self).takes.difference(unknown)
        self.architecture = architecture or {"recall": {}, "specification": {}, "network": {}}

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
        6000); the model of specifications takes three quarters of it, that of recall 22.5 %.
        """
        read_settings(NoSettings, settings, cls.kind)
        steps = DEFAULT_STEPS if steps is None else steps
        if steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        for split in ("train", "validation"):
            require_split(dataset, split)
        data_sha256 = fingerprint_of(dataset, "train", "validation")
        processes = Processes()
        if processes.is_main:
            claim_folder(folder, {"generator": cls.kind, "seed": seed, "data_sha256": data_sha256})
        processes.wait()
        train, validation = symmetric_set(dataset, "train"), symmetric_set(dataset, "validation")
        device, together = processes.device, processes.together(progress)

        def trainer(
            name: str, kind: type[Model], share: float, rate: float, decay: float
        ) -> Trainer[Model]:
            torch.manual_seed(seed)
            planned = max(1, round(share * steps))
            return Trainer(name, kind().to(device), folder, planned, rate, decay, seed, processes)

        recall = trainer("recall", Recall, RECALL_SHARE, 2e-3, 0.05)
        specification = trainer("specification", SpecificationModel, SPECIFICATION_SHARE, 1e-3, 0.1)
        network = trainer("flow", SymmetricFlow, 1.0, 1e-3, 0.01)
        trainers = (recall, specification, network)
        total = sum(each.steps for each in trainers)

        def report(offset: int) -> Progress | None:
            return None if together is None else lambda done, _: together(offset + done, total)

        known = Prototypes.of(train.crystals)
        recall_loss = train_recall(
            recall,
            Formulas.of(known, known),
            Formulas.of(known, Prototypes.of(validation.crystals)),
            progress=report(0),
        )
        specification_loss = train_specification(
            specification, train, validation, progress=report(recall.steps)
        )
        memory = Memory(recall.average.double().eval(), known)
        flow_loss = train_flow(
            network, train, validation, memory, progress=report(recall.steps + specification.steps)
        )
        card = {
            "generator": cls.kind,
            "data": data,
            "data_sha256": data_sha256,
            "split": {"train": len(train), "validation": len(validation)},
            "left_out": train.left_out,
            "seed": seed,
            "steps": {each.name: each.step for each in trainers},
            "training_minutes": round(sum(each.seconds for each in trainers) / 60, 1),
            "device": device.type,
            "processes": processes.count,
            "parameters": sum(p.numel() for each in trainers for p in each.model.parameters()),
            "validation": {
                "recall_nats": recall_loss,
                "specification_nats": specification_loss,
                "flow_loss": flow_loss,
            },
        }
        generator = cls(memory, specification.average, network.average, card)
        if processes.is_main:
            generator.calibration = calibrate(
                generator.specification, train.crystals, generator.settings.temperature, seed
            )
            generator.save(folder)
        processes.wait()
        return cls.load(folder)

    @property
    def _models(self) -> dict[str, nn.Module]:
        return {
            "recall": self.memory.model,
            "specification": self.specification,
            "network": self.network,
        }

    def save(self, folder: Path) -> None:
        """Write the checkpoint; see :meth:`Generator.save`."""
        weights = {
            f"{name}.{key}": value.float() if value.is_floating_point() else value.clone()
            for name, model in self._models.items()
            for key, value in model.state_dict().items()
        }
        known = self.memory.known.arrays
        weights |= {f"known.{key}": torch.from_numpy(value) for key, value in known.items()}
        config = {
            "architecture": self.architecture,
            "sampling": asdict(self.settings),
            "calibration": asdict(self.calibration),
        }
        self.sha256 = write_checkpoint(folder, self.kind, config, self.card, weights)

    @classmethod
    def load(cls, folder: Path) -> WyckoffGenerator:
        """Load a checkpoint; see :meth:`Generator.load`."""
        config, card, weights, sha256 = read_checkpoint(folder, cls.kind)
        try:
            architecture = config["architecture"]
            parts: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
            for key, value in weights.items():
                name, _, rest = key.partition(".")
                parts[name][rest] = value
            recall = Recall(**architecture["recall"])
            specification = SpecificationModel(**architecture["specification"])
            network = SymmetricFlow(**architecture["network"])
            settings = SamplingSettings(**config["sampling"])
            calibration = Calibration(**config.get("calibration", {}))
            recall.load_state_dict(parts["recall"])
            specification.load_state_dict(parts["specification"])
            parts["network"].pop("pair_features.frequencies", None)  # of checkpoints before
            network.load_state_dict(parts["network"])
            known = Prototypes({key: value.numpy() for key, value in parts["known"].items()})
        except (KeyError, TypeError, RuntimeError) as exc:
            raise CheckpointError(
                f"{folder} does not fit this version's '{cls.kind}' generator "
                f"({type(exc).__name__}): use the version that wrote it or train anew"
            ) from exc
        memory = Memory(recall.double().eval(), known)
        return cls(
            memory, specification, network, card, sha256, settings, architecture, calibration
        )

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

        One whose sites come too near to each other is drawn again, from its own stream.

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
        conditions = conditions or Conditions()
        unknown = [name for name in conditions.asked if name not in self.takes]
        if unknown:
            raise InputError(
                f"this generator was trained on crystals of unknown {' and '.join(unknown)}: ask "
                "for other conditions, or train on data that has them"
            )
        arranger = Arranger(
            self.memory,
            self.specification,
            self.settings.temperature,
            self.settings.formula_temperature,
            self.settings.recall,
            self.settings.power,
            self.settings.known,
            self.calibration.of_words,
        )
        crystals: list[SymmetricCrystal] = []
        while len(crystals) < n_samples:
            begun = len(crystals)
            last = min(begun + MAX_TOGETHER, n_samples)
            streams = [np.random.default_rng([seed, start + k]) for k in range(begun, last)]
            crystals += self._sample_together(arranger, streams, conditions)
            if progress is not None:
                progress(len(crystals), n_samples)
        return crystals

    def _sample_together(
        self, arranger: Arranger, streams: list[np.random.Generator], conditions: Conditions
    ) -> list[SymmetricCrystal]:
        crystals: dict[int, SymmetricCrystal] = {}
        left = list(range(len(streams)))
        for _ in range(MAX_ATTEMPTS):
            of_left = [streams[k] for k in left]
            placed = self.place(arranger.draw(conditions, of_left), of_left)
            crystals |= dict(zip(left, placed, strict=True))
            left = [k for k in left if not crystals[k].structure().is_valid(MIN_DISTANCE)]
            if not left:
                break
        return [crystals[k] for k in range(len(streams))]

    @torch.no_grad()
    def place(
        self,
        arrangements: list[Arrangement],
        streams: list[np.random.Generator],
    ) -> list[SymmetricCrystal]:
        """
        Carry known crystals, or noise, along the flow to crystals, by Euler steps.

        Parameters
        ----------
        arrangements
            Space group, elements and letters of each, and where its flow starts.
        streams
            One source of noise for each.

        Returns
        -------
        list of SymmetricCrystal
            In the order of the arrangements.
        """
        placed: dict[int, SymmetricCrystal] = {}
        for batch in _size_batches(arrangements):
            chosen = [arrangements[k] for k in batch]
            firsts, lattice = self._integrate(chosen, [streams[k] for k in batch])
            for k, x, parameters, made in zip(batch, firsts, lattice, chosen, strict=True):
                placed[k] = SymmetricCrystal(
                    made.space_group,
                    np.array(made.numbers),
                    np.array(made.letters),
                    x[: len(made.letters)] % 1.0,
                    parameters,
                )
        return [placed[k] for k in range(len(arrangements))]

    def _integrate(
        self, arrangements: list[Arrangement], streams: list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        starts, shaking = [made.start for made in arrangements], self.settings.shaking
        known = frames(
            [made.space_group for made in arrangements],
            [(np.array(made.numbers), np.array(made.letters)) for made in arrangements],
            [None if start is None else start.sources for start in starts],
        )
        tensors = TensorFrames.of(known, self.device, torch.float64)
        firsts = known.offsets.copy()
        noise = np.zeros((len(arrangements), 6))
        for row, (made, stream) in enumerate(zip(arrangements, streams, strict=True)):
            positions = space_group(made.space_group).positions
            for orbit, letter in enumerate(made.letters):
                basis = positions[letter].basis
                if made.start is None:
                    firsts[row, orbit] += basis @ stream.random(basis.shape[1])
                else:
                    shaken = shaking * START_NOISE * stream.standard_normal(basis.shape[1])
                    firsts[row, orbit] = made.start.crystal.coordinates[orbit] + basis @ shaken
            noise[row] = stream.standard_normal(6) * (1 if made.start is None else shaking)
        x, lattices, normal = (
            torch.from_numpy(a).to(self.device) for a in (firsts, known_lattices(starts), noise)
        )
        y = self.network.start_lattice(lattices, normal, tensors)
        evaluations = self.settings.evaluations
        from_known = tensors.from_known.to(x.dtype)
        acceleration = self.settings.acceleration * (1 - from_known)
        followed = 1 - (1 - self.settings.following) * from_known
        for step in range(evaluations):
            t = step / evaluations
            time = torch.full((len(x),), t, dtype=x.dtype, device=self.device)
            velocity, cell = self.network(x, y, time, tensors)
            ahead = followed * ((1 + acceleration * t) / evaluations).clamp_max(1 - t)
            x = x + ahead[:, None, None] * velocity
            y = y + cell / evaluations
        return x.cpu().numpy(), self.network.parameters_of(y, tensors).cpu().numpy()


def _size_batches(arrangements: list[Arrangement], max_pairs: int = 12_000) -> list[list[int]]:
    """Divide arrangements into batches of similar size, the smallest first."""
    size = []
    for made in arrangements:
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
