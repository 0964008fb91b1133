"""Questions with known answers: features planted in the tiny model's text, an oracle, and explanations swapped."""

import numpy as np
import pytest

from physalis.codes import Firings
from physalis.errors import BadInput
from physalis.judging import Predicting, Shuffled, counting
from physalis.judging.judges import best_token
from physalis.judging.passages import DECILES, Passages
from physalis.judging.questions import MADE, TASKS, TOGETHER

CHANCE = {"detection": 0.5, "fuzzing": 0.5, "simulation": 0.0, "intruder": 0.2, "embedding": 0.5}
PLANTED = range(8)


@pytest.fixture(scope="module")
def text(tiny_activations):
    return Passages(tiny_activations, tiny_activations)


@pytest.fixture(scope="module")
def planted(text):
    """Eight features that fire each on a thirtieth of the tokens, anywhere: nothing in the text tells where."""
    kept = np.flatnonzero(text.kept)
    found = {}
    for feature in PLANTED:
        rng = np.random.default_rng(feature)
        at = np.sort(rng.choice(kept, len(kept) // 30, replace=False))
        found[feature] = Firings(at, (0.1 + rng.random(len(at))).astype(np.float32))
    return found


def codes_of(text, firings):
    codes = np.zeros(text.tokens.size, np.float32)
    codes[firings.at] = firings.values
    return codes


def value(task, text, planted, judge, draws=5):
    rows = []
    for feature, firings in planted.items():
        fired, parts = text.fired(firings), []
        for draw in range(draws):
            rng = np.random.default_rng([feature, draw])
            asked = MADE[task](text, fired, text.draw(fired, 20, rng), rng)
            answers = judge.answers(feature, [question for question, _ in asked])
            assert [len(each) for each in answers] == [question.n_answers for question, _ in asked]
            parts.append(counting.rows_of(task, asked, answers, draw)[0])
        rows.append(counting.Rows(*(np.concatenate(column) for column in zip(*parts, strict=True))))
    metric, _ = next(iter(counting.METRICS[task].values()))
    return counting.over_features(rows, metric)


@pytest.mark.parametrize("task", TASKS)
def test_who_knows_the_truth_is_always_right(text, planted, task):
    oracle = Predicting("oracle", lambda feature: codes_of(text, planted[feature]))
    assert value(task, text, planted, oracle) >= 0.95


@pytest.mark.parametrize("task", CHANCE)
def test_who_is_told_of_another_feature_knows_nothing(text, planted, task):
    oracle = Predicting("oracle", lambda feature: codes_of(text, planted[feature]))
    swapped = Shuffled(oracle, list(PLANTED))
    assert all(swapped.other(feature) != feature for feature in PLANTED)
    assert value(task, text, planted, swapped) == pytest.approx(CHANCE[task], abs=0.05)


@pytest.mark.parametrize("says", [0.0, 1.0, np.nan])
@pytest.mark.parametrize("task", CHANCE)
def test_who_says_always_the_same_scores_as_chance(text, planted, task, says):
    """Not NaN, which a constant has as its correlation; what was not answered is a no."""

    class Same:
        name = "same"

        def answers(self, feature, questions):
            return [np.full(question.n_answers, says) for question in questions]

    assert value(task, text, planted, Same()) == pytest.approx(CHANCE[task], abs=1e-9)


def test_passages_are_drawn_by_decile(text, planted):
    fired = text.fired(planted[0])
    sizes = np.bincount(fired.decile[fired.decile >= 0], minlength=DECILES)
    assert sizes.max() - sizes.min() <= 1
    peaks = fired.codes[text.at].max(1)
    assert all(peaks[fired.decile == d].max() <= peaks[fired.decile == d + 1].min() for d in range(DECILES - 1))
    drawn = text.draw(fired, 20, np.random.default_rng(0))
    assert np.bincount(fired.decile[drawn.firing]).tolist() == [2] * DECILES
    assert len(drawn.silent) == 20 and (fired.decile[drawn.silent] < 0).all()
    assert fired.hard[drawn.silent].sum() >= 10


def test_hard_passages_hold_the_tokens_it_fires_on_and_it_is_silent(text):
    at = np.flatnonzero(text.kept & (text.tokens == ord("g")))
    assert len(at) > 20
    fired = text.fired(Firings(at[::2], np.ones(len(at[::2]), np.float32)))
    assert fired.hard.any()
    for i in np.flatnonzero(fired.hard):
        assert (text.tokens[text.at[i]] == ord("g")).any() and not fired.codes[text.at[i]].any()


def test_wrong_marks_are_as_many_and_all_silent(text, planted):
    fired, rng = text.fired(planted[1]), np.random.default_rng(0)
    asked = MADE["fuzzing"](text, fired, text.draw(fired, 20, rng), rng)
    for question, key in asked:
        for shown, truth in zip(question.shown, key.truth, strict=True):
            fires = fired.codes[shown.at] > 0
            assert shown.marked.sum() == fires.sum()
            assert (shown.marked == fires).all() if truth else not (shown.marked & fires).any()
    assert sum(key.truth.sum() for _, key in asked) == sum(len(key.truth) for _, key in asked) / 2


def test_an_intruder_is_the_only_silent_one(text, planted):
    fired, rng = text.fired(planted[2]), np.random.default_rng(0)
    asked = MADE["intruder"](text, fired, text.draw(fired, 20, rng), rng)
    assert len(asked) == DECILES
    places = [int(key.truth.argmax()) for _, key in asked]
    assert len(set(places)) > 1
    for question, key in asked:
        assert len(question.shown) == TOGETHER and key.truth.sum() == 1
        fires = [fired.codes[shown.at].any() for shown in question.shown]
        assert (np.array(fires) == (key.truth == 0)).all()


def test_the_same_seed_asks_the_same(text, planted):
    fired = text.fired(planted[3])

    def positions(seed):
        rng = np.random.default_rng(seed)
        asked = MADE["detection"](text, fired, text.draw(fired, 20, rng), rng)
        return np.concatenate([shown.at for question, _ in asked for shown in question.shown]).tolist()

    assert positions(7) == positions(7) != positions(8)


def test_the_best_token_is_learned_from_the_given_positions(text):
    kept = np.flatnonzero(text.kept)
    learned, other = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    g, e = (np.flatnonzero(text.tokens == ord(letter)) for letter in "ge")
    at = np.sort(np.concatenate([np.intersect1d(g, learned), np.intersect1d(e, other)]))
    judge = best_token(text.tokens, learned, {0: Firings(at, np.ones(len(at), np.float32))})
    assert np.array_equal(np.flatnonzero(judge.codes(0)), g)


def test_one_feature_cannot_be_swapped():
    with pytest.raises(BadInput, match="two features or more; received 1"):
        Shuffled(Predicting("x", lambda _: np.zeros(1, np.float32)), [3])
