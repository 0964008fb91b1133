"""pieces: the work of ``explain`` in jobs of some features each, that any process can do from files."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from physalis import artifact
from physalis.activations import Stored
from physalis.atlas.headlines import LISTED
from physalis.codes import Firings, StoredCodes
from physalis.corpora.characters import Piece
from physalis.explanations import scores
from physalis.explanations.altered import ALTERED, Altered
from physalis.explanations.explained import FIELDS, VOCABULARY, piece_name, read_vocabulary, write_vocabulary
from physalis.explanations.language.fields import Fields
from physalis.explanations.language.surroundings import Surroundings
from physalis.explanations.learning import Corpus, Economy, Learner
from physalis.explanations.records import Explanation
from physalis.explanations.scores import Counts, Held, Judged
from physalis.runtime.jobs import Job
from physalis.runtime.progress import Advance

TEXT = "text.npz"


class _Ready(NamedTuple):
    """What a process needs for any feature."""

    text: Surroundings
    """As recorded and, after that, as altered: features are judged by their firings in the first part."""
    corpus: Corpus
    learned_from: Bool[np.ndarray, " positions"]
    """Of the text as recorded."""
    token_counts: Int[np.ndarray, " vocabulary"]
    """How often each token stands in what is learned from, of the text as recorded."""
    held: Held
    altered: Altered


def prepare(out: Path, stored: Stored, vocabulary: Sequence[Piece]) -> None:
    """Write what the jobs read: the text, and which of its positions are for what."""
    tokens, documents = np.array(stored.tokens, np.int32), np.array(stored.documents).ravel()
    train, held = (np.sort(each.at) for each in (stored.train, stored.held_out))

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, tokens=tokens, train=train, held=held, documents=documents[held])

    artifact.write_atomic(out / TEXT, save)
    write_vocabulary(out / VOCABULARY, vocabulary)
    _ready.cache_clear()  # of another job in a folder of this name


def job(
    out: Path, codes: Path, number: int, features: Sequence[int], economy: Economy, inputs: Mapping[str, str]
) -> Job:
    """Explains some features, to a file of rules and one of counts."""
    done, make = partial(_is_done, out, number), partial(_make, out, codes, number, tuple(features), economy)
    return Job(name=piece_name(number), inputs=inputs, size=len(features), done=done, run=make)


def _counts(number: int) -> str:
    return f"counts-{number:05}.npy"


def _is_done(out: Path, number: int) -> bool:
    return (out / piece_name(number)).exists() and (out / _counts(number)).exists()


def _make(out: Path, codes: Path, number: int, features: tuple[int, ...], economy: Economy, advance: Advance) -> None:
    ready, stored = _ready(out), StoredCodes.open(codes)
    learner = Learner(ready.corpus, economy)
    explanations, counts = [], []
    for feature in features:
        explanation, judged = _explain(feature, stored.firings(feature), ready, learner)
        explanations.append(explanation)
        counts.append(judged.array())
        advance(1)
    write_counts(out / _counts(number), np.stack(counts))
    artifact.write_lines(out / piece_name(number), explanations)


def alone(out: Path, codes: Path, feature: int, economy: Economy) -> Explanation:
    """One feature, as its job explains it, to be read before that is done. What the jobs read must be there."""
    ready = _ready(out)
    return _explain(feature, StoredCodes.open(codes).firings(feature), ready, Learner(ready.corpus, economy))[0]


@lru_cache(maxsize=1)
def _ready(out: Path) -> _Ready:
    with np.load(out / TEXT, allow_pickle=False) as arrays:
        tokens, train, held, documents = (arrays[name] for name in arrays.files)
    altered = Altered.load(out / ALTERED) or Altered.none(tokens.shape[1])
    both = np.concatenate([tokens, altered.tokens])
    text = Surroundings(both, read_vocabulary(out / VOCABULARY), Fields.load(out / FIELDS))
    learned_from = np.zeros(tokens.size, bool)
    learned_from[train] = True
    every = np.zeros(tokens.size, documents.dtype)
    every[held] = documents
    corpus = Corpus.of(text, np.concatenate([train, tokens.size + altered.rows]), train)
    counts = np.bincount(tokens.ravel()[train], minlength=len(text.pieces))
    return _Ready(text, corpus, learned_from, counts, Held.of(held, every), altered)


def _explain(feature: int, firings: Firings, ready: _Ready, learner: Learner) -> tuple[Explanation, Judged]:
    n = len(ready.learned_from)
    ours = ready.learned_from[firings.at]
    at, values = firings.at[ours], firings.values[ours]
    more = ready.altered.firings(feature)
    rule = learner.learn(np.concatenate([at, n + more.at]), np.concatenate([values, more.values]))
    codes = np.zeros(n, np.float32)
    codes[firings.at] = firings.values
    said = rule.predict(ready.text)[:n]
    true, predicted = codes[ready.held.at], said[ready.held.at]
    silent = codes[ready.learned_from & (said == 0)]
    median = float(np.median(values)) if len(values) else 0.0
    judged = scores.judge(predicted, true, _best_token(ready, at), median, ready.held)
    listed = np.isin(ready.text.tokens.ravel()[ready.held.at], _best_tokens(ready, at))
    explanation = Explanation(
        feature=feature, rule=str(rule), size=rule.size,
        otherwise=float(f"{silent.mean(dtype=np.float64):.3g}") if len(silent) else 0.0, n_fired=len(at),
        n_held_out=int((true > 0).sum()),
        detection=judged.all.detection(), strong=judged.strong.detection(),
        correlation=scores.correlation(predicted, true), token=judged.token.detection(),
        tokens=Counts.of(listed, true > 0, ready.held).detection(),
    )  # fmt: skip
    return explanation, judged


def _best_token(ready: _Ready, at: Int[np.ndarray, " firings"]) -> Bool[np.ndarray, " tokens"]:
    """Where, of the held-out tokens, the one stands that alone tells best where the feature fires."""
    tokens, held = ready.text.tokens.ravel(), ready.held.at
    fires = np.bincount(tokens[at], minlength=len(ready.text.pieces))
    f1 = 2 * fires / np.maximum(1, ready.token_counts + len(at))
    return tokens[held] == (f1.argmax() if len(at) else -1)


def _best_tokens(ready: _Ready, at: Int[np.ndarray, " firings"]) -> list[int]:
    """The tokens, as many as a headline lists, of which each next one adds most to the F1 of all before."""
    fires = np.bincount(ready.text.tokens.ravel()[at], minlength=len(ready.text.pieces))
    chosen: list[int] = []
    hits = said = best = 0.0
    while len(chosen) < LISTED:
        f1 = 2 * (hits + fires) / np.maximum(1, said + ready.token_counts + len(at))
        f1[chosen] = 0
        more = int(f1.argmax())
        if f1[more] <= best:
            break
        chosen.append(more)
        hits, said, best = hits + fires[more], said + ready.token_counts[more], float(f1[more])
    return chosen


def joined(out: Path, n: int) -> tuple[list[Explanation], Int[np.ndarray, "features 3 4 blocks"]]:
    """What all jobs made."""
    lines = [line for i in range(n) for line in (out / piece_name(i)).read_text(encoding="utf-8").split("\n")[:-1]]
    counts = np.concatenate([np.load(out / _counts(i), allow_pickle=False) for i in range(n)])
    return [Explanation.model_validate_json(line) for line in lines], counts


def write_counts(path: Path, counts: Int[np.ndarray, "features 3 4 blocks"]) -> None:
    """As one array."""

    def save(at: Path) -> None:
        with at.open("wb") as file:
            np.save(file, counts)

    artifact.write_atomic(path, save)


def clear(out: Path, n: int) -> None:
    """Remove what only the jobs needed."""
    for name in (TEXT, ALTERED, *(each(i) for i in range(n) for each in (piece_name, _counts))):
        (out / name).unlink(missing_ok=True)
