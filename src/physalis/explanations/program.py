"""program: which share of what a site does is done by the rules.

In one pass of the model the activations of a site are replaced by what the rules predict: every rule says a code from
the text alone, or its mean where no clause holds, the dictionary decodes them, and nothing else of the network is used.
What that adds to the loss stands beside what the dictionary's true codes add, and what tables of the last tokens do
(``tables``).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from physalis import artifact, dictionaries
from physalis.atlas.records import Estimate, Record
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.evaluation.splicing import MEAN, Placed, Splicer, Unspliceable
from physalis.explanations.explained import Explanations
from physalis.explanations.language.surroundings import Surroundings
from physalis.explanations.spoken import Program, Spoken
from physalis.explanations.tables import NAMES, token_tables
from physalis.explanations.windows import Windowed
from physalis.metrics import Ratio, Sums, difference
from physalis.models import Model
from physalis.placement.origin import Recordings, recorded

RULES, CODES = "rules", "true codes"
ADDED = "ce_increase"


class Added(Record):
    """What one thing in the site's place adds to the loss."""

    name: str
    """"rules", "true codes", "current token", "last two tokens", "last three tokens", "mean", or "codes of the last 8
    tokens": what the network itself makes of so many."""
    loss: Estimate
    """Nats a token, with an interval over documents."""
    less_than_rules: Estimate | None
    """Nats a token by which the rules add more, on the same documents; None of the rules themselves."""


class Point(Record):
    """What a smaller program adds to the loss."""

    leaves: int | None
    """Of each rule no more than the clauses of its first so many leaves; None for all of them."""
    features: int | None
    """Of so many features, those whose codes sum to most, the rest with their mean everywhere; None for all of them."""
    total: int
    """Leaves of the whole program."""
    loss: Estimate


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
    smaller: tuple[Point, ...]
    """Of programs that say less."""


def program_share(
    explanations: Path | str,
    dictionary: Path | str,
    activations: Recordings,
    model: Model,
    *,
    writes: Recordings | None = None,
    tokens: int = 16_384,
    windows: Sequence[int] = (3, 8),
    leaves: Sequence[int] = (1, 4),
    features: Sequence[int] = (),
    seed: int = 0,
) -> Share:
    """Replace a site by what the rules in ``explanations`` predict, on ``tokens`` tokens of held-out text, and measure
    the loss; beside it the dictionary's true codes, the mean, tables of the last one to three tokens that are made
    of the same text as the rules, and the codes after the last n tokens, for each n of ``windows`` (see ``windows``);
    and smaller programs, of rules of at most n leaves and of n features.

    Raises BadInput if these do not belong together, for a dictionary with a skip path or layer norm, whose output is
    not its codes' alone, and for one that no single model can be spliced with.
    """
    if tokens < 1 or min([*windows, *leaves, *features, 1]) < 1:
        raise BadInput(
            "A share is measured on 1 token or more, beside windows of 1 or more, of 1 leaf and 1 feature or more; "
            f"received tokens={tokens}, windows={tuple(windows)}, leaves={tuple(leaves)} and "
            f"features={tuple(features)}."
        )
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
    text = Surroundings(stored.tokens, vocabulary, said.fields)
    spoken = Spoken.of(said, text, stored.train.at, stored.held_out.at)
    subjects: dict[str, Dictionary | Placed] = {CODES: coder, RULES: Program(spoken, coder)}
    subjects |= token_tables(stored, stored.held_out.at)
    seen = {f"codes of the last {n} tokens": Windowed(n, stored, coder, model) for n in windows}
    cut = {(n, None): spoken.cut(n) for n in leaves} | {(None, n): spoken.of_features(n) for n in features}
    subjects |= seen | {str(key): Program(each, coder) for key, each in cut.items()}
    try:
        sums, n = Splicer(model, stored).measure(subjects, tokens=tokens, seed=seed)
    except Unspliceable as error:
        raise BadInput(str(error)) from error
    losses = {name: each[ADDED] for name, each in sums.items()}
    order = [CODES, RULES, *NAMES, *seen, MEAN]
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
        features=len(said), leaves=spoken.size,
        smaller=tuple(
            Point(leaves=n, features=m, total=each.size, loss=Estimate(**losses[str((n, m))].estimate()))
            for (n, m), each in cut.items()
        ),
    )  # fmt: skip


def _recovered(token: Sums, rules: Sums, codes: Sums) -> Estimate | None:
    """(token - rules) / (token - codes), both summed over the documents."""
    between = Sums()
    num, den = token.num - rules.num, token.num - codes.num
    if not den.sum() > 0:
        return None
    between.add(Ratio(torch.from_numpy(num), torch.from_numpy(den)), token.ids)
    return Estimate(**between.estimate())
