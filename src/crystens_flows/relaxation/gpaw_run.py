"""
Relax what the folder this runs in has prepared: ``python -m crystens_flows.relaxation.gpaw_run``.

Under MPI all processes run it. See :func:`crystens_flows.relaxation.gpaw.relax`.
"""

from crystens_flows.relaxation.gpaw import run_prepared

if __name__ == "__main__":
    run_prepared(".")
