"""The demo while it is made: one address from the start, the runs as they train, then the atlas."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from browsing import expect, serving
from fastapi import FastAPI

from physalis.cli.learning import demo_process
from physalis.errors import BadInput
from physalis.web.contents.opening import open_app
from physalis.web.server.serving import STOPPED, bind, serve_while
from physalis.web.watch.app import create_relay_app


def saying(word):
    app = FastAPI()
    app.get("/")(lambda: word)
    return app


def free_port():
    with bind("127.0.0.1", 0) as listener:
        return listener.getsockname()[1]


def until(found, seconds=60):
    """What ``found`` gives once that is something; servers that are not there yet are waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if value := found():
                return value
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_one_address_shows_what_is_made_and_then_what_was_made(tmp_path):
    port, seen = free_port(), []

    def get(word):
        return until(lambda: (said := httpx.get(f"http://127.0.0.1:{port}/").json()) == word and said)

    def work():
        seen.append(get("before"))
        return 0

    def after():
        seen.append("made")
        raise BadInput("There is no atlas.")

    with pytest.raises(BadInput, match="There is no atlas"):
        serve_while(work, lambda: saying("before"), after, tmp_path, port=port)
    assert seen == ["before", "made"]
    bind("127.0.0.1", port).close()


def test_work_that_fails_ends_the_server_with_its_code(tmp_path):
    code = serve_while(lambda: 2, lambda: saying("before"), lambda: saying("after"), tmp_path, port=0)
    assert code == 2


def test_the_demo_passes_on_what_it_was_given(physalis, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(demo_process, "make_and_serve", lambda out, **options: given.append((out, options)) or STOPPED)
    code, _, _ = physalis("demo", "--out", tmp_path, "--tokens", "3k", "--port", "0")
    assert code == STOPPED and given == [(tmp_path, {"port": 0, "tokens": 3000})]


@pytest.mark.browser
def test_a_page_goes_on_from_the_first_run_to_the_next_and_to_the_atlas(
    tiny_dictionary, tiny_activations, tiny_atlas, tmp_path, browse
):
    first, real = tmp_path / "first look", tmp_path / "real"
    shutil.copytree(tiny_dictionary, first)
    relay = create_relay_app({first: "A first look.", real: "The atlas opens here."})
    shown = [relay]

    async def app(scope, receive, send):
        await shown[-1](scope, receive, send)

    with serving(app) as site:
        page = browse(site, "/")
        expect(page.get_by_role("heading", name="first look")).to_be_visible()
        expect(page.get_by_text("A first look.")).to_be_visible()
        shutil.copytree(tiny_dictionary, real)
        expect(page.get_by_role("heading", name="real")).to_be_visible()  # a finished run is asked for seldom
        expect(page.get_by_text("The atlas opens here.")).to_be_visible()
        assert httpx.get(f"{site}/api/run").json()["name"] == "real"
        shown.append(open_app(tiny_atlas.folder))
        page.wait_for_selector("main [data-striking], main a[href^='/features']")
        browse.refusals = 1  # of the run that is no more, by which the page knows


@pytest.mark.slow
def test_the_real_demo_from_its_first_features_to_its_atlas(tmp_path):
    """The real model; where no package index carries it there is none."""
    command = [sys.executable, "-m", "physalis", "demo", "--out", "demo", "--tokens", "24k", "--port", "0"]
    with (
        open(tmp_path / "said", "w") as said,
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=said, text=True) as running,
    ):
        try:
            told = Path(said.name)
            found = until(lambda: running.poll() is not None or re.search(r"http://[\d.:]+/", told.read_text()))
            if running.poll() is not None:
                pytest.skip(f"the demo's model cannot be had here: {told.read_text()[-300:]}")
            site = found[0].rstrip("/")
            first = until(
                lambda: (answer := httpx.get(f"{site}/api/first", timeout=60)).status_code == 200 and answer.json(), 300
            )
            assert first["features"] or first["lack"]
            about = until(
                lambda: (answer := httpx.get(f"{site}/index.json", timeout=60)).status_code == 200 and answer.json(),
                600,
            )
            assert about["n_features"] == 4608 and "smollm2" in about["model"].lower()
            assert not (tmp_path / "demo" / "first").exists()
            running.send_signal(signal.SIGINT)
            out, _ = running.communicate(timeout=60)
            assert running.returncode == 0 and "Five features to begin with" in out
        finally:
            running.kill()
