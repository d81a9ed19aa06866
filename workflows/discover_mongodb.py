"""Run the discovery flow in this process, on the stores that stores/mongodb.yaml names."""

import argparse
from pathlib import Path

from jobflow import run_locally

from crystens_flows.builders import CandidateBuilder
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.stores import open_stores

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("-n", "--number", type=int, default=40, help="how many samples")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("-o", "--output", type=Path, default=Path("discover-mongodb"))
parser.add_argument(
    "--store",
    default=str(Path(__file__).parent.parent / "stores" / "mongodb.yaml"),
    help="store file or mongodb:// URI that names a database",
)
options = parser.parse_args()

stores = open_stores(options.store)
flow = DiscoveryFlowMaker().make(options.number, options.seed, campaign="mongodb")
run_locally(flow, store=stores.job_store, create_folders=True, root_dir=options.output)

# The builder runs where the database is; run it again (or `crystens build --watch`) as jobs finish.
CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
columns = ["formula", "status", "energy_above_hull", "energy_per_atom"]
print(stores.candidates.to_dataframe(properties=columns, sort=columns[2], limit=10))
