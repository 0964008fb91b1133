"""usage(): words that stand beside the same words, or are spelled alike, have like vectors."""

import numpy as np

from physalis.explanations.similarity.usage import FEWEST, usage


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_words_with_the_same_neighbours_are_alike():
    rng = np.random.default_rng(0)
    words = ["cat", "dog", "hill", "runs", "sleeps", "rises", "falls", "the"]
    rows = []
    for _ in range(400):
        subject = rng.integers(0, 3)
        verb = rng.integers(3, 5) if subject < 2 else rng.integers(5, 7)
        rows.append([7, subject, verb, 7, subject, verb])
    found = usage(np.array(rows), words, seed=0)
    assert cosine(found[0], found[1]) > cosine(found[0], found[2]) + 0.2


def test_words_with_the_same_letters_are_alike():
    words = ["walking", "walked", "blue", "seven", "(", ")"]
    text = np.random.default_rng(0).integers(0, len(words), (100, 12))
    found = usage(text, words, seed=0)
    assert cosine(found[0], found[1]) > cosine(found[0], found[2]) + 0.1


def test_a_text_of_few_words_is_left_as_it_is():
    found = usage(np.array([[0, 1, 0]]), ["a", "b"], seed=0)
    assert len(found) == 2 < FEWEST
