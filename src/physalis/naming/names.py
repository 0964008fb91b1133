"""names: what one feature is called, and a rule in so few words that it can be its name."""

import json
import re
from collections.abc import Sequence

from physalis.atlas.annex import Called
from physalis.atlas.headlines import MORE, SEPARATOR, readable
from physalis.errors import BadInput
from physalis.explanations.language.leaves import Leaf
from physalis.explanations.language.rules import Rule
from physalis.explanations.records import Explanation
from physalis.judging.words import Description
from physalis.people.notes.records import Labelled

LONGEST = 90
"""Characters of a name."""
ENOUGH = 10
"""Held-out firings of a feature below which the F1 of its rule says little."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def called(labels: Sequence[Labelled], words: Description | None, rule: Explanation | None) -> Called | None:
    """What a feature is called: the label that people like best, as long as as many are for it as against; else a
    language model's words; else its rule in short, where that tells better where it fires than the best list of tokens
    does. None where its tokens say most. ``labels`` are the best liked first; those that a machine wrote come after
    words."""
    liked = [each.label for each in labels if each.up >= each.down]
    for label in liked:
        if not (label.model or label.method):
            return Called(_cut(label.text), "label")
    if words is not None:
        return Called(_cut(words.words), "words")
    if liked:
        return Called(_cut(liked[0].text), "words")
    if rule is not None and beats_tokens(rule):
        try:
            short = in_short(rule.program)
        except BadInput:  # damaged from outside: its tokens name it
            return None
        return Called(short, "rule") if short else None
    return None


def beats_tokens(rule: Explanation) -> bool:
    """Whether the whole interval of the rule's F1 lies above the F1 of the best list of tokens. Not where that was not
    measured, or on few firings."""
    low = rule.detection.f1.low
    return rule.tokens is not None and low is not None and rule.n_held_out >= ENOUGH and low > rule.tokens.f1.value


def in_short(rule: Rule) -> str:
    """Its first clauses, as many as fit; empty for a rule that never holds."""
    name = ""
    for clause in rule.clauses:
        said = ", ".join(map(_in_short, clause.leaves))
        if name and len(name) + len(said) > LONGEST - len(SEPARATOR) - len(MORE):
            return name + MORE
        name += SEPARATOR * bool(name) + said
    return _cut(name)


def _in_short(leaf: Leaf) -> str:
    """A token as headlines show it; other leaves in words, what they quote between quotation marks."""
    if leaf.kind == "symbol" and not leaf.back:
        return f"{'not ' * leaf.negated}{readable(leaf.value)}"
    said = leaf.in_words().replace("the token ", "").replace("a token used", "one")
    if leaf.kind in ("kind", "place"):
        return _QUOTED.sub(lambda found: json.loads(found[0]), said)
    return _QUOTED.sub(lambda found: f"“{readable(json.loads(found[0]))}”", said)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"
