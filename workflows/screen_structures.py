"""Screen structures of your own as a flow, and relax the best: CIFs, CSV, extended XYZ, ..."""

import argparse
from pathlib import Path

from jobflow import run_locally

from crystens_flows.builders import CandidateBuilder
from crystens_flows.datasets import read_rows
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import SelectMaker, prefilter_makers
from crystens_flows.screening.pipeline import ScreeningOptions
from crystens_flows.screening.selection import SelectionRules
from crystens_flows.stores import open_stores

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sources", nargs="+", help="CIF files or folders, CSV files, XYZ files, ...")
parser.add_argument("-n", "--number", type=int, default=6, help="how many are relaxed")
parser.add_argument("-o", "--output", type=Path, default=Path("screen-structures"))
options = parser.parse_args()

structures = []
for row in read_rows(options.sources):
    if row.structure is None:
        print(f"left out: {row.entry}: {row.reason}")
    else:
        structures.append(row.structure)

# Everything that can be set has its place in these two; both can be written as YAML.
rules = SelectionRules(n_select=options.number, max_energy_above_hull=0.2)
screening = ScreeningOptions(models=["cgcnn", "m3gnet", "chgnet"], require_charge_balance=True)

stores = open_stores(options.output / "store")
flow = DiscoveryFlowMaker(
    screen_makers=prefilter_makers(screening), select_maker=SelectMaker(rules=rules)
).make_from_structures(structures, campaign="own")
run_locally(flow, store=stores.job_store, create_folders=True, root_dir=options.output)

CandidateBuilder(stores.job_store, stores.candidates).run_incrementally()
columns = ["formula", "status", "reason", "energy_above_hull", "energy_per_atom"]
print(stores.candidates.to_dataframe(properties=columns, sort="energy_above_hull", limit=10))
