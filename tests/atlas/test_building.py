"""build_atlas on a tiny model: what the atlas says is what the codes say, in any number of pieces, killed or not."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import binomtest

from physalis import dictionaries
from physalis.activations import Activations, Hygiene
from physalis.artifact import Manifest, finish
from physalis.atlas import Atlas
from physalis.atlas.build.building import build_atlas
from physalis.atlas.build.counting import ENOUGH, beyond_chance
from physalis.atlas.build.effects import direct_effects, to_the_logits
from physalis.atlas.records import Feature
from physalis.codes.segments import Coded, Segments, arrays_of, name_of, write_segment
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.models import Model, TinyConfig, tiny_model
from physalis.placement.place import Place
from physalis.recording import record
from physalis.site import Site
from physalis.training.training import train

TEXT = "def add(a, b):\n    return a + b\n\nimport os, sys\nfor path in sys.path:\n    print(os.path.join(path, 'x'))\n"
FEATURES, K, CONTEXT = 64, 6, 32


class Made(NamedTuple):
    model: Model
    activations: Path
    dictionary: Path
    atlas: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.set_num_threads(2)
    root = tmp_path_factory.mktemp("atlas")
    rng = np.random.default_rng(0)
    lines = TEXT.splitlines()
    for i in range(40):
        (root / f"{i:02d}.txt").write_text("\n".join(rng.permutation(lines * 3)))
    model = tiny_model(config=TinyConfig(n_layers=2))
    acts = record(
        model,
        str(root / "*.txt"),
        [Site("resid_post", 1)],
        [root / "acts"],
        tokens=8_000,
        context=CONTEXT,
        shard_rows=1_500,
    )[0]
    d = acts.d
    train(acts, [TopKConfig(d_in=d, d_out=d, n_features=FEATURES, k=K)], [root / "sae"], epochs=1, batch_size=256)
    build_atlas(root / "sae", root / "acts", model, root / "atlas")
    return Made(model, root / "acts", root / "sae", root / "atlas")


class Dense(NamedTuple):
    """The codes of the whole text, computed the plain way."""

    codes: np.ndarray
    """[places, features]"""
    kept: np.ndarray
    tokens: np.ndarray


@pytest.fixture(scope="module")
def dense(made: Made) -> Dense:
    acts = Activations.open(made.activations)
    sae = dictionaries.load(made.dictionary)
    codes = np.zeros((acts.tokens.size, FEATURES), np.float32)
    kept = np.zeros(acts.tokens.size, bool)
    for x, at in acts.ordered(1000):
        found = sae.encode(x)
        rows = np.zeros((len(x), FEATURES), np.float32)
        np.put_along_axis(rows, found.ids.long().numpy(), found.values.numpy(), 1)
        codes[at.numpy()] = rows
        kept[at.numpy()] = True
    return Dense(codes, kept, acts.tokens.reshape(-1))


def busiest(dense: Dense) -> list[int]:
    return np.argsort(-(dense.codes > 0).sum(0))[:10].tolist()


def test_numbers_are_those_of_the_codes(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    n = dense.kept.sum()
    for id in range(FEATURES):
        feature, codes = atlas[id], dense.codes[:, id]
        fired = codes > 0
        assert feature.n_fired == fired.sum()
        assert feature.density == pytest.approx(fired.sum() / n)
        assert feature.max_code == pytest.approx(codes.max())
        assert sum(feature.histogram.counts) == fired.sum()
        if fired.any():
            assert feature.mean_code == pytest.approx(codes[fired].mean(), rel=1e-5)


def test_tokens_and_entropy(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    for id in busiest(dense):
        codes = dense.codes[:, id]
        by_token = np.bincount(dense.tokens, codes, minlength=258)
        share = by_token / by_token.sum()
        assert atlas[id].token_entropy == pytest.approx(-(share[share > 0] * np.log2(share[share > 0])).sum(), abs=1e-3)
        for counted in atlas[id].top_tokens:
            assert counted.share_of_code == pytest.approx(share[counted.id], abs=2e-5)
            assert counted.count == (codes[dense.tokens == counted.id] > 0).sum()
        listed = [t.share_of_code for t in atlas[id].top_tokens]
        assert listed == sorted(listed, reverse=True)
        assert listed[0] == pytest.approx(share.max(), abs=2e-5)


def test_cofiring_is_the_correlation_of_firings(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    fires = (dense.codes[dense.kept] > 0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.corrcoef(fires.T)
    z, n, counts = beyond_chance(FEATURES), len(fires), fires.sum(0)
    for id in range(FEATURES):
        if not fires[:, id].any():
            continue
        # Of the busiest only ENOUGH firings are looked at.
        near = 1e-4 if counts[id] <= ENOUGH else 0.05
        for other in atlas[id].cofiring:
            assert other.value == pytest.approx(correlation[id, other.id], abs=near)
        if counts[id] <= ENOUGH:
            together = fires[:, id] @ fires
            least = [binomtest(int(c), int(counts[id])).proportion_ci(2 * ndtr(z) - 1, "wilson").low for c in together]
            beyond = (together >= 2) & (np.array(least) > counts / n) & (np.arange(FEATURES) != id)
            expected = np.sort(correlation[id][beyond & (correlation[id] > 0)])[::-1][:12]
            assert [other.value for other in atlas[id].cofiring] == pytest.approx(expected, abs=near)


def test_examples_show_the_codes_of_their_text(made: Made, dense: Dense) -> None:
    acts = Activations.open(made.activations)
    strings = np.array(made.model.token_strings(range(258)))
    text = strings[acts.tokens]
    documents = acts.documents
    codes = dense.codes.reshape(*acts.tokens.shape, FEATURES)
    atlas = Atlas.open(made.atlas)
    for id in busiest(dense):
        feature = atlas[id]
        for group in feature.groups:
            for example in group.examples:
                peak = example.codes[example.position]
                assert group.low * 0.999 <= peak <= group.high * 1.001
                assert place_of(example, text, documents, codes[..., id]) is not None


def place_of(example, text, documents, codes) -> tuple[int, int] | None:
    """Where in the text the window stands with exactly these tokens and codes."""
    n = len(example.tokens)
    contexts = np.flatnonzero((documents == example.document).any(1))
    for context in contexts:
        for start in range(text.shape[1] - n + 1):
            here = slice(start, start + n)
            if [*text[context, here]] == example.tokens and np.allclose(
                codes[context, here], example.codes, atol=2e-3 * max(example.codes)
            ):
                assert (documents[context, here] == example.document).all()
                return context, start
    return None


def test_top_examples_are_the_largest_one_a_context(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    largest = dense.codes.reshape(-1, CONTEXT, FEATURES).max(1)
    for id in busiest(dense):
        top = atlas[id].groups[0]
        assert top.name == "top"
        peaks = [example.codes[example.position] for example in top.examples]
        assert peaks == sorted(peaks, reverse=True)
        assert peaks[0] == pytest.approx(largest[:, id].max(), rel=1e-3)
        near = [tuple(e.tokens[max(0, e.position - 6) : e.position + 3]) for g in atlas[id].groups for e in g.examples]
        assert len(set(near)) == len(near), "the same text twice"


def test_levels_share_out_all_firings(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    for id in busiest(dense):
        levels = atlas[id].groups[1:]
        assert sum(level.share_of_firings for level in levels) == pytest.approx(1, abs=1e-4)
        assert sum(level.share_of_code for level in levels) == pytest.approx(1, abs=1e-4)
        codes = dense.codes[:, id]
        step = codes.max() / len(levels)
        for i, level in enumerate(levels):
            low, high = step * (len(levels) - 1 - i), step * (len(levels) - i)
            surely, perhaps = (  # a code at an edge may be rounded to either side of it
                codes[(codes > low * (1 + near)) & (codes <= high * (1 - near))] for near in (1e-4, -1e-4)
            )
            n, total = (codes > 0).sum(), codes.sum()
            assert len(surely) / n - 2e-3 <= level.share_of_firings <= len(perhaps) / n + 2e-3
            assert surely.sum() / total - 2e-3 <= level.share_of_code <= perhaps.sum() / total + 2e-3
        top = atlas[id].groups[0]
        # The record's `low` is rounded to four digits; further codes may lie within that.
        reached = codes >= codes[np.abs(codes - top.low).argmin()]
        assert top.share_of_firings == pytest.approx(reached.sum() / (codes > 0).sum(), abs=2e-3)
        assert top.share_of_code == pytest.approx(codes[reached].sum() / codes.sum(), abs=2e-3)


def test_effects_and_nearest(made: Made, dense: Dense) -> None:
    atlas = Atlas.open(made.atlas)
    directions = dictionaries.load(made.dictionary).W_dec.float()
    logits = directions @ made.model.unembedding().T
    living = (dense.codes > 0).any(0)
    cosine = torch.nn.functional.normalize(directions, dim=1)
    cosine = (cosine @ cosine.T).fill_diagonal_(-2)
    cosine[:, ~torch.from_numpy(living)] = -2
    for id in range(FEATURES):
        feature = atlas[id]
        assert [e.id for e in feature.promoted] == logits[id].topk(12).indices.tolist()
        assert [e.id for e in feature.suppressed] == (-logits[id]).topk(12).indices.tolist()
        assert sum(feature.logit_histogram.counts) == 258
        centred = (logits[id] - logits[id].mean()).double()
        kurtosis = (centred**4).mean() / (centred**2).mean() ** 2 - 3
        assert feature.logit_kurtosis == pytest.approx(float(kurtosis), abs=0.05)
        assert [n.id for n in feature.nearest] == cosine[id].topk(12).indices.tolist()
        assert feature.nearest_cosine == pytest.approx(float(cosine[id].max()), abs=1e-5)


def test_records_hold_what_they_promise(made: Made) -> None:
    atlas = Atlas.open(made.atlas)
    for id in range(FEATURES):
        Feature.model_validate(atlas[id].model_dump())
    summary = atlas.summary()
    assert summary.n_features == FEATURES and summary.site == "L1.resid_post" and summary.held_out
    assert {"fvu", "l0", "dead_fraction", "dense_fraction"} <= set(summary.metrics)
    fvu, n_documents = summary.metrics["fvu"], held_out_documents(made)
    assert (fvu.low is None) == (n_documents < 5)
    assert fvu.low is None or fvu.low <= fvu.value <= fvu.high
    assert len(set(summary.striking)) == len(summary.striking) > 0
    living = [i for i in range(FEATURES) if atlas[i].n_fired]
    placed = atlas.map()
    assert placed.ids == living and all(0 <= v <= 1 for v in placed.x + placed.y)
    assert set(placed.region) <= set(range(len(placed.regions)))


def held_out_documents(made: Made) -> int:
    acts = Activations.open(made.activations)
    return len(np.unique(np.concatenate([acts.documents.reshape(-1)[rows.at] for rows in acts.held_out.ordered(512)])))


def test_search_finds_text_of_examples(made: Made) -> None:
    atlas = Atlas.open(made.atlas)
    found = atlas.list(query="import")
    assert 0 < found.total <= FEATURES
    assert atlas.list(query="impo").total >= found.total
    assert atlas.list(query="import zebra").total == 0


def test_evaluation_becomes_the_summary(made: Made, tmp_path: Path) -> None:
    estimate = {"value": 0.1, "low": 0.05, "high": 0.15}
    facts = {"metrics": {"fvu": estimate}, "baselines": [{"name": "PCA", "metrics": {"fvu": estimate}}]}
    facts |= {
        "sites": {},
        "n_held_out": 9,
        "n_spliced": 0,
        "not_spliced": "no model was given.",
        "documents": {"held_out": 9, "spliced": 0},
    }
    facts |= {"firing": {"text": "held out", "tokens": 9}}
    dictionary = dictionaries_hash(made.dictionary)
    (tmp_path / "eval").mkdir()
    finish(
        tmp_path / "eval",
        Manifest(
            kind="evaluation",
            config={},
            inputs={"dictionary": dictionary, "activations": Activations.open(made.activations).manifest.hash},
            facts=facts,
        ),
        [],
    )
    summary = build_atlas(
        made.dictionary, made.activations, made.model, tmp_path / "out", evaluation=tmp_path / "eval"
    ).summary()
    assert summary.held_out and summary.metrics["fvu"].value == 0.1 and summary.baselines[0].name == "PCA"
    another = shutil.copytree(made.activations, tmp_path / "again")
    said = Manifest.model_validate_json((another / "manifest.json").read_text())
    finish(another, said.model_copy(update={"seed": 9}), list(said.files))
    unknown = build_atlas(made.dictionary, another, made.model, tmp_path / "o1").summary()
    assert not unknown.held_out, "another recording may hold text that was trained on"
    (tmp_path / "other").mkdir()
    finish(tmp_path / "other", Manifest(kind="evaluation", config={}, inputs={"dictionary": "x"}, facts=facts), [])
    with pytest.raises(BadInput, match="another dictionary"):
        build_atlas(made.dictionary, made.activations, made.model, tmp_path / "o2", evaluation=tmp_path / "other")


def dictionaries_hash(folder: Path) -> str:
    return Manifest.model_validate_json((folder / "manifest.json").read_text()).hash


def test_a_site_outside_the_residual_stream_has_no_effects(made: Made, tmp_path: Path) -> None:
    text, site = str(made.activations.parent / "0*.txt"), Site("mlp_in", 0)
    acts = record(made.model, text, [site], [tmp_path / "acts"], context=32)[0]
    config = TopKConfig(d_in=acts.d, d_out=acts.d, n_features=48, k=4)
    train(acts, [config], [tmp_path / "sae"], epochs=1, batch_size=128)
    atlas = build_atlas(tmp_path / "sae", tmp_path / "acts", made.model, tmp_path / "atlas", top=2, intervals=3)
    feature = atlas[atlas.random()]
    assert feature.promoted == [] and feature.logit_histogram.counts == [] and feature.logit_kurtosis == 0
    assert len(feature.groups) == 4 and len(feature.groups[0].examples) <= 2
    with pytest.raises(BadInput, match="reads L0.mlp_in, these activations are of L1.resid_post"):
        build_atlas(tmp_path / "sae", made.activations, made.model, tmp_path / "mixed")


def test_another_model_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="another model"):
        build_atlas(made.dictionary, made.activations, tiny_model(config=TinyConfig(n_layers=3)), tmp_path / "out")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def test_pieces_do_not_matter(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from physalis.atlas.build import profiles
    from physalis.codes import segments

    monkeypatch.setattr(segments, "SEGMENT", 2_000)
    monkeypatch.setattr(Segments.blocks, "__defaults__", (None, 3_000))
    monkeypatch.setattr(profiles, "PART", 7)
    build_atlas(made.dictionary, made.activations, made.model, tmp_path / "atlas")
    assert contents(tmp_path / "atlas") == contents(made.atlas)


def test_pieces_of_codes_are_as_wide_as_their_fullest_token(tmp_path: Path) -> None:
    """Where a threshold decides, no two chunks need have as many columns."""
    rng = np.random.default_rng(0)
    pieces, dense = [], np.zeros((12, 9), np.float32)
    for first, width in ((0, 3), (4, 1), (8, 5)):
        ids = np.stack([rng.permutation(9)[:width] for _ in range(4)])
        values = rng.random((4, width)).astype(np.float32)
        np.put_along_axis(dense[first : first + 4], ids, values, 1)
        pieces.append(Coded(values, ids, np.arange(first, first + 4), np.empty((0, 3))))
    write_segment(tmp_path / name_of(0), arrays_of(pieces, 9))
    segments = Segments(tmp_path, 9, [12])
    assert segments.n_fired.tolist() == (dense > 0).sum(0).tolist()
    (block,) = segments.blocks(segments.tokens(1000))
    for feature in range(9):
        here = slice(block.offsets[feature], block.offsets[feature + 1])
        assert block.values[here].tolist() == dense[block.at[here], feature].tolist()


def test_ids_without_a_token_promote_nothing(made: Made) -> None:
    """Tables of embeddings are padded to round sizes: their largest logits would be of ids that nobody knows."""
    directions = dictionaries.load(made.dictionary).W_dec.float()[:5]
    unembedding = made.model.unembedding()
    known = torch.ones(len(unembedding), dtype=torch.bool)
    known[::7] = False
    with ThreadPoolExecutor(1) as pool:
        found = direct_effects(directions, unembedding, known=known, n=12, bins=10, pool=pool)
        alone = direct_effects(directions, unembedding[known], n=12, bins=10, pool=pool)
    ids = known.nonzero()[:, 0].numpy()
    for name in ("promoted", "suppressed"):
        assert getattr(found, name).tolist() == ids[getattr(alone, name)].tolist()
        assert known[torch.from_numpy(getattr(found, name)).long()].all()
    assert (found.counts.sum(1) == known.sum().item()).all() and (found.kurtosis == alone.kurtosis).all()


def test_what_reaches_the_logits_of_several_sites() -> None:
    """The stream as it is last written, and what attention and MLPs add to it after that."""
    sites = [Site("resid_post", 0), Site("resid_post", 1), Site("mlp_out", 1), Site("mlp_out", 2)]
    place = Place(sites, sites, Hygiene(max_norm=1.0, skip_first=False), dict.fromkeys(sites, 3))
    rows = torch.arange(24.0).reshape(2, 12)
    part = place.split(rows)
    assert torch.equal(to_the_logits(rows, place, 3), part[sites[1]] + part[sites[3]])
    into = Place(Site("mlp_in", 1), Site("mlp_in", 1), Hygiene(max_norm=1.0, skip_first=False))
    assert to_the_logits(rows, into, 12) is None
    assert to_the_logits(rows, Place(sites[0], sites[0], {}), 3) is None, "heads may be wider than the stream"
