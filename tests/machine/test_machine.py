"""This machine: what `physalis doctor` says of it, what lies in the cache and is deleted, and completion for shells."""

import json
import os
import subprocess
import time

import pytest

from physalis import BadInput, __version__, artifact
from physalis.machine.cache import DAY_S, cached, prunable, prune
from physalis.machine.doctor import _processor, examine, misfits, warnings

NAME, OTHER, LEFT = "smollm2-0123456789ab", "gguf-0123456789abcdef-bfloat16-5.0.0", ".smollm2-0123456789ab-x1y2"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two models, one of them not read for 40 days, what a kill left, and a folder and a file of somebody else."""
    monkeypatch.setenv("PHYSALIS_CACHE", str(tmp_path))
    for name in (NAME, OTHER, LEFT, "photographs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(b"w" * 10_000)
    (tmp_path / "notes-0123456789ab").touch()
    long_ago = time.time() - 40 * DAY_S
    os.utime(tmp_path / OTHER / "weights", (long_ago, long_ago))
    return tmp_path


def names(found):
    return {each.name for each in found}


def test_only_what_physalis_keeps_is_listed(cache):
    found = {each.name: each for each in cached()}
    assert set(found) == {NAME, OTHER, LEFT} and not found[LEFT].finished and found[NAME].finished
    assert 39 < found[OTHER].days < 41 and found[NAME].days < 1 and found[NAME].bytes >= 10_000
    assert not any(each.in_use for each in found.values())


def test_an_empty_cache_and_one_that_is_not_there(cache, monkeypatch):
    monkeypatch.setenv("PHYSALIS_CACHE", str(cache / "nowhere"))
    assert cached() == [] and prune() == []


def test_pruning_deletes_what_is_old_or_named_and_nothing_else(cache):
    assert names(prunable(older_than=30)) == {OTHER} and (cache / OTHER).exists()
    assert names(prune(older_than=30)) == {OTHER} and not (cache / OTHER).exists()
    assert names(prune([NAME])) == {NAME}
    assert names(prune()) == {LEFT}
    assert {each.name for each in cache.iterdir()} == {"photographs", "notes-0123456789ab"}


def test_what_is_in_use_stays(cache):
    with artifact.holding(cache / LEFT), open(cache / NAME / "weights"):
        assert names(each for each in cached() if each.in_use) >= {LEFT}
        if os.path.isdir("/proc/self/fd"):
            assert names(prune()) == {OTHER}
            with pytest.raises(BadInput, match="in use"):
                prune([NAME])
    assert (cache / LEFT / "weights").exists()


def test_what_is_not_there_is_refused(cache):
    with pytest.raises(BadInput, match=f"holds no 'photographs'.*{NAME}"):
        prune(["photographs"])
    with pytest.raises(BadInput, match="received -1"):
        prune(older_than=-1)


def test_the_command_deletes_only_with_yes(cache, physalis):
    code, out, _ = physalis("cache", "prune", "--older-than", "30")
    assert code == 0 and OTHER in out and "--yes" in out and (cache / OTHER).exists()
    code, out, _ = physalis("cache", "prune", "--older-than", "30", "--yes", "--json")
    assert code == 0 and [each["name"] for each in json.loads(out)] == [OTHER] and not (cache / OTHER).exists()
    code, out, _ = physalis("cache", "list")
    assert code == 0 and NAME in out and "left unfinished" in out and "photographs" not in out
    assert physalis("cache", "prune", "nothing")[0] == 2


def test_the_doctor_tells_as_a_table_and_as_json(physalis, cache):
    code, out, _ = physalis("doctor")
    assert code == 0 and __version__ in out and "threads" in out and "[tables]" in out
    code, out, _ = physalis("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["cache"]["folder"] == str(cache) and found["threads"] >= 1


def test_requirements_that_are_not_met_are_named():
    needed = ["numpy<1", "torch>=1", "surely-not-there>=4; extra == 'hub'", "numpy>=1000; python_version < '3'"]
    (said,) = misfits(needed)
    assert said.startswith("numpy<1 (") and "is installed" in said
    assert [*misfits(needed, "hub")] == ["surely-not-there>=4"]


def test_what_is_in_the_way_is_said_with_what_to_do():
    found = examine().model_copy(
        update={"free_bytes": 1e9, "memory_bytes": 1e9, "threads": 64, "cores": 2, "device": "cpu",
                "computes_in": "float32"}
    )  # fmt: skip
    said = " ".join(warnings(found, ["numpy<1"]))
    for each in ("pip install 'numpy<1'", "1.0 GB are free", "physalis plan", "OMP_NUM_THREADS=2", "bfloat16"):
        assert each in said
    fine = {"free_bytes": 1e12, "memory_bytes": 1e11, "threads": 2, "computes_in": "bfloat16"}
    assert not [*warnings(found.model_copy(update=fine), [])]


def test_a_processor_says_its_name_and_flags(tmp_path):
    about = tmp_path / "cpuinfo"
    about.write_text("processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: sse avx2 amx_tile\n\nprocessor\t: 1\n")
    assert _processor(about) == ("Some CPU", {"sse", "avx2", "amx_tile"})
    assert _processor(tmp_path / "none")[1] == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_knows_the_commands(physalis, shell, tmp_path):
    code, out, _ = physalis("completion", shell)
    assert code == 0 and "build-atlas" in out and "--older-than" in out.replace("-l older-than", "--older-than")
    if shell == "bash":
        (tmp_path / "script").write_text(out)
        assert subprocess.run(["bash", "-n", tmp_path / "script"]).returncode == 0


def test_another_shell_is_refused_and_the_version_is_said(physalis):
    assert physalis("completion", "tcsh")[0] == 2
    assert physalis("--version")[:2] == (0, f"{__version__}\n")
