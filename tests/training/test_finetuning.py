"""Fine-tuning end to end: the objective falls on held-out text, FVU and L0 stay, a stopped run ends the same."""

import hashlib
import json
import sys
import threading
from dataclasses import asdict
from functools import partial

import pytest
import torch

from physalis import artifact, dictionaries
from physalis.activations import Activations, Pairs
from physalis.dictionaries import BatchTopKConfig, JumpReLUConfig, TopKConfig
from physalis.errors import BadInput
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training import Finetuning, checkpoints, finetuning, history, loop
from physalis.training.finetuning import LOGITS, Run, Splice, ce, finetune, kl
from physalis.training.objectives import identity
from physalis.training.training import train

OPTIONS = dict(tokens=16_000, batch=8, lr=5e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors and a shared machine: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def transcoder(tiny, tiny_text, tmp_path_factory):
    """(Pairs, folder of a trained dictionary) from what an MLP reads to what it writes."""
    root = tmp_path_factory.mktemp("transcoder")
    sites = [Site("mlp_in", 1), Site("mlp_out", 1)]
    record(tiny, str(tiny_text), sites, [root / "in", root / "out"], tokens=12_000, context=32, shard_rows=2048)
    pairs = Pairs.open([root / "in"], [root / "out"])
    config = TopKConfig(d_in=pairs.d_in, d_out=pairs.d_out, n_features=128, k=4)
    train(pairs, [config], [root / "dictionary"], batch_size=512)
    return pairs, root / "dictionary"


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != artifact.LOCK)
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def judged(folder, source, model):
    """(KL, FVU, L0) on held-out text."""
    dictionary = dictionaries.load(folder)
    ids = source.held_out.contexts
    tokens = torch.from_numpy(source.tokens[ids].astype("int64"))
    reads, write = finetuning._sites(source)
    splice = Splice(dictionary, finetuning._frame(dictionary, source), source.kept(ids), reads)
    frame = splice.frame
    splice.frame = frame._replace(mean_in=0 * frame.mean_in, scale_in=0 * frame.scale_in + 1)
    splice.frame = splice.frame._replace(mean_out=0 * frame.mean_out, scale_out=0 * frame.scale_out + 1)
    with torch.no_grad():
        spliced = model.run(tokens, read=[LOGITS], write=splice.writes(write))[LOGITS]
        clean = model.run(tokens, read=[LOGITS])[LOGITS]
    counts = torch.ones(len(tokens), tokens.shape[1] - 1, dtype=torch.bool)
    divergence = kl(finetuning.Outcome(lambda: clean, spliced, tokens, counts))
    variance = ((splice.rows.y - source.frame.mean_out) * source.frame.scale_out).square().mean()
    fvu = splice.fvu * source.frame.scale_out[0] ** 2 / variance
    return float(divergence), float(fvu), float((splice.codes.values > 0).sum() / len(splice.codes.values))


def test_kl_falls_on_held_out_text_and_fvu_stays(tiny, tiny_activations, tiny_dictionary, tmp_path):
    before = judged(tiny_dictionary, tiny_activations, tiny)
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "tuned", **OPTIONS)
    after = judged(tmp_path / "tuned", tiny_activations, tiny)
    assert after[0] < 0.8 * before[0]
    assert after[1] < 1.2 * before[1]
    rows = [json.loads(line) for line in (tmp_path / "tuned" / history.METRICS).read_text().splitlines()]
    assert set(rows[0]) == {"step", "tokens", "kl", "fvu", "l0", "lr"}
    assert rows[-1]["kl"] < rows[0]["kl"]
    manifest = artifact.read(tmp_path / "tuned", "dictionary")
    trained = artifact.read(tiny_dictionary, "dictionary")
    assert manifest.inputs["dictionary"] == trained.hash and manifest.config["training"] == trained.config["training"]
    said = manifest.config["finetuning"]
    assert said == asdict(Finetuning(**OPTIONS)) | {"objective": "kl", "steps": said["steps"]}
    assert manifest.facts["finetuned"] == rows[-1]


def test_a_transcoder_is_tuned_at_what_it_writes(tiny, transcoder, tmp_path):
    pairs, folder = transcoder
    before = judged(folder, pairs, tiny)
    finetune(folder, pairs, tiny, out=tmp_path / "tuned", **OPTIONS)
    after = judged(tmp_path / "tuned", pairs, tiny)
    assert after[0] < 0.9 * before[0] and after[1] < 1.2 * before[1]


