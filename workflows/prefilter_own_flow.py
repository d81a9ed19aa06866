"""Screen your own structures and hand those that pass to an atomate2 flow of your own."""

import argparse
from pathlib import Path

from atomate2.vasp.flows.core import DoubleRelaxMaker

from crystens_flows.datasets import read_rows
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import SelectMaker, prefilter_makers
from crystens_flows.screening.pipeline import ScreeningOptions
from crystens_flows.screening.selection import SelectionRules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sources", nargs="+", help="CIF files or folders, CSV files, XYZ files, ...")
parser.add_argument("-n", "--number", type=int, default=6, help="how many go on")
parser.add_argument("-o", "--output", type=Path, default=Path("prefilter-own-flow"))
parser.add_argument("--backend", choices=["local", "fireworks", "jf"], default="local")
options = parser.parse_args()

structures = [row.structure for row in read_rows(options.sources) if row.structure is not None]

# Known crystals, and what lies more than 0.1 eV/atom above the hull, end here.
screening = ScreeningOptions(models=["cgcnn", "m3gnet"], reject_known=True)
rules = SelectionRules(n_select=options.number, max_energy_above_hull=0.1)
flow = DiscoveryFlowMaker(
    screen_makers=prefilter_makers(screening),
    select_maker=SelectMaker(rules=rules),
    tune_maker=None,
    relax_maker=None,
    # Your own flow: any Maker whose make() takes a structure.
    next_makers=[DoubleRelaxMaker()],
).make_from_structures(structures, campaign="prefiltered")

if options.backend == "fireworks":
    from fireworks import LaunchPad
    from jobflow.managers.fireworks import flow_to_workflow

    # Without a store: jobs write to that of the worker, and no password is kept with them.
    LaunchPad.auto_load().add_wf(flow_to_workflow(flow))
elif options.backend == "jf":
    from jobflow_remote import submit_flow

    submit_flow(flow)
else:
    from crystens_flows.local import run
    from crystens_flows.stores import open_stores

    stores = open_stores(options.output / "store")
    asked = {name: str(value) for name, value in vars(options).items()}
    run(flow, stores.job_store, options.output / "run", settings=asked)
    for job in stores.job_store.query({"name": "relax 2"}, ["metadata", "output.output.energy"]):
        print(job["metadata"]["candidate_id"], job["output"]["output"]["energy"], "eV")
