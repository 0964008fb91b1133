"""Words judged by a reader behind an endpoint, over planted letters: calibrated; and replies that are no answers."""

import numpy as np
import pytest
from canned import canned, knows_letters, said
from test_questions import CHANCE, value

from physalis.codes import Firings, StoredCodes
from physalis.judging import Endpoint, Question, Reader, Shown, Shuffled
from physalis.judging.language_models import prompting
from physalis.judging.material import Material
from physalis.judging.questions import TASKS

LETTERS = "gdmift"


@pytest.fixture(scope="module")
def material(tiny, tiny_activations, tiny_codes):
    return Material("text", tiny_activations, StoredCodes.open(tiny_codes), tiny)


@pytest.fixture(scope="module")
def planted(material):
    """Features that fire on one letter each, wherever it stands."""
    text = material.judged
    found = {}
    for feature, letter in enumerate(LETTERS):
        at = np.flatnonzero(text.kept & (text.tokens == ord(letter)))
        found[feature] = Firings(at, np.ones(len(at), np.float32))
    return found


@pytest.fixture(scope="module")
def reader(material):
    with canned(knows_letters) as at:
        words = {feature: f"Fires on the letter '{letter}'." for feature, letter in enumerate(LETTERS)}
        yield Reader(Endpoint("canned-1", at.url), words, material)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "embedding"])
def test_who_understands_true_words_is_right(reader, material, planted, task):
    rare = {feature: each for feature, each in planted.items() if (material.judged.fired(each).decile < 0).sum() > 5}
    assert len(rare) >= 2
    assert value(task, material.judged, rare, reader, draws=2) >= 0.95


def test_who_is_given_others_words_knows_no_marks(reader, material, planted):
    swapped = Shuffled(reader, list(planted))
    assert value("fuzzing", material.judged, planted, swapped, draws=2) == pytest.approx(CHANCE["fuzzing"], abs=0.05)


def test_texts_are_written_by_words(reader, material):
    texts = reader.texts(0, 3)
    assert len(texts) == 3 and all(text[-1] == ord(LETTERS[0]) for text in texts)


def test_a_prompt_holds_the_passages_and_none_of_the_truth(reader, material, planted):
    at = material.judged.at[0]
    marked = np.zeros(len(at), bool)
    marked[3] = True
    request = reader.request(0, Question("marked", (Shown(at, marked), Shown(material.judged.at[1], ~marked))))
    strings = material.strings(at)
    assert "".join(strings[:3]) + "⟦" + strings[3] + "⟧" in request.prompt
    assert request.prompt.count("</passage>") == 2 and "$" not in request.prompt


def test_strangers_text_closes_nothing():
    shown = prompting.passage(1, ["a</passage>", "⟧⟦", "b"], [False, True, False])
    assert shown.count("</passage>") == 1 and shown.count("⟦") == shown.count("⟧") == 1


@pytest.mark.parametrize(
    ("ask", "text", "n", "found"),
    [
        ("fires", "[10, 0, 5]", 3, [1, 0, 0.5]),
        ("fires", "They are [1, 2]. No: [7,0,3]", 3, [0.7, 0, 0.3]),
        ("fires", "[7 0 3]", 3, [0.7, 0, 0.3]),
        ("fires", "[7, 0]", 3, None),
        ("fires", "[7, 0, 11]", 3, None),
        ("fires", "[7, 0, 1.2.3]", 3, None),
        ("fires", "I cannot say.", 3, None),
        ("fires", "", 1, None),
        ("marked", "[0]", 1, [0]),
        ("odd", "Passage [2]", 3, [0, 1, 0]),
        ("odd", "[4]", 3, None),
        ("odd", "[1.5]", 3, None),
        ("levels", "2=7\n4 = 10", 4, [0, 7, 0, 10]),
        ("levels", "None of them.", 2, [0, 0]),
        ("levels", "3=7", 2, None),
        ("levels", "1=70", 2, None),
        ("levels", "0=1", 2, None),
        ("levels", "it fires", 2, None),
    ],
)
def test_replies_are_read_or_are_no_answer(ask, text, n, found):
    got = prompting.read(ask, text, n)
    assert len(got) == n and (np.isnan(got).all() if found is None else got.tolist() == pytest.approx(found))


def test_who_never_answers_what_was_asked_scores_as_chance(material, planted):
    with canned(lambda body, n: said("As a language model, I would rather not.")) as at:
        reader = Reader(Endpoint("canned-1", at.url), dict.fromkeys(planted, "Fires."), material)
        for task, chance in CHANCE.items():
            assert value(task, material.judged, planted, reader, draws=1) == pytest.approx(chance, abs=1e-9)


def test_a_description_is_one_sentence():
    assert prompting.sentence('\n "Fires on x." \nMore.') == "Fires on x."
    assert prompting.sentence(" \n") == "" and len(prompting.sentence("x" * 9999)) == 500
    assert prompting.lines("- one\nno\n* two\n- ", 5) == ["one", "two"]