@pytest.mark.parametrize("config", [BatchTopKConfig, JumpReLUConfig])
def test_l0_stays(tiny, tiny_activations, tmp_path, config):
    d = tiny_activations.d
    train(tiny_activations, [config(d_in=d, d_out=d, n_features=128, k=4)], [tmp_path / "d"], batch_size=512, epochs=2)
    finetune(tmp_path / "d", tiny_activations, tiny, out=tmp_path / "tuned", **OPTIONS)
    before, after = judged(tmp_path / "d", tiny_activations, tiny), judged(tmp_path / "tuned", tiny_activations, tiny)
    assert after[2] == pytest.approx(before[2], rel=0.1) and after[0] < before[0]


def test_a_run_that_stopped_goes_on_to_the_same_bytes(tiny, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    options = {**OPTIONS, "tokens": 6_000}
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "whole", **options)
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    steps, descend = [], Run.descend

    def stopping(self, ids, rate):
        steps.append(ids)
        if len(steps) in (6, 19):
            raise KeyboardInterrupt
        return descend(self, ids, rate)

    monkeypatch.setattr(Run, "descend", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "broken", **options)
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "broken", **options)
    assert len(steps) == 6_000 // (8 * 32) + 2, "steps that a checkpoint held were done again"
    assert contents(tmp_path / "whole") == contents(tmp_path / "broken")
    monkeypatch.setattr(Run, "descend", None)
    again = finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "whole", **options)
    assert torch.equal(again.W_dec, dictionaries.load(tmp_path / "broken").W_dec)


@pytest.mark.parametrize("at", [1, 16, 23])
def test_a_run_killed_after_any_checkpoint_ends_with_the_same_bytes(
    at, tiny, tiny_activations, tiny_dictionary, tmp_path, monkeypatch
):
    """After that of the last step too, when nothing is left to be done but to finish."""
    options = {**OPTIONS, "tokens": 6_000}
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "whole", **options)
    assert artifact.read(tmp_path / "whole", "dictionary").config["finetuning"]["steps"] == 23
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    keep, kept = checkpoints.Checkpoint.keep, []

    def killed(self, state):
        keep(self, state)
        kept.append(state)
        if len(kept) == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoint, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "broken", **options)
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "broken", **options)
    assert len(kept) == 23 and contents(tmp_path / "whole") == contents(tmp_path / "broken")


def test_how_often_one_logs_changes_no_weight(tiny, tiny_activations, tmp_path, monkeypatch):
    d = tiny_activations.d
    config = BatchTopKConfig(d_in=d, d_out=d, n_features=96, k=4)
    train(tiny_activations, [config], [tmp_path / "d"], batch_size=512, epochs=1)
    options = {**OPTIONS, "tokens": 3_500}
    made = []
    for every in (10, 3):
        monkeypatch.setattr(loop, "LOG_EVERY", every)
        made.append(finetune(tmp_path / "d", tiny_activations, tiny, out=tmp_path / f"every {every}", **options))
    assert all(torch.equal(a, b) for a, b in zip(*(each.state_dict().values() for each in made), strict=True))
    rows = [len((tmp_path / f"every {n}" / history.METRICS).read_text().splitlines()) for n in (10, 3)]
    assert rows == [3, 5]


@pytest.mark.parametrize("kind", [kind for kind in dictionaries.ARCHITECTURES if kind.__name__ != "CrossLayer"])
def test_every_architecture_can_be_tuned_and_stopped(kind, tiny, tiny_activations, tmp_path, monkeypatch):
    """One that reads and writes with the same matrix too."""
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)
    d = tiny_activations.d
    config = dictionaries.make(kind.__name__, dict(d_in=d, d_out=d, n_features=96, k=4)).config
    train(tiny_activations, [config], [tmp_path / "d"], batch_size=1024, epochs=1)
    made = finetune(tmp_path / "d", tiny_activations, tiny, out=tmp_path / "tuned", tokens=1_100, batch=8)
    x = next(tiny_activations.held_out.batches(256, seed=0)).x.float()
    assert (made.rebuild(x, made.encode(x)) - x).square().sum() < (x - tiny_activations.mean).square().sum()


