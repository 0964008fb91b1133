"""rows: what lists and searches need of each feature, collected part by part while its page is made."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from physalis.atlas.build.profiles import TELLING, Profiles
from physalis.atlas.headlines import DEFINITE, LISTED, headline, weighted_words
from physalis.atlas.schema import SNIPPET, SNIPPET_AFTER, SNIPPET_BEFORE
from physalis.atlas.search_index import WordIndex
from physalis.corpora.characters import Piece, alone, in_text, parts, piece, plain

SEARCHED = 12
"""Examples that a search looks at, from the top: those say most clearly what a feature is."""

NEARBY = 4
"""Tokens to each side of an example's firing that a search finds it by."""


class Strings:
    """The text of token ids, asked of a tokenizer once each."""

    def __init__(self, ask: Callable[[Sequence[int]], list[Piece]]) -> None:
        """``ask`` is a model's ``pieces``."""
        self._ask = ask
        self.pieces: dict[int, Piece] = {-1: ""}
        self.known: dict[int, str] = {-1: ""}
        """Of each token alone."""
        self._is_known = np.zeros(1, bool)

    def learn(self, *ids: np.ndarray) -> dict[int, str]:
        """The strings of all ids asked for so far, these among them; of -1, which pads, the empty one."""
        flat = np.concatenate([part.reshape(-1) for part in ids])
        short = int(flat.max(initial=-1)) + 1 - len(self._is_known)
        self._is_known = np.append(self._is_known, np.zeros(max(0, short), bool))
        new = np.unique(flat[~self._is_known[flat] & (flat >= 0)]).tolist()
        if new:
            self._is_known[new] = True
            self.pieces.update(zip(new, self._ask(new), strict=True))
            self.known.update((i, alone(self.pieces[i])) for i in new)
        return self.known

    def told(self, ids: Sequence[int], texts: Iterable[Sequence[int]]) -> list[str]:
        """Tokens as a headline has them: one that is part of a character as the character that it is part of most often
        in ``texts``, the cut shown."""
        found: dict[int, Counter[str]] = {i: Counter() for i in ids if isinstance(self.pieces[i], bytes)}
        for text in texts if found else ():
            for i, whole in zip(text, parts([self.pieces[i] for i in text]), strict=True):
                if whole and i in found:
                    found[i][whole] += 1
        return [found[i].most_common(1)[0][0] if found.get(i) else self.known[i] for i in ids]

    def pair(self, before: int, id: int) -> str:
        """Two tokens as one text; empty where there is none before, or both together are no text either."""
        both = [self.pieces[before], self.pieces[id]]
        data = b"".join(each.encode() if isinstance(each, str) else each for each in both)
        return self.text([before, id]) if before >= 0 and isinstance(piece(data), str) else ""

    def text(self, ids: Sequence[int]) -> str:
        """What tokens say one after another, characters that they cut whole."""
        return plain("".join(in_text([self.pieces[i] for i in ids])))


class FeatureRows:
    """The rows so far."""

    def __init__(self, n_features: int, strings: Strings, text_share: np.ndarray) -> None:
        """``strings`` know the tokens of the text."""
        self.strings = strings
        self._occurs = np.append(text_share > 0, False)
        self.words = WordIndex()
        self.headlines: list[str] = []
        self.snippets = np.zeros(n_features, SNIPPET)
        self.telling = np.full((n_features, TELLING), -1, np.int32)
        self.telling_share = np.zeros((n_features, TELLING), np.float32)
        self.columns = {name: np.zeros(n_features) for name in ("max_code", "mean_code", "token_entropy")}

    def add(self, part: Profiles, kurtosis: np.ndarray) -> None:
        """The next features. ``kurtosis`` is of all features."""
        pages, counted = part.pages, part.counted
        here = slice(part.first, part.first + len(pages))
        self.telling[here], self.telling_share[here] = counted.telling, counted.telling_share
        self.columns["max_code"][here] = counted.max_code
        self.columns["mean_code"][here] = counted.sum_code / np.maximum(pages["n_fired"], 1)
        self.columns["token_entropy"][here] = counted.entropy
        self.snippets[here] = _snippets(pages)
        known = self.strings.learn(pages["promoted"], pages["suppressed"])
        top = slice(0, SEARCHED)
        near = _around(pages["example_tokens"][:, top], pages["example_peak"][:, top], NEARBY, NEARBY)[0]
        heard = self._occurs[np.minimum(pages["promoted"][:, :LISTED], len(self._occurs) - 1)].all(1)
        definite = heard & (kurtosis[here] >= DEFINITE)
        told_of = (counted.telling, counted.telling_share, counted.preceding)
        columns = (*told_of, pages["promoted"], definite, pages["token"], near)
        for i, row in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            telling, shares, preceding, promoted_ids, says, tokens, examples = row
            promoted = [known[t] for t in promoted_ids if t >= 0]
            told = self.strings.told([t for t in telling if t >= 0], examples)
            pair = self.strings.pair(preceding, telling[0])
            line = headline(told, shares[: len(told)], promoted if says else [], pair)
            self.headlines.append(line)
            texts = [self.strings.text(example) for example in examples if example[NEARBY] >= 0]
            self.words.add(part.first + i, weighted_words(line, [known[t] for t in tokens if t >= 0], promoted, texts))


def _around(tokens: np.ndarray, peak: np.ndarray, before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """The tokens ``before`` to ``after`` the peak of each window, -1 outside it, and the places they are from."""
    places = peak[..., None] + np.arange(-before, after + 1)
    inside = (places >= 0) & (places < tokens.shape[-1]) & (peak >= 0)[..., None]
    places = np.where(inside, places, 0)
    return np.where(inside, np.take_along_axis(tokens, places, -1), -1), places


def _snippets(pages: np.ndarray) -> np.ndarray:
    out = np.zeros(len(pages), SNIPPET)
    tokens, codes = pages["example_tokens"][:, 0], pages["example_codes"][:, 0]
    taken, places = _around(tokens, pages["example_peak"][:, 0], SNIPPET_BEFORE, SNIPPET_AFTER)
    # The reader takes tokens up to the first -1, so those before the window's start move to the end.
    order = np.argsort(taken < 0, axis=1, kind="stable")
    out["tokens"] = np.take_along_axis(taken, order, 1)
    out["codes"] = np.take_along_axis(np.take_along_axis(codes, places, 1), order, 1)
    return out
