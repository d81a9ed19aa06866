"""Relax the best of your own or generated crystals, and go on with atomate2: elasticity, bands."""

import argparse
from pathlib import Path

from crystens_flows.datasets import read_rows
from crystens_flows.flows import DiscoveryFlowMaker
from crystens_flows.jobs import SelectMaker
from crystens_flows.jobs.engines import relax_maker
from crystens_flows.screening.selection import SelectionRules

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sources", nargs="*", help="CIF files, ...; without them, samples are made")
parser.add_argument("-n", "--number", type=int, default=40, help="how many samples")
parser.add_argument("--select", type=int, default=2, help="how many are relaxed")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--engine", choices=["chgnet", "vasp"], default="chgnet")
parser.add_argument("-o", "--output", type=Path, default=Path("elastic-and-bands"))
parser.add_argument("--backend", choices=["local", "fireworks", "jf"], default="local")
options = parser.parse_args()

# The fit by finite differences, atomate2's default, is lost where equal strains differ in their
# last digits, as those of relaxed structures do.
fit = {"fitting_method": "pseudoinverse"}
if options.engine == "vasp":
    from atomate2.vasp.flows.core import RelaxBandStructureMaker
    from atomate2.vasp.flows.elastic import ElasticMaker

    next_makers = [ElasticMaker(fit_elastic_tensor_kwargs=fit), RelaxBandStructureMaker()]
else:
    from atomate2.forcefields.flows.elastic import ElasticMaker

    next_makers = [ElasticMaker(fit_elastic_tensor_kwargs=fit)]  # with CHGNet

maker = DiscoveryFlowMaker(
    select_maker=SelectMaker(rules=SelectionRules(n_select=options.select)),
    relax_maker=relax_maker(options.engine),
    next_makers=next_makers,
)
if options.sources:
    structures = [row.structure for row in read_rows(options.sources) if row.structure is not None]
    flow = maker.make_from_structures(structures, campaign="properties")
else:
    flow = maker.make(options.number, options.seed, campaign="properties")

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
    fields = ["metadata.candidate_id", "output.formula_pretty", "output.derived_properties.k_vrh"]
    for job in stores.job_store.query({"name": "fit_elastic_tensor"}, fields):
        output = job["output"]
        moduli = output["derived_properties"]
        print(job["metadata"]["candidate_id"], output["formula_pretty"], moduli["k_vrh"], "GPa")