def scaled(by):
    return lambda outcome: by * ce(outcome)


WEIGHT = 1.0


def weighted(outcome):
    return WEIGHT * ce(outcome)


class Weighted:
    def __init__(self, by):
        self.by = by

    def __call__(self, outcome):
        return self.by * ce(outcome)


def test_objectives_are_told_apart_by_what_they_compute(monkeypatch):
    told = [identity(each) for each in (kl, ce, scaled(1.0), scaled(2.0), weighted, Weighted(1.0), Weighted(2.0))]
    told += [identity(lambda o: ce(o)), identity(lambda o: kl(o)), identity(partial(Weighted.__call__, Weighted(1.0)))]
    told += [identity(lambda o: (torch.ones(3) * ce(o)).sum()), identity(lambda o: (torch.ones(4) * ce(o)).sum())]
    assert len(set(told)) == len(told) and told[:2] == ["kl", "ce"]
    assert identity(scaled(1.0)) == told[2] and identity(weighted) == told[4] and identity(Weighted(1.0)) == told[5]
    monkeypatch.setattr(sys.modules[__name__], "WEIGHT", 3.0)
    assert identity(weighted) != told[4], "it reads a global"
    with pytest.raises(BadInput, match="The objective '<lambda>' uses a lock"):
        lock = threading.Lock()
        identity(lambda o: lock and ce(o))


def test_another_lambda_is_another_job(tiny, tiny_activations, tiny_dictionary, tmp_path):
    options = {**OPTIONS, "tokens": 1_000, "out": tmp_path / "tuned"}
    first = finetune(tiny_dictionary, tiny_activations, tiny, objective=lambda o: ce(o), **options)
    again = finetune(tiny_dictionary, tiny_activations, tiny, objective=lambda o: ce(o), **options)
    assert torch.equal(first.W_dec, again.W_dec)
    with pytest.raises(BadInput, match="already holds another job: objective was"):
        finetune(tiny_dictionary, tiny_activations, tiny, objective=lambda o: kl(o), **options)


def test_gradients_are_those_of_the_model(tiny, tiny_activations, tiny_dictionary):
    run = Run(dictionaries.load(tiny_dictionary, dtype=torch.float32), tiny_activations, tiny, kl, 0.0)
    ids = tiny_activations.train.contexts[:3]
    tokens = torch.from_numpy(tiny_activations.tokens[ids].astype("int64"))
    clean = tiny.run(tokens, read=[LOGITS])[LOGITS]
    counts = torch.ones(3, 31, dtype=torch.bool)
    bias = run.dictionary.b_dec

    def objective():
        splice = Splice(run.dictionary, run.frame, tiny_activations.kept(ids), [])
        spliced = tiny.run_with_gradients(tokens, read=[LOGITS], write=splice.writes(run.write))[LOGITS]
        return kl(finetuning.Outcome(lambda: clean, spliced, tokens, counts))

    objective().backward()
    found, step = bias.grad[:4].clone(), 1e-2
    for i in range(4):
        with torch.no_grad():
            bias[i] += step
            up = objective()
            bias[i] -= 2 * step
            down = objective()
            bias[i] += step
        assert float((up - down) / (2 * step)) == pytest.approx(float(found[i]), rel=0.05, abs=1e-5)
    assert all(p.grad is None for p in tiny.hf.parameters())


def test_run_keeps_nothing_for_gradients(tiny):
    tokens, site = torch.arange(20).view(2, 10), Site("resid_post", 0)
    seen = {}

    def write(x):
        seen["x"] = x.requires_grad_(True)
        return x

    plain = tiny.run(tokens, read=[LOGITS], write={site: write})[LOGITS]
    assert not plain.requires_grad
    traced = tiny.run_with_gradients(tokens, read=[LOGITS], write={site: write})[LOGITS]
    assert torch.equal(plain, traced) and traced.requires_grad
    traced[0, 4].sum().backward()
    g = seen["x"].grad
    assert (g[0, :5] != 0).any() and (g[0, 5:] == 0).all() and (g[1] == 0).all()


