"""writing: texts made for a feature by what its rule says, and what the network does on them.

A text begins with some tokens of the training text, drawn anywhere, and ends with tokens that a clause of the rule asks
for; only texts on whose last token the rule then holds are used. Nothing in them was chosen by the feature's codes, so
where it fires on them the rule told something that its examples did not show.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int

from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.explanations import Clause, Fields, Leaf, Rule, Surroundings
from physalis.explanations.language.leaves import FARTHEST, PLACE_KINDS
from physalis.judging.material import Material
from physalis.models import Model
from physalis.models.text.prompting import begin
from physalis.placement.origin import Origin
from physalis.placement.place import Place

SIZE = 24
"""Tokens of a text."""
TRIES = 8
"""Texts that are tried for each that is wanted."""
BATCH = 64

Texts = list[list[int]]
"""Token ids of each."""


def written(
    rules: Mapping[int, Rule], material: Material, fields: Fields | None, n: int, *, seed: int = 0
) -> dict[int, Texts]:
    """For each rule up to ``n`` texts on whose last token it holds; none of those for which none were found."""
    source = np.array(material.stored.tokens[material.stored.train.contexts], np.int64)
    used = np.unique(source)
    lexicon = Surroundings(used[:, None], material.pieces, fields)
    tried, owners = [], []
    for feature, rule in rules.items():
        rng = np.random.default_rng([seed, feature])
        clauses = [clause for clause in rule.clauses if clause.level > 0]
        if not clauses:
            continue
        for number in range(TRIES * n):
            clause = clauses[number % len(clauses)]
            ending = _ending(clause, lexicon, used, source, material.model, rng)
            tried.append(None if ending is None else _begun(ending, clause, source, rng))
            owners.append(feature)
    whole = [each for each in tried if each is not None]
    if not whole:
        return {}
    texts = np.stack([np.pad(each, (0, SIZE - len(each)), mode="edge") for each in whole])
    ends = np.array([len(each) - 1 for each in whole])
    whose = np.array([owner for owner, each in zip(owners, tried, strict=True) if each is not None])
    read = Surroundings(texts, material.pieces, fields)
    found = {}
    for feature, rule in rules.items():
        ours = np.flatnonzero(whose == feature)
        if len(ours):
            holds = rule.predict(read).reshape(texts.shape)[ours, ends[ours]] > 0
            if holds.any():
                found[feature] = [whole[j] for j in ours[holds][:n]]
    return found


def _begun(
    ending: list[int], clause: Clause, source: Int[np.ndarray, "contexts length"], rng: np.random.Generator
) -> list[int]:
    """Some text and then the ending; nothing more where a place in the context is asked for."""
    place = next((leaf.value for leaf in clause.leaves if leaf.kind == "place" and not leaf.negated), None)
    room = SIZE - len(ending)
    if place is not None:
        room = min(room, max(0, int(place.split("-")[0]) - len(ending)))
    n = room if place is not None else int(rng.integers(min(4, room), room + 1))
    row = source[rng.integers(len(source))]
    start = rng.integers(max(1, len(row) - n + 1))
    return [*row[start : start + n].tolist(), *ending]


def _ending(
    clause: Clause, lexicon: Surroundings, used: Int[np.ndarray, " used"],
    source: Int[np.ndarray, "contexts length"], model: Model, rng: np.random.Generator,
) -> list[int] | None:  # fmt: skip
    """Tokens that the clause asks for, one for each place from the farthest that it names; None where no token of the
    text is what it asks for."""
    at = {back: _fits(clause, back, lexicon) for back in range(FARTHEST + 1)}
    asked = [back for back, fits in at.items() if not fits.all()]
    last = max(asked, default=0)
    tail = []
    for back in range(last, -1, -1):
        ids = used[at[back]]
        if not len(ids):
            return None
        drawn = source.ravel()[rng.integers(source.size, size=64)]  # as often as they come, where several will do
        common = drawn[np.isin(drawn, ids)]
        tail.append(int(common[0]) if len(common) else int(rng.choice(ids)))
    before = _before(clause)
    word = next((leaf.value for leaf in clause.leaves if leaf.kind == "word" and not leaf.negated), None)
    if word is not None and at[0].all():
        tail = model.encode([f" {word}"])[0]
    made = [*(model.encode([before])[0] if before else []), *tail]
    return made if len(made) <= SIZE else None


def _fits(clause: Clause, back: int, lexicon: Surroundings) -> Bool[np.ndarray, " used"]:
    fits = np.ones(lexicon.n, bool)
    for leaf in clause.leaves:
        if leaf.back == back and leaf.kind not in PLACE_KINDS:
            fits &= lexicon.holds(Leaf(leaf.kind, leaf.value, 0, leaf.negated))
    return fits


def _before(clause: Clause) -> str:
    """What has to stand before for the leaves about places to hold."""
    said = {leaf.kind: leaf.value for leaf in clause.leaves if leaf.kind in PLACE_KINDS and not leaf.negated}
    line = f"\n{said['line starts']}" if "line starts" in said else ""
    inside = f" {said['inside']}" if "inside" in said else ""
    word = f" {said['previous word']}" if "previous word" in said else ""
    return line + inside + word


class Responding:
    """A model and a dictionary, run on texts of our own."""

    def __init__(self, model: Model, dictionary: Dictionary, origin: Origin) -> None:
        """Raises BadInput for a dictionary of several models, or one that does not say which sites it reads."""
        origin.check_model(model)
        if not origin.reads:
            raise BadInput("The dictionary does not say which site it reads. Convert it with --activations.")
        self.model, self.dictionary = model, dictionary
        self.place = Place.inside(model, origin.reads, origin.writes, origin.rules)

    @torch.no_grad()
    def fires(self, features: Sequence[int], texts: Texts) -> Bool[np.ndarray, " texts"]:
        """Whether each feature fires on any token of its text."""
        whole = [begin(self.model, each, bos=self.place.skip_first) for each in texts]
        sites = {*self.place.reads, *self.place.hygienes}
        found = np.zeros(len(whole), bool)
        device = next(self.dictionary.parameters()).device
        order = sorted(range(len(whole)), key=lambda i: len(whole[i]))  # like lengths together: little padding
        for start in range(0, len(whole), BATCH):
            rows = order[start : start + BATCH]
            some = [whole[i] for i in rows]
            sizes = torch.tensor([len(each) for each in some])
            longest = int(sizes.max())
            ids = torch.tensor([each + [each[-1]] * (longest - len(each)) for each in some])
            got = self.model.run(ids.to(self.model.device), read=sites)
            keep, x = self.place.keep(got).cpu(), self.place.joined(got)
            keep &= torch.arange(longest) < sizes[:, None]
            codes = self.dictionary.encode(x.flatten(0, 1).to(device).float())
            wanted = torch.tensor([features[i] for i in rows]).repeat_interleave(x.shape[1])[:, None]
            fires = ((codes.ids.cpu() == wanted) & (codes.values.cpu() > 0)).any(1).view(keep.shape)
            found[rows] = (fires & keep).any(1).numpy()
        return found
