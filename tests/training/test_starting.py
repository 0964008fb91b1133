"""Going on with a dictionary: its weights inside another frame, its clock, and what does not fit in sentences."""

import json

import pytest
import torch
from test_kinds import MADE, recordings
from test_kinds import given as given
from test_kinds import model as model
from test_training import Stop, contents, shape

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.recording import record
from physalis.site import Site
from physalis.training import checkpoints, training
from physalis.training.starting import Before
from physalis.training.training import train
from physalis.types import Batch, Frame

recordings = recordings
OPTIONS = dict(batch_size=512, epochs=2)
NEVER = {("ListaMatryoshka", "transcoder"), ("ListaMatryoshka", "skip")}
TRAINED = [made for made in MADE if made[1] != "layer norm" and made not in NEVER]
"""What `train` makes."""


def elsewhere(frame: Frame) -> Frame:
    """That of other text: another mean, another scale."""
    torch.manual_seed(0)
    mean = frame.mean_in + 0.3 / frame.scale_in * torch.randn(len(frame.mean_in))
    same = len(frame.mean_in) == len(frame.mean_out) and torch.equal(frame.mean_in, frame.mean_out)
    return Frame(mean, 1.3 * frame.scale_in, mean if same else frame.mean_out - 0.1, 1.3 * frame.scale_out)


@pytest.mark.parametrize(("name", "kind"), TRAINED)
def test_inside_a_frame_it_says_what_it_said_outside(given, name, kind):
    """And knows of no centre there: losses do not subtract one."""
    each = given(name, kind)
    rows = next(iter(each.source.train.ordered(256)))
    frame = elsewhere(each.source.frame)
    outside, inside = (dictionaries.load(each.folder, dtype=torch.float32) for _ in range(2))
    want = outside(rows.x.float())
    with torch.no_grad():
        inside.unfold(frame)
        inside.recentre()
        found = inside(frame.apply(Batch(rows.x, rows.y)).x) / frame.scale_out + frame.mean_out
    assert not inside.state_dict()["centre"].any()
    off = (found - want).norm(dim=1) / want.norm(dim=1)
    assert off.median() < 1e-4 and (off < 1e-2).float().mean() > 0.97, "but where two features are equal to rounding"


def test_folding_and_unfolding_leaves_the_weights(tiny_activations, tiny_dictionary):
    frame = tiny_activations.frame
    raw, again = dictionaries.load(tiny_dictionary), dictionaries.load(tiny_dictionary)
    again.unfold(frame)
    assert not torch.allclose(again.state_dict()["centre"], raw.state_dict()["centre"])
    again.fold(frame)
    for name, value in raw.state_dict().items():
        assert torch.allclose(again.state_dict()[name], value, rtol=1e-4, atol=1e-5), name


