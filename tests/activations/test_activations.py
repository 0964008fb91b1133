"""Activations: the store, its shuffled reads, its hygiene and its held-out part, on made-up rows."""

import itertools
import json
import os

import numpy as np
import pytest
import torch

from physalis.activations import (
    DOCUMENTS,
    KIND,
    LAYOUT,
    TOKENS,
    Activations,
    Hygiene,
    MemoryShard,
    Round,
    Shard,
    lay_out,
    merge_sums,
    mixed,
    moments,
    permuted,
    seal,
    sums,
    write_shard,
)
from physalis.artifact import Manifest, write_json
from physalis.errors import BadInput

CONTEXT, D = 8, 6


def bits(x: torch.Tensor) -> np.ndarray:
    return x.to(torch.bfloat16).view(torch.uint16).numpy()


@pytest.fixture
def folder(tmp_path):
    """A finished set: 700 contexts of 8 positions; row ``at`` holds the number ``at`` in its second column, exactly."""
    documents = np.repeat(np.arange(70), 10 * CONTEXT).reshape(-1, CONTEXT).astype(np.int32)
    np.save(tmp_path / TOKENS, np.arange(700 * CONTEXT, dtype=np.int32).reshape(-1, CONTEXT))
    np.save(tmp_path / DOCUMENTS, documents)
    hygiene = Hygiene(max_norm=1e9, skip_first=True)
    spans = lay_out(700, held_out=140, contexts_per_shard=150)
    write_json(tmp_path / LAYOUT, {"hygiene": hygiene.to_dict(), "spans": [s.to_dict() for s in spans]})
    generator = torch.Generator().manual_seed(0)
    for span in spans:
        at = np.arange(span.start * CONTEXT, span.stop * CONTEXT)
        at = at[at % CONTEXT > 0]
        x = torch.randn(len(at), D, generator=generator) * torch.arange(1, D + 1) + 3
        x[:, 0], x[:, 1] = torch.from_numpy(at // 100).float(), torch.from_numpy(at % 100).float()
        shard = permuted(bits(x), at, seed=0, number=span.number)
        write_shard(
            tmp_path / span.name,
            tmp_path / span.sidecar,
            shard,
            dropped={"bos": len(at) // 7, "sink": 0, "not_finite": 0},
        )
    said = {"model": "made up", "site": "L0.resid_post", "context": CONTEXT, "text": {"name": "made up"}}
    config = {**said, "hygiene": hygiene.to_dict()}
    inputs = {"model": "a" * 64, "tokenizer": "b" * 64}
    seal(tmp_path, Manifest(kind=KIND, config=config, seed=0, inputs=inputs), spans)
    return tmp_path


@pytest.fixture
def activations(folder):
    return Activations.open(folder)


def places(x: torch.Tensor) -> torch.Tensor:
    return (x[:, 0].double() * 100 + x[:, 1].double()).long()


def test_parts_share_no_context_and_no_document(activations):
    train, held_out = activations.train, activations.held_out
    assert not set(train.contexts) & set(held_out.contexts)
    seen, unseen = (set(activations.documents[part.contexts].flatten()) for part in (train, held_out))
    assert not seen & unseen
    assert train.n_tokens + held_out.n_tokens == activations.n_tokens == 700 * (CONTEXT - 1)
    assert held_out.n_tokens == pytest.approx(0.2 * activations.n_tokens, rel=0.05)
    assert train.held_out.n_tokens == 0


def test_documents_are_counted(activations):
    facts = activations.manifest.facts
    counts = (facts["n_documents"], facts["n_held_out_documents"], facts["n_shared_documents"])
    assert counts == (70, 14, 0)


def test_mean_and_scale_are_those_of_the_train_part(activations):
    x = torch.cat([rows.x for rows in activations.train.ordered(1000)]).float()
    assert torch.allclose(activations.mean, x.mean(0), rtol=1e-5)
    centred = (x - activations.mean) * activations.scale
    assert centred.square().sum(1).mean().item() == pytest.approx(D, rel=1e-5)
    assert torch.equal(activations.held_out.mean, activations.mean)


def test_sums_of_shards_add_up_to_the_sums_of_all():
    x = bits(torch.randn(10_000, 3) + 2)
    whole, parts = sums(x), merge_sums([sums(x[:4096]), sums(x[4096:])])
    assert whole.rows == parts.rows and np.array_equal(whole.total, parts.total)
    mean, scale = moments(merge_sums([sums(x[:3000]), sums(x[3000:])]))
    assert np.allclose(mean, moments(whole)[0]) and scale == pytest.approx(moments(whole)[1])


def test_a_range_of_rows_is_the_chunks_that_hold_it(activations):
    every = list(activations.ordered(300))
    ends = np.cumsum([len(rows.at) for rows in every])
    for start, stop in ((0, None), (int(ends[2]), int(ends[5])), (int(ends[2]) - 1, int(ends[5]) + 1), (0, 0)):
        found = list(activations.ordered(300, start=start, stop=stop))
        wanted = [
            rows
            for rows, end in zip(every, ends, strict=True)
            if end > start and (stop is None or end - len(rows.at) < stop)
        ]
        assert len(found) == len(wanted)
        assert all(torch.equal(a.at, b.at) and torch.equal(a.x, b.x) for a, b in zip(found, wanted, strict=True))


def test_ordered_gives_every_row_with_its_place(activations):
    found = list(activations.ordered(300))
    assert max(len(rows.x) for rows in found) == 300
    x, at = torch.cat([r.x for r in found]), torch.cat([r.at for r in found])
    assert torch.equal(places(x), at)
    wanted = np.arange(700 * CONTEXT)
    assert np.array_equal(np.sort(at.numpy()), wanted[wanted % CONTEXT > 0])
    assert not torch.equal(at, at.sort().values), "rows are shuffled inside a shard"


def test_batches_give_every_row_once_an_epoch(activations):
    n = activations.n_tokens
    batches = list(activations.batches(100, seed=1, epochs=3))
    assert len(batches) == activations.n_batches(100, epochs=3) == 3 * n // 100
    assert all(b.x.shape == (100, D) and b.x.dtype == torch.bfloat16 and b.y is b.x for b in batches)
    rows = places(torch.cat([b.x for b in batches]))
    epochs = [rows[i : i + n] for i in range(0, len(rows), n)]
    everything = torch.cat([r.at for r in activations.ordered(1000)]).sort().values
    assert torch.equal(epochs[0].sort().values, everything) and torch.equal(epochs[1].sort().values, everything)
    assert not torch.equal(epochs[0], epochs[1])


def test_batches_mix_the_whole_set(activations):
    # The mean place of a batch is that of the set, within what chance allows: a window would drift.
    everything = torch.cat([r.at for r in activations.ordered(1000)]).double()
    means = torch.tensor([places(b.x).double().mean() for b in activations.batches(500, seed=0)])
    assert ((means - everything.mean()).abs() < 5 * everything.std() / 500**0.5).all()


def test_a_seed_decides_the_order(activations):
    first, again, other = (next(activations.batches(50, seed=s)).x for s in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("size", [64, 4900, 9000])
def test_any_start_resumes_exactly(activations, size):
    whole = [b.x for b in activations.batches(size, seed=2, epochs=4)]
    for start in {0, 1, 2, len(whole) // 2, len(whole) - 1, len(whole), len(whole) + 3}:
        rest = [b.x for b in activations.batches(size, seed=2, epochs=4, start=start)]
        assert len(rest) == max(0, len(whole) - start)
        assert all(torch.equal(a, b) for a, b in zip(whole[start:], rest, strict=False))


class Counted(MemoryShard):
    """A shard that notes how often it is read."""

    reads = 0

    def read_x(self, start, out):
        Counted.reads += 1
        MemoryShard.read_x(self, start, out)


def test_what_is_skipped_is_not_read():
    shard = Counted(bits(torch.randn(60_000, 2)), np.arange(60_000))
    rounds = (Round([shard], [0, epoch]) for epoch in itertools.count())
    batches = mixed(rounds, 2, 1000, skip=10_000_000)
    assert len(next(batches)) == 1000
    batches.close()
    assert Counted.reads < 600  # of 39,000 blocks, nearly all of them passed over


def test_batches_larger_than_the_set_and_empty_sets(activations):
    assert next(activations.batches(12_000, seed=0, epochs=3)).x.shape == (12_000, D)
    assert list(activations.train.held_out.batches(10, seed=0)) == []
    assert list(activations.train.held_out.ordered(10)) == []
    with pytest.raises(BadInput, match="at least 1 row"):
        next(activations.batches(0, seed=0))


def test_an_abandoned_iterator_stops_its_thread(activations):
    batches = activations.batches(10, seed=0, epochs=100)
    next(batches)
    batches.close()


def test_a_batch_is_valid_as_long_as_it_is_held(activations):
    held = [b.x for b in activations.batches(100, seed=0, epochs=5)]
    again = activations.batches(100, seed=0, epochs=5)
    assert all(torch.equal(x, next(again).x) for x in held)


def test_a_shard_is_a_safetensors_file(activations):
    from safetensors import safe_open

    path = next(activations.folder.glob("shard-*.safetensors"))
    with safe_open(path, "pt") as f:
        assert f.get_tensor("x").dtype == torch.bfloat16
        assert torch.equal(places(f.get_tensor("x")), f.get_tensor("at"))


def test_an_empty_shard_can_be_written_and_read(tmp_path):
    empty = MemoryShard(np.empty((0, 4), np.uint16), np.empty(0, np.int64))
    said = write_shard(tmp_path / "a.safetensors", tmp_path / "a.json", empty, dropped={})
    shard = Shard.open(tmp_path / "a.safetensors", size=said["bytes"])
    assert (shard.rows, shard.d) == (0, 4)


def test_a_truncated_shard_is_named(folder):
    path = folder / "shard-000002.safetensors"
    os.truncate(path, path.stat().st_size - 100)
    with pytest.raises(
        BadInput, match=r"shard-000002.safetensors in .* is truncated .* bytes, not .* records only this"
    ):
        Activations.open(folder)
    path.unlink()
    with pytest.raises(BadInput, match="shard-000002.safetensors in .* is missing"):
        Activations.open(folder)


def test_a_shard_that_is_something_else_is_named(folder):
    path = folder / "shard-000001.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(BadInput, match="shard-000001.safetensors in .* is not a shard"):
        Activations.open(folder)


def test_a_newer_schema_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(BadInput, match="schema version 99"):
        Activations.open(folder)


def test_activations_of_another_model_or_tokenizer_are_refused(activations):
    class Other:
        def __init__(self, fingerprint, tokenizer_fingerprint):
            self.fingerprint, self.tokenizer_fingerprint = fingerprint, tokenizer_fingerprint
            self.vocab_size = 700 * CONTEXT

    activations.require(Other("a" * 64, "b" * 64))
    with pytest.raises(BadInput, match="another model: it was recorded from 'made up'"):
        activations.require(Other("c" * 64, "b" * 64))
    with pytest.raises(BadInput, match="another tokenizer"):
        activations.require(Other("a" * 64, "c" * 64))
    few = Other("a" * 64, "b" * 64)
    few.vocab_size = 700
    with pytest.raises(BadInput, match="holds the token id 5,599, and the model has 700 tokens"):
        activations.require(few)


def test_hygiene_drops_the_first_position_sinks_and_what_is_no_number():
    x = torch.randn(4, 10, 16)
    x[:, 0] *= 100
    x[2, 5] *= 50
    x[3, 7, 0], x[1, 2, 3], x[0, 0, 1] = torch.nan, -torch.inf, torch.nan
    rule = Hygiene.measured(x, skip_first=True)
    assert 6 * 3 < rule.max_norm < 6 * 5
    keep = rule.keep(x)
    assert not keep[:, 0].any() and not keep[2, 5] and not keep[3, 7] and not keep[1, 2] and keep.sum() == 33
    assert rule.dropped(x) == {"bos": 4, "sink": 1, "not_finite": 2}
    without = Hygiene(max_norm=rule.max_norm, skip_first=False)
    assert without.dropped(x) == {"bos": 0, "sink": 4, "not_finite": 3}
    assert sum(without.dropped(x).values()) == (~without.keep(x)).sum()
    assert not Hygiene(max_norm=torch.inf, skip_first=False).keep(x)[1, 2], "whatever the bound"
    assert Hygiene.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    assert torch.equal(rule.keep(x.bfloat16()), keep)


def test_dimensions_that_vary_far_from_0_have_an_offset():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 100, 5, generator=generator) * torch.tensor([1, 0.45, 3, 1, 0]) + torch.tensor(
        [0, 3e4, 4, -9, 7]
    )
    rule = Hygiene.measured(x, skip_first=False)
    assert [i for i, _ in rule.offsets] == [1, 3, 4], "of 4 deviations or more"
    assert torch.allclose(rule.offset(5), torch.tensor([0, 3e4, 0, -9, 7]), atol=0.2)
    assert Hygiene.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    lost = (rule.rounded(x) - x).flatten(0, 1).var(0) / x.flatten(0, 1).var(0)
    assert (lost[:4] < 1e-4).all() and (rule.rounded(x)[..., 4] == 7).all()
    plain = Hygiene(max_norm=rule.max_norm, skip_first=False)
    assert plain.offset(5) is None and "offsets" not in plain.to_dict()
    assert plain.rounded(x)[..., 1].var() == 0, "which is what the offset is for"


def test_train_contexts_come_first_and_held_out_ones_last():
    spans = lay_out(20, held_out=3, contexts_per_shard=7)
    assert [(s.start, s.stop, s.held_out) for s in spans] == [
        (0, 7, False), (7, 14, False), (14, 17, False), (17, 20, True)
    ]  # fmt: skip
    assert [s.number for s in spans] == [0, 1, 2, 3]
    assert not any(s.held_out for s in lay_out(5, held_out=0, contexts_per_shard=1))
    for wrong in (-1, 21):
        with pytest.raises(BadInput, match="cannot be held out"):
            lay_out(20, held_out=wrong, contexts_per_shard=7)
