"""Causes on the tiny model: what is measured many texts at a time is what a plain loop over one text finds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats

from physalis import dictionaries
from physalis.activations import Activations
from physalis.atlas import Atlas
from physalis.atlas.build import building
from physalis.atlas.build.building import build_atlas
from physalis.atlas.build.profiles import Profiles, Text
from physalis.atlas.feature_pages import PageShape, empty_pages
from physalis.atlas.interventions import causes
from physalis.atlas.interventions.ablation import ablate, random_direction
from physalis.atlas.interventions.attached import SAMPLED, Attached, Case, Picks, divided
from physalis.atlas.interventions.causes import FEWEST, LEAST_SHIFT, REPLACEMENTS, ranked
from physalis.atlas.interventions.occlusion import leave_one_out, ordinary
from physalis.atlas.interventions.strata import over_firings, weights
from physalis.atlas.records import Ablation, Causes, Feature
from physalis.dictionaries import TopK, TopKConfig
from physalis.errors import BadInput
from physalis.models import Model
from physalis.placement.place import Place
from physalis.site import Site

CLOSE = 3e-5


class Found(NamedTuple):
    """One text without a feature, found the plain way."""

    logits: torch.Tensor
    codes: dict[int, float]
    """Of the places where the feature fires."""


@pytest.fixture(scope="module")
def attached(tiny, tiny_activations, tiny_dictionary) -> Attached:
    coder = dictionaries.load(tiny_dictionary)
    assert isinstance(coder, TopK)
    return Attached(tiny, coder, Place(tiny_activations.site, tiny_activations.site, tiny_activations.hygiene))


@pytest.fixture(scope="module")
def edited(tiny_atlas) -> list[Feature]:
    """Features of the atlas whose causes were measured."""
    return [feature for feature in map(tiny_atlas.__getitem__, range(len(tiny_atlas))) if feature.causes]


def plain(model: Model, tokens: np.ndarray, visit: Callable[[Site, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The tiny model written out, without a hook, over one text; ``visit`` may replace what passes a site."""
    hf = model.hf
    x = (hf.embed(torch.from_numpy(tokens)) + hf.positions(torch.arange(len(tokens))))[None]
    for layer, block in enumerate(hf.blocks):
        x = x + block.attn(block.attn_norm(x))
        x = x + visit(Site("mlp_out", layer), block.mlp(visit(Site("mlp_in", layer), block.mlp_norm(x))))
        x = visit(Site("resid_post", layer), x)
    return hf.unembed(hf.norm(x))[0]


def without(attached: Attached, tokens: np.ndarray, feature: int, direction: np.ndarray) -> Found:
    """Position by position: read the code, and take the direction away that many times."""
    codes: dict[int, float] = {}
    sizes: dict[int, float] = {}
    (reads,), (writes,), (rule,) = attached.place.reads, attached.place.writes, attached.place.hygienes.values()

    def visit(site: Site, x: torch.Tensor) -> torch.Tensor:
        if site == reads:
            for place, row in enumerate(x[0]):
                if (place == 0 and rule.skip_first) or row.norm() > rule.max_norm:
                    continue
                found = attached.coder.encode(row[None])
                for value, id in zip(found.values[0].tolist(), found.ids[0].tolist(), strict=True):
                    if id == feature and value > 0:
                        codes[place] = value
                        sizes[place] = value * (float(row.std()) if attached.coder.config.layer_norm else 1)
        if site == writes:
            x = x.clone()
            for place, size in sizes.items():
                x[0, place] -= size * torch.from_numpy(direction)
        return x

    with torch.no_grad():
        return Found(plain(attached.model, tokens, visit), codes)


def passes(attached: Attached, case: Case) -> list[Found]:
    """As it is, without the feature, without the random direction."""
    own = attached.coder.W_dec[case.feature].numpy()
    edits = [np.zeros_like(own), own, random_direction(own, case, seed=0)]
    return [without(attached, case.tokens, case.feature, edit) for edit in edits]