def rows_of(folder):
    return [json.loads(line) for line in (folder / training.METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def configs(tiny_activations):
    return [dictionaries.make(each.__name__, shape(tiny_activations)).config for each in ALONE]


ALONE = (dictionaries.TopK, dictionaries.JumpReLU, dictionaries.L1Resampled)


@pytest.fixture(scope="module")
def begun(tiny_activations, configs, tmp_path_factory):
    """A short training of a few architectures, which keep most of what there is to keep."""
    folders = [tmp_path_factory.mktemp("begun") / each.__name__ for each in ALONE]
    train(tiny_activations, configs, folders, **OPTIONS)
    return folders


@pytest.fixture(scope="module")
def gone_on(tiny_activations, configs, begun, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("further") / each.__name__ for each in ALONE]
    train(tiny_activations, configs, folders, continue_from=begun, **OPTIONS)
    return folders


@pytest.mark.parametrize("i", range(len(ALONE)), ids=[each.__name__ for each in ALONE])
def test_it_goes_on_where_it_was(begun, gone_on, i):
    before, after = rows_of(begun[i]), rows_of(gone_on[i])
    fresh, left, first, last = before[0]["fvu"], before[-1]["fvu"], after[0]["fvu"], after[-1]["fvu"]
    assert first < left + 0.25 * (fresh - left), (fresh, left, first)
    assert last < first + 0.02


def test_it_says_where_it_began(tiny_activations, begun, gone_on):
    old, new = (artifact.read(folders[0], "dictionary") for folders in (begun, gone_on))
    n, steps = old.facts["n_tokens"], old.config["training"]["steps"]
    assert new.inputs == {**tiny_activations.inputs, "dictionary": old.hash}
    assert new.config["training"]["before"] == {"steps": steps, "tokens": n}
    assert new.facts["n_tokens"] == 2 * n and new.facts["last"]["tokens"] == n
    again = Before.read(gone_on[0])
    assert (again.steps, again.tokens) == (2 * steps, 2 * n)
    assert "before" not in old.config["training"]


def test_what_had_not_fired_for_long_is_known_to_be_dead(tiny_activations, configs, tmp_path):
    config = TopKConfig(**shape(tiny_activations, aux_weight=0.0))
    train(tiny_activations, [config], [tmp_path / "a"], dead_after=2048, **OPTIONS)
    dead = rows_of(tmp_path / "a")[-1]["dead"]
    train(tiny_activations, [config], [tmp_path / "b"], dead_after=2048, continue_from=[tmp_path / "a"], **OPTIONS)
    assert dead > 0 and abs(rows_of(tmp_path / "b")[0]["dead"] - dead) <= max(2, dead // 5)


def test_killed_it_goes_on_to_the_same_bytes(tiny_activations, configs, begun, gone_on, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    steps, descend = [], training.Run.descend

    def stopping(self, batch, step, *rest):
        steps.append(step)
        if len(steps) == 8 * len(configs):
            raise Stop
        return descend(self, batch, step, *rest)

    monkeypatch.setattr(training.Run, "descend", stopping)
    folders = [tmp_path / each.name for each in gone_on]
    with pytest.raises(Stop):
        train(tiny_activations, configs, folders, continue_from=begun, **OPTIONS)
    train(tiny_activations, configs, folders, continue_from=begun, **OPTIONS)
    total = artifact.read(begun[0], "dictionary").config["training"]["steps"]
    assert len(steps) < (total + 2) * len(configs), "steps that a checkpoint held were done again"
    assert [contents(each) for each in folders] == [contents(each) for each in gone_on]


def test_another_dictionary_is_refused(tiny_activations, begun, tmp_path):
    for config in (TopKConfig(**shape(tiny_activations, k=5)), dictionaries.BatchTopKConfig(**shape(tiny_activations))):
        with pytest.raises(BadInput, match="is TopK with .*k 4.*; received .* with the same settings"):
            train(tiny_activations, [config], [tmp_path / "d"], continue_from=begun[:1], **OPTIONS)
    assert not (tmp_path / "d").exists()


def test_a_frozen_part_is_refused(tiny_activations, configs, begun, tmp_path):
    with pytest.raises(BadInput, match="frozen part"):
        train(tiny_activations, configs[:1], [tmp_path / "d"], continue_from=begun[:1], frozen="dec", **OPTIONS)


def test_another_site_is_refused(tiny, tiny_activations, tiny_text, configs, begun, tmp_path):
    other = record(tiny, str(tiny_text), [Site("resid_post", 0)], [tmp_path / "acts"], tokens=4_000, context=32)[0]
    with pytest.raises(BadInput, match="The site of the dictionary in .* is L1.resid_post, that of these .* L0"):
        train(other, configs[:1], [tmp_path / "d"], continue_from=begun[:1], **OPTIONS)


def test_what_another_tool_trained_is_refused(given, tiny_activations, configs, tmp_path):
    each = given("TopK", "autoencoder")
    with pytest.raises(BadInput, match="was trained by another tool.*`finetune` goes on with any"):
        train(tiny_activations, configs[:1], [tmp_path / "d"], continue_from=[each.folder], **OPTIONS)


@pytest.mark.parametrize(
    ("name", "kind"), [("Crosscoder", "autoencoder"), ("CrossLayer", "transcoder"), ("TopK", "skip")]
)
def test_several_sites_and_a_skip_path_go_on_too(given, name, kind, tmp_path):
    each = given(name, kind)
    config = dictionaries.load(each.folder).config
    options = dict(batch_size=256, epochs=4)
    train(each.source, [config], [tmp_path / "a"], **options)
    train(each.source, [config], [tmp_path / "b"], continue_from=[tmp_path / "a"], **options)
    before, after = rows_of(tmp_path / "a"), rows_of(tmp_path / "b")
    assert after[0]["fvu"] < before[-1]["fvu"] + 0.25 * (before[0]["fvu"] - before[-1]["fvu"])


def test_from_the_command_line(physalis, tiny_activations, tiny_dictionary, tmp_path):
    words = ("train", tiny_activations.folder, "--continue", tiny_dictionary, "--epochs", 1, "--batch-size", 512)
    code, _, err = physalis(*words, "--k", 8, "--out", tmp_path / "d")
    assert code == 2 and "keeps its architecture, size and settings" in err
    code, out, err = physalis(*words, "--out", tmp_path / "d", "--json")
    assert code == 0, err
    old = artifact.read(tiny_dictionary, "dictionary")
    told = json.loads(out)
    assert told["inputs"]["dictionary"] == old.hash and told["config"]["dictionary"] == old.config["dictionary"]
    assert Activations.open(tiny_activations.folder).manifest.hash == told["inputs"]["activations"]
