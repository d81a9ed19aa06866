"""How long the import and the help take, warm; the last line is JSON."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import crystens_flows"],
    "help": [str(Path(sys.executable).with_name("crystens")), "--help"],
}


def seconds(command: list[str], runs: int = 7) -> float:
    """Return the median wall time of a command, after one run to warm up."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


if __name__ == "__main__":
    measured = {name: round(seconds(command), 3) for name, command in COMMANDS.items()}
    print(f"python alone                {measured['python']:.3f} s")
    print(f"import crystens_flows       {measured['import']:.3f} s (goal: under 1 s)")
    print(f"crystens --help             {measured['help']:.3f} s (goal: under 2 s)")
    print(json.dumps(measured))
