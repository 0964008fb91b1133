"""describe(): what a language model says in words of features, from examples at every level of their codes.

1. Of each feature passages of the training text are drawn: with its strongest firings, middle ones and weak ones, their
   tokens marked and their strength told; and hard ones, in which it is silent on tokens that it fires on elsewhere.
2. It is decided whether it is better described by what it fires on or by what it promotes (``sides``).
3. The prompts, files in ``prompts``, are filled and asked; the held-out text is left for ``score``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.artifact import Manifest
from physalis.atlas.build.effects import to_the_logits
from physalis.corpora.characters import alone
from physalis.dictionaries import Dictionary
from physalis.dictionaries.linear import Linear
from physalis.errors import BadInput
from physalis.judging.language_models import prompting
from physalis.judging.language_models.telling import Counted, Request, Teller, Unanswered
from physalis.judging.material import Material
from physalis.judging.passages import Fired
from physalis.judging.words import KIND, WORDS, Description, Words
from physalis.models import Model
from physalis.models.text.corpus import Text
from physalis.placement.origin import Origin, Recordings, recorded
from physalis.placement.place import Place
from physalis.runtime.progress import progress

LEVELS = (("strongest", (8, 9)), ("middle", (4, 5)), ("weak", (0, 1)))
"""Levels that are shown, and the deciles that each is drawn from."""
EACH = 4
"""Passages of each level, and of hard ones."""
FEWEST = 10
"""Passages in which a feature has to fire to be described."""
PROMOTED = 10
"""Tokens that are named, and that decide what side a feature is described from."""
REPLY = 80
"""Tokens of a description, at most."""
TOGETHER = 16
"""Requests between which progress is told."""

Side = Literal["auto", "input", "output"]


class Promotes(NamedTuple):
    """Token ids, the most strongly changed first, one row a feature."""

    up: Int[np.ndarray, "features n"]
    down: Int[np.ndarray, "features n"]


def describe(
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    out: Path | str,
    teller: Teller,
    *,
    writes: Recordings | None = None,
    codes: Path | str | None = None,
    features: Sequence[int] | None = None,
    sample: int = 100,
    side: Side = "auto",
    seed: int = 0,
) -> Words:
    """Have ``teller`` say of ``features``, or of ``sample`` that are drawn among those that fire often enough, what
    they are about. Opened.

    ``side`` says whether by what they fire on ("input") or by what they promote ("output"); with "auto" each by what
    tells more of it: see ``sides``. Run again after a kill, a teller that keeps its answers asks for those that are
    missing, and the result has the same bytes. Raises BadInput for a model that reads no text, for features that are
    not there or fire too rarely, and for what does not belong together.
    """
    out = Path(out)
    if not isinstance(model.corpus, Text):
        raise BadInput(f"Words are about text, and {model.name} reads {model.corpus.name}.")
    if sample < 1:
        raise BadInput(f"At least one feature is described; received {sample}.")
    trained = artifact.read(Path(dictionary), "dictionary")
    stored = recorded(trained, activations, writes)
    stored.require(model)
    n = trained.config["dictionary"]["n_features"]
    if wrong := [each for each in features or () if not 0 <= each < n]:
        raise BadInput(f"There are features 0 to {n - 1:,}; received {wrong[0]}.")
    inputs = {**stored.inputs, "dictionary": trained.hash, "model": model.fingerprint}
    config = {
        "teller": teller.name, "settings": teller.settings, "side": side, "sample": sample,
        "features": None if features is None else sorted(set(features)),
    }  # fmt: skip
    with artifact.claim(out, KIND, {"inputs": inputs, "seed": seed, **config}) as done:
        if done is None:
            material = Material.of(dictionary, stored, model, out, codes=codes)
            asked = requests(material, dictionary, config["features"], sample=sample, side=side, seed=seed)
            counted, found = Counted.like(teller), []
            counted.ask([request for _, _, request in asked])
            counted.tell()
            with progress("describe", len(asked), "features") as advance:
                for start in range(0, len(asked), TOGETHER):
                    some = asked[start : start + TOGETHER]
                    replies = teller.ask([request for _, _, request in some])
                    for (feature, from_, request), reply in zip(some, replies, strict=True):
                        if words := prompting.sentence(reply.text):
                            found.append(Description(
                                feature=feature, words=words, side=from_, prompt=request.digest(teller.settings),
                                model=teller.name, tokens_read=reply.read, tokens_written=reply.written,
                            ))  # fmt: skip
                    advance(len(some), note=str(teller.spent))
            if not found:
                raise Unanswered(f"{teller.name} answered nothing that could be read. Try another model.")
            artifact.write_lines(out / WORDS, found)
            Material.cleared(out)
            facts = {
                "n_features": len(found), "unanswered": len(asked) - len(found),
                "tokens_read": sum(each.tokens_read for each in found),
                "tokens_written": sum(each.tokens_written for each in found),
            }  # fmt: skip
            artifact.finish(out, Manifest(kind=KIND, config=config, seed=seed, inputs=inputs, facts=facts), [WORDS])
    return Words.open(out)


def requests(
    material: Material, dictionary: Path | str, features: Sequence[int] | None, *, sample: int, side: Side, seed: int
) -> list[tuple[int, Literal["input", "output"], Request]]:
    """What is asked of each feature, and from which side."""
    chosen = _chosen(material, features, sample, seed)
    promotes = promoted(material.model, dictionary, chosen)
    if promotes is None and side == "output":
        raise BadInput("No direct path leads from where this dictionary writes to the logits: describe the input side.")
    found = []
    for row, feature in enumerate(chosen):
        fired = material.learned.fired(material.firings(feature))
        rng = np.random.default_rng([seed, feature])
        said: Literal["input", "output"] = "input"
        if promotes is not None and side != "input":
            firing, following = sides(material, feature, promotes.up[row])
            said = "output" if side == "output" or following > firing else "input"
        passages = _shown(material, fired, rng)
        if said == "output" and promotes is not None:
            up, down = (
                ", ".join(repr(prompting.safe(alone(material.pieces[i]))) for i in each[row]) for each in promotes
            )
            prompt = prompting.filled("output", promoted=up, suppressed=down, passages=passages)
        else:
            prompt = prompting.filled("input", passages=passages)
        found.append((feature, said, Request(prompt, REPLY)))
    return found


def sides(material: Material, feature: int, up: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Of a feature's firings in the training text, the share that is on the tokens that it fires on most, and the share
    after which one of the ``up``, the tokens that it promotes most, comes next. The first are chosen by these very
    firings and the second by weights alone, so a feature has to earn to be described by its output."""
    at = material.firings(feature).at
    at = at[np.isin(at, material.learned_from)]
    context = material.stored.context
    inside = at[(at + 1) % context != 0]
    if not len(at) or not len(inside):
        return 0.0, 0.0
    tokens = material.learned.tokens
    most = np.argsort(-np.bincount(tokens[at]), kind="stable")[: len(up)]
    return float(np.isin(tokens[at], most).mean()), float(np.isin(tokens[inside + 1], up).mean())


