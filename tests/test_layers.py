"""House rules: one-way imports, small files, torch-free faces, docs that mention everything."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from floors import LAYERS, drawing

import physalis

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "physalis"
_COMMANDS = (
    "__init__", "arguments/early", "arguments/options", "lab", "learning/atlases", "learning/circuits",
    "learning/demo_process",
    "learning/exchanging", "learning/explaining", "learning/judging", "learning/recording", "learning/suites",
    "learning/training", "machine", "reading/comparing", "reading/heads", "reading/searching", "reading/serving",
    "reading/steering", "reading/verifying", "sharing/comments", "sharing/notes", "sharing/publishing",
)  # fmt: skip
LATE = {
    "__init__.py",
    "__main__.py",
    "lazy.py",
    *(f"{room}/__init__.py" for room in ("corpora", "explanations", "judging", "lab", "models", "naming", "training")),
    "web/server/serving.py",
    "web/contents/opening.py",
    "web/notebooks/showing.py",
    *(f"cli/{name}.py" for name in _COMMANDS),
}
"""Files that import inside functions: torch takes seconds, and these answer before it is there."""
TORCH_FREE = (
    "", ".artifact", ".atlas", ".cli", ".comparing", ".corpora.sources", ".display.reprs", ".display.tables", ".lab",
    ".machine.cache", ".naming.known", ".people.annotations", ".people.comments", ".people.notes", ".site",
    ".training.history",
    ".web.atlas.app", ".web.contents.opening", ".web.server.serving", ".web.worker.relay", ".web.worker.worker",
)  # fmt: skip

files = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted({path.parent for path in files} - {SOURCE})
MOST = 16
"""Files of a room: among more of them nobody sees what it holds."""


def part(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> list[tuple[str, int]]:
    """Modules of ours that a file imports, with the column where each import stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "physalis":
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "physalis" else [node.module]
            found += [(name, node.col_offset) for name in names]
        elif isinstance(node, ast.Import):
            found += [(a.name, node.col_offset) for a in node.names if a.name.split(".")[0] == "physalis"]
    inside = [(name.split(".", 1)[1], column) for name, column in found if "." in name]
    return [(physalis._HOME.get(name, name), column) for name, column in inside]


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name.split(".")[0] in layer)


def violations(path: Path, names: list[str]) -> list[str]:
    own = part(path)
    other = [name.split(".")[0] for name in names if name.split(".")[0] not in (own, "__version__")]
    return [name for name in other if level(name) >= level(own)]


@pytest.mark.parametrize("path", files, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_down(path):
    if part(path) in ("__init__", "__main__"):
        return
    assert not violations(path, [name for name, _ in imports(path)])


def test_a_violation_is_caught():
    assert violations(SOURCE / "dictionaries" / "architectures" / "topk.py", ["training", "types"]) == ["training"]
    assert violations(SOURCE / "activations" / "store.py", ["models.model"]) == ["models"]


@pytest.mark.parametrize("path", files, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_stand_at_the_top(path):
    if str(path.relative_to(SOURCE)) not in LATE:
        assert not [name for name, column in imports(path) if column]


others = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "docs").glob("*.py")])


@pytest.mark.parametrize("path", [*files, *others], ids=lambda p: p.name)
def test_files_are_small_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path.name} has no docstring"
    assert "utils" not in path.name


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_imported(module):
    code = f"import sys, physalis{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_public_names_exist_and_are_documented():
    page = (ROOT / "docs" / "reference.md").read_text()
    for name in physalis.__all__:
        assert getattr(physalis, name).__doc__, name
        assert f"`{name}" in page or f"physalis.{name}" in page, f"docs/reference.md does not mention {name}"


def test_the_reference_is_what_the_docstrings_say():
    assert subprocess.run([sys.executable, ROOT / "docs" / "make_reference.py", "--check"]).returncode == 0


def test_commands_are_documented():
    from physalis.cli import app

    page = (ROOT / "docs" / "all-of-physalis.md").read_text()
    for name in app:
        if not name.startswith("-"):
            assert f"physalis {name}" in page, f"docs/all-of-physalis.md does not mention `physalis {name}`"


@pytest.mark.parametrize("room", ROOMS, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_is_small_and_has_what_its_door_says(room):
    """Names in the door, or modules behind it."""
    assert len(list(room.glob("*.py"))) <= MOST
    door = ast.parse((room / "__init__.py").read_text())
    said = {ast.unparse(node.targets[0]): node.value for node in door.body if isinstance(node, ast.Assign)}
    if "__all__" in said:
        names = set(ast.literal_eval(said["__all__"]))
        there = {
            each.asname or each.name
            for node in ast.walk(door)
            if isinstance(node, ast.ImportFrom)
            for each in node.names
        }
        there |= {node.name for node in door.body if isinstance(node, ast.FunctionDef | ast.ClassDef)} | {*said}
        there |= {ast.unparse(node.target) for node in door.body if isinstance(node, ast.AnnAssign)}
        assert names <= there | {path.stem for path in room.iterdir()}


def test_no_two_tests_have_one_name():
    """They are imported by it: of two, a run that collects both finds one."""
    names = [path.name for path in sorted((ROOT / "tests").rglob("*.py"))]
    shared = {"conftest.py", "__init__.py"}
    assert [name for name in dict.fromkeys(names) if names.count(name) > 1 and name not in shared] == []


def test_the_floors_are_drawn_as_they_are():
    print(drawing())
    assert drawing() in (ROOT / "docs" / "all-of-physalis.md").read_text(), "paste what `python tests/floors.py` prints"


def test_metrics_are_in_the_glossary():
    from physalis import metrics

    page = (ROOT / "docs" / "glossary.md").read_text()
    for metric in (*metrics.RECONSTRUCTION, *metrics.SPLICE, *metrics.FIRING):
        assert f"`{metric.__name__}`" in page


def test_relative_links_in_the_docs_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|feature:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
