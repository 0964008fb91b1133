"""Recording: one site or several, resumed or by several workers: the same folders byte for byte."""

import errno
import hashlib
import os
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from physalis import artifact
from physalis.activations import Activations
from physalis.errors import BadInput
from physalis.models import load_model
from physalis.models.tiny import tiny_model
from physalis.recording import Reading, jobs, plan, record
from physalis.site import Site

SITE = Site("resid_post", 1)
OPTIONS = dict(tokens=6400, context=32, batch=8, shard_rows=640)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def recorded(model, text, tmp_path_factory):
    return record(model, text, [SITE], [tmp_path_factory.mktemp("recorded")], **OPTIONS)[0]


SITES = [SITE, Site("mlp_out", 0), Site("mlp_in", 2)]


@pytest.fixture(scope="module")
def several(model, text, tmp_path_factory):
    """Three sites recorded together."""
    folder = tmp_path_factory.mktemp("several")
    return record(model, text, SITES, [folder / str(site) for site in SITES], **OPTIONS)


def contents(folder):
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != artifact.LOCK)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_rows_are_what_the_model_computes(model, recorded):
    tokens = torch.from_numpy(np.array(recorded.tokens, dtype=np.int64))
    wanted = model.run(tokens, read=[SITE])[SITE].flatten(0, 1)
    rows = list(recorded.ordered(500))
    x, at = torch.cat([r.x for r in rows]), torch.cat([r.at for r in rows])
    assert torch.allclose(x.float(), wanted[at], atol=0.02, rtol=0.01)
    kept = recorded.hygiene.keep(wanted.view(*tokens.shape, -1)).flatten().nonzero()[:, 0]
    inside = torch.from_numpy(np.isin(kept // 32, recorded.contexts))
    assert torch.equal(at.sort().values, kept[inside])


def test_the_manifest_says_what_was_recorded_and_left_out(model, recorded, text):
    manifest = recorded.manifest
    assert manifest.config["site"] == "L1.resid_post" == str(recorded.site)
    assert manifest.config["bos"] and manifest.config["tokens"] == 6400
    assert manifest.inputs == {"model": model.fingerprint, "tokenizer": model.tokenizer_fingerprint}
    positions = len(recorded.contexts) * 32
    assert manifest.facts["dropped"] == {"bos": len(recorded.contexts), "sink": 0, "not_finite": 0}
    assert recorded.n_tokens == positions - len(recorded.contexts)
    assert manifest.facts["n_train"] == recorded.train.n_tokens
    assert text not in (recorded.folder / "manifest.json").read_text(), "a manifest holds no paths"
    assert (recorded.tokens[:, 0] == model.bos_id).all()
    recorded.require(model)
    with pytest.raises(BadInput, match="activations of another model"):
        recorded.require(tiny_model(seed=1))


def test_recording_again_only_opens(model, text, recorded, monkeypatch):
    monkeypatch.setattr(jobs, "collect", None)
    before = contents(recorded.folder)
    record(model, text, [SITE], [recorded.folder], **OPTIONS)
    assert contents(recorded.folder) == before


def test_a_stopped_recording_goes_on_and_ends_the_same(model, text, recorded, tmp_path, monkeypatch):
    whole = jobs.collect
    done = []

    def stopping(*args, **kwargs):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(args[3].number)
        return whole(*args, **kwargs)

    monkeypatch.setattr(jobs, "collect", stopping)
    with pytest.raises(KeyboardInterrupt):
        record(model, text, [SITE], [tmp_path], **OPTIONS)
    with pytest.raises(BadInput, match="is unfinished. Run the command"):
        Activations.open(tmp_path)
    assert len(list(tmp_path.glob("shard-*.json"))) == 4
    done.clear()
    monkeypatch.setattr(jobs, "collect", lambda *a, **k: done.append(a[3].number) or whole(*a, **k))
    record(model, text, [SITE], [tmp_path], **OPTIONS)
    assert done[0] == 4
    assert contents(tmp_path) == contents(recorded.folder)


@pytest.mark.parametrize("harm", ["truncated", "deleted", "no sidecar"])
def test_only_a_damaged_shard_is_recorded_anew(model, text, recorded, monkeypatch, harm):
    before = contents(recorded.folder)
    shard = recorded.folder / "shard-000003.safetensors"
    if harm == "truncated":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif harm == "deleted":
        shard.unlink()
    else:
        shard.with_suffix(".json").unlink()
    whole, done = jobs.collect, []
    monkeypatch.setattr(jobs, "collect", lambda *a, **k: done.append(a[3].number) or whole(*a, **k))
    record(model, text, [SITE], [recorded.folder], **OPTIONS)
    assert done == [3]
    assert contents(recorded.folder) == before


def test_several_sites_take_one_pass(model, text, several, tmp_path, monkeypatch):
    reads, run = [], model.run
    monkeypatch.setattr(model, "run", lambda tokens, read: reads.append(set(read)) or run(tokens, read=read))
    record(model, text, SITES, [tmp_path / str(site) for site in SITES], **OPTIONS)
    together = len(reads)
    assert all(read == set(SITES) for read in reads)
    record(model, text, [SITE], [tmp_path / "alone"], **OPTIONS)
    assert len(reads) == 2 * together
    assert contents(tmp_path / str(SITE)) == contents(several[0].folder)


def test_sites_recorded_together_hold_the_same_positions(model, recorded, several):
    tokens = torch.from_numpy(np.array(recorded.tokens, dtype=np.int64))
    wanted = model.run(tokens, read=SITES)
    places = []
    for site, acts in zip(SITES, several, strict=True):
        rows = list(acts.ordered(500))
        at = torch.cat([r.at for r in rows])
        assert torch.allclose(
            torch.cat([r.x for r in rows]).float(), wanted[site].flatten(0, 1)[at], atol=0.02, rtol=0.01
        )
        assert acts.site == site and acts.manifest.config["sites"] == sorted(map(str, SITES))
        assert acts.manifest.config["hygienes"][str(site)] == acts.hygiene.to_dict()
        places.append(at)
    assert torch.equal(places[0], places[1]) and torch.equal(places[0], places[2])
    # nothing but BOS is left out here, so that a site recorded alone has the same rows in the same order
    for name in ("shard-000000.safetensors", "tokens.npy"):
        assert contents(recorded.folder)[name] == contents(several[0].folder)[name]


def test_a_sink_at_one_site_is_left_out_at_all(model, text, tmp_path, monkeypatch):
    run = model.run

    def with_sink(tokens, **kwargs):
        found = run(tokens, **kwargs)
        large = torch.where((tokens == ord("\n"))[..., None], 100 * found[SITES[1]], found[SITES[1]])
        return found | {SITES[1]: large}

    monkeypatch.setattr(model, "run", with_sink)
    found = record(model, text, SITES, [tmp_path / str(site) for site in SITES], **OPTIONS)
    newlines = torch.from_numpy(found[0].tokens[found[0].contexts] == ord("\n"))
    first, second, third = (acts.manifest.facts["dropped"] for acts in found)
    assert first == third and first["elsewhere"] == second["sink"] == newlines.sum() > 50
    assert first["sink"] == second["elsewhere"] == 0
    for acts in found:
        keep = acts.kept(acts.contexts)
        assert torch.equal(keep[:, 1:], ~newlines[:, 1:]) and not keep[:, 0].any()
        assert keep.sum() == acts.n_tokens
    some = found[0].contexts[[150, 3, 3, 40]]
    assert torch.equal(found[0].kept(some), found[0].kept(found[0].contexts)[[150, 3, 3, 40]])
    assert not found[0].train.kept(found[0].held_out.contexts).any(), "a part knows of its own contexts only"


@pytest.mark.parametrize("harm", ["killed", "a folder deleted", "a shard deleted"])
def test_several_folders_are_finished_to_the_same_bytes(model, text, several, tmp_path, monkeypatch, harm):
    outs = [tmp_path / str(site) for site in SITES]
    whole, calls = jobs.write_shard, []

    def stopping(*args, **kwargs):
        calls.append(args)
        if len(calls) == 8:  # of the third span, the second site
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    if harm == "killed":
        monkeypatch.setattr(jobs, "write_shard", stopping)
        with pytest.raises(KeyboardInterrupt):
            record(model, text, SITES, outs, **OPTIONS)
        assert [len(list(out.glob("shard-*.json"))) for out in outs] == [3, 2, 2]
    else:
        record(model, text, SITES, outs, **OPTIONS)
        if harm == "a folder deleted":
            shutil.rmtree(outs[0])
        else:
            (outs[1] / "shard-000002.safetensors").unlink()
    calls.clear()
    monkeypatch.setattr(jobs, "write_shard", lambda *a, **k: calls.append(a) or whole(*a, **k))
    record(model, text, SITES, outs, **OPTIONS)
    spans = len(several[0].spans)
    assert len(calls) == {"killed": 3 * spans - 7, "a folder deleted": spans, "a shard deleted": 1}[harm]
    assert [contents(out) for out in outs] == [contents(acts.folder) for acts in several]


def test_lists_that_do_not_match_are_refused(model, text, several, tmp_path):
    for sites, outs, match in (
        (SITES, [tmp_path / "a"], "received 3 sites and 1 folders"),
        ([], [], "received 0 sites"),
        ([SITE, SITE], [tmp_path / "a", tmp_path / "b"], "site L1.resid_post was given twice"),
        (SITES[:2], [tmp_path / "a", tmp_path / "a"], "a was given twice"),
    ):
        with pytest.raises(BadInput, match=match):
            record(model, text, sites, outs, **OPTIONS)
    with pytest.raises(
        BadInput, match="already holds another job: sites was L0.mlp_out, L1.resid_post, L2.mlp_in, now not given"
    ):
        record(model, text, [SITE], [several[0].folder], **OPTIONS)


def test_sinks_are_left_out_and_counted(model, text, tmp_path, monkeypatch):
    run = model.run

    def with_sink(tokens, **kwargs):
        found = run(tokens, **kwargs)
        return {site: torch.where((tokens == ord("\n"))[..., None], 100 * x, x) for site, x in found.items()}

    monkeypatch.setattr(model, "run", with_sink)
    found = record(model, text, [SITE], [tmp_path], **OPTIONS)[0]
    newlines = found.tokens[found.contexts] == ord("\n")
    assert found.manifest.facts["dropped"]["sink"] == newlines.sum() > 50
    kept = torch.cat([r.at for r in found.ordered(1000)]).numpy()
    assert not (found.tokens.reshape(-1)[kept] == ord("\n")).any()


def test_options_are_keywords_or_a_record(model, text, recorded, tmp_path):
    found = record(model, text, [SITE], [tmp_path], Reading(**{**OPTIONS, "tokens": 320}), tokens=OPTIONS["tokens"])[0]
    assert contents(tmp_path) == contents(recorded.folder)
    assert asdict(Reading(**OPTIONS)).items() <= {**found.manifest.config, "seed": found.manifest.seed}.items()


def test_without_bos_nothing_is_skipped(model, text, tmp_path):
    found = record(model, text, [SITE], [tmp_path], **{**OPTIONS, "tokens": 640}, bos=False)[0]
    assert found.manifest.facts["dropped"]["bos"] == 0 and not found.hygiene.skip_first


def test_thread_count_does_not_change_the_bytes(model, text, recorded, tmp_path):
    torch.set_num_threads(2)
    try:
        record(model, text, [SITE], [tmp_path], **OPTIONS)
    finally:
        torch.set_num_threads(1)
    assert contents(tmp_path) == contents(recorded.folder)


def test_less_text_than_asked_for_is_said(model, text, tmp_path, capsys):
    found = record(model, text, [SITE], [tmp_path], context=64, tokens=10**6, shard_rows=4096)[0]
    assert "fewer than the 1,000,000 asked for: using all" in capsys.readouterr().err
    assert len(found.tokens) < 10**6 // 64


def test_bad_input_gets_a_sentence(model, text, tmp_path):
    def fails(match, source=text, site=SITE, out=tmp_path / "out", **options):
        with pytest.raises(BadInput, match=match):
            record(model, source, [site], [out], **{**OPTIONS, **options})

    fails("has 3 layers, L0 to L2; received L7.resid_post", site=Site("resid_post", 7))
    assert not (tmp_path / "out").exists()
    fails("10 tokens are less than one context of 32", tokens=10, out=tmp_path / "a")
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    fails("shorter than one context", source=str(short), out=tmp_path / "b")
    short.write_text(" \n")
    fails("text is empty", source=str(short), out=tmp_path / "c")
    fails("context must be at least 1; received 0", context=0)
    fails("workers must be at least 1; received 0", workers=0)
    fails("received -0.1", held_out=-0.1, out=tmp_path / "d")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("")
    fails("holds something else .thesis.tex", out=tmp_path / "notes")
    assert sorted(p.name for p in (tmp_path / "notes").glob("[a-z]*")) == ["thesis.tex"]


def test_a_folder_of_another_job_is_refused(model, text, recorded, tmp_path):
    with pytest.raises(BadInput, match="already holds another job: tokens was 6400, now 30000"):
        record(model, text, [SITE], [recorded.folder], **{**OPTIONS, "tokens": 30_000})
    with pytest.raises(BadInput, match="already holds another job: inputs model was another one. Choose"):
        record(tiny_model(seed=1), text, [SITE], [recorded.folder], **OPTIONS)
    other = tmp_path / "other.txt"
    other.write_text("one two three " * 600)
    with pytest.raises(BadInput, match=r"another job: text name was text\d*, now other.txt. Choose another --out"):
        record(model, str(other), [SITE], [recorded.folder], **OPTIONS)


def test_two_writers_of_one_folder(model, text, tmp_path):
    with artifact.claim(tmp_path, "activations", {}), pytest.raises(BadInput, match="Another process is writing"):
        record(model, text, [SITE], [tmp_path], **OPTIONS)


@pytest.mark.parametrize("at", ["shard-000002.safetensors", "tokens.npy", "layout.json", "manifest.json"])
def test_a_full_disk_is_said_and_nothing_is_lost(model, text, recorded, tmp_path, monkeypatch, at):
    replace = os.replace

    def full(source, target):
        if str(target).endswith(at):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(BadInput, match=f"The disk is full: writing {at}"):
        record(model, text, [SITE], [tmp_path], **OPTIONS)
    assert not (tmp_path / at).exists() and not list(tmp_path.glob("*.tmp"))
    monkeypatch.undo()
    record(model, text, [SITE], [tmp_path], **OPTIONS)
    assert contents(tmp_path) == contents(recorded.folder)


def test_the_plan_is_close(model, recorded):
    found = plan(model, SITE, tokens=6400, context=32, shard_rows=640)
    assert found.tokens == 6400
    size = sum(p.stat().st_size for p in recorded.folder.iterdir() if p.suffix in (".safetensors", ".npy"))
    assert size <= found.disk_bytes < 1.2 * size
    assert found.seconds == pytest.approx(found.tokens / found.tokens_per_s)
    assert 10**7 < found.memory_bytes < 10**11


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    """A random Llama with a byte tokenizer, saved as users' models are."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=256, eos_token_id=257,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return str(folder)


def test_workers_need_the_very_model_that_was_given(saved_model):
    given = load_model(saved_model)
    loading = (given.name, "cpu", given.dtype, given.family)
    assert jobs._loaded(*loading, given.fingerprint, trust_code=False).fingerprint == given.fingerprint
    with pytest.raises(BadInput, match="its weights differ. Save the changed model to a folder"):
        jobs._loaded(*loading, tiny_model().fingerprint, trust_code=False)


def test_several_workers_write_the_same_bytes(saved_model, text, tmp_path):
    for n in (2, 1):
        outs = [tmp_path / f"{n}" / str(site) for site in SITES[:2]]
        record(load_model(saved_model), text, SITES[:2], outs, **OPTIONS, workers=n)
    assert contents(tmp_path / "2") == contents(tmp_path / "1")


def test_a_model_says_how_long_an_input_may_be():
    tiny = tiny_model()
    assert tiny.longest == tiny.hf.config.context
    tiny.check_length(tiny.longest, "The prompt", "Shorten it.")
    with pytest.raises(BadInput, match=f"The prompt has {tiny.longest + 1:,} tokens; tiny reads at most .* Shorten it"):
        tiny.check_length(tiny.longest + 1, "The prompt", "Shorten it.")
