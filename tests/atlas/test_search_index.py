"""The word index: what a word is, and how a search scores."""

import numpy as np
import pytest

from physalis.atlas import search_index as words_module
from physalis.atlas.search_index import MOST_WORDS, WordIndex, score, symbols, words
from physalis.errors import BadInput


def test_words_are_runs_of_letters_and_digits() -> None:
    assert words("def __init__(self, x2):") == ["def", "init", "self", "x2"]
    assert words("Straße ÉTÉ") == ["strasse", "été"]
    assert words("日本go") == ["日", "本", "go"]
    assert words("():") == []
    assert symbols('a ): "" b') == ["):", '""']


def find_in(index: WordIndex):
    rows = list(index.rows())
    return lambda low, high: [row for row in rows if low <= row[0] < high]


def index_of(*features: dict[str, int]) -> WordIndex:
    index = WordIndex()
    for i, weighted in enumerate(features):
        index.add(i, weighted)
    return index


def test_rows_are_sorted_and_whole() -> None:
    rows = list(index_of({"b": 1, "a": 2}, {"a": 3}).rows())
    assert [word for word, _, _ in rows] == ["a", "b"]
    assert np.frombuffer(rows[0][1], np.uint32).tolist() == [0, 1] and list(rows[0][2]) == [2, 3]


def test_every_word_is_wanted_and_the_last_may_be_unfinished() -> None:
    find = find_in(index_of({"import": 8, "os": 1}, {"import": 1, "path": 1}, {"impossible": 8}))
    assert (score("import", 3, find) > 0).tolist() == [True, True, False]
    assert (score("imp", 3, find) > 0).tolist() == [True, True, True]
    assert (score("imp ", 3, find) > 0).tolist() == [False, False, False]
    assert (score("import os", 3, find) > 0).tolist() == [True, False, False]
    assert (score("os imp", 3, find) > 0).tolist() == [True, False, False]


def test_a_heavier_and_a_whole_word_score_more() -> None:
    find = find_in(index_of({"for": 1}, {"for": 8}, {"format": 8}))
    value = score("for", 3, find)
    assert value[1] > value[0] and value[1] > value[2] > 0


def test_symbols_are_found() -> None:
    find = find_in(index_of({"):": 4}, {"(": 4}))
    assert (score("):", 2, find) > 0).tolist() == [True, False]


def test_a_minus_excludes() -> None:
    find = find_in(
        index_of({"import": 8, "python": 1}, {"import": 4}, {"impossible": 8, "for": 1, "loop": 1}, {"-": 4})
    )

    def found(query: str) -> list[int]:
        return np.flatnonzero(score(query, 4, find)).tolist()

    assert found("import -python") == found("-python import") == found("import -PYTHON ") == [1]
    assert score("import -python", 4, find)[1] == score("import ", 4, find)[1], "ranked by what is wanted"
    assert found("-python") == [1, 2, 3] and set(score("-python", 4, find)) == {0, 1}
    assert found("import -pyth") == [0, 1], "what is excluded is a whole word: typing on takes nothing away at random"
    assert found("imp -python") == [], "only the last word may be unfinished"
    assert found("-for_loop") == found("-for -nothing") == [0, 1, 3] and found("-for_import") == [0, 1, 2, 3]
    assert found("-import import") == []
    assert found("-") == [3], "a minus by itself is a token like others"


def test_nothing_finds_nothing() -> None:
    assert score("", 2, find_in(index_of({"a": 1}))).tolist() == [0, 0]


def test_a_word_counts_once_and_finished_where_it_is_both() -> None:
    find = find_in(index_of({"the": 8, "theme": 8}, {"theme": 8}))
    once = score("the ", 2, find)
    for query in ("the the the ", "the the", "the  THE the"):
        assert score(query, 2, find).tolist() == once.tolist()


def test_no_more_words_than_anybody_types() -> None:
    asked = []

    def find(low: str, high: str) -> list:
        asked.append(low)
        return [(low, np.zeros(1, np.uint32).tobytes(), b"\1")]

    assert score(" ".join(f"w{i}" for i in range(MOST_WORDS)) + " ", 2, find).tolist()[1] == 0
    assert len(asked) == MOST_WORDS
    with pytest.raises(BadInput, match=f"at most {MOST_WORDS} different words; received {MOST_WORDS + 1}"):
        score(" ".join(f"w{i}" for i in range(MOST_WORDS + 1)), 2, find)
    with pytest.raises(BadInput, match=f"received {MOST_WORDS + 2}"):
        score("a " + " ".join(f"-w{i}" for i in range(MOST_WORDS + 1)), 2, find)
    assert len(asked) == MOST_WORDS
    score(". " * 31_000, 2, find)
    assert len(asked) == MOST_WORDS + 1


def test_nothing_is_looked_up_once_no_feature_is_left() -> None:
    asked = []

    def find(low: str, high: str) -> list:
        asked.append(low)
        return []

    assert score("a b c", 3, find).tolist() == [0, 0, 0] and asked == ["a"]


def test_rows_of_few_and_of_many_features_are_scored_alike(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    index = index_of(*({f"word{w}": int(rng.integers(1, 9)) for w in rng.choice(30, 8)} for _ in range(400)))
    scores = []
    for few in (0, 40, 10**9):
        monkeypatch.setattr(words_module, "FEW", few)
        scores.append(score("word1", 400, find_in(index)))
    assert (scores[0] > 0).sum() > 100
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], rtol=1e-6)
