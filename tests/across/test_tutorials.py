"""The tutorials: they run as scripts, marimo finds nothing wrong with them, and what they say is what they found."""

import runpy
import subprocess
import sys

import pytest
from tree import ROOT

marimo = pytest.importorskip("marimo", reason="marimo is not installed: pip install -e '.[dev]'")

TUTORIALS = ROOT / "tutorials"
NAMES = sorted(file.stem for file in TUTORIALS.glob("*.py"))
pytestmark = pytest.mark.filterwarnings("ignore")  # marimo's own


@pytest.fixture(scope="module")
def found():
    """``found(name)``: outputs and variables of a tutorial once it has run as the script that it is."""
    kept, run_app = {}, marimo.App.run

    def run(name):
        if name not in kept:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(marimo.App, "run", lambda app: kept.setdefault(name, run_app(app)))
                runpy.run_path(str(TUTORIALS / f"{name}.py"), run_name="__main__")
        return kept[name]

    return run


def test_there_are_some():
    assert NAMES == ["first_atlas", "superposition"]


@pytest.mark.parametrize("name", NAMES)
def test_marimo_finds_nothing_wrong(name):
    done = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", TUTORIALS / f"{name}.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def words(outputs):
    """All prose that a tutorial shows."""
    return " ".join(str(getattr(output, "text", "")) for output in outputs)


@pytest.mark.slow
def test_superposition(found):
    outputs, told = found("superposition")
    assert told["held"][0] == 2 and told["held"][-1] == 5 and told["held_linear"].max() <= 3
    assert all(60 < angle < 85 for angle in told["between"]) and abs(told["between"].sum() - 360) < 1e-6
    assert all(0.3 < share < 0.5 for share in told["share"])
    naive, right = (told["results"][f"dictionary, {kind}"] for kind in ("two at once", "one at a time"))
    assert naive[1] < 0.2 * right[1], "the one that is fooled has the smaller error"
    assert naive[0] <= 2 and right[0] == 5
    text = words(outputs)
    assert f"it finds {naive[0]} of 5" in text and f"finds {right[0]}" in text


@pytest.mark.slow
def test_first_atlas(found):
    outputs, told = found("first_atlas")
    fvu = list(told["fvu"].values())
    assert fvu[0] < 0.5 * told["best_baseline"] == 0.5 * min(fvu[1:])
    assert told["letter"].isalpha() and len(told["letter"]) == 1
    assert told["recall"] > 0.5 and told["precision"] > 10 * told["chance"]
    assert len(told["atlas"]) == 256 and told["feature"].causes is not None
    text = words(outputs)
    assert f"{told['precision']:.0%}" in text and "nats a token" in told["verdict"]
