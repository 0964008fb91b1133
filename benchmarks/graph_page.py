"""Graph page: how soon a graph of 5,000 edges stands in the browser, and how smoothly it follows the hand.

    python benchmarks/graph_page.py                # a minute
    python benchmarks/graph_page.py --graph graph  # one that `physalis trace` wrote

The graph is drawn at random, with about as many nodes and edges as graphs of SmolLM2 have: what a page costs does not
depend on what they say. The server is `physalis serve` as a process of its own. Chromium opens the page
in new contexts, then a hand drags the picture, with all of its nodes shown. Rows are {name, value, unit, bar}.
"""

import argparse
import json
import math
import shutil
import statistics
import tempfile
from pathlib import Path

import torch
from load import row, serve
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from physalis import artifact
from physalis.circuits import End, Graph, Verdict
from physalis.circuits.graph import KIND

WORDS = tuple("<s>|When| Mary| and| John| went| to| the| store|,| John| gave| a| drink| to".split("|"))
ENDS = ((" Mary", 0.837), (" her", 0.052), (" the", 0.041), (" him", 0.018), (" a", 0.009), (" their", 0.004))
PAINT_BAR_MS, FRAMES_BAR = 300, 60
OPENED, MOVES = 40, 240
MARK = """new PerformanceObserver(list => { for (const e of list.getEntries()) window.painted ??= e.startTime; })
  .observe({ type: 'paint', buffered: true });
new MutationObserver((_, observer) => {
  if (!document.querySelector('canvas[data-drawn]')) return;
  window.drawn = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ['data-drawn'] });"""
FRAMES = """() => {
  window.frames_ = [];
  let last;
  (function frame(now) {
    if (last) window.frames_.push(now - last);
    last = now;
    window.asked = requestAnimationFrame(frame);
  })(0);
}"""
STOPPED = "() => { cancelAnimationFrame(window.asked); return window.frames_; }"


def made_up(*, features: int = 600, errors: int = 90, edges: int = 5_000, layers: int = 30, seed: int = 0) -> Graph:
    """A graph whose nodes crowd at the last token and in middle layers, and whose edges prefer near layers and large
    sources."""
    g = torch.Generator().manual_seed(seed)
    context = len(WORDS)
    at_token = torch.tensor([0.6, 0.5, 2.2, 0.6, 1.8, 0.7, 0.6, 0.5, 0.9, 0.6, 2.4, 1.4, 0.7, 1.5, 7.0])
    at_layer = 1.0 + torch.exp(-((torch.arange(layers) - 0.62 * layers) ** 2) / (0.1 * layers**2))
    cells = (at_layer[:, None] * at_token).flatten().multinomial(features, replacement=True, generator=g).sort().values
    layer, position = cells // context, cells % context
    value = torch.rand(features, generator=g).pow(2) * 8 + 0.3
    columns = features + (layers + 1) * context
    kept = torch.zeros(columns, dtype=torch.bool)
    kept[:features] = True
    kept[features + torch.randperm(layers * context, generator=g)[:errors]] = True
    kept[-context:] = True
    places = torch.cat([position, torch.arange(columns - features) % context])
    source_layer = torch.cat([layer, torch.arange(layers).repeat_interleave(context), torch.full((context,), -1)])
    rows = features + len(ENDS)
    target_layer = torch.cat([layer, torch.full((len(ENDS),), layers)])
    target_place = torch.cat([position, torch.full((len(ENDS),), context - 1)])
    gap = target_layer[:, None] - source_layer
    may = (gap > 0) & (places <= target_place[:, None]) & kept
    size = torch.rand(columns, generator=g).pow(3) + 0.05
    near = torch.exp(-gap.clamp(1) / 7.0) * torch.where(places == target_place[:, None], 1.0, 0.35)
    odds = (may * size * near).flatten()
    chosen = odds.multinomial(min(edges, int((odds > 0).sum())), generator=g)
    weights = torch.zeros(rows * columns)
    signs = torch.where(torch.rand(len(chosen), generator=g) < 0.3, -1.0, 1.0)
    weights[chosen] = signs * odds[chosen].sqrt() * (0.2 + torch.rand(len(chosen), generator=g))
    matrix = weights.view(rows, columns)
    return Graph(
        model="made up", prompt="".join(WORDS[1:]), tokens=torch.arange(context), token_strings=WORDS,
        layers=tuple(range(layers)), ends=tuple(End(name, i, p, p) for i, (name, p) in enumerate(ENDS)),
        layer=layer, position=position, feature=torch.randint(4_608, (features,), generator=g),
        directions=torch.zeros(len(ENDS), 8), value=torch.cat([value, torch.linspace(14, 8, len(ENDS))]),
        bias=torch.zeros(rows), edges=matrix, left_out=torch.zeros(rows), left_out_size=0.4 * matrix.abs().sum(1),
        n_active=13_289, kept=kept,
    )  # fmt: skip