@torch.no_grad()
def promoted(model: Model, dictionary: Path | str, features: Sequence[int]) -> Promotes | None:
    """The tokens that each feature makes likelier and less likely on the direct path; None where none leads to the
    logits, or the dictionary is of several models."""
    origin = Origin.of(artifact.read(Path(dictionary), "dictionary"))
    if not origin.reads or len(origin.models) > 1:
        return None
    coder: Dictionary = dictionaries.load(dictionary, device=model.device)
    ids = torch.tensor(features, device=model.device)
    every = coder.W_dec[ids] if isinstance(coder, Linear) else coder.writes(ids)
    place = Place.inside(model, origin.reads, origin.writes, origin.rules)
    written: Float[Tensor, "features d_model"] | None = to_the_logits(every.float(), place, model.d_model)
    if written is None:
        return None
    logits = written @ model.unembedding().to(written.device).float().T
    logits = logits[:, : model.vocab_size].masked_fill(~model.known_ids, float("nan"))
    n = min(PROMOTED, int(model.known_ids.sum()) // 2)
    up, down = (torch.nan_to_num(sign * logits, nan=-torch.inf).topk(n, dim=1).indices for sign in (1, -1))
    return Promotes(up.cpu().numpy(), down.cpu().numpy())


def _chosen(material: Material, features: Sequence[int] | None, sample: int, seed: int) -> list[int]:
    def fires(feature: int) -> bool:
        decile = material.learned.fired(material.firings(feature)).decile
        return bool((decile >= 0).sum() >= FEWEST)

    if features is not None:
        if rare := [each for each in features if not fires(each)]:
            raise BadInput(
                f"Feature {rare[0]} fires in fewer than {FEWEST} passages of the training text: too few to say what it "
                "is about. Leave it out, or record more text."
            )
        return list(features)
    found: list[int] = []
    for feature in np.random.default_rng(seed).permutation(material.codes.n_features).tolist():
        if len(found) < sample and fires(feature):
            found.append(feature)
    if not found:
        raise BadInput(f"No feature fires in {FEWEST} passages of the training text. Record more text.")
    return sorted(found)


def _shown(material: Material, fired: Fired, rng: np.random.Generator) -> str:
    """Passages at every level, and hard ones."""
    text, parts, number = material.learned, [], 0
    top = float(fired.codes.max()) or 1.0

    def some(ids: Int[np.ndarray, " ids"], title: str) -> None:
        nonlocal number
        if len(ids):
            parts.append(title)
        for i in rng.choice(ids, min(EACH, len(ids)), replace=False).tolist():
            number += 1
            codes = fired.codes[text.at[i]]
            levels = np.ceil(10 * codes / top).astype(int).tolist()
            parts.append(prompting.passage(number, material.strings(text.at[i]), (codes > 0).tolist(), levels))

    for name, deciles in LEVELS:
        some(np.flatnonzero(np.isin(fired.decile, deciles)), f"Its {name} firings:")
    hard = np.flatnonzero(fired.hard)
    some(hard if len(hard) else np.flatnonzero(fired.decile < 0), "SILENT in these:")
    return "\n".join(parts)
