"""
The report of 1,000 candidates: its size, and how long Chromium takes to open it.

The candidates are those of the tests of the report, repeated under other names. The page is
opened from its file in headless Chromium until all of it has been loaded and drawn, in turn with
its peer, the report of as few as the tests have. The last line is JSON. `make test-browser`
installs Chromium.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

TESTS = Path(__file__).parents[1] / "tests"
GOAL_MB, GOAL_S = 10, 2


def write(path: Path, number: int) -> int:
    """Write the report of so many candidates; return how many bytes it has."""
    from report_run import OPTIONS, candidates, summary

    from crystens_flows.report import render_report
    from crystens_flows.report.samples import compare

    known = candidates()
    documents = [
        known[k % len(known)].model_copy(update={"candidate_id": f"c-{k:020x}"})
        for k in range(number)
    ]
    structures = [each.structure.as_dict() for each in documents if each.structure is not None]
    page = render_report(OPTIONS, summary(documents), documents, compare(structures))
    path.write_text(page)
    return len(page.encode())


def opened(browser: Browser, path: Path) -> float:
    """Return the seconds until a page is loaded and was drawn once."""
    page = browser.new_page()
    try:
        began = time.perf_counter()
        page.goto(path.as_uri(), wait_until="load")
        page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        return time.perf_counter() - began
    finally:
        page.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("-n", type=int, default=1000, help="candidates")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    sys.path[:0] = [str(TESTS), str(TESTS / "report")]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        large, small = Path(folder) / "large.html", Path(folder) / "small.html"
        size = write(large, options.n) / 1e6
        small_size = write(small, 6) / 1e6
        browser = driver.chromium.launch(executable_path=options.chromium)
        times: dict[Path, list[float]] = {large: [], small: []}
        for _ in range(options.repeats):
            for path, seconds in times.items():
                seconds.append(opened(browser, path))
        browser.close()
        took, peer = (statistics.median(times[path]) for path in (large, small))
    print(f"{options.n} candidates: {size:.2f} MB (goal {GOAL_MB}), of 6 {small_size:.2f} MB")
    print(
        f"opened in {took:.2f} s at the median of {options.repeats} (goal {GOAL_S}), of 6 in "
        f"{peer:.2f} s, {took / peer:.1f} times as long"
    )
    print(json.dumps({"n": options.n, "mb": size, "seconds": took, "seconds_of_6": peer}))


if __name__ == "__main__":
    main()
