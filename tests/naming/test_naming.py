"""Names: who wins, and what a rule is called in short."""

from typing import Any

from physalis.atlas.records import Estimate
from physalis.explanations import Rule
from physalis.explanations.records import Detection, Explanation
from physalis.judging.words import Description
from physalis.naming.names import ENOUGH, LONGEST, called, in_short
from physalis.people.notes.records import Label, Labelled, write

RULE = '" def" = 4 or like " map" and "(" before = 1'


def detection(f1, low=None):
    return Detection(
        f1=Estimate(value=f1, low=low, high=f1 if low is not None else None), precision=1, recall=1, balanced_accuracy=1
    )


def explanation(*, f1=0.8, low=0.7, tokens=0.5, n_held_out=ENOUGH, rule=RULE):
    return Explanation(
        feature=3, rule=rule, size=3, otherwise=0, n_fired=9, n_held_out=n_held_out, detection=detection(f1, low),
        strong=detection(f1), correlation=None, token=detection(0.1),
        tokens=None if tokens is None else detection(tokens),
    )  # fmt: skip


def label(text, *, up=0, down=0, **by):
    return Labelled(label=write(Label, author="Ada", feature=3, text=text, **by), up=up, down=down)


WORDS = Description(
    feature=3, words="calls\n of  map", side="input", prompt="0" * 64, model="m", tokens_read=1, tokens_written=1
)


def test_a_person_comes_before_words_and_these_before_the_rule():
    assert called([label("maps")], WORDS, explanation()) == ("maps", "label")
    assert called([], WORDS, explanation()) == ("calls of map", "words")
    assert called([], None, explanation()) == ("def · one like “map”, “(” just before", "rule")
    assert called([], None, None) is None


def test_a_label_that_people_are_against_is_not_its_name():
    assert called([label("maps", down=1), label("sets")], WORDS, None) == ("sets", "label")
    assert called([label("maps", up=1, down=2)], None, None) is None


def test_what_a_machine_wrote_among_labels_is_words():
    theirs = label("maps", model="gpt", method="np_max-act")
    assert called([theirs], WORDS, None) == ("calls of map", "words")
    assert called([theirs], None, explanation()) == ("maps", "words")
    assert called([theirs, label("sets")], WORDS, None) == ("sets", "label")


def test_a_rule_is_a_name_only_where_it_surely_beats_tokens():
    worse: dict[str, Any]
    for worse in (
        {"tokens": 0.7},
        {"tokens": None},
        {"low": None},
        {"n_held_out": ENOUGH - 1},
        {"rule": "never"},
        {"rule": "no rule ((("},
    ):
        assert called([], None, explanation(**worse)) is None, worse


def test_a_long_rule_is_cut_after_a_clause():
    short = in_short(Rule.parse(" or ".join(f'" word{i}" = 1' for i in range(30))))
    assert len(short) <= LONGEST and short.startswith("word0 · word1 · ") and short.endswith(" …")
    assert in_short(Rule.parse('not kind "digits" before and place "3-4" and "\\n  " = 1')) == (
        "not digits just before, at place 3-4 of the context, ↵␣×2"
    )
    assert len(in_short(Rule.parse(" and ".join(['like "a very long word"'] * 20) + " = 1"))) <= LONGEST
