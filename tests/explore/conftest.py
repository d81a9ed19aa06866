"""Modules that tests of the explorer share with those of the report."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))
