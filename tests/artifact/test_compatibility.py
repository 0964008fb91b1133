"""What earlier versions wrote: each artefact opens, is whole, and holds what it held."""

import json
import shutil

import pytest
from earlier import EARLIER
from tree import ROOT

import physalis as ph
from physalis import artifact
from physalis.artifact.kinds import KINDS
from physalis.comparing import Comparison, Forest
from physalis.errors import BadInput
from physalis.lab import World
from physalis.people.notes import Notes

VERSIONS = sorted(folder.name for folder in EARLIER.iterdir())
OPENED = {
    "activations": ph.Activations.open, "narrow": ph.load, "middle": ph.load, "evaluation": ph.Evaluation.open,
    "atlas": ph.Atlas.open, "comparison": Comparison.open, "tree": Forest.open, "world": World.open,
    "sweep/topk-40-2-0": ph.load,
}  # fmt: skip
PAGE = (ROOT / "docs" / "compatibility.md").read_text()


@pytest.fixture(params=VERSIONS)
def kept(request):
    return EARLIER / request.param


def test_there_is_one_of_every_version():
    assert VERSIONS[0] == "0.1.0"


@pytest.mark.parametrize("name", OPENED)
def test_each_opens(kept, name):
    opened = OPENED[name](kept / name)
    assert repr(opened)


@pytest.mark.parametrize("name", [*OPENED, "sweep"])
def test_each_is_whole(kept, name):
    found = ph.verify(kept / name)
    assert found.right, [each for each in found.files if not each.right]


def test_they_hold_what_they_held(kept):
    acts = ph.Activations.open(kept / "activations")
    sae = ph.load(kept / "narrow")
    x = acts.held_out.numpy()
    assert x.shape == (acts.manifest.facts["n_held_out"], acts.d) and x.shape[1] == 32
    codes = sae.encode(x)
    assert codes.dense().shape == (len(x), 64)
    told = ph.Evaluation.open(kept / "evaluation").facts["metrics"]
    error = ((x - sae(x).numpy()) ** 2).sum() / ((x - acts.mean.numpy()) ** 2).sum()
    assert abs(error - told["fvu"]["value"]) < 0.02
    l0 = float((codes.values > 0).sum()) / len(x)
    assert abs(l0 - told["l0"]["value"]) < 0.1


def test_an_atlas_shows_its_features(kept):
    atlas = ph.Atlas.open(kept / "atlas")
    assert len(atlas) == 64
    rows = atlas.list(sort="n_fired", descending=True).rows
    feature = atlas[rows[0].id]
    assert feature.n_fired == rows[0].n_fired > 0
    assert feature.groups and feature.promoted and feature.nearest and feature.top_tokens
    assert any(atlas[row.id].causes is not None for row in atlas.list(limit=64).rows)


def test_notes_are_about_it(kept, tmp_path):
    shutil.copy(kept / "atlas.notes.db", tmp_path)  # whoever opens notes may write
    notes = Notes.open(tmp_path / "atlas.notes.db", atlas=artifact.read(kept / "atlas", "atlas").hash)
    assert [each.label.text for each in notes.of(0).labels] == ["the word if"]
    notes.close()


def test_what_was_made_of_them_still_says_so(kept):
    """Their hashes are what they were: an atlas is still that of its dictionary."""
    made = artifact.read(kept / "atlas", "atlas").inputs
    for role, name in {"activations": "activations", "dictionary": "narrow", "evaluation": "evaluation"}.items():
        assert made[role] == artifact.read(kept / name, role).hash


def test_a_newer_one_is_refused_in_a_sentence(kept, tmp_path):
    for name in OPENED:
        folder = tmp_path / name
        shutil.copytree(kept / name, folder)
        path = folder / artifact.MANIFEST
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": artifact.SCHEMA + 1}))
        with pytest.raises(BadInput, match="Install a newer physalis"):
            OPENED[name](folder)


def test_the_page_names_every_kind():
    kinds = {artifact.kind_of(each.parent) for each in EARLIER.rglob(artifact.MANIFEST)}
    for kind in kinds | {each.kind_of() for each in KINDS}:
        assert f"| {kind} |" in PAGE, f"docs/compatibility.md does not name {kind}"
    assert f"schema version is {artifact.SCHEMA}" in PAGE
