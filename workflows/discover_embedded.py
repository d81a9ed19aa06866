"""Run the discovery flow in this process, on stores in files: no database server."""

import argparse
from pathlib import Path

from crystens_flows.builders import CandidateBuilder
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.local import run
from crystens_flows.stores import open_stores

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("-n", "--number", type=int, default=40, help="how many samples")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("-o", "--output", type=Path, default=Path("discover-embedded"))
options = parser.parse_args()

stores = open_stores(options.output / "store")
flow = DiscoveryFlowMaker().make(options.number, options.seed, campaign="embedded")

# Interrupted, it goes on where it was when it is started again with the same folder.
asked = {"number": options.number, "seed": options.seed}
run(flow, stores.job_store, options.output / "run", settings=asked)

# Candidates are made from the outputs of the jobs, wherever those ran.
CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
columns = ["formula", "status", "energy_above_hull", "energy_per_atom"]
print(stores.candidates.to_dataframe(properties=columns, sort=columns[2], limit=10))