def busiest(attached: Attached, tokens: np.ndarray) -> int:
    """The feature that fires most often in a text."""
    seen: list[int] = []

    def visit(site: Site, x: torch.Tensor) -> torch.Tensor:
        if site == attached.place.reads[0]:
            found = attached.coder.encode(x[0, 1:])
            seen.extend(found.ids[found.values > 0].tolist())
        return x

    with torch.no_grad():
        plain(attached.model, tokens, visit)
    return int(np.bincount(seen).argmax())


def losses(logits: torch.Tensor, case: Case) -> np.ndarray:
    predicted = logits.log_softmax(-1)
    return np.array([-float(predicted[p - 1, case.tokens[p]]) for p in range(case.peak + 1, len(case.tokens))])


def case_of(
    attached: Attached, acts: Activations, feature: Feature, number: int, example: int, code: float, share: float = 0.0
) -> Case:
    """Where in the recorded text an example of a page's group stands: same words, same document, same code."""
    shown = feature.groups[number].examples[example]
    known = attached.model.token_strings(range(258))
    ids = [known.index(token) for token in shown.tokens]
    for context in np.flatnonzero((acts.documents == shown.document).any(1)):
        for start in range(acts.context - len(ids) + 1):
            if [*acts.tokens[context, start : start + len(ids)]] == ids:
                tokens = acts.tokens[context, : start + len(ids)].astype(np.int64)
                case = Case(feature.id, number, example, tokens, start, start + shown.position, share)
                nothing = np.zeros(acts.d, np.float32)
                if without(attached, tokens, feature.id, nothing).codes.get(case.peak) == pytest.approx(code, rel=1e-3):
                    return case
    raise AssertionError("the example is not in the text")


