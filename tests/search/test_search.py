"""Finding: readings against the stored rows and against loops, contrasts against every split done by hand, and how
often labels that mean nothing seem to mean something."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from physalis import artifact, dictionaries
from physalis.activations import Activations, Hygiene, Pairs
from physalis.dictionaries import CrosscoderConfig, TopK, TopKConfig
from physalis.errors import BadInput
from physalis.models import tiny_model
from physalis.recording import record
from physalis.search import MEASURES, Reader, Reading, contrast, mean_code, on_token, share_of_texts, share_of_tokens
from physalis.search.contrast import STEPS
from physalis.search.reading import POSITIONS, _batches
from physalis.site import Site
from physalis.training.training import train
from physalis.types import Codes

SITE = Site("resid_post", 1)


@pytest.fixture(scope="module")
def reader(tiny, tiny_dictionary):
    return Reader.open(tiny_dictionary, tiny)


@pytest.fixture(scope="module")
def lines(tiny_text):
    """48 pieces of text of the kind that the dictionary was trained on, of unequal lengths."""
    words = " ".join(file.read_text() for file in sorted(tiny_text.iterdir())).split(" ")
    rng = np.random.default_rng(1)
    starts = np.cumsum(rng.integers(4, 30, 49))
    return [" ".join(words[a:b]) for a, b in zip(starts, starts[1:], strict=False)]


@pytest.fixture(scope="module")
def readings(reader, lines):
    return reader.read(lines)


def dense(reading: Reading) -> np.ndarray:
    """[tokens, features], the plain way."""
    rows = np.zeros((len(reading.ids), reading.n_features))
    for row, ids, values in zip(rows, reading.codes.ids.tolist(), reading.codes.values.tolist(), strict=True):
        for id, value in zip(ids, values, strict=True):
            if value:
                row[id] = value
    return rows


def made_up(codes: np.ndarray) -> Reading:
    """A reading with these codes, [tokens, features]."""
    tokens, n = codes.shape
    ids = torch.arange(n).expand(tokens, n).contiguous()
    return Reading(
        text="x" * tokens, ids=list(range(tokens)), tokens=["x"] * tokens, left_out=[None] * tokens,
        codes=Codes(torch.from_numpy(codes.astype(np.float32)), ids), n_features=n,
    )  # fmt: skip


# reading


def test_a_recorded_context_reads_as_it_was_recorded(reader, tiny_activations, tiny_dictionary):
    acts: Activations = tiny_activations
    whole = [i for i, ids in enumerate(acts.tokens) if 257 not in ids][:20]
    found = reader.read([bytes(acts.tokens[i][1:].astype(np.uint8)).decode() for i in whole])
    sae = dictionaries.load(tiny_dictionary)
    x, at = zip(*acts.ordered(4096), strict=True)
    codes, places = sae.encode(torch.cat(x)), torch.cat(at).tolist()
    stored = torch.zeros(acts.tokens.size, sae.config.n_features)
    stored[torch.tensor(places)] = torch.zeros(len(places), sae.config.n_features).scatter_(
        1, codes.ids.long(), codes.values
    )
    kept = acts.kept(np.array(whole))
    for i, reading, keep in zip(whole, found, kept, strict=True):
        assert reading.ids == acts.tokens[i].tolist()
        assert [why is None for why in reading.left_out] == keep.tolist() and reading.left_out[0] == "bos"
        want = stored[i * acts.context : (i + 1) * acts.context].numpy()
        assert np.mean(np.abs(dense(reading) - want) > 1e-3 * want.max()) < 1e-3
    assert len(whole) == 20 and sum(dense(reading).sum() for reading in found) > 0


def test_what_is_read_together_changes_nothing(reader, lines, readings):
    for text, together in list(zip(lines, readings, strict=True))[::6]:
        (alone,) = reader.read([text])
        assert together.text == text and "".join(together.tokens[1:]) == text
        assert alone.ids == together.ids and alone.left_out == together.left_out
        assert np.mean(np.abs(dense(alone) - dense(together)) > 0.01) < 1e-3


def test_batches_hold_everything_once():
    lengths = np.random.default_rng(0).integers(1, 9000, 300).tolist()
    batches = _batches(lengths)
    assert sorted(i for some in batches for i in some) == list(range(300))
    assert all(len(some) == 1 or len(some) * max(lengths[i] for i in some) <= POSITIONS for some in batches)
    assert len(batches) < 250


def test_sums_and_strongest_are_those_of_the_codes(readings):
    reading = readings[3]
    codes = dense(reading)
    fired = reading.summed()
    assert fired.ids.tolist() == [i for i in range(reading.n_features) if codes[:, i].any()]
    for id, peak, at, total, tokens in zip(*fired, strict=True):
        column = codes[:, id]
        assert (peak, at, tokens) == (pytest.approx(column.max()), int(column.argmax()), int((column > 0).sum()))
        assert total == pytest.approx(column.sum())
        assert np.allclose(reading.of(int(id)).numpy(), column)
    for row, few in zip(codes, reading.strongest(3), strict=True):
        assert [v for _, v in few] == pytest.approx(sorted(row[row > 0], reverse=True)[:3])
        assert all(row[i] == pytest.approx(v) for i, v in few)
    assert reading.n_kept == len(reading.ids) - 1
    with pytest.raises(BadInput, match="There is no feature 999"):
        reading.of(999)


def test_hygiene_leaves_out_what_it_should(tiny, tiny_dictionary, lines):
    sae = dictionaries.load(tiny_dictionary)
    text = lines[0]
    x = tiny.run(torch.tensor([list(text.encode())]), read=[SITE, Site("mlp_out", 1)])
    norms = {site: found[0].norm(dim=-1) for site, found in x.items()}
    limits = {site: norm.quantile(0.8).item() for site, norm in norms.items()}
    rules = {site: Hygiene(max_norm=limit, skip_first=False) for site, limit in limits.items()}
    (one,) = Reader(tiny, sae, SITE, rules[SITE]).read([text])
    (both,) = Reader(tiny, sae, SITE, rules).read([text])
    assert one.ids == list(text.encode())  # no BOS token where the dictionary's text had none
    over = {site: (norms[site] > limits[site]).tolist() for site in norms}
    assert [why == "sink" for why in one.left_out] == over[SITE] and any(over[SITE])
    assert [why == "sink" for why in both.left_out] == [a or b for a, b in zip(*over.values(), strict=True)]
    assert not dense(one)[over[SITE]].any() and dense(one).any() and both.n_kept < one.n_kept


def test_nothing_kept_is_no_code(tiny, tiny_dictionary):
    strict = Hygiene(max_norm=1e-6, skip_first=True)
    (reading,) = Reader(tiny, dictionaries.load(tiny_dictionary), SITE, strict).read(["alpha"])
    assert reading.n_kept == 0 and not dense(reading).any() and reading.summed().ids.size == 0
    assert reading.strongest(3) == [[]] * 6
    with pytest.raises(BadInput, match="Hygiene leaves nothing of text 1, 'alpha'"):
        contrast([reading], [reading])


def test_sites_side_by_side(tiny, tiny_text, tmp_path):
    sites = [Site("resid_post", 0), SITE]
    outs = [tmp_path / str(site) for site in sites]
    parts = record(tiny, str(tiny_text), sites, outs, tokens=3_000, context=32)
    pairs = Pairs.open([part.folder for part in parts])
    config = CrosscoderConfig(d_in=64, d_out=64, n_features=96, k=4, sites=(32, 32))
    train(pairs, [config], [tmp_path / "cross"], batch_size=256)
    reader = Reader.open(tmp_path / "cross", tiny)
    assert reader.sites == sites and set(reader.hygienes) == set(sites)
    (reading,) = reader.read(["alpha beta if"])
    x = tiny.run(torch.tensor([reading.ids]), read=sites)
    codes = dictionaries.load(tmp_path / "cross").encode(torch.cat([x[s] for s in sites], -1)[0, 1:].bfloat16().float())
    assert torch.allclose(reading.codes.values[1:].sum(1), codes.values.sum(1), rtol=1e-3)


def test_refusals_are_sentences(reader, tiny, tiny_dictionary, tmp_path):
    with pytest.raises(BadInput, match="another model"):
        Reader.open(tiny_dictionary, tiny_model(seed=1))
    with pytest.raises(BadInput, match="holds no physalis dictionary"):
        Reader.open(tmp_path, tiny)
    with pytest.raises(BadInput, match="Text 2 has 301 tokens; at most 256"):
        reader.read(["a", "a" * 300])
    with pytest.raises(BadInput, match="Text 1 is empty"):
        reader.read([""])
    with pytest.raises(BadInput, match="'ab' is not one token of tiny: it is 'a' \\+ 'b'"):
        reader.token("ab")
    assert reader.token("a") == 97 and reader.read([]) == []
    narrow = TopK(TopKConfig(d_in=8, d_out=8, n_features=16, k=2))
    with pytest.raises(BadInput, match="reads rows of 8 numbers; L1.resid_post of tiny has 32"):
        Reader(tiny, narrow, SITE, Hygiene(max_norm=9.0, skip_first=True))
    short = Reader.open(tiny_dictionary, tiny, longest=10)
    assert short.longest == 10 and reader.longest == 256
    with pytest.raises(BadInput, match="at most 10"):
        short.read(["alpha beta gamma"])


def test_a_converted_dictionary_need_not_say_everything(reader, tiny, tiny_dictionary, tmp_path, capsys):
    def without(*fields: str) -> Path:
        folder = tmp_path / "-".join(("no", *fields))
        shutil.copytree(tiny_dictionary, folder)
        said = json.loads((folder / artifact.MANIFEST).read_text())
        said["inputs"] = {}
        said["config"] |= {"converted_from": {}}
        said["config"] = {name: value for name, value in said["config"].items() if name not in fields}
        (folder / artifact.MANIFEST).write_text(json.dumps(said))
        return folder

    opened = Reader.open(without(), tiny)
    assert "model and tokenizer" in capsys.readouterr().err and opened.hygienes == reader.hygienes
    with pytest.raises(BadInput, match="does not say which site"):
        Reader.open(without("site"), tiny)
    with pytest.raises(BadInput, match="does not say which positions"):
        Reader.open(without("hygiene"), tiny)
    rule = reader.hygienes[SITE]
    assert Reader.open(tmp_path / "no-hygiene", tiny, hygiene=rule).hygienes == {SITE: rule}


# contrast


def population(rng: np.random.Generator, n_texts: int, n_features: int = 120) -> list[np.ndarray]:
    """Codes of texts in which features of every density fire, some in company, with heavy tails."""
    density = 10 ** rng.uniform(-2.5, -0.3, n_features)
    texts = []
    for _ in range(n_texts):
        tokens = int(rng.integers(5, 40))
        fires = rng.random((tokens, n_features)) < density * rng.gamma(2, 0.5, n_features)
        fires[:, 1::2] |= fires[:, ::2] & (rng.random((tokens, n_features // 2)) < 0.7)
        texts.append(fires * rng.lognormal(0, 1, (tokens, n_features)))
    return texts


SUMS = {
    mean_code: lambda codes: (codes.sum(0), len(codes)),
    share_of_tokens: lambda codes: ((codes > 0).sum(0), len(codes)),
    share_of_texts: lambda codes: ((codes > 0).any(0), 1),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_every_split_done_by_hand(measure):
    texts = population(np.random.default_rng(0), 8, 40)
    for text in texts[:4]:
        text[:, 5] += 3
    sums = [SUMS[measure](text) for text in texts]

    def apart(here: tuple[int, ...], f: int) -> float:
        sides = ([i for i in range(8) if i in here], [i for i in range(8) if i not in here])
        a, b = (sum(float(sums[i][0][f]) for i in side) / sum(sums[i][1] for i in side) for side in sides)
        return a - b

    readings = [made_up(text) for text in texts]
    found = contrast(readings[:4], readings[4:], measure=measure, top=40)
    alive = [f for f in range(40) if any(text[:, f].any() for text in texts)]
    splits = list(combinations(range(8), 4))
    true = {f: apart((0, 1, 2, 3), f) for f in alive}
    deviation = {}
    for f in alive:
        mean = sum(float(num[f]) for num, _ in sums) / sum(den for _, den in sums)
        rest = [float(num[f]) - mean * den for num, den in sums]
        deviation[f] = np.std(rest, ddof=1) / np.mean([den for _, den in sums])
    sizes = {(s, f): abs(apart(s, f)) / deviation[f] if deviation[f] > 1e-12 else 0.0 for s in splits for f in alive}
    size = {f: sizes[(0, 1, 2, 3), f] for f in alive}

    def rate(bar: float) -> float:
        reach = sum(each >= bar - 1e-9 for each in sizes.values()) / len(splits)
        return min(1.0, reach / sum(each >= bar - 1e-9 for each in size.values()))

    table = np.round([[sizes[s, f] for f in alive] for s in splits], 9)
    reach = [(table / (1 + table) * STEPS >= step).sum(1) for step in range(STEPS)]
    rates = [[each.mean() / each[i] for each in reach if each[i]] for i in range(len(splits))]
    anything = np.mean([min(each) <= min(rates[0]) * (1 + 1e-9) for each in rates])

    assert (found.n_features, found.labellings, found.exhaustive) == (len(alive), 70, True)
    assert found.least_q == pytest.approx(2 / 70)
    rows = [*found.more_here, *found.more_there]
    assert {row.id for row in rows} == {f for f in alive if abs(true[f]) > 1e-12}
    assert all(row.difference > 0 for row in found.more_here) and all(row.difference < 0 for row in found.more_there)
    for side in (found.more_here, found.more_there):
        effects = [abs(row.effect) for row in side]
        assert effects == pytest.approx(sorted(effects, reverse=True))
    for row in rows:
        f = row.id
        assert row.difference == pytest.approx(true[f], rel=1e-5) == pytest.approx(row.here - row.there)
        assert abs(row.effect) == pytest.approx(size[f], rel=1e-5)
        assert row.p == pytest.approx(np.mean([sizes[s, f] >= size[f] - 1e-9 for s in splits]))
        own = min(rate(size[g]) for g in alive if size[g] <= size[f] + 1e-9)
        assert row.q == pytest.approx(max(own, anything))
        assert row.baseline == pytest.approx(np.quantile([abs(apart(s, f)) for s in splits], 0.95))
        assert row.texts_here == np.mean([texts[i][:, f].any() for i in range(4)])
    if measure is mean_code:
        assert found.more_here[0].id == 5 and found.more_here[0].q <= 0.05
    assert found.found == sum(row.q <= 0.05 for row in rows)


@pytest.mark.parametrize("measure", MEASURES)
def test_two_halves_of_one_set_do_not_differ(readings, measure):
    """Over many seeds, as often as a rate of 5 % allows and no more; taken one by one, some feature always does."""
    tried, found, tempting = 60, 0, 0
    for seed in range(tried):
        few = np.random.default_rng(seed).permutation(len(readings))[: 8 + 4 * (seed % 9)]
        half = len(few) // 2
        here, there = ([readings[i] for i in some] for some in (few[:half], few[half:]))
        result = contrast(here, there, measure=measure, labellings=200, resamples=2, top=200, seed=seed)
        found += result.found > 0
        tempting += any(row.p <= 0.05 for row in (*result.more_here, *result.more_there))
    assert found <= stats.binom.ppf(0.999, tried, 0.05)
    assert tempting > tried / 5


def test_what_was_planted_is_found_and_little_else():
    """Of 12 features in 120 that differ most are found, and of what is found about 1 in 20 at most is false."""
    shares, hits = [], 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        texts = population(rng, 12)
        for text in texts[:6]:
            text[:, :12] += (rng.random((len(text), 12)) < 0.5) * rng.lognormal(1, 0.5, (len(text), 12))
        all_of_it = [made_up(text) for text in texts]
        result = contrast(all_of_it[:6], all_of_it[6:], top=120, resamples=2)
        chosen = {row.id for row in (*result.more_here, *result.more_there) if row.q <= 0.05}
        shares.append(sum(id >= 12 for id in chosen) / max(1, len(chosen)))
        hits += len(chosen & set(range(12)))
    assert np.mean(shares) < 0.08
    assert hits > 0.6 * 30 * 12


def test_real_features_tell_words_apart(reader):
    words = [reader.read([f"{word} {other}" for other in "12345"]) for word in ("alpha alpha", "}{][)( #%")]
    result = contrast(*words)
    assert result.found > 5 and result.least_q < 0.01
    best = result.more_here[0]
    assert best.here > best.there and best.low is not None and best.low > 0 and best.difference > best.baseline
    few = contrast(words[0][:3], words[1][:3])
    assert few.found == 0 and few.least_q == pytest.approx(0.1)


def test_one_prompt_against_another_only_ranks(readings):
    result = contrast(readings[:1], readings[1:2])
    assert (result.found, result.labellings, result.least_q) == (0, 2, 1.0)
    differences = [row.difference for row in result.more_here]
    assert differences == sorted(differences, reverse=True) and differences
    assert all((row.p, row.q, row.low, row.effect) == (1, 1, None, None) for row in result.more_here)
    with pytest.raises(BadInput, match="received 0 here and 1 there"):
        contrast([], readings[:1])


def test_intervals_are_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    texts = [np.abs(rng.normal(1 + (i < 60), 1, (10, 1))) for i in range(120)]
    readings = [made_up(text) for text in texts]
    (row,) = contrast(readings[:60], readings[60:]).more_here
    means = [np.mean(text) for text in texts]
    error = np.sqrt(np.var(means[:60], ddof=1) / 60 + np.var(means[60:], ddof=1) / 60)
    assert row.low == pytest.approx(row.difference - 1.96 * error, abs=0.2 * error)
    assert row.high == pytest.approx(row.difference + 1.96 * error, abs=0.2 * error)


def test_the_same_question_has_the_same_answer(readings):
    assert contrast(readings[:10], readings[10:]) == contrast(readings[:10], readings[10:])


# one kind of token


def test_features_of_a_token(reader, readings):
    token = reader.token("a")
    found = on_token(readings, token, top=200)
    codes = [dense(reading) for reading in readings]
    here = [np.array(r.ids) == token for r in readings]
    kept = [np.array([why is None for why in r.left_out]) for r in readings]
    on = np.concatenate([c[h & k] for c, h, k in zip(codes, here, kept, strict=True)])
    off = np.concatenate([c[~h & k] for c, h, k in zip(codes, here, kept, strict=True)])
    assert (found.id, found.n, found.n_texts) == (97, len(on), sum(h.any() for h in here))
    assert {f.id for f in found.features} == set(np.flatnonzero(on.any(0)).tolist())
    for f in found.features:
        assert f.fires == pytest.approx((on[:, f.id] > 0).mean())
        assert f.elsewhere == pytest.approx((off[:, f.id] > 0).mean())
        assert f.mean_code == pytest.approx(on[:, f.id].mean(), rel=1e-5)
        assert f.share_of_code == pytest.approx(on[:, f.id].sum() / (on[:, f.id].sum() + off[:, f.id].sum()))
        assert f.low is not None and f.high is not None and f.low - 1e-9 <= f.fires <= f.high + 1e-9
    lifts = [f.fires - f.elsewhere for f in found.features]
    assert lifts == sorted(lifts, reverse=True) and lifts[0] > 0.1
    alone = on_token(readings[:1], token)
    assert alone.n_texts == 1 and all(f.low is None for f in alone.features)


def test_a_token_that_is_not_there(readings):
    with pytest.raises(BadInput, match="None of these texts has the token 7"):
        on_token(readings, 7)
    with pytest.raises(BadInput, match="at least one"):
        on_token([], 7)
