"""`physalis heads`: the best heads by each score beside chance, what is lost without them, and the same as JSON."""

import json

import pytest

from physalis.circuits import head_scores, repeated_tokens
from physalis.cli.shown import heads
from physalis.models.tiny import TinyConfig, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--sequences", 5, "--length", 6, "--top", 2, "--draws", 2)


def test_what_is_shown(physalis):
    code, out, err = physalis("heads", "tiny", *SMALL)
    assert code == 0, err
    for said in ("at the token before", "at what followed the last time", "copies", "suppresses", "not again"):
        assert said in out, said
    best = head_scores(tiny_model(), repeated_tokens(tiny_model(), sequences=5, length=6)).top("induction", 1)[0]
    assert f"{best.head} {best.score['value']:.2f} [" in out


def test_the_record(physalis):
    code, out, _ = physalis("heads", "tiny", *SMALL, "--json")
    told = json.loads(out)
    assert code == 0 and told["model"] == "tiny" and told["contexts"] == 5
    assert [len(score["heads"]) for score in told["looks"].values()] == [2] * 4
    assert all(0 < score["shuffled"] < 1 for score in told["looks"].values())
    assert len(told["without"]["induction"]["added_by_others"]) == 2
    best = [each["head"] for each in told["looks"]["induction"]["heads"]]
    assert told["without"]["induction"]["heads"] == best
    assert {"copied", "suppressed", "chance"} <= {*told["copying"]}


def test_without_draws_nothing_is_taken_out(physalis):
    code, out, _ = physalis("heads", "tiny", *SMALL[:-1], 0, "--json")
    assert code == 0 and "without" not in json.loads(out)


def test_with_few_heads_nothing_is_taken_out():
    model = tiny_model(config=TinyConfig(n_heads=1))
    tokens = repeated_tokens(model, sequences=5, length=6)
    assert heads.tested(model, head_scores(model, tokens), tokens, {"n": 2}, {"draws": 2}) is None
