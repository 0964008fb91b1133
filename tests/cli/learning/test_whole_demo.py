"""``physalis demo`` from its command to its pages, in processes of its own; only the model is a tiny one."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from test_demo_process import until

from physalis.artifact import read

COMMAND = [sys.executable, str(Path(__file__).parent / "small_demo.py"), "demo", "--out", "demo", "--tokens", "24k"]
LONGEST_S = 300
"""A hang, not a race."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def running(folder):
    """The process, and the address that it said."""
    with (
        open(folder / "said", "w") as said,
        subprocess.Popen([*COMMAND, "--port", "0"], cwd=folder, stdout=subprocess.PIPE, stderr=said, text=True) as run,
    ):
        try:
            told = folder / "said"
            found = until(lambda: run.poll() is not None or re.search(r"http://[\d.:]+/", told.read_text()), LONGEST_S)
            assert run.poll() is None, told.read_text()
            yield run, found[0].rstrip("/")
        finally:
            run.kill()


@pytest.fixture(scope="module")
def site(running):
    """The address, once the atlas stands there."""
    process, address = running
    first = httpx.get(f"{address}/", timeout=60)
    assert first.status_code == 200 and "<html" in first.text  # while it is made

    def made():
        assert process.poll() is None
        return httpx.get(f"{address}/index.json", timeout=60).status_code == 200

    until(made, LONGEST_S)
    return address


@pytest.mark.slow
def test_the_atlas_says_what_it_is_of(site):
    about = httpx.get(f"{site}/index.json").json()
    assert about["model"] == "tiny" and about["site"] == "L1.resid_post" and about["n_features"] == 256
    assert about["metrics"]["fvu"]["value"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("path", ("/", "/features", "/map", "/try", "/steer", "/lists"))
def test_its_pages_open(site, path):
    answer = httpx.get(site + path, timeout=60)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    for script in re.findall(r'src="(/[^"]+\.js)"', answer.text):
        assert httpx.get(site + script).status_code == 200


@pytest.mark.slow
def test_a_feature_is_a_page_and_its_twin(site):
    rows = httpx.get(f"{site}/features.json?sort=n_fired&descending=true").json()["rows"]
    id = rows[0]["id"]
    page, twin = httpx.get(f"{site}/features/{id}"), httpx.get(f"{site}/features/{id}.json").json()
    assert page.status_code == 200 and f"{id}" in page.text
    assert twin["n_fired"] == rows[0]["n_fired"] > 0 and twin["groups"]
    assert httpx.get(f"{site}/features/256").status_code == 404


@pytest.mark.slow
def test_a_text_is_tried_by_the_model_beside_it(site):
    answer = httpx.get(f"{site}/api/try", params={"text": "import os"}, timeout=LONGEST_S)
    assert answer.status_code == 200, answer.text
    assert answer.json()["features"]


@pytest.mark.slow
def test_the_text_goes_on_with_a_feature_edited(site):
    asked = {"text": "import", "edits": [{"kind": "add", "feature": 1, "strength": 4.0}], "tokens": 4}
    answer = httpx.post(f"{site}/api/steer", json=asked, timeout=LONGEST_S)
    assert answer.status_code == 200, answer.text


@pytest.mark.slow
def test_it_ends_as_it_is_told_and_is_not_made_twice(running, site, folder):
    process, _ = running
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0 and "Five features to begin with" in out
    made = {name: read(folder / "demo" / name, name).hash for name in ("activations", "dictionary", "atlas")}
    again = subprocess.run(
        [*COMMAND, "--no-serve", "--json"], cwd=folder, capture_output=True, text=True, timeout=LONGEST_S
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["n_features"] == 256
    assert made == {name: read(folder / "demo" / name, name).hash for name in made}
    assert not (folder / "demo" / "first").exists()
