"""A store to explore: real crystals, many made-up ones, and one whose texts mean harm."""

from __future__ import annotations

import json
import random

from pymatgen.core import Composition
from report_run import candidates as real_candidates

from crystens_flows.stores import Stores, open_stores

HOSTILE = '<img src=x onerror="document.title=1"><script>alert(1)</script>'
ELEMENTS = ("Li", "Na", "Mg", "Ti", "Fe", "O", "S", "Cl")


def documents(number: int) -> list[dict]:
    """Return documents as stored: six real crystals first, then one that means harm."""
    real = [json.loads(each.model_dump_json()) for each in real_candidates()]
    for doc in real:
        elements = sorted({e.symbol for e in Composition(doc["formula"])})
        doc |= {"elements": elements, "chemsys": "-".join(elements), "n_elements": len(elements)}
    harm = {
        **real[0],
        "candidate_id": 'c-"><script>alert(2)',
        "campaign": HOSTILE,
        "index": 10**6,
        "status": "rejected",
        "formula": HOSTILE,
        "chemsys": HOSTILE,
        "rejected_by": "relax",
        "reason": HOSTILE,
        "known_as": HOSTILE,
    }
    chance = random.Random(0)
    made = []
    for k in range(number - len(real) - 1):
        elements = sorted(chance.sample(ELEMENTS, chance.choice((2, 3))))
        amounts = [chance.choice((1, 2, 3)) for _ in elements]
        formula = Composition(dict(zip(elements, amounts, strict=True))).reduced_formula
        rejected = chance.random() < 0.3
        made.append(
            {
                **real[k % len(real)],
                "candidate_id": f"c-{k + 1000:020x}",
                "campaign": f"campaign-{k % 3}",
                "index": k,
                "status": "rejected" if rejected else "screened",
                "rejected_by": "hull" if rejected else None,
                "reason": "too high" if rejected else None,
                "formula": formula,
                "elements": elements,
                "chemsys": "-".join(elements),
                "n_elements": len(elements),
                "n_sites": sum(amounts),
                "space_group": chance.randint(1, 230),
                "formation_energy_per_atom": round(chance.gauss(-1, 0.8), 6),
                "energy_above_hull": round(abs(chance.gauss(0, 0.3)), 6),
                "selection": None,
            }
        )
    return [*real, harm, *made]


def filled(place: object, number: int) -> Stores:
    """Open a store with as many candidates."""
    stores = open_stores(str(place))
    stores.candidates.store.update(documents(number))
    return stores
