"""The pages of the explorer."""

from __future__ import annotations

import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, render_template, request, send_file, url_for
from markupsafe import Markup
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException, SecurityError

from crystens_flows.candidate_criteria import check_text
from crystens_flows.candidate_export import EXPORT_FIELDS, export
from crystens_flows.candidate_status import CandidateStatus
from crystens_flows.document_fields import spread
from crystens_flows.errors import CrystensError, InputError, StoreError
from crystens_flows.explore.asked import PAGE_SIZES, identifiers, read
from crystens_flows.explore.drawing import draw_hull
from crystens_flows.explore.hull import hull_diagram
from crystens_flows.explore.index import FIELDS, CandidateIndex
from crystens_flows.export_format import ExportFormat
from crystens_flows.masking import without_password
from crystens_flows.report import html
from crystens_flows.report.cards import card_section, latest_structure
from crystens_flows.schemas import CandidateDocument

if TYPE_CHECKING:
    from crystens_flows.campaign.status import CampaignStatus
    from crystens_flows.screening.hull import HullReference
    from crystens_flows.stores import Stores

MAX_DOWNLOAD = 10_000
"""So many candidates at most are in one download."""

SYSTEMS_SHOWN = 40
STATUS_SECONDS = 5.0
"""So long what a workflow manager said of a campaign is not asked again."""

NAMES = {
    "candidate_id": "identifier",
    "formula": "formula",
    "chemsys": "chemical system",
    "space_group": "space group",
    "n_sites": "sites",
    "n_elements": "elements",
    "status": "status",
    "formation_energy_per_atom": "formation energy, predicted",
    "energy_above_hull": "above hull, predicted",
    "energy_per_atom": "energy, relaxed",
    "energy_above_hull_dft": "above hull, DFT",
    "selection.rank": "rank",
    "relaxation.engine": "relaxed with",
    "campaign": "campaign",
    "index": "sample",
    "rejected_by": "rejected by",
    "reason": "reason",
    "known_as": "known as",
}
"""What the columns are called."""

SLIDERS = {
    "formation_energy_per_atom": ("formation energy, predicted", "eV/atom"),
    "energy_above_hull": ("above hull, predicted", "eV/atom"),
    "energy_per_atom": ("energy, relaxed", "eV/atom"),
    "energy_above_hull_dft": ("above hull, DFT", "eV/atom"),
    "n_sites": ("sites", ""),
    "rank": ("rank", ""),
}
"""What there is a range of, and the unit."""

_STYLES = ("assets/tables.css", "assets/report.css")
_SCRIPTS = {"3Dmol.js": "vendor/3Dmol-min.js", "viewer.js": "assets/viewer.js"}
_ENERGIES = tuple(name for name in FIELDS if "energy" in name)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(
    stores: Stores,
    index: CandidateIndex,
    *,
    campaign: Callable[[], CampaignStatus] | None = None,
    reference: Callable[[], HullReference] | None = None,
    hosts: list[str] | None = None,
) -> Flask:
    """
    Make the WSGI application; nothing in it writes to the store.

    Parameters
    ----------
    stores
        The stores, connected.
    index
        The candidates of the same store.
    campaign
        Asks how far a campaign is; None where none is watched.
    reference
        Loads the hull; by default that which ships.
    hosts
        Names and addresses that this machine may be called by; None for any.

    Returns
    -------
    flask.Flask
        The application.
    """
    app = Flask(__name__, static_folder=None)
    if hosts is not None:
        app.before_request(partial(_check_host, {host.strip("[]") for host in hosts}))
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters |= {
        "formula": lambda value: Markup(html.formula(value)),  # noqa: S704 - it escapes
        "cell": lambda name, value: Markup(_cell(name, value)),  # noqa: S704 - it escapes
        "number": lambda value: Markup(html.text(value)),  # noqa: S704 - it escapes
    }
    pages = _Pages(stores, index, _remembered(campaign), cache(reference or _shipped))
    app.context_processor(lambda: {"store": stores.description, "progress": index.progress})
    for address, page in (
        ("/", pages.table),
        ("/candidates/<identifier>", pages.candidate),
        ("/candidates/<identifier>/<any(cif, poscar, json):kind>", pages.structure),
        ("/compare", pages.compare),
        ("/download", pages.download),
        ("/hull", pages.hull),
        ("/progress", pages.progress),
        ("/assets/<name>", pages.asset),
    ):
        app.add_url_rule(address, page.__name__, page, methods=["GET"])
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(CrystensError, _failed)
    app.register_error_handler(PyMongoError, _unreachable)
    app.after_request(_with_headers)
    return app