def written(graph: Graph, out: Path) -> Path:
    """Saved with a verdict, without which there is no page: this one is as made up as the graph."""
    verdict = Verdict(
        sources=64, edge_gap=1e-4, edge_r=0.99, path_r=0.35, end_r=0.24, answer=0.837, kept_only=0.059,
        stochastic=0.556, adversarial=0.0004, none_kept=0.0, dropped=12_779, kept=graph.n_features,
    )  # fmt: skip
    with artifact.claim(out, KIND, {"made up": True}) as done:
        if done is None:
            graph.finish(out, inputs={}, facts={"verdict": verdict.record()})
    return out


def opened(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds from the navigation to the first paint with content, and to the picture with all its edges."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.add_init_script(MARK)
    page.goto(address, wait_until="load")
    page.wait_for_function("() => window.drawn && window.painted")
    times = page.evaluate("() => [window.painted, window.drawn]")
    page.context.close()
    return times[0], times[1]


def dragged(browser: Browser, address: str, *, zoom: int) -> list[float]:
    """Milliseconds between one frame and the next while a hand drags the picture to and fro, after ``zoom`` turns of
    the wheel."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(address, wait_until="load")
    page.wait_for_selector("canvas[data-drawn]")
    hands = page.get_by_role("application")
    hands.scroll_into_view_if_needed()
    box = hands.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    for _ in range(zoom):
        page.mouse.wheel(0, -240)
    page.wait_for_timeout(1_000)  # until the edges stand in the new size
    page.mouse.down()
    page.evaluate(FRAMES)
    for i in range(MOVES):
        page.mouse.move(x + 260 * math.sin(i / 20), y + 120 * math.sin(i / 33))
    frames = page.evaluate(STOPPED)
    page.mouse.up()
    page.context.close()
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--graph", type=Path, help="a folder that `physalis trace` wrote, instead of one at random")
    parser.add_argument("--json", action="store_true", help="only the rows")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        graph = options.graph or written(made_up(), Path(folder) / "graph")
        server, address = serve(graph)
        browser = p.chromium.launch(executable_path=shutil.which("chromium"))
        try:
            all_nodes = f"{address}/?nodes=1000000"
            times = [opened(browser, all_nodes) for _ in range(OPENED)]
            for name, found in zip(("first paint", "all edges drawn"), zip(*times, strict=True), strict=True):
                bar = PAINT_BAR_MS if name == "first paint" else None
                rows.append(row(f"{name}, p95", statistics.quantiles(found, n=20)[-1], "ms", bar))
                rows.append(row(f"{name}, p50", statistics.median(found), "ms"))
            for name, turns in (("the whole picture", 0), ("4 times as large", 3)):
                frames = dragged(browser, all_nodes, zoom=turns)
                rows.append(row(f"frames a second, dragging {name}", 1000 / statistics.mean(frames), "/s", FRAMES_BAR))
                rows.append(row(f"longest of {len(frames)} frames, {name}", max(frames), "ms"))
        finally:
            browser.close()
            server.kill()
            server.wait()
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
