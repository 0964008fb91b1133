"""View: dictionaries of several sites, trained on one pass over all of them."""

import hashlib

import pytest
import torch

from physalis import artifact
from physalis.activations import Activations, Pairs, View
from physalis.dictionaries import CrosscoderConfig, JumpReLUConfig, TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.recording import record, stream
from physalis.site import Site
from physalis.training import checkpoints, training
from physalis.training.training import train

SITES = [Site("mlp_in", 0), Site("mlp_out", 0), Site("mlp_in", 1), Site("mlp_out", 1)]
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)
SHAPE = dict(d_in=32, d_out=32, n_features=64, k=4)
RUN = dict(epochs=2, batch_size=256, seed=3)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(text, tmp_path_factory):
    outs = [tmp_path_factory.mktemp(str(site)) for site in SITES]
    record(tiny_model(), text, SITES, outs, **OPTIONS)
    return outs


def files(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != artifact.LOCK
    }


def transcoders(source):
    return [View(source, [SITES[2 * i]], [SITES[2 * i + 1]]) for i in range(2)]


def test_each_is_what_it_would_be_alone(folders, tmp_path):
    source = Pairs.open(folders)
    views = [*transcoders(source), View(source, ["L1.mlp_in"]), View(source, SITES)]
    configs = [
        TopKConfig(**SHAPE), JumpReLUConfig(**SHAPE), TopKConfig(**SHAPE),
        CrosscoderConfig(d_in=128, d_out=128, sites=(32,) * 4, n_features=64, k=4),
    ]  # fmt: skip
    alone = [
        Pairs.open(folders[:1], folders[1:2]), Pairs.open(folders[2:3], folders[3:]), Activations.open(folders[2]),
        Pairs.open(folders),
    ]  # fmt: skip
    together = [tmp_path / f"together-{i}" for i in range(4)]
    train(views, configs, together, **RUN)
    for i, (one, config) in enumerate(zip(alone, configs, strict=True)):
        train(one, [config], [tmp_path / f"alone-{i}"], **RUN)
        assert files(together[i]) == files(tmp_path / f"alone-{i}"), one
    said = artifact.read(together[1], "dictionary").config
    assert (said["site"], said["writes"]) == ("L1.mlp_in", "L1.mlp_out")


def test_a_killed_run_goes_on_with_the_same_bytes(folders, tmp_path, monkeypatch):
    configs = [TopKConfig(**SHAPE)] * 2
    whole, broken = ([tmp_path / f"{name}-{i}" for i in range(2)] for name in ("whole", "broken"))
    train(transcoders(Pairs.open(folders)), configs, whole, **RUN)
    monkeypatch.setattr(checkpoints, "FIRST_S", 0.0)
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    taken = []

    def stops(run, *args):
        if len(taken) == 21:
            raise KeyboardInterrupt
        taken.append(run)
        return descend(run, *args)

    descend = training.Run.descend
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training.Run, "descend", stops)
        train(transcoders(Pairs.open(folders)), configs, broken, **RUN)
    train(transcoders(Pairs.open(folders)), configs, broken, **RUN)
    assert [files(folder) for folder in broken] == [files(folder) for folder in whole]


def test_a_stream_feeds_all_layers_without_a_disk(text, tmp_path):
    source = stream(tiny_model(), text, SITES, **OPTIONS)
    made = train(transcoders(source), [TopKConfig(**SHAPE)] * 2, [tmp_path / "0", tmp_path / "1"], **RUN)
    for dictionary, view in zip(made, transcoders(source), strict=True):
        batch = next(view.train.batches(256, seed=0))
        rest = (dictionary(batch.x.float()) - batch.y.float()).square().sum()
        whole = (batch.y.float() - batch.y.float().mean(0)).square().sum()
        assert rest < whole  # better than the mean of what it writes


def test_a_view_alone_is_a_source(folders):
    source = Pairs.open(folders[:2], folders[2:])
    view = View(source, ["L1.mlp_out"], ["L0.mlp_in"])  # of either side of the source
    assert (view.d_in, view.d_out, view.n_tokens) == (32, 32, source.n_tokens)
    joined = Pairs.open(folders[3:], folders[:1])
    ours, theirs = (next(each.train.batches(100, seed=1)) for each in (view, joined))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert (view.origin, view.inputs) == (joined.origin, joined.inputs)
    assert all(torch.equal(a, b) for a, b in zip(view.frame, joined.frame, strict=True))


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda s: View(s, []), "reads at least one site"),
        (lambda s: View(s, ["L0.attn_out"]), "holds L0.mlp_in, L0.mlp_out; received L0.attn_out"),
        (lambda s: View(s, ["nonsense"]), "nonsense"),
        (lambda s: View(s, ["L0.mlp_in", SITES[0]]), "names each site once; received L0.mlp_in, L0.mlp_in"),
        (lambda s: View(s, "L0.mlp_in", "L0.mlp_in"), "Leave writes out"),
    ],
)
def test_what_is_not_there_is_named(folders, wrong, said):
    with pytest.raises(BadInput, match=said):
        wrong(Pairs.open(folders[:2]))


def test_views_are_of_one_source_and_one_for_each_dictionary(folders, tmp_path):
    a, b = (View(Pairs.open(folders[:1]), ["L0.mlp_in"]) for _ in range(2))
    configs, outs = [TopKConfig(**SHAPE)] * 2, [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(BadInput, match="views of several"):
        train([a, b], configs, outs, **RUN)
    with pytest.raises(BadInput, match="2 dictionaries are trained on a view each; received 1"):
        train([a], configs, outs, **RUN)
    for some, there in ((configs, outs[:1]), ([], [])):
        with pytest.raises(BadInput, match=f"a config and a folder; received {len(some)} and {len(there)}"):
            train(a, some, there, **RUN)
    assert not any(out.exists() for out in outs)


def test_a_bare_view_is_read_as_one_of_several(folders, tmp_path):
    source, config = Pairs.open(folders), TopKConfig(**SHAPE)
    view = View(source, SITES[3], "L0.mlp_out")  # neither first in the source nor in its order
    train(view, [config], [tmp_path / "bare"], **RUN)
    train([view], [config], [tmp_path / "one"], **RUN)
    train(Pairs.open(folders[3:], folders[1:2]), [config], [tmp_path / "alone"], **RUN)
    assert files(tmp_path / "bare") == files(tmp_path / "one") == files(tmp_path / "alone")


def test_a_site_of_two_models_is_refused(folders, text, tmp_path):
    record(tiny_model(seed=1), text, SITES[:1], [tmp_path / "other"], **OPTIONS)
    with pytest.raises(BadInput, match="of several models"):
        View(Pairs.open([folders[0], tmp_path / "other"]), ["L0.mlp_in"])
