"""headlines: words computed from data: headlines, names of regions, what is found, features worth a first look."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from physalis.atlas.search_index import EXAMPLE, HEADLINE, PROMOTED, TOKEN, symbols, words

SEPARATOR = " · "
ARROW = "→ "
"""Before tokens that a feature promotes, where the tokens it fires on say too little."""

MORE = " …"
"""After tokens that are only some of many."""

SILENT = "(never fires)"

DEFINITE = 0.5
"""Kurtosis of a feature's effect on the logits from which on its promoted tokens are worth reading, if they also occur
in the text: nine in ten features of a middle layer have less, and promote what any direction would."""

LISTED = 4
"""Tokens in a headline at most."""

ENOUGH = 0.25
"""A headline of tokens stands for at least this share of a feature's code; else it says what the feature promotes."""


def readable(token: str) -> str:
    """A token as one word of a headline: no space before it, and white space that is all of it made visible."""
    if token.strip() == "":
        marks = token.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
        spaces = marks.count(" ")
        marks = marks.replace(" ", "")[:3]
        return marks + ("␣" if spaces == 1 else f"␣×{spaces}" if spaces else "")
    return token.strip().replace("\n", "↵").replace("\t", "⇥").replace("\r", "")


def distinct(tokens: Sequence[str]) -> list[str]:
    """Readable tokens in order, those that differ only in case or the space before them once."""
    seen: dict[str, str] = {}
    for token in tokens:
        text = readable(token)
        seen.setdefault(text.casefold(), text)
    return list(seen.values())


def headline(telling: Sequence[str], shares: Sequence[float], promoted: Sequence[str], pair: str = "") -> str:
    """A line for a list.

    ``telling`` are the tokens that set its code apart from the text, with their shares of the code. Where those are too
    many, ``promoted`` says more: pass it if it is definite. ``pair`` is the text of a feature of one token that always
    follows another: "of the" is a feature of "the" after "of".
    """
    if not telling:
        return SILENT
    # What adds little only distracts.
    kept = distinct([word for word, share in zip(telling, shares, strict=True) if share >= 0.1 * shares[0]])[:LISTED]
    if pair:
        return readable(pair)
    if sum(shares[:LISTED]) >= ENOUGH:
        return SEPARATOR.join(kept)
    if promoted:
        return ARROW + SEPARATOR.join(distinct(promoted)[: LISTED - 1])
    return SEPARATOR.join(kept) + MORE


def weighted_words(
    line: str, tokens: Sequence[str], promoted: Sequence[str], examples: Sequence[str]
) -> dict[str, int]:
    """What a search finds a feature by, with the weight of the best place each word is in."""
    found = dict.fromkeys(words(" ".join(examples)), EXAMPLE)
    for weight, texts in ((PROMOTED, promoted), (TOKEN, tokens), (HEADLINE, line.split(SEPARATOR))):
        for text in texts:
            for word in _found_by(text):
                found[word] = weight
    return found


@lru_cache(1 << 16)
def _found_by(token: str) -> list[str]:
    return words(token) or symbols(token)


def region_names(
    region: np.ndarray, telling: np.ndarray, share: np.ndarray, strings: Mapping[int, str], n: int = 3
) -> list[str]:
    """For each region the tokens most typical of its features: share in the region times its log ratio to the whole.

    ``telling`` and ``share`` [features, m] as counted; ``region`` [features], -1 for dead.
    """
    n_regions = int(region.max(initial=-1)) + 1
    real = (telling >= 0) & (region >= 0)[:, None]
    ids, token = np.unique(telling[real], return_inverse=True)
    where = np.broadcast_to(region[:, None], telling.shape)[real]
    weight = np.bincount(where * len(ids) + token, share[real], minlength=n_regions * len(ids))
    weight = weight.reshape(n_regions, len(ids)) if len(ids) else np.zeros((n_regions, 0))
    inside = weight / np.maximum(weight.sum(1, keepdims=True), 1e-12)
    overall = weight.sum(0) / max(weight.sum(), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        typical = np.where(inside > 0, inside * np.log(inside / overall), -1)
    typical *= [1 if words(strings[int(i)]) else 0.5 for i in ids]  # punctuation is everywhere and names nothing
    order = np.argsort(-typical, axis=1, kind="stable")[:, : 4 * n]
    return [SEPARATOR.join(distinct([strings[int(ids[t])] for t in row])[:n]) for row in order]


def striking(columns: Mapping[str, np.ndarray], headlines: Sequence[str], n: int = 12) -> list[int]:
    """Features worth a first look, each from another region of the map as far as there are regions.

    In turns, those that fire on a few related words, and those that many words set off and that promote definite ones;
    neither too rare nor too common, and most definite in what they promote.
    """
    density, region = columns["density"], columns["region"]
    usual = (columns["n_fired"] >= 20) & (density >= 1e-4) & (density <= 1e-2) & (columns["nearest_cosine"] < 0.7)
    wordy = np.array([_wordy(line) for line in headlines])
    broad = np.array([line.startswith(ARROW) for line in headlines])
    kinds = [usual & wordy & ~broad, usual & wordy & broad]
    if not (kinds[0] | kinds[1]).any():
        kinds = [columns["n_fired"] > 0] * 2
    definite = columns["logit_kurtosis"]
    chosen: list[int] = []
    for place in range(4 * n):
        fit = kinds[place % 2].copy()
        fit[chosen] = False
        elsewhere = fit & ~np.isin(region, region[chosen])
        fit = elsewhere if elsewhere.any() else fit
        if fit.any() and len(chosen) < n:
            chosen.append(int(np.where(fit, definite, -np.inf).argmax()))
    return chosen


def _wordy(line: str) -> bool:
    """Whether a headline lists two words or more, and only words."""
    parts = line.removeprefix(ARROW).split(SEPARATOR)
    return len(parts) > 1 and all(len(part) > 1 and part.isalpha() for part in parts)
