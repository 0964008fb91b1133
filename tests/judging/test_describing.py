"""describe(): from codes to prompts to words on disk, resumed for nothing; and these words scored over an endpoint."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from canned import canned, knows_letters, refusal, said

from physalis.codes import StoredCodes
from physalis.errors import BadInput
from physalis.judging import Endpoint, Reader, Scores, Words, describe, score
from physalis.judging.describing import PROMOTED, promoted
from physalis.judging.material import Material
from physalis.verifying import verify


@pytest.fixture(scope="module")
def chosen(tiny, tiny_activations, tiny_codes):
    """Six features that fire in some of the held-out passages and are silent in others."""
    material = Material("text", tiny_activations, StoredCodes.open(tiny_codes), tiny)
    deciles = [material.fired(feature).decile for feature in range(64)]
    return [i for i, each in enumerate(deciles) if (each >= 0).sum() >= 10 and (each < 0).sum() >= 5][:6]


@pytest.fixture(scope="module")
def job(tiny, tiny_dictionary, tiny_activations, tiny_codes, chosen):
    def run(out, teller, **options):
        options = {"features": chosen, "codes": tiny_codes} | options
        return describe(tiny_dictionary, tiny_activations, tiny, out, teller, **options)

    return run


@pytest.fixture(scope="module")
def told(job, tmp_path_factory):
    """The words, and what was asked."""
    with canned(knows_letters) as at:
        yield job(tmp_path_factory.mktemp("told") / "words", Endpoint("canned-1", at.url), side="input"), at.asked


def test_examples_of_every_level_and_hard_ones_are_shown(told):
    words, asked = told
    assert len(words) == len(asked) == 6
    for each in asked:
        prompt = each["messages"][0]["content"]
        places = [prompt.index(part) for part in ("Its strongest", "Its middle", "Its weak", "SILENT in these:")]
        assert places == sorted(places) and "$" not in prompt
        firing, silent = prompt[: places[3]], prompt[places[3] : prompt.index("What do the tokens")]
        assert "⟦" not in silent and "<passage" in silent
        levels = [max(map(int, re.findall(r"⟧\((\d+)\)", firing[a:b]))) for a, b in pairwise(places)]
        assert levels[0] >= levels[1] >= levels[2] and levels[0] > levels[2]
    assert all(each.words.startswith("Fires on the letter") and each.tokens_read == 100 for each in words)
    assert words.manifest.facts["tokens_read"] == 600 and verify(words.folder).right


def test_words_come_from_the_training_text_alone(told, tiny, tiny_activations):
    held = "".join(tiny.text_strings(tiny_activations.tokens[tiny_activations.held_out.contexts].ravel().tolist()))
    train = "".join(tiny.text_strings(tiny_activations.tokens[tiny_activations.train.contexts].ravel().tolist()))
    prompt = told[1][0]["messages"][0]["content"]
    silent = prompt[prompt.index("SILENT in these:") :].split("\n</passage>")[0].split(">\n")[1]
    assert silent in train and silent not in held


def test_a_stopped_run_goes_on_for_nothing_and_gives_the_same_bytes(job, told, tmp_path, monkeypatch):
    words, _ = told
    monkeypatch.setattr("physalis.judging.describing.TOGETHER", 2)
    with canned(lambda body, n: refusal(402, "pay first") if n == 3 else knows_letters(body)) as at:

        def teller():
            one = Endpoint("canned-1", at.url, kept=tmp_path / "kept", at_once=1)
            return one

        with pytest.raises(BadInput, match="pay first"):
            job(tmp_path / "words", teller(), side="input")
        again = job(tmp_path / "words", teller(), side="input")
        assert len(at.asked) == 7
    assert [each.words for each in again] == [each.words for each in words]
    assert job(tmp_path / "words", teller(), side="input").manifest == again.manifest


def test_promoted_tokens_are_what_the_weights_say(tiny, tiny_dictionary):
    from physalis import dictionaries

    found = promoted(tiny, tiny_dictionary, [3, 5])
    coder = dictionaries.load(tiny_dictionary)
    logits = (coder.W_dec[[3, 5]] @ tiny.unembedding().T).detach().numpy()
    known = sorted(tiny.corpus.ids)
    for row in range(2):
        order = sorted(known, key=lambda i: -logits[row, i])
        assert found.up[row].tolist() == order[:PROMOTED]
        assert found.down[row].tolist() == order[::-1][:PROMOTED]


def test_the_output_side_names_what_is_promoted(job, chosen, tmp_path):
    with canned(lambda body, n: said("Promotes something.")) as at:
        words = job(tmp_path / "words", Endpoint("canned-1", at.url), side="output", features=chosen[:2])
    assert {each.side for each in words} == {"output"}
    assert all("become likelier where it fires" in each["messages"][0]["content"] for each in at.asked)


def test_each_is_described_from_the_side_that_tells_more(job, chosen, tmp_path, monkeypatch):
    shares = iter([(0.2, 0.6), (0.6, 0.2), (0.5, 0.5)])
    monkeypatch.setattr("physalis.judging.describing.sides", lambda *_: next(shares))
    with canned(lambda body, n: said("It does something.")) as at:
        words = job(tmp_path / "words", Endpoint("canned-1", at.url), features=chosen[:3])
    assert [each.side for each in words] == ["output", "input", "input"]


def test_who_says_nothing_is_told_of(job, tmp_path):
    with canned(lambda body, n: said("")) as at, pytest.raises(BadInput, match="answered nothing"):
        job(tmp_path / "words", Endpoint("canned-1", at.url))
    with canned(lambda body, n: said("" if n == 0 else "Fires.")) as at:
        words = job(tmp_path / "some", Endpoint("canned-1", at.url, at_once=1))
    assert len(words) == 5 and words.manifest.facts["unanswered"] == 1


def test_words_are_read_back(told):
    words, _ = told
    again = Words.open(words.folder)
    feature = next(iter(words)).feature
    assert again[feature] == words[feature] and again.table().iloc[0]["words"] == next(iter(words)).words
    assert "6 features, by canned-1" in repr(again)
    with pytest.raises(BadInput, match="9999 is none of them"):
        again[9999]


def test_words_are_scored_as_rules_are(told, tiny, tiny_dictionary, tiny_activations, tiny_codes, tmp_path, capsys):
    words, _ = told
    with canned(knows_letters) as at:
        teller = Endpoint("canned-1", at.url, kept=tmp_path / "kept")

        def run(out):
            return score(
                words.folder, tiny_dictionary, tiny_activations, tiny, out, codes=tiny_codes, sample=4, passages=10,
                draws=2, judge=lambda material, spoken: Reader(teller, spoken.words, material),
                judged_by={"judge": "endpoint", "settings": teller.settings},
            )  # fmt: skip

        found = run(tmp_path / "scores")
        asked = len(at.asked)
        told_ = capsys.readouterr().err
        assert f"to be asked {asked:,} times" in told_
        again = run(tmp_path / "again")
        assert len(at.asked) == asked
    assert again.manifest.files == found.manifest.files
    assert {each.judge for each in found} == {"canned-1", "oracle", "best token", "shuffled: canned-1"}
    assert {each.task for each in found} >= {"detection", "fuzzing", "simulation", "intruder", "purity"}
    assert found.get("responsiveness", "canned-1").n_answers > 0
    assert np.isfinite([each.estimate.value for each in found]).all()


def test_the_commands(physalis, told, chosen, tiny_dictionary, tiny_activations, tiny_codes, tmp_path, monkeypatch):
    words, _ = told
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with canned(knows_letters) as at:
        ask = ("--endpoint", at.url, "--reader", "canned-1", "--codes", tiny_codes, "--kept", tmp_path / "kept")
        features = [word for feature in chosen for word in ("--feature", feature)]
        describing = ("describe", tiny_dictionary, tiny_activations.folder, *ask, *features, "--out", tmp_path / "w")
        code, out, err = physalis(*describing, "--dry-run")
        assert code == 0 and "to be asked 6 times" in err and not at.asked and not (tmp_path / "w").exists(), err
        code, out, err = physalis(*describing, "--side", "input", "--json")
        assert code == 0, err
        said_ = json.loads(out)
        assert [each["words"] for each in said_["words"]] == [each.words for each in words]
        scoring = ("score", tmp_path / "w", tiny_dictionary, tiny_activations.folder, *ask, "--judge", "endpoint")
        scoring = (*scoring, "--task", "detection", "--draws", 2, "--sample", 4, "--out", tmp_path / "s")
        before = len(at.asked)
        code, out, err = physalis(*scoring, "--dry-run")
        assert code == 0 and "to be asked" in err and len(at.asked) == before, err
        code, out, err = physalis(*scoring)
        assert code == 0 and "canned-1" in out, err
        assert Scores.open(tmp_path / "s").get("detection", "canned-1").n_features > 1
    for wrong, says in (
        (("--judge", "rule"), "these are words"),
        (("--judge", "endpoint"), "--reader"),
        (("--judge", "rule", "--endpoint", "http://localhost/v1"), "--endpoint"),
        (("--judge", "endpoint", "--reader", "m", "--endpoint", at.url), "nobody answers"),
    ):
        code, _, err = physalis(*scoring[:4], *wrong, "--codes", tiny_codes, "--out", tmp_path / "x")
        assert code == 2 and says in err.lower() and "Traceback" not in err, (wrong, err)


def test_refusals_are_sentences(job, tmp_path):
    teller = Endpoint("m", "http://localhost:1/v1")
    for options, says in (
        ({"features": [9999]}, "received 9999"),
        ({"sample": 0}, "received 0"),
    ):
        with pytest.raises(BadInput, match=says):
            job(tmp_path / "words", teller, **options)
