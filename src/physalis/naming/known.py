"""known: Known, what is said of an atlas's features beside it, as it is now: looked for again when a folder changes."""

import json
import sys
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from physalis import artifact
from physalis.atlas import Atlas
from physalis.atlas.annex import RULES, Annex, Called, Rows
from physalis.atlas.records import RuleInShort
from physalis.atlas.search_index import HEADLINE, TOKEN, WordIndex, symbols, words
from physalis.databases import Stamp
from physalis.errors import Unavailable
from physalis.explanations.explained import pieces_in
from physalis.explanations.language.leaves import PATTERN
from physalis.explanations.records import Explanation
from physalis.naming.beside import Beside, find_beside, folders_beside
from physalis.naming.names import called
from physalis.people.notes import Notes
from physalis.people.notes.records import Labelled

LOOK_S = 2.0
"""How long what was found is believed before the folders are looked at again."""
QUICK_S = 0.04
"""A look that takes longer, since very much lies beside, is taken as much more seldom."""
SHOWN = 160
"""Characters of a rule in a list."""

Labels = Mapping[int, Sequence[Labelled]]


class _Made(NamedTuple):
    found: Beside
    labels: Labels
    without: Annex
    """Of what was found alone."""
    annex: Annex


class Known:
    """Explanations, words and scores beside an atlas, and people's labels. Safe to share between threads."""

    def __init__(self, atlas: Atlas, notes: Notes | None = None, *, look_s: float = LOOK_S) -> None:
        """``look_s`` is how long what was found is believed."""
        self.atlas, self._notes, self._look_s = atlas, notes, look_s
        self._lock = threading.Lock()
        self._found: tuple[object, Beside] | None = None
        self._again = 0.0
        self._labels: tuple[object, Labels] = (None, {})
        self._made: _Made | None = None

    def beside(self) -> Beside:
        """What lies beside it: another object if that changed."""
        with self._lock:
            began = time.monotonic()
            if self._found is None or began > self._again:
                state = self._state()
                took = time.monotonic() - began
                if self._found is None or self._found[0] != state:
                    self._found = state, find_beside(self.atlas)
                self._again = time.monotonic() + self._look_s * max(1.0, took / QUICK_S)
            return self._found[1]

    def annex(self) -> Annex:
        """What the atlas is told with: another object if anything changed."""
        found, labels, made = self.beside(), self._labelled(), self._made
        if made is None or made.found is not found:
            without = _annex(self.atlas, found)
            made = self._made = _Made(found, labels, without, _with_labels(without, found, labels))
        elif made.labels is not labels:
            made = self._made = _Made(found, labels, made.without, _with_labels(made.without, found, labels))
        return made.annex

    def _state(self) -> object:
        """What changes when a folder does: one look at each."""
        manifests = {folder: Stamp.of(folder / artifact.MANIFEST) for folder in folders_beside(self.atlas.folder)}
        begun = {folder: pieces_in(folder) for folder, stamp in manifests.items() if not stamp}
        there = {folder: stamp for folder, stamp in manifests.items() if stamp}
        return self.atlas.manifest.hash, there, {folder: each for folder, each in begun.items() if each}

    def _labelled(self) -> Labels:
        """As they were last, while their file is gone: pages tell that where they show it."""
        if self._notes is None:
            return self._labels[1]
        try:
            state = self._notes.state()
            if state is not self._labels[0]:
                there = range(len(self.atlas))
                self._labels = state, {id: each for id, each in self._notes.all_labels().items() if id in there}
        except Unavailable as error:
            if self._labels[0] is not None:
                print(f"Labels are shown as they were. {error}", file=sys.stderr)
                self._labels = None, self._labels[1]
        return self._labels[1]


def _annex(atlas: Atlas, found: Beside) -> Annex:
    """What lies beside an atlas, without what people say."""
    rules = {} if found.rules is None else {each.feature: each for each in found.rules}
    described = {} if found.words is None else {each.feature: each for each in found.words}
    names: dict[int, Called] = {}
    texts: dict[int, list[str]] = {}
    index = WordIndex()
    for id in sorted({*rules, *described}):
        rule, description = rules.get(id), described.get(id)
        if (name := called((), description, rule)) is not None:
            names[id] = name
        words = [] if description is None else [description.words]
        quoted = [] if rule is None else _quoted(rule.rule)
        texts[id] = [*words, ", ".join(quoted)] if quoted else words
        index.add(id, _weighted(quoted, TOKEN) | _weighted(words, HEADLINE))
    columns = {}
    if rules:
        columns = {name: np.full(len(atlas), np.nan) for name in RULES}
        for id, rule in rules.items():
            columns["rule_size"][id] = rule.size
            if rule.n_held_out:
                columns["rule_f1"][id] = rule.detection.f1.value
    short = {id: _short(rule) for id, rule in rules.items()}
    return Annex(names=names, rules=short, columns=columns, find=_finding([*index.rows()]), texts=texts)


def _with_labels(annex: Annex, found: Beside, labels: Labels) -> Annex:
    """With what people say, which changes more often."""
    names, texts, index = dict(annex.names), dict(annex.texts), WordIndex()
    for id, each in sorted(labels.items()):
        rule = found.rules[id] if found.rules is not None and id in found.rules else None
        description = found.words[id] if found.words is not None and id in found.words else None
        if (name := called(each, description, rule)) is not None:
            names[id] = name
        said = [one.label.text for one in each]
        texts[id] = [*said, *texts.get(id, ())]
        index.add(id, _weighted(said, HEADLINE))
    find = _finding([*index.rows()])
    return replace(annex, names=names, texts=texts, find=lambda low, high: annex.find(low, high) + find(low, high))


def _short(rule: Explanation) -> RuleInShort:
    line = rule.rule if len(rule.rule) <= SHOWN else f"{rule.rule[:SHOWN].rpartition(' ')[0]} …"
    return RuleInShort(rule=line, f1=rule.detection.f1.value, size=rule.size, judged=rule.n_held_out > 0)


def _quoted(rule: str) -> list[str]:
    """The texts that a rule asks for. Its other words are the same in all rules, and would find any."""
    found: list[str] = []
    for leaf in PATTERN.finditer(rule):
        try:
            found += [] if leaf["not"] else [json.loads(leaf["value"]).strip()]
        except ValueError:  # damaged from outside
            continue
    return [*filter(None, dict.fromkeys(found))]


def _weighted(texts: Iterable[str], weight: int) -> dict[str, int]:
    return {word: weight for text in texts for word in words(text) or symbols(text)}


def _finding(rows: Rows) -> Callable[[str, str], Rows]:
    """Those between two words. ``rows`` are in order."""
    order = [word for word, _, _ in rows]
    return lambda low, high: rows[bisect_left(order, low) : bisect_left(order, high)]
