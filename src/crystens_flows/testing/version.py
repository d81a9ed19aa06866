"""How the stand-in marks what it writes."""

STAND_IN_VERSION = "0.0.0-standin"
"""Version that it states in ``vasprun.xml``; ``vasp_version`` of task documents."""

ENTROPY = 0.002
"""T*S of each atom in eV, a placeholder: the calculator's energy is the free energy, that without
entropy lies this much above it, that extrapolated to zero smearing half as much."""
