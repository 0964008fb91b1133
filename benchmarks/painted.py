"""Painted: how soon a feature's page stands in the browser, from the request on.

    python benchmarks/painted.py physalis-demo/atlas   # half a minute

The server is `physalis serve` as a process of its own; Chromium opens pages of features drawn at random, each in a new
context, so that nothing is in its cache, and then as a reader goes from one to the next. Rows are {name, value, unit,
bar}: the largest contentful paint of what is seen first, and when the examples further down are drawn as well.
"""

import argparse
import json
import random
import shutil
import statistics
from pathlib import Path

from load import row, serve
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from physalis.atlas import Atlas

BAR_MS = 300
LOOKED_AT_MS = 500  # a reader does not leave before the page is whole
DRAWN = """new MutationObserver((_, observer) => {
  if (!document.querySelector('[data-example]')) return;
  window.drawn = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });"""
FOUND = """() => new Promise(found => new PerformanceObserver(list => {
  const last = list.getEntries().at(-1); if (last) found([last.startTime, window.drawn]);
}).observe({ type: 'largest-contentful-paint', buffered: true }))"""


def times(page: Page, address: str) -> tuple[float, float]:
    """Milliseconds from the navigation to the largest paint, and to the examples' being there. While the page is drawn,
    nothing asks it anything: Playwright's own script, 15 ms of the page's time, comes when it is first asked."""
    page.goto(address, wait_until="load")
    page.wait_for_timeout(LOOKED_AT_MS)
    page.wait_for_function("() => window.drawn")
    largest, drawn = page.evaluate(FOUND)
    return largest, drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="only the rows")
    options = parser.parse_args()
    atlas = Atlas.open(options.atlas)
    ids = [r.id for r in random.Random(0).sample(atlas.list(sort="density", limit=2_000).rows, options.pages)]
    server, address = serve(options.atlas)
    try:
        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"))
            fresh = []
            for id in ids:
                context = browser.new_context()
                context.add_init_script(DRAWN)
                fresh.append(times(context.new_page(), f"{address}/features/{id}"))
                context.close()
            page = browser.new_context().new_page()
            page.add_init_script(DRAWN)
            times(page, address + "/features/" + str(ids[0]))
            again = [times(page, f"{address}/features/{id}") for id in ids[1:]]
            browser.close()
    finally:
        server.kill()
        server.wait()
    rows = []
    for name, found in (("nothing kept", fresh), ("script and style kept", again)):
        for what, values in zip(("largest paint", "examples drawn"), zip(*found, strict=True), strict=True):
            rows.append(
                row(
                    f"{what}, {name}, p95",
                    statistics.quantiles(values, n=20)[-1],
                    "ms",
                    BAR_MS if what == "largest paint" else None,
                )
            )
            rows.append(row(f"{what}, {name}, p50", statistics.median(values), "ms"))
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("", "", "bar")
    for each in rows:
        table.add_row(
            each["name"], f"{each['value']:g} {each['unit']}", "" if each["bar"] is None else f"{each['bar']}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
