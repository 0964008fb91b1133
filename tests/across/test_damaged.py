"""Damaged and made-up folders, through the command line: each is refused in a sentence, whatever is asked of it."""

import shutil

import damage
import pytest

from physalis.artifact import MANIFEST


@pytest.fixture
def refused(physalis, tmp_path):
    """Runs a command that must refuse what it is given: with one sentence and code 2, and nothing made."""

    def run(verb, *arguments):
        out = tmp_path / f"{verb}-out"
        makes = () if verb in ("steer", "dead-features") else ("--out", out)
        code, printed, said = physalis(verb, *arguments, *makes)
        lines = [line for line in said.splitlines() if line.startswith("physalis: ")]
        assert (code, len(lines), printed) == (2, 1, ""), (verb, code, said[-2000:])
        assert "Traceback" not in said and lines[0].rstrip().endswith((".", ")")), lines[0]
        assert not (out / MANIFEST).exists(), verb
        return lines[0]

    return run


def harmed(folder, tmp_path, harm):
    out = tmp_path / folder.name
    shutil.copytree(folder, out)
    harm(out)
    return out


def readers(activations, dictionary, other):
    """Every command that reads activations."""
    return {
        "train": (activations, "--epochs", "1", "--batch-size", "512", "--features", "2x", "--k", "4"),
        "evaluate": (dictionary, activations), "build-atlas": (dictionary, activations, "--causes", "0"),
        "compare": ("pair", dictionary, other, activations),
        "sweep": (activations, "--k", "4", "--features", "2x", "--dictionary", "topk", "--batch-size", "512"),
        "finetune": (dictionary, activations, "--tokens", "512"), "dead-features": (dictionary, activations),
    }  # fmt: skip


@pytest.mark.parametrize("name", damage.ACTIVATIONS)
def test_damaged_activations(name, tiny_activations, widths, tmp_path, refused):
    folder = harmed(tiny_activations.folder, tmp_path, damage.ACTIVATIONS[name])
    for verb, arguments in readers(folder, widths[1], widths[0]).items():
        refused(verb, *arguments)


@pytest.mark.parametrize("name", damage.ROWS)
def test_rows_that_are_no_numbers(name, tiny_activations, widths, tmp_path, refused):
    folder = harmed(tiny_activations.folder, tmp_path, damage.ROWS[name])
    for verb in ("train", "build-atlas", "compare", "sweep", "dead-features"):
        said = refused(verb, *readers(folder, widths[1], widths[0])[verb])
        assert "shard-000000" in said and "not finite" in said and "place" in said


def test_numbers_too_large_to_multiply(tiny_activations, widths, tmp_path, physalis):
    """They are what a model computed, for all that is known; what follows from them is no number, and is not told."""
    folder = harmed(tiny_activations.folder, tmp_path, damage.HUGE)
    for verb in ("train", "build-atlas", "compare", "dead-features"):
        makes = () if verb == "dead-features" else ("--out", tmp_path / f"{verb}-out")
        code, printed, said = physalis(verb, *readers(folder, widths[1], widths[0])[verb], *makes)
        assert code in (0, 2) and "Traceback" not in said and "nan" not in printed, (verb, said)


@pytest.mark.parametrize("name", damage.PLACES)
def test_places_that_are_not_in_the_shard(name, tiny_activations, widths, tmp_path, refused):
    folder = harmed(tiny_activations.folder, tmp_path, damage.PLACES[name])
    for verb in ("build-atlas", "finetune"):
        assert "shard-000000" in refused(verb, *readers(folder, widths[1], widths[0])[verb])


@pytest.mark.parametrize("name", damage.TEXTS)
def test_texts_that_were_not_recorded(name, tiny_activations, widths, tmp_path, refused):
    folder = harmed(tiny_activations.folder, tmp_path, damage.TEXTS[name])
    for verb in ("evaluate", "build-atlas", "finetune"):
        assert "tokens.npy" in refused(verb, *readers(folder, widths[1], widths[0])[verb])


@pytest.mark.parametrize("name", damage.DICTIONARIES)
def test_damaged_dictionaries(name, tiny_activations, widths, tmp_path, refused):
    folder, acts = harmed(widths[1], tmp_path, damage.DICTIONARIES[name]), tiny_activations.folder
    commands = readers(acts, folder, widths[0]) | {
        "convert": (folder, "--to", "sparsify"), "steer": (folder, "alpha", "--edit", "add:1:4", "--tokens", "2"),
    }  # fmt: skip
    for verb, arguments in commands.items():
        if verb not in ("train", "sweep"):
            refused(verb, *arguments)
