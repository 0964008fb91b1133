"""Python on pages: every block compiles, imports what there is and names options that there are; quick ones are run."""

import ast
import builtins
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import ten_layers
from tree import ROOT

import physalis
from physalis.models import Model
from physalis.models.tiny import tiny_model


class Block(NamedTuple):
    page: str
    n: int
    """Which one of its page, from 0."""
    code: str


def blocks_of(path: Path) -> list[Block]:
    found = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.M | re.S)
    return [Block(path.stem, n, code) for n, code in enumerate(found)]


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for path in PAGES for block in blocks_of(path)]
every = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.n}")


def imported(tree: ast.Module) -> dict[str, Any]:
    """What the imports of a block bind. Raises where there is no such module or name."""
    names: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                module = importlib.import_module(each.name)
                names[each.asname or each.name.split(".")[0]] = module
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level
            module = importlib.import_module(node.module)
            for each in node.names:
                found = getattr(module, each.name, None)
                if found is None:
                    found = importlib.import_module(f"{node.module}.{each.name}")
                names[each.asname or each.name] = found
    return names


def meant(node: ast.expr, names: dict[str, Any]) -> Any:
    """What a dotted name that begins with something imported means; None for any other. Raises AttributeError where
    what is there has no such name."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        whose = meant(node.value, names)
        return None if whose is None else getattr(whose, node.attr)
    return None


def wrong_options(tree: ast.Module, names: dict[str, Any]) -> list[str]:
    """Calls of imported functions of ours with options that these have not."""
    wrong = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = meant(call.func, names)
        if called is None or not (getattr(called, "__module__", "") or "").startswith("physalis"):
            continue
        parameters = inspect.signature(called).parameters
        rest = [each.annotation for each in parameters.values() if each.kind is each.VAR_KEYWORD]
        if not all(typing.get_origin(each) is typing.Unpack for each in rest):
            continue
        known = {*parameters, *(name for each in rest for name in typing.get_args(each)[0].__annotations__)}
        unknown = [word.arg for word in call.keywords if word.arg and word.arg not in known]
        wrong += [f"{ast.unparse(call.func)}({name}=)" for name in unknown]
    return wrong


def test_there_are_blocks():
    assert len(BLOCKS) > 30 and {"README", "steering", "worlds"} <= {block.page for block in BLOCKS}


@every
def test_a_block_compiles_and_means_something(block):
    tree = ast.parse(block.code)
    above = [ast.parse(each.code) for each in BLOCKS if each.page == block.page and each.n <= block.n]
    names = {name: value for each in above for name, value in imported(each).items()} | {"ph": physalis}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            meant(node, names)
    assert not wrong_options(tree, names)


def test_what_is_wrong_is_seen():
    tree = ast.parse("import physalis as ph\nph.train(1, lr_of=3)\n")
    assert wrong_options(tree, imported(tree)) == ["ph.train(lr_of=)"]
    with pytest.raises(AttributeError, match="trian"):
        meant(ast.parse("ph.trian", mode="eval").body, {"ph": physalis})
    with pytest.raises(ModuleNotFoundError):
        imported(ast.parse("from physalis.artifact import nothing_such"))


SMALLER = {"300_000": "3_000", "1404": "104", "340": "34"}
"""Numbers on pages that are of a larger model: tokens, features."""
FROM_NOTHING = {"README": (0,), "pairs": (0,)}
"""Blocks that begin with a model and no folder, and read its layer 9."""
FROM_FOLDERS = {
    "comments": (0,), "dictionaries": (0,), "finetuning": (0,), "models": (0,), "notes": (0, 1, 2), "patching": (0,),
    "publishing": (0,), "steering": (0,), "verifying": (0,),
}  # fmt: skip
"""Blocks that go on with what is there. All of these take seconds with a tiny model."""


def execute(page: str, ns: tuple[int, ...], monkeypatch, load: Callable[..., Model]) -> None:
    """Run blocks of a page one after another, with one model, whatever it is called."""
    monkeypatch.setattr(physalis, "load_model", load)
    monkeypatch.setattr("physalis.models.load_model", load)
    monkeypatch.setattr(physalis, "serve", lambda *_: None)
    names: dict[str, Any] = {"ph": physalis, "model": load("smollm2"), "__builtins__": builtins}
    for block in (block for block in BLOCKS if block.page == page and block.n in ns):
        code = block.code
        for number, smaller in SMALLER.items():
            code = code.replace(number, smaller)
        exec(compile(code, f"{page}.md", "exec"), names)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "ns"), FROM_NOTHING.items(), ids=FROM_NOTHING)
def test_quick_ones_run_from_nothing(page, ns, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    execute(page, ns, monkeypatch, ten_layers.loaded)


@pytest.fixture
def made(tiny_activations, tiny_dictionary, tiny_atlas, widths, tmp_path, monkeypatch):
    """The working folder holds what pages name."""
    for name, source in {
        "acts": tiny_activations.folder, "sae": tiny_dictionary, "atlas": tiny_atlas.folder,
        "sae-seed-0": widths[0], "sae-seed-1": widths[1], "physalis-demo/dictionary": tiny_dictionary,
        "physalis-demo/activations": tiny_activations.folder,
    }.items():  # fmt: skip
        shutil.copytree(source, tmp_path / name)
    (tmp_path / "commas.md").write_text("# Commas\n\nFeature 12.\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "ns"), FROM_FOLDERS.items(), ids=FROM_FOLDERS)
def test_quick_ones_run(page, ns, made, monkeypatch, capsys):
    execute(page, ns, monkeypatch, lambda *_, **__: tiny_model())


def test_the_pages_make_a_site_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[dev]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "compatibility" / "index.html").exists()


def test_every_page_is_named_by_the_site():
    """Also where mkdocs, which says so too, is not installed."""
    listed = set(re.findall(r"^  - [^:]+: (.+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
