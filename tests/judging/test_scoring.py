"""score(): of rules, whole: calibrated, the same again, beside others, on a second text; and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from kept import record_text

from physalis.errors import BadInput
from physalis.judging import FREE, Scores, score
from physalis.verifying import verify


class Letters:
    """Embeds a text by how often each letter is in it."""

    name = "letters"

    def embed(self, texts):
        counts = [np.bincount([ord(c) % 64 for c in text] or [0], minlength=64) for text in texts]
        return np.array(counts, np.float32)


@pytest.fixture(scope="module")
def job(tiny, tiny_dictionary, tiny_activations, tiny_rules, tiny_codes):
    def run(out, **options):
        options = {"sample": 12, "passages": 10, "codes": tiny_codes} | options
        return score(tiny_rules, tiny_dictionary, tiny_activations, tiny, out, **options)

    return run


@pytest.fixture(scope="module")
def scored(job, tmp_path_factory):
    return job(tmp_path_factory.mktemp("scored") / "scores", tasks=(*FREE, "embedding"), embedder=Letters())


def test_an_oracle_is_right_and_swapped_rules_are_chance(scored):
    for task in FREE:
        assert scored.get(task, "oracle").estimate.value >= 0.95, task
    for task, chance in (("detection", 0.5), ("fuzzing", 0.5), ("simulation", 0.0), ("intruder", 0.2)):
        swapped = scored.get(task, "shuffled: rule")
        assert abs(swapped.estimate.value - chance) < 0.12, task
        assert scored.get(task, "rule").estimate.value > swapped.estimate.value + 0.05, task
    assert scored.get("responsiveness", "rule").estimate.value > 0.5


def test_every_score_states_its_noise(scored):
    for each in scored:
        assert len(each.noise.draws) == 5 and each.noise.spread is not None
        assert each.noise.smallest_difference == pytest.approx(1.96 * 2**0.5 * each.noise.spread)
        assert each.n_features > 1 and each.unanswered == 0
        if each.task != "responsiveness":
            assert sum(value is not None for value in each.by_decile) >= 5
    spreads = [each.noise.spread for each in scored if each.judge == "rule"]
    assert max(spreads) > 0


def test_an_embedder_judges_the_words(scored):
    judges = {each.judge for each in scored if each.task == "embedding"}
    assert judges == {"embedder", "oracle", "best token", "shuffled: embedder"}
    assert scored.get("embedding", "oracle").estimate.value == 1


def test_run_again_it_gives_the_same_bytes(job, scored, tmp_path):
    again = job(tmp_path / "scores", tasks=(*FREE, "embedding"), embedder=Letters())
    assert again.manifest.files == scored.manifest.files
    assert not [each for each in again.folder.iterdir() if each.is_dir()]
    assert verify(again.folder).right


def test_without_codes_they_are_encoded_and_not_kept(job, scored, tmp_path):
    again = job(tmp_path / "scores", tasks=["detection"], codes=None)
    assert again.get("detection", "rule") == scored.get("detection", "rule")
    assert not (tmp_path / "scores" / "codes-0").exists()


def test_a_second_text_and_what_differs_between_them(job, tiny, tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for i in range(20):
        (folder / f"{i}.txt").write_text(" ".join(rng.choice(["if", "else", "delta", "omega", "\n"], size=200)))
    other = record_text(tiny, folder, tmp_path / "other")
    found = job(tmp_path / "scores", tasks=["detection"], also=[other.folder])
    assert {each.corpus for each in found} == {"activations", "other"}
    (both,) = [each for each in found.over_corpora() if (each.judge, each.metric) == ("rule", "f1")]
    values = list(both.values.values())
    assert both.spread == pytest.approx(np.std(values, ddof=1))
    assert both.smallest_difference == pytest.approx(1.96 * 2**0.5 * both.spread)


def test_scores_of_others_stand_beside(job, scored, tmp_path):
    other = job(tmp_path / "scores", tasks=["detection"], seed=1)
    beside = scored.beside([other])
    place = (scored[0].corpus, "detection", "rule", "balanced_accuracy")
    assert beside[place] == [other.get("detection", "rule").estimate.value]
    assert beside[place[0], "fuzzing", "rule", "auroc"] == [None]


def test_they_are_read_back(scored, tmp_path):
    again = Scores.open(scored.folder)
    assert list(again) == list(scored)
    row = again.table().iloc[0]
    assert row["value"] == scored[0].estimate.value and row["spread"] == scored[0].noise.spread
    shutil.copytree(scored.folder, tmp_path / "scores")
    (tmp_path / "scores" / "scores.jsonl").write_text("{}\n")
    with pytest.raises(BadInput, match=r"scores\.jsonl"):
        Scores.open(tmp_path / "scores")
    with pytest.raises(BadInput, match="There is no score of 'nobody'"):
        scored.get("detection", "nobody")


def test_the_command_says_what_the_function_does(
    physalis, job, scored, tiny_rules, tiny_dictionary, tiny_activations, tiny_codes, tmp_path
):
    words = ("score", tiny_rules, tiny_dictionary, tiny_activations.folder, "--codes", tiny_codes, "--sample", 12)
    words = (*words, "--passages", 10, "--task", "detection", "--out", tmp_path / "scores")
    code, out, err = physalis(*words, "--json")
    assert code == 0, err
    said = json.loads(out)["scores"]
    assert said[0]["estimate"] == scored.get("detection", "rule").estimate.model_dump()
    code, out, err = physalis(*words, "--beside", scored.folder)
    assert code == 0 and "best token" in out and "by decile of code" in out, err
    code, _, err = physalis(*words[:-1], tmp_path / "two", "--task", "detecting")
    assert code == 2 and "detecting" in err and "Traceback" not in err
    code, _, err = physalis("score", tiny_dictionary, *words[2:])
    assert code == 2 and "a dictionary, not" in err


def test_refusals_are_sentences(job, widths, tiny, tiny_rules, tiny_activations, tmp_path):
    for options, says in (
        ({"tasks": ["detecting"]}, "no task 'detecting'"),
        ({"tasks": []}, "Nothing would be asked"),
        ({"draws": 0}, "draws=0"),
        ({"tasks": ["embedding"]}, "needs an embedder"),
        ({"features": [2, 999]}, "999 is none of them"),
    ):
        with pytest.raises(BadInput, match=says):
            job(tmp_path / "scores", **options)
    with pytest.raises(BadInput, match="another dictionary"):
        score(tiny_rules, widths[0], tiny_activations, tiny, tmp_path / "scores")
    assert not (tmp_path / "scores").exists()
