"""Discover crystals with VASP, and change with atomate2's powerups what all of its jobs do."""

import argparse
from pathlib import Path

from atomate2.vasp.powerups import add_metadata_to_flow, update_user_incar_settings

from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import SelectMaker
from crystens_flows.jobs.engines import relax_maker
from crystens_flows.screening.selection import SelectionRules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("-n", "--number", type=int, default=40, help="how many samples")
parser.add_argument("--select", type=int, default=2, help="how many are relaxed")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("-o", "--output", type=Path, default=Path("vasp-with-powerups"))
parser.add_argument("--backend", choices=["local", "fireworks", "jf"], default="local")
options = parser.parse_args()

flow = DiscoveryFlowMaker(
    select_maker=SelectMaker(rules=SelectionRules(n_select=options.select)),
    relax_maker=relax_maker("vasp"),
).make(options.number, options.seed, campaign="with-powerups")

# They reach the relaxations although the selection starts these later: all four, or one by name.
flow = update_user_incar_settings(flow, {"NCORE": 4, "LREAL": "Auto"})
flow = update_user_incar_settings(flow, {"NSW": 30}, name_filter="crystens relax 1")
flow = add_metadata_to_flow(flow, {"project": "perovskites"})  # in the task documents
flow.update_metadata({"project": "perovskites"})  # with all jobs in the JobStore
flow.append_name(" (perovskites)")

if options.backend == "fireworks":
    from fireworks import LaunchPad
    from jobflow.managers.fireworks import flow_to_workflow

    flow.update_config(
        {"_set": {"manager_config->_category": "vasp"}}, "crystens relax", dict_mod=True
    )
    # Without a store: jobs write to that of their worker, and no password is kept with them.
    LaunchPad.auto_load().add_wf(flow_to_workflow(flow))
elif options.backend == "jf":
    from jobflow_remote import set_run_config, submit_flow

    set_run_config(flow, name_filter="crystens relax", worker="vasp")
    submit_flow(flow)
else:
    from crystens_flows.local import run
    from crystens_flows.stores import open_stores

    stores = open_stores(options.output / "store")
    asked = {name: str(value) for name, value in vars(options).items()}
    run(flow, stores.job_store, options.output / "run", settings=asked)
    for job in stores.job_store.query({"output.project": "perovskites"}, ["name", "output.input"]):
        print(job["name"], job["output"]["input"]["incar"])
