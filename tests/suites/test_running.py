"""The suite as a whole: groups of seeds beside each other, noise, a gate, and a folder that says it all."""

import numpy as np
import pytest

from physalis import artifact
from physalis.errors import BadInput
from physalis.suites import Suite, evaluate_suite, running
from physalis.suites.ranking import ORDER

SMALL = {"rounds": 3, "texts": 40, "splice_tokens": 96, "features": 6, "world_samples": 20_480, "pool": "mean"}
TASKS = ["1_has_digits", "2_if_or_else"]


@pytest.fixture(scope="module")
def made(seeds, wheel, tiny, tiny_activations, tmp_path_factory):
    out = tmp_path_factory.mktemp("suite") / "suite"
    return evaluate_suite(seeds, tiny_activations, tiny, out, tasks=TASKS, probes=wheel, **SMALL)


def test_dictionaries_that_differ_in_their_seed_are_one(made):
    assert {name: each["seeds"] for name, each in made.manifest.facts["dictionaries"].items()} == {
        f"topk, n_features {4 * 32}": 2, f"topk, n_features {2 * 32}": 1,
    }  # fmt: skip
    assert all(0 < each["l0"] <= 4 for each in made.manifest.facts["dictionaries"].values())
    assert made.unmeasured == {
        "consistency of topk, n_features 64": "one seed was given. Name dictionaries of other seeds as well."
    }


def test_everything_is_measured_of_all_in_every_round(made):
    by: dict[str, dict[str, int]] = {}
    for each in made.measured:
        by.setdefault(each.metric, {}).setdefault(each.subject, 0)
        by[each.metric][each.subject] += 1
    everyone = {*made.dictionaries, *ORDER[1:]}
    for metric in ("fvu", "kl", "probe_1", "probe_16_shifted", "effect_over_random"):
        assert everyone <= {*by[metric]} and {*by[metric].values()} == {3}, metric
    assert {"dense probe", "difference of means", "tokens"} <= {*by["probe_5"]}
    assert {*by["world_f1"]} == {*made.dictionaries, *ORDER}
    assert {*by["seeds_codes"]} == {"topk, n_features 128", *ORDER[1:]}
    roles = {each.subject: each.role for each in made.measured}
    assert roles["best k"] == "diagnostic" and roles["tokens"] == "baseline"


def test_what_is_shown_ranks_the_diagnostics(made):
    shown, out = {each.name for each in made.metrics}, {each.metric for each in made.dropped}
    assert not shown & out and shown | out == {each["name"] for each in made.manifest.facts["metrics"]}
    assert "fvu" in shown
    assert (
        "world_mcc" in out and "seeds_directions" in out
    )  # they look at directions, which permuting leaves as they are
    assert not {each.metric for each in made.scores} & out and not {each.metric for each in made.differences} & out
    with pytest.raises(BadInput, match="world_mcc was dropped: "):
        made.get("world_mcc", made.dictionaries[0])
    higher = {each.name: each.higher_is_better for each in made.metrics}
    for metric in shown:
        best, random = (made.get(metric, name).value for name in ("best k", "random"))
        assert (best > random) == higher[metric], metric


def test_numbers_are_what_they_say(made):
    wide, narrow = made.dictionaries
    score = made.get("fvu", wide)
    assert score.n_seeds == 2 and score.n_rounds == 3 and score.noise > 0 and score.low < score.value < score.high
    assert score.value < made.get("fvu", narrow).value
    rows = [each for each in made.measured if (each.metric, each.subject) == ("fvu", wide)]
    assert score.value == pytest.approx(np.mean([each.value for each in rows]))
    assert set(made.table().columns) >= {"metric", "dictionary", "value", "noise"}


def test_it_is_opened_again_and_not_made_again(made, seeds, wheel, tiny, tiny_activations, monkeypatch):
    monkeypatch.setattr(running, "_round", None)
    again = evaluate_suite(seeds, tiny_activations, tiny, made.folder, tasks=TASKS, probes=wheel, **SMALL)
    assert again.measured == made.measured == Suite.open(made.folder).measured
    assert str(len(again.metrics)) in repr(again)


def test_a_run_that_was_stopped_goes_on_and_gives_the_same(
    made, seeds, wheel, tiny, tiny_activations, tmp_path, monkeypatch
):
    whole, rounds = running._round, []

    def stopped(work, draw, number, out):
        rounds.append(number)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return whole(work, draw, number, out)

    monkeypatch.setattr(running, "_round", stopped)
    options = {"tasks": TASKS, "probes": wheel, **SMALL}
    with pytest.raises(KeyboardInterrupt):
        evaluate_suite(seeds, tiny_activations, tiny, tmp_path / "suite", **options)
    found = evaluate_suite(seeds, tiny_activations, tiny, tmp_path / "suite", **options)
    assert rounds == [0, 1, 1, 2]
    assert found.manifest.files == made.manifest.files
    assert sorted(each.name for each in (tmp_path / "suite").glob("round-*")) == []


def test_what_does_not_belong_together_is_said(seeds, wheel, tiny, tiny_activations, tmp_path):
    def refused(match, folders=seeds[:1], **options):
        with pytest.raises(BadInput, match=match):
            evaluate_suite(folders, tiny_activations, tiny, tmp_path / "out", **{"probes": wheel, **SMALL, **options})

    refused("Name each once", [seeds[0], seeds[0]])
    refused("Name a folder", [])
    refused("3 or more; received 2", rounds=2)
    refused("20 texts", texts=4)
    refused("no probing task", tasks=["x"])
    with pytest.raises(BadInput):
        artifact.read(tmp_path / "out", "suite")
