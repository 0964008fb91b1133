"""What a stranger installs: what is declared is what is used; wheel and source archive work by themselves."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections import defaultdict
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from kept import write_text
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tree import ROOT

import physalis
from physalis.machine.doctor import EXTRAS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCE = ROOT / "src" / "physalis"
COMES_WITH = {
    "starlette": "fastapi", "pydantic-core": "pydantic", "anyio": "fastapi", "tokenizers": "transformers",
    "huggingface-hub": "transformers", "traitlets": "anywidget",
}  # fmt: skip
"""What is imported and named by no requirement of ours: a library that we require cannot be without it."""
LONGEST_S = 900
"""A hang, not a race."""


def required(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


@cache
def imported() -> dict[str, set[Path]]:
    """Each distribution that the source imports from, with the files that do."""
    homes, found = packages_distributions(), defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for first in {name.split(".")[0] for name in names} - {*sys.stdlib_module_names, "physalis"}:
                found[canonicalize_name(homes.get(first, [first])[0])].add(path)
    return found


def test_what_is_imported_is_required():
    always, extras = required(PROJECT["dependencies"]), PROJECT["optional-dependencies"]
    optional = {name for extra, lines in extras.items() if extra != "dev" for name in required(lines)}
    used = {COMES_WITH.get(name, name) for name in imported()}
    assert used <= always | optional, used - always - optional
    assert optional <= used, optional - used


def test_each_extra_is_one_that_doctor_knows():
    assert {*PROJECT["optional-dependencies"]} - {"dev"} == {*EXTRAS}


@pytest.mark.slow
def test_nothing_that_is_always_imported_is_optional():
    """Everything imports where no extra is installed, but for the modules that are what the extra is for."""
    files = {path for name in ("anywidget", "datasets", "pandas", "triton") for path in imported()[name]}
    code = (
        "import importlib, sys\n"
        "for name in ('anywidget', 'traitlets', 'datasets', 'pandas', 'triton'): sys.modules[name] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "import physalis\n"
        "for name in physalis.__all__: getattr(physalis, name)\n"
    )
    rooms = [f"physalis.{path.parent.name}" for path in SOURCE.glob("*/__init__.py")]
    done = subprocess.run([sys.executable, "-c", code, *rooms, "physalis.web.server.serving"], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert {path.name for path in files} == {"widgets.py", "sources.py", "tables.py", "gpu.py"}


def test_it_says_that_it_is_typed():
    assert (SOURCE / "py.typed").read_bytes() == b""


def test_it_is_cited_by_its_version():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(said["version"]) == physalis.__version__ == PROJECT["version"]
    assert said["license"] == PROJECT["license"] and {"cff-version", "message", "title", "authors"} <= {*said}


def test_hooks_and_workflow_do_what_ci_does():
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lints = [line for line in ci if re.match(r"\.venv/bin/python -m (ruff|pyright)", line)]
    assert [hook["entry"] for hook in local["hooks"]] == lints
    flow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert "bash .ci/run" in [step.get("run") for step in flow["jobs"]["all"]["steps"]]


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment that knows nothing of this checkout."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel of this tree, its source archive, and the wheel of that."""
    folder = tmp_path_factory.mktemp("built")
    builder = folder / "builder" / "bin" / "python"
    venv.create(folder / "builder", with_pip=True)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    got = subprocess.run([builder, "-m", "pip", "install", "-q", *needed], capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"the build's own requirements cannot be had here: {got.stderr[-300:]}")
    run(builder, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", folder / "dist", cwd=ROOT)
    [wheel], [archive] = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    pip = (builder, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "-w", folder / "again", archive, cwd=folder)
    [again] = (folder / "again").glob("*.whl")
    return wheel, archive, again


@pytest.mark.slow
def test_the_archive_makes_the_same_wheel(built):
    wheel, archive, again = built
    names, others = (sorted(zipfile.ZipFile(each).namelist()) for each in (wheel, again))
    assert names == others
    assert {"physalis/py.typed", "physalis/static/.stamp"} <= {*names}
    with tarfile.open(archive) as held:
        there = {name.partition("/")[2] for name in held.getnames()}
    assert {"LICENSE", "README.md", "CITATION.cff", "tests/conftest.py", "docs/glossary.md", ".ci/run"} <= there
    assert not [name for name in there if name.startswith((".venv", "frontend/node_modules"))]


@pytest.mark.slow
def test_the_wheel_works_where_nothing_else_of_this_tree_is(built, tmp_path):
    """Its requirements are borrowed from the environment that runs the tests; physalis itself is not."""
    home = tmp_path / "home"
    venv.create(home, with_pip=True)
    run(home / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", built[0], cwd=tmp_path)
    [packages] = home.glob("lib/*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(home / "bin" / "python", "-c", "import physalis; print(physalis.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(home)
    command = home / "bin" / "physalis"
    assert physalis.__version__ in run(command, "--version", cwd=tmp_path)
    assert physalis.__version__ in run(command, "doctor", cwd=tmp_path)
    (tmp_path / "text").mkdir()
    write_text(tmp_path / "text", words=60)
    sizes = ("--tokens", "3k", "--context", "32", "--held-out", "0.3")
    run(command, "record", "tiny", "--site", "L1.resid_post", "--text", "text", *sizes, "--out", "acts", cwd=tmp_path)
    run(command, "train", "acts", "--features", "64", "--k", "4", "--batch-size", "256", "--out", "sae", cwd=tmp_path)
    run(command, "build-atlas", "sae", "acts", "--out", "atlas", "--causes", "0", cwd=tmp_path)
    run(command, "publish", "atlas", "--out", "site", cwd=tmp_path)
    assert "<html" in (tmp_path / "site" / "index.html").read_text()
    run(command, "verify", "atlas", cwd=tmp_path)