def test_ce_and_objectives_of_ones_own(tiny, tiny_activations, tiny_dictionary, tmp_path):
    clean_passes = []

    def confidence(outcome):
        clean_passes.append(outcome.clean().shape)
        return -outcome.spliced.log_softmax(-1).max(-1).values.mean()

    options = {**OPTIONS, "tokens": 4_000, "lr": 1e-2, "fvu_weight": 0.0}
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "ce", objective=ce, **options)
    rows = [json.loads(line) for line in (tmp_path / "ce" / history.METRICS).read_text().splitlines()]
    assert rows[-1]["ce"] < rows[0]["ce"] - 0.2 and not clean_passes
    finetune(tiny_dictionary, tiny_activations, tiny, out=tmp_path / "own", objective=confidence, **options)
    assert artifact.read(tmp_path / "own", "dictionary").config["finetuning"]["objective"] == "confidence"
    assert clean_passes[0] == (8, 32, 258)


def test_what_hygiene_left_out_keeps_what_the_model_computed(tiny, tiny_activations, tiny_dictionary):
    ids = tiny_activations.train.contexts[:2]
    run = Run(dictionaries.load(tiny_dictionary), tiny_activations, tiny, kl, 1.0)
    keep = tiny_activations.kept(ids)
    splice = Splice(run.dictionary, run.frame, keep, [])
    x = torch.randn(2, 32, tiny_activations.d)
    new = splice.writes(run.write)[run.write](x)
    assert torch.equal(new[~keep], x[~keep]) and (~keep).any() and not torch.isclose(new[keep], x[keep]).all()
    assert len(splice.rows.x) == keep.sum()


@pytest.mark.parametrize("kind", [kind for kind in dictionaries.ARCHITECTURES if not kind.__name__.startswith("Cross")])
def test_the_frame_undoes_what_folding_did(tiny, tiny_activations, kind):
    d = tiny_activations.d
    config = kind.__init__.__annotations__["config"](d_in=d, d_out=d, n_features=128, k=4)
    dictionary = kind(config)
    frame = tiny_activations.frame
    sample = frame.apply(next(tiny_activations.train.batches(2048, seed=0)))
    dictionary.start(sample, seed=0)
    dictionary.finish(sample)
    dictionary.fold(frame)
    x = next(tiny_activations.held_out.batches(256, seed=0)).x.float()
    with torch.no_grad():
        raw = dictionary.rebuild(x, dictionary.encode(x))
        run = Run(dictionary, tiny_activations, tiny, kl, 1.0)
        z = (x - run.frame.mean_in) * run.frame.scale_in
        inside = dictionary.rebuild(z, dictionary.encode(z))
        assert torch.allclose(inside / run.frame.scale_out + run.frame.mean_out, raw, atol=1e-3, rtol=1e-3)
        dictionary.fold(run.frame)
        assert torch.allclose(dictionary.rebuild(x, dictionary.encode(x)), raw, atol=1e-3, rtol=1e-3)


def test_bad_input_is_a_sentence(tiny, tiny_activations, tiny_dictionary, transcoder, tmp_path):
    pairs, folder = transcoder

    def fails(match, dictionary=tiny_dictionary, source=tiny_activations, model=tiny, **options):
        with pytest.raises(BadInput, match=match):
            finetune(dictionary, source, model, out=tmp_path / "out", **{**OPTIONS, **options})

    fails("activations of another model", model=tiny_model(seed=1))
    fails("The dictionary's site is L1.resid_post, that of these activations is L1.mlp_in", source=pairs)
    fails("The dictionary's writes is L1.mlp_out, that of these activations is None", folder, pairs.reads[0])
    both = [each.folder for each in (*pairs.reads, *pairs.writes)]
    fails("Only one site can be written .* writes .'L1.mlp_in', 'L1.mlp_out'.", source=Pairs.open(both))
    fails("received tokens=100 and", tokens=100)
    fails("holds a recording, not a dictionary", dictionary=tiny_activations.folder)
    backwards = Pairs.open(both[1:], both[:1])
    config = TopKConfig(d_in=backwards.d_in, d_out=backwards.d_out, n_features=64, k=4)
    train(backwards, [config], [tmp_path / "backwards"], batch_size=512, epochs=1)
    fails("computes L1.mlp_out only after", tmp_path / "backwards", backwards)
    assert isinstance(tiny_activations, Activations)
