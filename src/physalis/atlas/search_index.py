"""The words of an atlas: which features a word leads to, and how strongly. No torch.

An inverted index of our own, because typing ahead over common words was measured too slow in SQLite's full-text search
(100,000 features: 230-310 ms for a common prefix, 40 ms for two common words; here 1-5 ms), and because a list says
how many features match, which a capped search cannot.

A word is a run of letters and digits, case folded; a CJK character is a word by itself; a run without any letter or
digit, such as "):", is one word. In a query a minus right before a word excludes: "import -python". Nothing a person
types is an error.
"""

import re
from array import array
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from physalis.errors import BadInput, Unavailable

HEADLINE, TOKEN, PROMOTED, EXAMPLE = 8, 4, 2, 1
"""Weight of a word by where the feature has it."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_EXCLUDED = re.compile(r"-(?=[^\W_])")
MAX_WORD = 40
"""Longer runs are cut: nobody types them, and they would fill the index."""
MOST_WORDS = 32
"""Different words of a search: each is looked up among all features."""
FEW = 128
"""Features of a word; rows of fewer are taken together."""


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
    """How well each feature matches every word of ``query``; 0 where it lacks one, or has what a minus excludes. The
    last word may be unfinished; what is excluded is excluded as it stands.

    A feature's score is the sum over different words of weight times log(1 + n_features / features with that word); 1
    where words are only excluded. Raises BadInput for more than MOST_WORDS different ones, Unavailable if what
    ``find`` gives names other features.
    """
    asked = _asked(query)
    if (n := len({*asked.wanted}.union(*asked.excluded))) > MOST_WORDS:
        raise BadInput(f"A search has at most {MOST_WORDS} different words; received {n:,}. Leave out the common ones.")
    total = np.zeros(n_features, np.float32)
    alive = np.full(n_features, bool(asked.wanted or asked.excluded))
    for word, unfinished in asked.wanted.items():
        matches = find(word, word + chr(0x10FFFF) if unfinished else word + "\0")
        found = _best(word, matches, n_features)
        alive &= found > 0
        if not alive.any():
            break
        total += found
    for together in asked.excluded:
        if not alive.any():
            break
        having = np.ones(n_features, bool)
        for word in together:
            having &= _best(word, find(word, word + "\0"), n_features) > 0
        alive &= ~having
    return np.where(alive, total if asked.wanted else np.float32(1), 0)


class _Asked(NamedTuple):
    """What a query asks for."""

    wanted: dict[str, bool]
    """The different words, in order, and whether each may be unfinished: the last, unless it stands there finished as
    well."""
    excluded: list[list[str]]
    """For each run that begins with a minus its words: a feature that has all of them is left out."""


def _asked(query: str) -> _Asked:
    runs = query.split()
    excluded = [words(run[1:]) for run in runs if _EXCLUDED.match(run)]
    found = [word for run in runs if not _EXCLUDED.match(run) for word in words(run) or symbols(run)]
    wanted = dict.fromkeys(found, False)
    unfinished = bool(runs) and not query[-1:].isspace() and not _EXCLUDED.match(runs[-1])
    if found and unfinished and found.count(found[-1]) == 1:
        wanted[found[-1]] = True
    return _Asked(wanted, excluded)


def _best(word: str, matches: list[tuple[str, bytes, bytes]], n_features: int) -> np.ndarray:
    """Each feature's best value among words that match; one longer than ``word`` counts half."""
    found = np.zeros(n_features, np.float32)
    few: list[tuple[float, bytes, bytes]] = []
    for match, ids, weights in matches:
        if not weights or len(ids) != 4 * len(weights) or np.frombuffer(ids, np.uint32).max() >= n_features:
            raise Unavailable(f"This atlas's index of words is damaged at {word!r}. Search for another word.")
        rarity = np.log(1 + n_features / len(weights)) * (1 if match == word else 0.5)
        if len(weights) < FEW:
            few.append((rarity, ids, weights))
            continue
        # A feature has a word once, so each row can be written at its places in one go.
        places, values = np.frombuffer(ids, np.uint32), np.frombuffer(weights, np.uint8) * np.float32(rarity)
        found[places] = np.maximum(found[places], values)
    if few:
        counts = [len(weights) for _, _, weights in few]
        places = np.frombuffer(b"".join(ids for _, ids, _ in few), np.uint32)
        values = np.frombuffer(b"".join(weights for _, _, weights in few), np.uint8)
        rarities = np.repeat(np.array([rarity for rarity, _, _ in few], np.float32), counts)
        np.maximum.at(found, places, values * rarities)
    return found
