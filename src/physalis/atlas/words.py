"""The words of an atlas: which features a word leads to, and how strongly. No torch.

An inverted index of our own, because typing ahead over common words was measured too slow in SQLite's full-text search
(100,000 features: 230-310 ms for a common prefix, 40 ms for two common words; here 1-5 ms), and because a list says
how many features match, which a capped search cannot.

A word is a run of letters and digits, case folded; a CJK character is a word by itself; a run without any letter or
digit, such as "):", is one word. Nothing a person types is an error.
"""

import re
from array import array
from collections.abc import Callable, Iterator

import numpy as np

from physalis.errors import Unavailable

HEADLINE, TOKEN, PROMOTED, EXAMPLE = 8, 4, 2, 1
"""Weight of a word by where the feature has it."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
MAX_WORD = 40
"""Longer runs are cut: nobody types them, and they would fill the index."""


def words(text: str) -> list[str]:
    """The words of running text, in order, with repeats."""
    return [word[:MAX_WORD] for word in _WORD.findall(text.casefold())]


def symbols(text: str) -> list[str]:
    """Runs of ``text`` between spaces that hold no letter or digit."""
    return [run[:MAX_WORD] for run in text.split() if not _WORD.search(run.casefold())]


class WordIndex:
    """Collects words by feature, then gives them sorted, each with its features in order and their weights."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._words, self._features, self._weights = array("I"), array("I"), bytearray()

    def add(self, feature: int, weighted: dict[str, int]) -> None:
        """Features come in rising order."""
        number = self._number
        self._words.extend([number.setdefault(word, len(number)) for word in weighted])
        self._features.extend([feature] * len(weighted))
        self._weights += bytes(weighted.values())

    def rows(self) -> Iterator[tuple[str, bytes, bytes]]:
        words = np.array(self._words, np.uint32)
        order = np.argsort(words, kind="stable")
        features = np.array(self._features, np.uint32)[order]
        weights = np.frombuffer(self._weights, np.uint8)[order]
        ends = np.cumsum(np.bincount(words, minlength=len(self._number)))
        for word in sorted(self._number):
            number = self._number[word]
            here = slice(ends[number - 1] if number else 0, ends[number])
            yield word, features[here].tobytes(), weights[here].tobytes()


Find = Callable[[str, str], list[tuple[str, bytes, bytes]]]
"""``find(low, high)``: the index's rows with ``low <= word < high``."""


def score(query: str, n_features: int, find: Find) -> np.ndarray:
    """How well each feature matches every word of ``query``; 0 where it lacks one. The last word may be unfinished.

    A feature's score is the sum over words of weight times log(1 + n_features / features with that word). Raises
    Unavailable if what ``find`` gives names other features.
    """
    runs = query.split()
    wanted = [word for run in runs for word in words(run) or symbols(run)]
    total = np.zeros(n_features, np.float32)
    alive = np.ones(n_features, bool)
    for place, word in enumerate(wanted):
        unfinished = place == len(wanted) - 1 and not query[-1:].isspace()
        matches = find(word, word + chr(0x10FFFF) if unfinished else word + "\0")
        found = _best(word, matches, n_features)
        alive &= found > 0
        total += found
    return np.where(alive, total, 0) if wanted else np.zeros(n_features, np.float32)


def _best(word: str, matches: list[tuple[str, bytes, bytes]], n_features: int) -> np.ndarray:
    """Each feature's best value among words that match; one longer than ``word`` counts half."""
    found = np.zeros(n_features, np.float32)
    if matches:
        counts = np.array([len(weights) for _, _, weights in matches])
        stored = b"".join(ids for _, ids, _ in matches)
        ids = np.frombuffer(stored[: len(stored) // 4 * 4], np.uint32)
        if not counts.all() or len(stored) != 4 * counts.sum() or ids.max() >= n_features:
            raise Unavailable(f"This atlas's index of words is damaged at {word!r}. Search for another word.")
        rarity = np.log(1 + n_features / counts) * [1 if match == word else 0.5 for match, _, _ in matches]
        value = np.frombuffer(b"".join(weights for _, _, weights in matches), np.uint8) * np.repeat(rarity, counts)
        np.maximum.at(found, ids, value.astype(np.float32))
    return found
