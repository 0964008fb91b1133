"""The word index: what a word is, and how a search scores."""

import numpy as np

from physalis.atlas.words import WordIndex, score, symbols, words


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


def test_nothing_finds_nothing() -> None:
    assert score("", 2, find_in(index_of({"a": 1}))).tolist() == [0, 0]
