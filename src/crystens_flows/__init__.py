"""Generative materials discovery as Jobflow Makers, from CrysTens to relaxed crystals."""

from importlib.metadata import version

__version__ = version("crystens-flows")