def test_removal_is_what_a_plain_loop_finds(attached, tiny_activations, edited):
    """Levels of code count by their share of the firings: the mean over a few examples of each is that of a typical
    firing, not of a typical level."""
    for feature in edited[:: len(edited) // 3]:
        found: Ablation = feature.causes.ablation
        before, after, fired, change, tokens = np.zeros(258), np.zeros(258), 0.0, 0.0, 0.0
        in_level = np.bincount([each.group for each in found.examples])
        for measured in found.examples:
            share = feature.groups[measured.group].share_of_firings if measured.group else 0.0
            where = (feature, measured.group, measured.example, measured.code, share)
            case = case_of(attached, tiny_activations, *where)
            clean, removed, random = passes(attached, case)
            own = losses(clean.logits, case)
            assert measured.changes == pytest.approx(losses(removed.logits, case) - own, abs=CLOSE)
            assert measured.random == pytest.approx(losses(random.logits, case) - own, abs=CLOSE)
            counts = share / in_level[measured.group]
            places = [place for place in clean.codes if place >= case.start]
            before += counts * clean.logits[places].softmax(-1).sum(0).numpy()
            after += counts * removed.logits[places].softmax(-1).sum(0).numpy()
            fired += counts * len(places)
            change += counts * sum(measured.changes)
            tokens += counts * len(measured.changes)
        assert found.change.value == pytest.approx(change / tokens, abs=CLOSE)
        assert found.beyond_random.value == pytest.approx(found.change.value - found.random.value, abs=CLOSE)
        fall = (before - after) / fired
        for shifts, by in ((found.fell, fall), (found.rose, -fall)):
            for shift in shifts:
                assert shift.before == pytest.approx(before[shift.id] / fired, abs=CLOSE)
                assert shift.after == pytest.approx(after[shift.id] / fired, abs=CLOSE)
            largest = np.sort(by)[::-1]
            assert by[[shift.id for shift in shifts]] == pytest.approx(largest[: len(shifts)], abs=CLOSE)
            assert len(shifts) == 12 or largest[len(shifts)] < LEAST_SHIFT + CLOSE


@pytest.mark.parametrize("layer_norm", [False, True])
def test_what_is_read_in_one_place_is_removed_in_another(attached, tiny_activations, layer_norm):
    config = TopKConfig(d_in=32, d_out=32, n_features=128, k=4, layer_norm=layer_norm)
    coder = TopK(config)
    coder.load_state_dict(attached.coder.state_dict())
    (rule,) = attached.place.hygienes.values()
    transcoder = attached._replace(coder=coder, place=Place(Site("mlp_in", 0), Site("mlp_out", 1), rule))
    rows = tiny_activations.tokens[:3].astype(np.int64)
    cases = []
    for i, row in enumerate(rows):  # of several lengths, so that the shorter are filled up
        row = row[: 32 - 6 * i]
        feature = busiest(transcoder, row)
        peak = min(without(transcoder, row, feature, np.zeros(32, np.float32)).codes)
        cases.append(Case(feature, i, 0, row, 1, peak, 0.3))
    removed, _ = ablate(transcoder, cases, {case.feature: np.arange(5) for case in cases}, seed=0)
    for case, found in zip(cases, removed, strict=True):
        clean, gone, random = passes(transcoder, case)
        assert found.case is case and found.code == pytest.approx(clean.codes[case.peak], rel=1e-4)
        assert found.changes == pytest.approx(losses(gone.logits, case) - losses(clean.logits, case), abs=CLOSE)
        assert found.random == pytest.approx(losses(random.logits, case) - losses(clean.logits, case), abs=CLOSE)
        assert np.abs(found.changes).max() > 10 * CLOSE, "the edit did nothing: the test would pass without it"
        assert found.fired == sum(place >= 1 for place in clean.codes)
        moved = [(gone.logits - clean.logits)[place] for place in clean.codes if place >= 1]
        assert found.promoted == pytest.approx(sum(float(m[:5].mean() - m.mean()) for m in moved), abs=1e-4)


def test_needs_are_what_a_plain_loop_finds(attached, tiny_activations, edited):
    kept = np.concatenate([part.at.numpy() for part in tiny_activations.ordered(4096)])
    counts = np.bincount(tiny_activations.tokens.reshape(-1)[kept], minlength=tiny_activations.tokens.max() + 1)
    for feature in [each for each in edited if each.causes.leave_one_out][:1]:
        (left,) = feature.causes.leave_one_out
        example = feature.groups[left.group].examples[left.example]
        case = case_of(attached, tiny_activations, feature, left.group, left.example, left.code)
        assert [need.position for need in left.needs] == list(range(example.position + 1))
        rng = np.random.default_rng([0, feature.id])
        instead = ordinary(counts / counts.sum(), case.tokens[case.start : case.peak + 1], REPLACEMENTS, rng)
        for need, others in zip(left.needs, instead, strict=True):
            shares = []
            for other in others:
                tokens = case.tokens[: case.peak + 1].copy()
                tokens[case.start + need.position] = other
                code = without(attached, tokens, feature.id, np.zeros(32, np.float32)).codes.get(case.peak, 0)
                shares.append(1 - code / left.code)
            assert need.share == pytest.approx(np.mean(shares), abs=1e-3)
            assert (need.low, need.high) == pytest.approx((min(shares), max(shares)), abs=1e-3)


def test_silence_has_no_needs(attached, tiny_activations):
    row = tiny_activations.tokens[0].astype(np.int64)
    silent = next(f for f in range(128) if 20 not in without(attached, row, f, np.zeros(32, np.float32)).codes)
    share = np.full(258, 1 / 258)
    assert leave_one_out(attached, Case(silent, 0, 0, row, 1, 20, 0.0), share, replacements=1, seed=0) is None


def test_ordinary_tokens_are_others_as_often_as_the_text_has_them():
    share = np.array([0.1, 0.0, 0.5, 0.4])
    drawn = ordinary(share, np.array([2, 0, 3]), 4000, np.random.default_rng(0))
    for own, row in zip((2, 0, 3), drawn, strict=True):
        others = np.where(np.arange(4) == own, 0, share)
        assert np.bincount(row, minlength=4) / 4000 == pytest.approx(others / others.sum(), abs=0.03)
        assert own not in row and 1 not in row


def test_random_directions_are_as_long_and_all_different():
    own = np.arange(1, 9, dtype=np.float32)
    case = Case(3, 1, 0, np.zeros(2, np.int64), 0, 0, 0.5)
    drawn = [random_direction(own, case._replace(group=group), seed=0) for group in range(3)]
    assert [np.linalg.norm(d) for d in drawn] == pytest.approx([np.linalg.norm(own)] * 3, rel=1e-5)
    assert (random_direction(own, case, seed=0) == drawn[1]).all() and not np.allclose(drawn[0], drawn[1])


def test_intervals_are_students_where_there_is_one_level():
    values = np.array([0.2, -0.1, 0.4, 0.3, 0.05])
    found = over_firings(7 * values, np.full(5, 7), np.ones(5, int), np.full(5, 0.8))
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))


