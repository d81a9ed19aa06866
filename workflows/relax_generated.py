"""Relax what another generator made, four times each: its CIF files, or extended XYZ."""

import argparse
from pathlib import Path

from jobflow import Flow

from crystens_flows.builders import CandidateBuilder
from crystens_flows.datasets import read_rows
from crystens_flows.flows.relaxing import PART, relax_selected
from crystens_flows.jobs import candidates_from_structures, provenance_of_structures
from crystens_flows.jobs.engines import relax_maker

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sources", nargs="+", help="a folder of CIF files, generated_crystals.extxyz")
parser.add_argument(
    "--generator", default="mattergen", help="what the candidates are said to be of"
)
parser.add_argument("--campaign", default="generated")
parser.add_argument("--engine", default="chgnet", help="as of `crystens relax`, such as vasp")
parser.add_argument("-o", "--output", type=Path, default=Path("relax-generated"))
parser.add_argument("--backend", choices=["local", "fireworks", "jf"], default="local")
options = parser.parse_args()

structures = []
for row in read_rows(options.sources):
    if row.structure is None:
        print(f"left out: {row.entry}: {row.reason}")
    else:
        structures.append(row.structure)

provenance = provenance_of_structures(structures, options.campaign)
provenance.generator = options.generator
jobs = []
for start in range(0, len(structures), PART):
    read = candidates_from_structures(structures[start : start + PART], provenance, start)
    relax = relax_selected(relax_maker(options.engine), read.output.candidates, options.campaign)
    jobs += [read, relax]
flow = Flow(jobs, name=f"relax {options.campaign}")
flow.update_metadata({"campaign": options.campaign})

if options.backend == "fireworks":
    from fireworks import LaunchPad
    from jobflow.managers.fireworks import flow_to_workflow

    # Without a store: jobs write to that of their worker, and no password is kept with them.
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
    CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
    columns = ["index", "formula", "status", "reason", "energy_per_atom"]
    print(stores.candidates.to_dataframe(properties=columns))
