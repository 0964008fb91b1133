"""A tiny model, activations, a dictionary and their evaluation, made once a session on the CPU without a network."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator

import pytest

# Threads of torch and numba sleep while they wait for each other. As they are, they spin, which on a machine with as
# many processes as cores takes from each the core that its other thread waits for. Before torch: it is read once.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from kept import record_text, write_kept, write_text
from planted import OTHERS, basis, independent, made_of, one_of, write_activations, write_dictionary
from tree import TESTS

from physalis import cli
from physalis.atlas.build.building import build_atlas
from physalis.comparing.comparison import compare
from physalis.comparing.growing import grow
from physalis.evaluation import evaluate
from physalis.models.generation import Sampler
from physalis.models.tiny import tiny_model

torch.set_num_threads(2)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it sends behind (&) deaf, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path += [str(room) for room in sorted(TESTS.rglob("*")) if any(room.glob("test_*.py"))]
"""Tests borrow from each other, whatever room they stand in."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


PATIENCE_MS = 30_000
"""What a page shows in the end is tested, not how soon: a test that passes never waits so long."""


@pytest.fixture(scope="session")
def tiny():
    return tiny_model()


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """A folder of 20 short files."""
    return write_text(tmp_path_factory.mktemp("tiny_text"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder of 20 shorter files, as it is named to ``record``."""
    return str(write_text(tmp_path_factory.mktemp("text"), words=150))


@pytest.fixture(scope="module")
def one_thread():
    """For small tensors on a shared machine: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_activations(tiny, tiny_text, tmp_path_factory):
    return record_text(tiny, tiny_text, tmp_path_factory.mktemp("tiny") / "activations")


@pytest.fixture(scope="session")
def tiny_dictionary(tiny_activations):
    """The folder of a trained dictionary, the same on every machine."""
    return write_kept("middle", tiny_activations, tiny_activations.folder.parent / "dictionary")


@pytest.fixture(scope="session")
def tiny_evaluation(tiny, tiny_activations, tiny_dictionary):
    """The folder of its evaluation."""
    out = tiny_activations.folder.parent / "evaluation"
    evaluate(tiny_dictionary, tiny_activations.folder, tiny, out=out, splice_tokens=320)
    return out


@pytest.fixture(scope="session")
def tiny_atlas(tiny, tiny_activations, tiny_dictionary, tiny_evaluation):
    """The atlas of it all, opened."""
    out = tiny_activations.folder.parent / "atlas"
    return build_atlas(tiny_dictionary, tiny_activations.folder, tiny, out, evaluation=tiny_evaluation)


@pytest.fixture(scope="session")
def widths(tiny_activations, tiny_dictionary, tmp_path_factory):
    """Trained dictionaries from narrow to wide; the atlas is of the one between."""
    folder = tmp_path_factory.mktemp("widths")
    narrow, wide = (write_kept(name, tiny_activations, folder / name) for name in ("narrow", "wide"))
    return narrow, tiny_dictionary, wide


@pytest.fixture(scope="session")
def comparison(widths, tiny_activations, tmp_path_factory):
    return compare(*widths[:2], tiny_activations.folder, out=tmp_path_factory.mktemp("compared") / "pair")


@pytest.fixture(scope="session")
def forest(widths, tiny_activations, tmp_path_factory):
    """Chance is let through, or this text of six words would grow no tree: all of it fires everywhere."""
    out = tmp_path_factory.mktemp("grown") / "forest"
    return grow(widths, tiny_activations.folder, out=out, rate=0.8, least=0.3)


@pytest.fixture(scope="session")
def split(tmp_path_factory):
    """One feature of A is three of B: (comparison, its reverse)."""
    folder = tmp_path_factory.mktemp("split")
    q = basis()
    parts = 0.8**0.5 * q[:1] + 0.2**0.5 * q[1:4]
    others = q[10:50]
    happens = torch.cat([one_of(3, 0.09, 5), independent(40, 0.04, 6)], 1)
    acts = write_activations(folder / "acts", made_of(happens, torch.cat([parts, others]), 7))
    whole, reads = torch.cat([q[:1], others]), torch.cat([q[1:4] / 0.2**0.5, others])
    a = write_dictionary(folder / "a", whole, reads=torch.cat([q[:1] / 0.8**0.5, others]))
    b = write_dictionary(folder / "b", torch.cat([parts, others]), reads=reads, seed=1)
    return compare(a, b, acts, out=folder / "ab"), compare(b, a, acts, out=folder / "ba")


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """(activations, dictionaries): directions are at right angles, so a feature fires as it is told to.

    Event p splits into s1, s2, s3, and s1 into t1, t2. Events g and u have a child each, c and v. In the wider
    dictionaries the feature that carries on g is silent where c happens, that of u fires on.
    """
    folder = tmp_path_factory.mktemp("planted")
    q = basis()
    p, s, t, g, c, u, v, new = q[0], q[1:4], q[4:6], q[6], q[7], q[8], q[9], q[10:11]
    others = q[20 : 20 + OTHERS]
    leaves = one_of(4, 0.16, 0)  # t1, t2, s2, s3
    carried = [independent(1, 0.08, 1), independent(1, 0.08, 2)]
    special = [each & independent(1, 0.25, 3 + i) for i, each in enumerate(carried)]
    events = torch.cat([leaves, *carried, *special, independent(1, 0.05, 5), independent(OTHERS, 0.04, 6)], 1)
    adds = torch.stack([p + s[0] + t[0], p + s[0] + t[1], p + s[1], p + s[2], g, u, c, v])
    acts = write_activations(folder / "acts", made_of(events, torch.cat([adds, new, others]), 7))
    absorbing = torch.stack([g - 4 * c, c, u, v])
    carrying_on = torch.stack([g, c, u, v])
    widths = {
        "narrow": (torch.stack([p, g, u]),) * 2,
        "middle": (torch.cat([s, carrying_on]), torch.cat([s, absorbing])),
        "wide": (torch.cat([t, s[1:], carrying_on, new]), torch.cat([t, s[1:], absorbing, new])),
    }
    folders = [
        write_dictionary(folder / name, torch.cat([writes, others]), reads=torch.cat([reads, others]))
        for name, (writes, reads) in widths.items()
    ]
    return acts, folders


@pytest.fixture(scope="session")
def grown(planted, tmp_path_factory):
    return grow(planted[1], planted[0], out=tmp_path_factory.mktemp("grown") / "forest")


@pytest.fixture
def tell(monkeypatch):
    """``tell(ids)``: whatever model writes now, it goes on with these."""

    def told(ids: list[int]) -> None:
        def choose(self, logits, place: int):
            return torch.full((len(logits),), ids[place % len(ids)])

        monkeypatch.setattr(Sampler, "choose", choose)

    return told


@pytest.fixture
def physalis(monkeypatch, capsys):
    """Runs a command; its (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["physalis", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def patient(browser):
    """``browser``, whose pages are waited for as long as a busy machine takes. They compute PHYSALIS_SLOW_PAGES times
    slower where that is set: a test that looks once instead of waiting fails then."""
    slower, new_context = float(os.environ.get("PHYSALIS_SLOW_PAGES", 1)), browser.new_context

    def patient_context(**options):
        context = new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        new_page = context.new_page

        def slow_page():
            page = new_page()
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
            return page

        context.new_page = slow_page if slower > 1 else new_page
        return context

    browser.new_context = patient_context
    return browser


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on PATH and CHROMIUM is not set")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=FLAGS)
        yield patient(browser)
        browser.close()


@pytest.fixture
def browse(chromium) -> Iterator[Callable]:
    """``browse(site, path, width, scheme)``: a page of somebody's own browser; at the end, consoles were silent but for
    ``browse.refusals`` requests that were refused, and no other server was asked."""
    from browsing import whole  # needs playwright, which whoever has no browser may lack

    said, strangers, contexts = [], [], []

    def browse_(site: str, path: str, width: int = 1200, scheme: str = "light"):
        size = {"width": width, "height": 900}
        contexts.append(chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        # A server that is gone is one that the test has stopped, before its pages; others are strangers.
        page.on("console", lambda m: said.append(m.text) if "ERR_CONNECTION_REFUSED" not in m.text else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda r: strangers.append(r.url) if not r.url.startswith((site, "data:")) else None)
        page.goto(site + path)
        whole(page)
        return page

    browse_.refusals = 0
    yield browse_
    for context in contexts:
        context.close()
    refused = [line for line in said if re.search(r"Failed to load resource.*\b(403|404|409)\b", line)]
    assert [line for line in said if line not in refused] == [] and len(refused) == browse_.refusals
    assert strangers == []