def test_levels_count_by_their_share_of_the_firings():
    levels, shares = np.array([1, 2, 2]), np.array([0.1, 0.9, 0.9])
    assert weights(levels, shares) == pytest.approx([0.1, 0.45, 0.45])
    found = over_firings(np.array([10.0, 1.0, 3.0]), np.ones(3), levels, shares)
    assert found.value == pytest.approx(0.1 * 10 + 0.9 * 2)


@pytest.mark.parametrize("each", [[1, 1, 1, 4], [2, 2, 3], [1, 6], [1, 1, 1, 1, 1, 2]])
def test_intervals_hold_the_typical_firing(each):
    """Effects grow with the code while most firings are weak: the mean over levels is several times the mean over
    firings, which the interval holds in nine of ten tries and more."""
    rng = np.random.default_rng(0)
    shares = 0.5 ** np.arange(len(each))[::-1]
    shares /= shares.sum()
    means = 0.1 * 2.0 ** np.arange(len(each))[::-1]
    levels = np.repeat(np.arange(len(each)), each)
    truth, held, over = (shares * means).sum(), 0, []
    for _ in range(2000):
        tokens = rng.integers(5, 17, len(levels))
        change = means[levels] + 0.3 * means[levels] * rng.standard_normal(len(levels))
        found = over_firings(change * tokens, tokens, levels, shares[levels])
        held += found.low <= truth <= found.high
        over.append((change * tokens).sum() / tokens.sum())
    assert held / 2000 > 0.9
    assert abs(np.mean(over) - truth) > 0.1 * truth, "examples of all levels alike would do"


