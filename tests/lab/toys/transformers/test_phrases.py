"""Phrases: ends follow prepositions, and the verb decides which."""

import numpy as np

from physalis.lab.toys.transformers.phrases import ENDS, PREPOSITIONS, RULES, WORDS, sentences


def test_ends_follow_prepositions_as_the_verb_says():
    known = {preposition: verb for verb, preposition in RULES}
    free = set()
    for sentence in sentences(np.random.default_rng(0), 300).tolist():
        words = [WORDS[k] for k in sentence]
        for t, word in enumerate(words):
            if t and words[t - 1] in PREPOSITIONS:
                assert word in ENDS
                if known[words[t - 1]] in words[:t]:
                    assert word == RULES[known[words[t - 1]], words[t - 1]]
                else:
                    free.add((words[t - 1], word))
            elif t:
                assert word not in ENDS
    assert len(free) == len(PREPOSITIONS) * len(ENDS)
