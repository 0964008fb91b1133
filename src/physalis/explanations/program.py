"""program: which share of what a site does is done by the rules.

In one pass of the model the activations of a site are replaced by what the rules predict: every rule says a code from
the text alone, or its mean where no clause holds, the dictionary decodes them, and nothing else of the network is used.
What that adds to the loss stands beside what the dictionary's true codes add, and what tables of the last tokens do
(``tables``).
"""

from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.atlas.records import Estimate, Record
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.evaluation.splicing import MEAN, Placed, Splicer, Unspliceable
from physalis.explanations.explained import Explanations
from physalis.explanations.language.rules import Rule
from physalis.explanations.language.surroundings import Surroundings
from physalis.explanations.tables import NAMES, token_tables
from physalis.metrics import Ratio, Sums, difference
from physalis.models import Model
from physalis.placement.origin import Recordings, recorded
from physalis.runtime.progress import progress
from physalis.types import Codes

RULES, CODES = "rules", "true codes"
ADDED = "ce_increase"


class Added(Record):
    """What one thing in the site's place adds to the loss."""

    name: str
    """"rules", "true codes", "current token", "last two tokens", "last three tokens" or "mean"."""
    loss: Estimate
    """Nats a token, with an interval over documents."""
    less_than_rules: Estimate | None
    """Nats a token by which the rules add more, on the same documents; None of the rules themselves."""


class Share(Record):
    """How much of what a site does the rules do."""

    site: str
    model_loss: float
    """Of the model as it is, nats a token."""
    added: tuple[Added, ...]
    recovered: Estimate | None
    """Of what lies between the current token and the true codes, the share that the rules recover; None where there is
    nothing between them."""
    n_tokens: int
    """Predictions that were judged."""
    features: int
    """Features that have rules; the others are silent."""
    leaves: int
    """Of all rules together."""


def program_share(
    explanations: Path | str,
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    *,
    writes: Recordings | None = None,
    tokens: int = 16_384,
    seed: int = 0,
) -> Share:
    """Replace a site by what the rules in ``explanations`` predict, on ``tokens`` tokens of held-out text, and measure
    the loss; beside it the dictionary's true codes, the mean, and tables of the last one to three tokens that are made
    of the same text as the rules.

    Raises BadInput if these do not belong together, for a dictionary with a skip path or layer norm, whose output is
    not its codes' alone, and for one that no single model can be spliced with.
    """
    if tokens < 1:
        raise BadInput(f"A share is measured on at least 1 token; received tokens={tokens}.")
    said = Explanations.open(explanations)
    trained = artifact.read(Path(dictionary), "dictionary")
    if said.manifest.inputs["dictionary"] != trained.hash:
        raise BadInput(f"{said.folder} explains another dictionary than {dictionary}. Explain this one.")
    for name, what in (("skip", "a skip path"), ("layer_norm", "layer norm")):
        if trained.config["dictionary"].get(name):
            raise BadInput(
                f"The dictionary has {what}, so what it writes is not said by its codes alone: what the rules do "
                "cannot be told from what the network does. Its rules are judged by detection."
            )
    stored = recorded(trained, activations, writes)
    stored.require(model)
    coder = dictionaries.load(dictionary, device=model.device)
    vocabulary = model.corpus.pieces(range(max(model.corpus.ids) + 1))
    program = _Program(said, coder, Surroundings(stored.tokens, vocabulary, said.fields), stored.held_out.at)
    subjects: dict[str, Dictionary | Placed] = {CODES: coder, RULES: program}
    subjects |= token_tables(stored, stored.held_out.at)
    try:
        sums, n = Splicer(model, stored).measure(subjects, tokens=tokens, seed=seed)
    except Unspliceable as error:
        raise BadInput(str(error)) from error
    losses = {name: each[ADDED] for name, each in sums.items()}
    order = [CODES, RULES, *NAMES, MEAN]
    added = tuple(
        Added(
            name=name, loss=Estimate(**losses[name].estimate()),
            less_than_rules=None if name == RULES else Estimate(**difference(losses[RULES], losses[name])),
        )
        for name in order
    )  # fmt: skip
    return Share(
        site=", ".join(str(part.site) for part in stored.parts[0]), added=added,
        model_loss=sums[CODES]["ce"].estimate()["value"],
        recovered=_recovered(losses[NAMES[0]], losses[RULES], losses[CODES]), n_tokens=n,
        features=len(said), leaves=sum(each.size for each in said),
    )  # fmt: skip


def _recovered(token: Sums, rules: Sums, codes: Sums) -> Estimate | None:
    """(token - rules) / (token - codes), both summed over the documents."""
    between = Sums()
    num, den = token.num - rules.num, token.num - codes.num
    if not den.sum() > 0:
        return None
    between.add(Ratio(torch.from_numpy(num), torch.from_numpy(den)), token.ids)
    return Estimate(**between.estimate())


class _Program:
    """Rules, and the dictionary that decodes what they say."""

    def __init__(
        self, said: Explanations, coder: Dictionary, text: Surroundings, at: Int[np.ndarray, " tokens"]
    ) -> None:
        self.coder, self._at = coder, np.sort(at)
        self._codes = predictions(said, text, self._at, coder.config.n_features)
        silent = np.zeros(coder.config.n_features, np.float32)
        silent[[each.feature for each in said]] = [each.otherwise for each in said]
        self._codes.data -= silent[self._codes.indices]  # what is added to what all of them say where none holds
        none = np.zeros((1, len(silent)), np.float32)
        self._silent = self._decoded(silent[None]) - self._decoded(none)

    def at(self, places: Int[np.ndarray, " rows"]) -> Float[Tensor, "rows d_out"]:
        """What the codes that the rules predict there are decoded to."""
        return self._decoded(self._codes[np.searchsorted(self._at, places)]) + self._silent

    def _decoded(self, codes: scipy.sparse.csr_array | np.ndarray) -> Float[Tensor, "rows d_out"]:
        device = next(self.coder.parameters()).device
        padded = (part.to(device) for part in _padded(scipy.sparse.csr_array(codes)))
        with torch.no_grad():
            return self.coder.decode(Codes(*padded).of(self.coder.config.n_features))


def _padded(rows: scipy.sparse.csr_array) -> Codes:
    counts = np.diff(rows.indptr)
    fires = np.arange(max(1, counts.max(initial=0))) < counts[:, None]
    values, ids = np.zeros(fires.shape, np.float32), np.zeros(fires.shape, np.int32)
    values[fires], ids[fires] = rows.data, rows.indices
    return Codes(torch.from_numpy(values), torch.from_numpy(ids))


def predictions(
    said: Explanations, text: Surroundings, at: Int[np.ndarray, " tokens"], n_features: int
) -> scipy.sparse.csr_array:
    """Every rule's codes at these positions, rising: [tokens, features]. A rule is evaluated on the whole text, since
    what it asks may stand before."""
    rows, values, ids = [], [], []
    with progress("predict", len(said), "features") as advance:
        for each in said:
            codes = Rule.parse(each.rule).predict(text)[at]
            fires = np.flatnonzero(codes)
            rows.append(fires)
            values.append(codes[fires])
            ids.append(np.full(len(fires), each.feature))
            advance(1)
    shape = (len(at), n_features)
    where = (np.concatenate(rows), np.concatenate(ids))
    return scipy.sparse.coo_array((np.concatenate(values), where), shape=shape).tocsr()