def test_examples_are_divided_by_share():
    shares = np.array([[0.02, 0.08, 0.9], [0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
    there = np.array([[5, 5, 5], [5, 1, 0], [0, 0, 0]])
    assert divided(shares, there, 7).tolist() == [[1, 1, 5], [5, 1, 0], [0, 0, 0]]
    assert divided(np.full((1, 9), 1 / 9), np.full((1, 9), 5), 7).sum() == 7


def test_the_direct_path_shows_in_what_is_removed(edited):
    """One layer is left after the site: removing a feature lowers what its direction promotes, nearly always."""
    lowered = [feature.causes.ablation.promoted.value < 0 for feature in edited]
    assert np.mean(lowered) > 0.9


def test_the_most_striking_are_measured_first(tiny_atlas, edited):
    assert FEWEST < len(edited) <= tiny_atlas.manifest.config["causes"]
    left = set(tiny_atlas.summary().striking) - {feature.id for feature in edited}
    for feature in map(tiny_atlas.__getitem__, left):
        goes_on = [any(len(e.tokens) > e.position + 1 for e in group.examples) for group in feature.groups]
        assert sum(goes_on[1:]) < FEWEST, "only what cannot be measured is passed over"
    columns = {"n_fired": np.array([5, 0, 9, 7, 7]), "logit_kurtosis": np.array([1.0, 9.0, 3.0, 3.0, 8.0])}
    assert ranked(columns, [3]) == [3, 4, 2, 0]


def test_the_earliest_examples_are_taken():
    shape = PageShape(
        top=3, intervals=1, per_interval=3, before=20, after=20, tokens=1, effects=1, neighbours=1, bins=2,
        token_bytes=2,
    )  # fmt: skip
    text = Text(np.arange(400, dtype=np.int32), np.zeros(400, np.int32), 100, 1, np.full(400, 1 / 400))
    pages = empty_pages(shape, 2)
    pages["share_of_firings"][:, 1] = 0.75
    places = np.full((2, 6), -1)
    # Positions 60, 30 and 90 of their contexts; then one without a next token, one at position 40 and one at 20.
    found = [(160, 20, 20), (230, 20, 20), (390, 20, 9), (150, 20, 0), (240, 10, 10), (120, 10, 10)]
    for slot, (place, before, after) in enumerate(found):
        places[0, slot] = place
        pages["example_peak"][0, slot] = before
        pages["example_tokens"][0, slot, : before + 1 + after] = 1
    picks = Picks(2, shape, text)
    picks.add(Profiles(0, pages, places, [], None))
    top, *sampled = picks.ablated(0)
    assert (top.group, top.example, top.start, top.peak, top.share) == (0, 1, 10, 30, 0)
    assert top.tokens.tolist() == list(range(200, 251))
    assert [(each.group, each.example, each.share) for each in sampled] == [(1, 2, 0.75), (1, 1, 0.75)]
    assert len(sampled) < SAMPLED, "that is all there are"
    assert [each.example for each in picks.left_out(0)] == [1]
    assert picks.n_ablated(0) == 2 < FEWEST and not picks.ablated(1) and not picks.left_out(1)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != ".lock"}


def test_a_stopped_build_goes_on_with_the_next_few(tiny, tiny_activations, tiny_dictionary, tmp_path, monkeypatch):
    def build(name: str) -> Atlas:
        return build_atlas(tiny_dictionary, tiny_activations.folder, tiny, tmp_path / name, top=4, causes=20)

    whole = build("unbroken")
    calls: list[int] = []

    def stopping(*arguments, **more):
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return ablate(*arguments, **more)

    monkeypatch.setattr(causes, "ablate", stopping)
    with pytest.raises(KeyboardInterrupt):
        build("broken")
    assert (tmp_path / "broken" / building.CAUSES).exists()
    atlas = build("broken")
    assert len(calls) == 2 + 2, "of three times a few features the first are not measured again"
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    edited = [id for id in range(len(atlas)) if atlas[id].causes]
    assert 16 < len(edited) <= 20 and all(atlas[id] == whole[id] for id in edited)


def test_none_are_measured_where_none_are_asked(tiny, tiny_activations, tiny_dictionary, tmp_path):
    out = tmp_path / "atlas"
    atlas = build_atlas(tiny_dictionary, tiny_activations.folder, tiny, out, top=2, causes=0)
    assert '"causes"' not in (out / "job.json").read_text(), "an atlas that was built before there were causes"
    feature = atlas[atlas.random()]
    assert feature.causes is None and "was not edited" in feature.unmeasured
    assert {w.panel: w.level for w in feature.worth}["ablation"] is None
    shutil.rmtree(out)
    with pytest.raises(BadInput, match="received -1"):
        build_atlas(tiny_dictionary, tiny_activations.folder, tiny, out, causes=-1)


def test_pages_say_what_was_measured(tiny_atlas, edited):
    other = next(f for f in map(tiny_atlas.__getitem__, range(len(tiny_atlas))) if not f.causes and f.n_fired)
    assert other.unmeasured == (
        f"The model was edited for {len(edited)} of 128 features, the most striking first, and not for this one."
    )
    for feature in edited:
        Causes.model_validate(feature.causes.model_dump())
        sampled = [each for each in feature.causes.ablation.examples if each.group]
        assert feature.unmeasured == "" and FEWEST <= len(sampled) <= SAMPLED
        for example in feature.causes.ablation.examples:
            shown = feature.groups[example.group].examples[example.example]
            assert len(example.changes) == len(example.random) == len(shown.tokens) - shown.position - 1
            assert example.code == pytest.approx(shown.codes[shown.position], rel=0.05, abs=0.02 * feature.max_code)