def _check_host(hosts: set[str]) -> None:
    """Refuse a request whose address, without its port, is none of these hosts."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", request.headers.get("Host", ""))
    if found is None or found[1].lower().strip("[]") not in hosts:
        raise SecurityError("the address names another machine")


def _with_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


def _refused(error: HTTPException) -> tuple[str, int] | Response:
    if isinstance(error, SecurityError):  # without a name of its own the page has no addresses
        return Response("This machine is not called so here.", 400, mimetype="text/plain")
    said = f"{error.name}: {error.description}"
    return render_template("error.html", title=error.name, message=said), error.code or 500


def _failed(error: CrystensError) -> tuple[str, int]:
    code = 400 if isinstance(error, InputError) else 503
    return render_template("error.html", title="This cannot be shown", message=str(error)), code


def _unreachable(error: PyMongoError) -> tuple[str, int]:
    return _failed(StoreError(f"the store cannot be read: {_short(error)}"))


def _short(error: Exception) -> str:
    """Say an error without what pymongo adds to it: the state of all servers."""
    return without_password(str(error)).split(", Timeout:")[0].split(", full error")[0]


def _shipped() -> HullReference:
    from crystens_flows.screening.hull import HullReference

    return HullReference.shipped()


def _remembered(
    campaign: Callable[[], CampaignStatus] | None,
) -> Callable[[], CampaignStatus] | None:
    if campaign is None:
        return None
    lock = threading.Lock()
    kept: list[tuple[float, CampaignStatus | Exception]] = []

    def ask() -> CampaignStatus:
        # one asks at a time; meanwhile the others are told what was said before
        if lock.acquire(blocking=not kept):
            try:
                if not kept or time.monotonic() - kept[0][0] > STATUS_SECONDS:
                    found = _answer(campaign)
                    kept[:] = [(time.monotonic(), found)]
            finally:
                lock.release()
        found = kept[0][1]
        if isinstance(found, Exception):
            raise found.with_traceback(None)
        return found

    return ask


def _answer(campaign: Callable[[], CampaignStatus]) -> CampaignStatus | Exception:
    try:
        return campaign()
    except (CrystensError, PyMongoError) as exc:
        return exc


def _cell(name: str, value: Any) -> str:
    """Write a value as its column has it."""
    if name == "formula":
        return html.formula(value)
    if name == "space_group":
        return html.space_group(value) if value is not None else html.text(None)
    return html.text(value)


class _Pages:
    """What answers requests."""

    def __init__(
        self,
        stores: Stores,
        index: CandidateIndex,
        campaign: Callable[[], CampaignStatus] | None,
        reference: Callable[[], HullReference],
    ) -> None:
        self.stores = stores
        self.index = index
        self.campaign = campaign
        self.reference = reference

    def table(self) -> str:
        asked = read(request.args)
        total = self.index.count(asked.filters)
        n_pages = max(1, -(-total // asked.size))
        asked.page = min(asked.page, n_pages)
        rows = self.index.find(
            asked.filters,
            sort=asked.sort,
            descending=asked.descending,
            limit=asked.size,
            skip=(asked.page - 1) * asked.size,
        )
        return render_template(
            "table.html",
            asked=asked,
            rows=rows,
            total=total,
            n_pages=n_pages,
            names=NAMES,
            energies=_ENERGIES,
            sliders=SLIDERS,
            ranges=self.index.ranges(),
            statuses=[str(each) for each in CandidateStatus],
            campaigns=list(self.index.campaigns()),
            sizes=PAGE_SIZES,
            formats=[str(each) for each in ExportFormat],
            max_download=MAX_DOWNLOAD,
        )

    def candidate(self, identifier: str) -> str:
        document = self._document(identifier)
        rows = spread(document.model_dump(mode="json"))
        fields = [(name, value) for name, value in rows if value not in (None, [], {}, "")]
        return render_template(
            "candidate.html",
            candidate=document,
            card=self._cards([document]),
            state=_state(document),
            fields=fields,
        )

    def structure(self, identifier: str, kind: str) -> Response:
        structure, _ = latest_structure(self._document(identifier))
        if structure is None:
            abort(404, "this candidate has no structure")
        chosen = ExportFormat(kind)
        response = Response(structure.to(fmt=chosen.value), mimetype="text/plain")  # type: ignore[arg-type]
        name = "".join(c for c in identifier if c.isascii() and (c.isalnum() or c in "-_"))
        response.headers["Content-Disposition"] = f'attachment; filename="{name}{chosen.suffix}"'
        return response

    def compare(self) -> str:
        chosen = identifiers(request.args.getlist("id"))
        if len(chosen) != 2:
            raise InputError(
                f"two candidates are compared, and {len(chosen)} were chosen: tick two in the table"
            )
        documents = [self._document(each) for each in chosen]
        rows = [dict(spread(each.model_dump(mode="json"))) for each in documents]
        compared = [
            (name, *(row.get(name) for row in rows))
            for name in FIELDS
            if any(row.get(name) is not None for row in rows)
        ]
        return render_template(
            "compare.html",
            candidates=documents,
            cards=self._cards(documents),
            rows=compared,
            names=NAMES,
            match=_match(*documents),
            states=[_state(each) for each in documents],
        )

    def download(self) -> Response:
        kind = request.args.get("format", ExportFormat.CIF.value)
        if kind not in list(ExportFormat):
            raise InputError(f"format {kind!r} is not one of {', '.join(ExportFormat)}")
        chosen = identifiers(request.args.getlist("id"))
        if not chosen and "ticked" in request.args:
            raise InputError("no candidate is ticked: tick some in the table")
        if not chosen:
            asked = read(request.args)
            if asked.errors:
                raise InputError("; ".join(asked.errors.values()))
            rows = self.index.find(
                asked.filters,
                sort=asked.sort,
                descending=asked.descending,
                limit=MAX_DOWNLOAD + 1,
            )
            chosen = [row["candidate_id"] for row in rows]
        if len(chosen) > MAX_DOWNLOAD:
            raise InputError(
                f"these are more than {MAX_DOWNLOAD} candidates: narrow the filter, or use "
                "`crystens candidates export`"
            )
        return self._packed(chosen, ExportFormat(kind))

    def _packed(self, chosen: list[str], kind: ExportFormat) -> Response:
        """Send candidates as one file: a table, frames, or an archive of a file each."""
        packed = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when it was sent
        name = f"candidates{kind.suffix}"
        with tempfile.TemporaryDirectory(prefix="crystens-explore-") as folder:
            files, _ = export(self._stored(chosen), folder, kind)
            if not files:
                raise InputError("none of these candidates has a structure")
            if kind.is_one_file:
                packed.write(files[0].read_bytes())
            else:
                name = f"candidates-{kind.value}.zip"
                with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in files:
                        archive.write(file, file.name)
        packed.seek(0)
        return send_file(packed, as_attachment=True, download_name=name)

    def _stored(self, chosen: list[str]) -> Iterator[dict[str, Any]]:
        """Read candidates from the store, in this order; those that are gone are left out."""
        at_once = 200
        store = self.stores.candidates.store
        for start in range(0, len(chosen), at_once):
            part = chosen[start : start + at_once]
            found = {
                doc["candidate_id"]: doc
                for doc in store.query(
                    {"candidate_id": {"$in": part}}, properties=list(EXPORT_FIELDS)
                )
            }
            yield from (found[each] for each in part if each in found)

    def hull(self) -> str:
        system = request.args.get("system", "").strip()
        diagram = hull_diagram(system, self.index, self.reference()) if system else None
        drawn = "" if diagram is None else draw_hull(diagram, url_for("candidate", identifier=""))
        return render_template(
            "hull.html",
            system=system,
            diagram=diagram,
            drawing=Markup(drawn),  # noqa: S704 - it escapes
            systems=self.index.systems(SYSTEMS_SHOWN),
        )

    def progress(self) -> str:
        status, problem = None, None
        if self.campaign is not None:
            try:
                status = self.campaign()
            except (CrystensError, PyMongoError) as exc:
                problem = _short(exc)
        return render_template(
            "progress.html",
            campaigns=self.index.campaigns(),
            statuses=[str(each) for each in CandidateStatus],
            status=status,
            problem=problem,
        )

    def asset(self, name: str) -> Response:
        if name == "style.css":
            content = "".join(html.asset(each) for each in _STYLES) + _own("explore.css")
            return Response(content, mimetype="text/css")
        if name == "explore.js":
            return Response(_own(name), mimetype="text/javascript")
        if name not in _SCRIPTS:
            abort(404, "there is no such file")
        return Response(html.asset(_SCRIPTS[name]), mimetype="text/javascript")

    def _document(self, identifier: str) -> CandidateDocument:
        try:
            check_text(identifier, "candidate_id")
            return self.stores.candidates.get(identifier)
        except InputError as exc:
            abort(404, str(exc))

    def _cards(self, documents: list[CandidateDocument]) -> Markup:
        drawn = [each for each in documents if _state(each)]
        return Markup(card_section(drawn) if drawn else "")  # noqa: S704 - it escapes


def _own(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _state(document: CandidateDocument) -> str:
    """Say what the structure of a candidate is that pages show; empty where it has none."""
    structure, state = latest_structure(document)
    return "" if structure is None else state


def _match(first: CandidateDocument, second: CandidateDocument) -> str:
    """Say whether two candidates have the same structure."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    (one, _), (other, _) = latest_structure(first), latest_structure(second)
    if one is None or other is None:
        return "One of them has no structure."
    matcher = StructureMatcher()
    rms = None
    with suppress(ValueError):
        rms = matcher.get_rms_dist(one, other)
    if rms is not None:
        return (
            "They have the same structure by pymatgen's StructureMatcher: root mean square "
            f"displacement {rms[0]:.3f}, in units of the cube root of the volume of a site."
        )
    if matcher.fit_anonymous(one, other):
        return "They have the same structure type with other elements (StructureMatcher)."
    return "Their structures do not match (pymatgen's StructureMatcher)."
