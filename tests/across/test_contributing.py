"""CONTRIBUTING's recipes, followed word by word in a copy of the source: what it says is all that it takes."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from earlier import EARLIER
from tree import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text().partition("## Adding to it")[2]
RECIPES = dict(re.findall(r"^\*\*An? ([a-z ]+)\*\*(.*?)(?=^\*\*|\Z)", PAGE, re.M | re.S))
LONGEST_S = 600
"""A hang, not a race: kernels of a copy are compiled anew."""
MOST = 10
"""Lines of code that a recipe takes, besides imports, docstrings and blank lines."""


def code(name: str) -> str:
    [found] = re.findall(r"^```python\n(.*?)^```", RECIPES[name], re.M | re.S)
    return found


def file_of(name: str) -> str:
    """The file that stands before the recipe's code, or is the first that it names, below src/physalis."""
    found = re.findall(r"`src/physalis/([\w/]+\.py)`(:\n\n```python)?", RECIPES[name])
    return next((file for file, code in found if code), found[0][0])


class Copy:
    """A copy of the source, to change."""

    def __init__(self, folder):
        self.folder = folder
        # With what numba has compiled: that is good for as long as a file's time and size are what they were.
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("static"))
        self.source = folder / "src" / "physalis"

    def write(self, name: str, text: str) -> None:
        assert not (self.source / name).exists()
        (self.source / name).write_text(text)

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.source / name).read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        (self.source / name).write_text(text.replace(old, new))

    def run(self, *words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=self.folder, capture_output=True, text=True, timeout=LONGEST_S,
            env=os.environ | {"PYTHONPATH": str(self.folder / "src")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout


@pytest.fixture
def copy(tmp_path):
    made = Copy(tmp_path)
    assert str(tmp_path) in made.run("-c", "import physalis; print(physalis.__file__)")
    return made


def test_there_is_a_recipe_for_each():
    assert list(RECIPES) == ["architecture", "model family", "corpus", "metric", "page", "experiment"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short_and_names_what_there_is(name):
    for block in re.findall(r"^```python\n(.*?)^```", RECIPES[name], re.M | re.S):
        lines = [line for line in block.splitlines() if line and not re.match(r'from |import |\s*"""', line)]
        assert len(lines) <= MOST, lines
    prose = re.sub(r"^```.*?^```", "", RECIPES[name], flags=re.M | re.S)
    assert len(prose.strip().splitlines()) <= MOST
    named = set(re.findall(r"`((?:src|frontend|tests)/[\w./]+)`", prose))
    new = {f"src/physalis/{file_of(name)}"} if name in ("architecture", "corpus", "experiment") else set()
    new |= {each for each in named if each.endswith(".svelte")}
    for each in named - new:
        assert (ROOT / each).exists(), each
    assert named
    assert not [each for each in new if (ROOT / each).exists()]


@pytest.mark.slow
def test_an_architecture(copy, tmp_path):
    copy.write(file_of("architecture"), code("architecture"))
    init = "dictionaries/__init__.py"
    copy.change(init, "\nfrom physalis.dictionaries.base import", "\nfrom physalis.dictionaries.architectures.plain "
                "import Plain\nfrom physalis.dictionaries.base import")  # fmt: skip
    copy.change(init, "    CrossLayer,\n)", "    CrossLayer, Plain,\n)")
    acts = EARLIER / "0.1.0" / "activations"
    words = ("--dictionary", "plain", "--features", 64, "--k", 4, "--batch-size", 128, "--epochs", 4)
    copy.run("-m", "physalis", "train", acts, *words, "--out", "sae")
    said = json.loads((tmp_path / "sae" / "manifest.json").read_text())
    assert said["config"]["architecture"] == "Plain" and said["facts"]["last"]["fvu"] < 1
    assert "Plain" in copy.run("-c", "import physalis; print(type(physalis.load('sae')).__name__)")
    copy.run("-m", "physalis", "verify", "sae")  # code 1 if something is wrong


def test_a_model_family(copy):
    copy.change("models/families.py", "\nGEMMA = Family(", f"\n{code('model family')}\nGEMMA = Family(")
    copy.change("models/families.py", " = (LLAMA, ", " = (OLMO, LLAMA, ")
    (copy.folder / "open.py").write_text(
        "from transformers import OlmoConfig, OlmoForCausalLM\n"
        "from physalis import Site\n"
        "from physalis.models.families import OLMO, family_of\n"
        "from physalis.models.tiny import ByteTokenizer\n"
        "from physalis.models.sites.verification import open_model\n"
        "sizes = {'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2}\n"
        "hf = OlmoForCausalLM(OlmoConfig(vocab_size=258, pad_token_id=None, eos_token_id=257, **sizes)).eval()\n"
        "assert family_of('olmo') is OLMO\n"
        "model = open_model(hf, ByteTokenizer(), name='mine', family=family_of('olmo'))\n"
        "print(model.width(Site('mlp_out', 1)))\n"
    )
    assert copy.run("open.py").strip() == "16"


def test_a_corpus(copy, tmp_path):
    copy.write(file_of("corpus"), code("corpus"))
    [word] = re.findall(r'`("bars": \w+)`', RECIPES["corpus"])
    loading = "models/sources/loading.py"
    family = "import Family, family_of\n"
    copy.change(loading, family, f"{family}from physalis.models.bars import bars_model\n")
    copy.change(loading, '{"tiny": tiny_model}', f'{{"tiny": tiny_model, {word}}}')
    words = ("--site", "L1.resid_post", "--text", 80, "--tokens", 80 * 64, "--context", 64, "--no-bos")
    copy.run("-m", "physalis", "record", "bars", *words, "--out", "acts")
    said = json.loads((tmp_path / "acts" / "manifest.json").read_text())
    assert said["config"]["corpus"] == "bars" and said["facts"]["n_held_out_documents"] == 8
    copy.run("-m", "physalis", "verify", "acts")


@pytest.mark.slow
def test_a_metric(copy):
    copy.change("metrics.py", "\nRECONSTRUCTION = (fvu, ", f"\n{code('metric')}\n\nRECONSTRUCTION = (worst, fvu, ")
    kept = EARLIER / "0.1.0"
    said = copy.run(
        "-m", "physalis", "evaluate", kept / "narrow", kept / "activations", "--out", "eval", "--splice-tokens", 64,
        "--json",
    )  # fmt: skip
    found = json.loads(said)["metrics"]
    assert 0 < found["worst"]["value"] < 1.5 and {"value", "low", "high"} == {*found["worst"]}
    assert 0 < found["fvu"]["value"] < 1


ASKED = """
from fastapi.testclient import TestClient
from physalis import Atlas
from physalis.web import create_app
client = TestClient(create_app(Atlas.open({atlas!r})), base_url="http://localhost")
rows = client.get("/api/dense").json()["rows"]
assert client.get("/dense.json").json()["rows"] == rows
page = client.get("/dense")
assert page.status_code == 200 and "<title>Dense features" in page.text and rows[0]["headline"] in page.text
print(len(rows), [row["density"] for row in rows])
"""


def test_a_page(copy, tmp_path):
    shutil.copytree(ROOT / "src" / "physalis" / "static", copy.source / "static")
    atlas = shutil.copytree(EARLIER / "0.1.0" / "atlas", tmp_path / "atlas")
    overviews = "web/atlas/overviews.py"
    [entry] = re.findall(r"`(Overview\(.*?\))`", RECIPES["page"])
    copy.change(overviews, "\n\nOVERVIEWS = (", f"\n\n{code('page')}\n\nOVERVIEWS = ({entry}, ")
    n, densities = copy.run("-c", ASKED.format(atlas=str(atlas))).split(" ", 1)
    assert 0 < int(n) <= 10 and json.loads(densities) == sorted(json.loads(densities), reverse=True)


@pytest.mark.slow
def test_a_view(copy):
    """The other half of a page: what is built of it shows what the summary then links to."""
    if shutil.which("node") is None or not (ROOT / "frontend" / "node_modules").is_dir():
        pytest.skip("needs node, and frontend/node_modules (npm ci)")
    frontend = copy.folder / "frontend"
    shutil.copytree(ROOT / "frontend", frontend, ignore=shutil.ignore_patterns("node_modules"))
    (frontend / "node_modules").symlink_to((ROOT / "frontend" / "node_modules").resolve())
    [view] = re.findall(r"^```svelte\n(.*?)^```", RECIPES["page"], re.M | re.S)
    (frontend / "src" / "views" / "overviews" / "Dense.svelte").write_text(view)
    done = subprocess.run(["npx", "vite", "build"], cwd=frontend, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, done.stderr[-3000:]
    built = "".join(path.read_text() for path in (copy.source / "static" / "app" / "assets").glob("*.js"))
    assert "/dense" in built and "Dense features" in built


def test_an_experiment(copy):
    copy.write(file_of("experiment"), code("experiment"))
    [line] = re.findall(r"`(Experiment\(.*?\))`", RECIPES["experiment"])
    init = "lab/experiments/__init__.py"
    copy.change(init, "mechanisms import codes, ", "mechanisms import codes, coins, ")
    copy.change(init, "EXPERIMENTS = (\n", f"EXPERIMENTS = (\n    {line},\n")
    said = copy.run("-m", "physalis", "lab", "check", "COIN-1")
    assert "COIN-1" in said and "1 of 1 passed" in said
    copy.run("-c", "from physalis.lab.experiments import find_experiments; find_experiments(['coin-1'])[0].explore()")
