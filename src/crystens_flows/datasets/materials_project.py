"""Structures from the Materials Project, downloaded when asked for by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crystens_flows.datasets.parse import Entry
from crystens_flows.datasets.records import MAX_SITES, PROPERTIES
from crystens_flows.errors import DatasetError, import_extra
from crystens_flows.masking import without_password

if TYPE_CHECKING:
    from emmet.core.summary import SummaryDoc

_FIELDS = ["material_id", "structure", *PROPERTIES]
_BATCH = 500
_OFFLINE = (
    "without a network, read files, or use the crystals that ship with the package (in Python: "
    "datasets.shipped())"
)


@dataclass(frozen=True)
class MaterialsProject:
    """
    A query of the Materials Project, as the source of a data set.

    Only materials of at most 52 sites are asked for. Needs the extra ``mp`` and an API key.

    Parameters
    ----------
    chemsys
        Chemical systems, e.g. ``("Li-O", "Si-*")``.
    elements
        Elements that every material holds.
    material_ids
        The ids of the materials.
    max_energy_above_hull
        The largest energy above hull, in eV/atom.
    api_key
        The key; by default the environment variable ``MP_API_KEY``, or ``PMG_MAPI_KEY`` in
        pymatgen's settings.
    """

    chemsys: tuple[str, ...] | None = None
    elements: tuple[str, ...] | None = None
    material_ids: tuple[str, ...] | None = None
    max_energy_above_hull: float | None = None
    api_key: str | None = field(default=None, repr=False)

    def open(self) -> tuple[Iterator[Entry], int]:
        """
        Find the materials and prepare their download.

        Returns
        -------
        tuple
            The entries, downloaded in batches as they are asked for, and how many there are.

        Raises
        ------
        DatasetError
            If there is no API key, or the Materials Project does not answer; the iterator
            raises it where a batch cannot be downloaded.
        MissingExtraError
            If mp-api is not installed.
        """
        client = import_extra("mp_api.client", "mp", "reading the Materials Project")
        key = find_api_key(self.api_key, _OFFLINE)
        criteria: dict[str, Any] = {"num_sites": (1, MAX_SITES)}
        for name in ("chemsys", "elements", "material_ids"):
            if (values := getattr(self, name)) is not None:
                criteria[name] = list(values)
        if self.max_energy_above_hull is not None:
            criteria["energy_above_hull"] = (0.0, self.max_energy_above_hull)

        def search(**options: Any) -> list[Any]:
            try:
                with client.MPRester(key, mute_progress_bars=True) as rester:
                    return rester.materials.summary.search(all_fields=False, **options)
            except Exception as exc:  # noqa: BLE001 - its client raises anything
                raise no_answer(exc, key, _OFFLINE) from None

        ids = sorted(str(doc.material_id) for doc in search(fields=["material_id"], **criteria))

        def entries() -> Iterator[Entry]:
            for start in range(0, len(ids), _BATCH):
                batch = ids[start : start + _BATCH]
                found = {
                    entry.material_id: entry
                    for entry in map(entry_from_summary, search(material_ids=batch, fields=_FIELDS))
                }
                for material_id in batch:
                    missing = Entry(
                        f"Materials Project {material_id}", material_id, "bad", "not downloaded"
                    )
                    yield found.get(material_id, missing)

        return entries(), len(ids)


def no_answer(exc: Exception, key: str, otherwise: str) -> DatasetError:
    """
    Say that the Materials Project did not answer, without the key, which errors may quote.

    Raise it from None: workflow managers keep the whole traceback of a job that failed.

    Parameters
    ----------
    exc
        What its client raised.
    key
        The API key.
    otherwise
        What to do without a network, for the error.

    Returns
    -------
    DatasetError
        The error, in a line.
    """
    reason = without_password(" ".join(str(exc).split()), [key])[:200]
    return DatasetError(
        f"the Materials Project gave no answer ({reason}): check the API key and the network; "
        f"{otherwise}"
    )


def find_api_key(api_key: str | None, otherwise: str) -> str:
    """
    Find the key of the Materials Project.

    Parameters
    ----------
    api_key
        The key, if one was given; else the environment variable ``MP_API_KEY`` counts, else
        ``PMG_MAPI_KEY`` in pymatgen's settings.
    otherwise
        What to do without one, for the error.

    Returns
    -------
    str
        The key.

    Raises
    ------
    DatasetError
        If there is none.
    """
    from pymatgen.core import SETTINGS

    key = api_key or os.environ.get("MP_API_KEY") or SETTINGS.get("PMG_MAPI_KEY")
    if not key:
        raise DatasetError(
            "the Materials Project asks for an API key: give api_key or set MP_API_KEY to "
            f"the one from https://materialsproject.org/api; {otherwise}"
        )
    return str(key)


def entry_from_summary(doc: SummaryDoc) -> Entry:
    """
    Take what a data set keeps from a summary document.

    Parameters
    ----------
    doc
        A document of ``MPRester.materials.summary``, with the material's id, its structure and,
        where known, the properties of a data set.

    Returns
    -------
    Entry
        The entry.
    """
    material_id = str(doc.material_id)
    where = f"Materials Project {material_id}"
    structure = getattr(doc, "structure", None)
    if structure is None:
        return Entry(where, material_id, "bad", "no structure")
    properties = {name: getattr(doc, name, None) for name in PROPERTIES}
    return Entry(where, material_id, "structure", structure, properties)
