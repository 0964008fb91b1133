"""dose_response(): what an edit does to a model at each strength: how much likelier its target, and at what cost.

1. The model reads text that it was not edited for, once as it is and once for each strength, all kept positions edited
   where the feature writes.
2. At each position that predicts a token of its own document: the probability of the target tokens and the change of
   its logarithm, the KL divergence from the unedited prediction, and the loss on the token that really follows. Each is
   two sums over documents, divided once; intervals are over documents. How many times likelier the target becomes is
   the change at a typical place, the geometric mean: the arithmetic one says mostly what happens where the target was
   nearly certain before.
3. The cost is perplexity, edited over unedited. The suggested strength is the one that does most for the target among
   those whose cost is allowed; the cliff is the first strength beyond it.
Any direction raises some tokens if it is pushed hard enough. So the same is measured of directions that know less, at
the same lengths: chance, and the difference between the mean of what is written where the feature fires and where it
does not (Marks & Tegmark 2023, arXiv 2310.06824); and of the target's tokens put before the text as a prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Stored
from physalis.dictionaries import Dictionary
from physalis.display import tables
from physalis.errors import BadInput
from physalis.metrics import Ratio, Sums
from physalis.models import Model
from physalis.placement.encoding import CHUNK
from physalis.placement.origin import Origin, Recordings, recorded
from physalis.placement.place import Place
from physalis.runtime.cancellation import check_interrupted
from physalis.runtime.progress import progress
from physalis.steering.edits import LARGEST, Add, Edit, Steering
from physalis.steering.predicting import NOTHING, Trial, pieces, predicted

LARGEST_LOG = 700.0
"""exp of it is still a number."""
TARGETS = 10
REFERENCE = 1 / 4  # of the median norm: the strength at which a target is looked for
SHARES = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1, 3 / 2, 2)
"""Default strengths, of the median norm of what is written."""
REPEATS = (1, 2, 4)  # of the prompt
ROWS = 100_000  # for the difference of means


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(Record):
    """A number with its 95 % interval over documents."""

    value: float
    low: float | None
    high: float | None


class Dose(Record):
    """What one strength did."""

    strength: float
    target: Measured
    """Mean probability of the target tokens as the next one, all of them together."""
    times: Measured
    """How many times likelier the target is at a typical place: exp of the mean change of its log-probability."""
    kl: Measured
    """KL(unedited || edited), nats a token."""
    perplexity: Measured
    """Edited over unedited: 1.1 costs 10 %."""


class Response(Record):
    """Doses of one direction, by rising strength."""

    name: str
    """"feature 12", or what the baseline is."""
    doses: list[Dose]
    suggested: float | None
    """The strength whose target is the most times likelier within the cost; None where no strength stays within it."""
    cliff: float | None
    """The first strength beyond the cost; None where none is."""

    @property
    def best(self) -> Dose | None:
        """The dose at the suggested strength."""
        return next((dose for dose in self.doses if dose.strength == self.suggested), None)


class DoseResponse(Record):
    """A feature's doses beside its baselines'."""

    feature: int
    target: list[str]
    target_ids: list[int]
    unedited: Measured
    """Mean probability of the target without any edit."""
    cost: float
    """How far a suggested strength may raise perplexity, as a share."""
    n_tokens: int
    unit: float
    """The median norm at the site that the feature writes: what strengths are to be compared with."""
    responses: list[Response]
    """The feature's first, then the baselines'."""

    def __repr__(self) -> str:
        target = ", ".join(map(repr, self.target))
        return f"DoseResponse(feature {self.feature} on {target}, beside {len(self.responses) - 1} baselines)"

    def table(self) -> Any:
        """A pandas DataFrame with a row for each ``strength`` of each ``direction``. Raises BadInput without
        pandas."""
        return tables.table(
            {"direction": each.name} | {name: getattr(dose, name) for name in Dose.model_fields}
            for each in self.responses
            for dose in each.doses
        )


def added(feature: int, strength: float) -> Edit:
    """The edit that a dose-response is of unless another is asked for."""
    return Add(feature=feature, strength=strength)


def measure(
    model: Model,
    contexts: Int[Tensor, "contexts context"],
    target: Sequence[int],
    trials: Mapping[str, Sequence[Trial]],
    *,
    documents: Int[Tensor, "contexts context"] | None = None,
    cost: float,
) -> tuple[Measured, list[Response]]:
    """The target's probability as it is, and what each trial makes of it, all on the same text.

    ``documents`` numbers each token's document: what predicts the first token of another is not counted, and intervals
    are over documents. Unless given, each context is one.

    Raises BadInput without a target or without text, for a target that is no token of the model, and for a prompt that
    makes the text longer than the model reads.
    """
    if not target or contexts.numel() == 0:
        raise BadInput("A dose-response needs text of at least one context and a target of at least one token.")
    _check_target(model, target)
    flat = [trial for each in trials.values() for trial in each]
    longest = max((len(trial.before) for trial in flat), default=0) + contexts.shape[1]
    model.check_length(longest, "The text with the longest prompt before it", "Give shorter contexts or prompts.")
    if documents is None:
        documents = torch.arange(len(contexts))[:, None].expand_as(contexts)
    ids = torch.tensor(list(target), device=model.device)
    plain = Sums()
    sums = [[Sums() for _ in range(4)] for _ in flat]
    with progress("doses", contexts.numel() * (len(flat) + 1), "tokens") as advance:
        for piece in pieces(model, contexts, documents):
            n, at = piece.tokens[:, piece.some].numel(), piece.whose[piece.counts]
            if not len(at):
                continue
            clean, loss = predicted(model, piece, Trial(0.0, {}, NOTHING))
            one = torch.ones_like(loss)
            hit = clean[:, ids].logsumexp(1)
            plain.add(Ratio(hit.exp(), one), at)
            advance(n)
            for trial, (hits, lift, kl, cross) in zip(flat, sums, strict=True):
                edited, edited_loss = predicted(model, piece, trial)
                edited_hit = edited[:, ids].logsumexp(1)
                hits.add(Ratio(edited_hit.exp(), one), at)
                lift.add(Ratio(edited_hit - hit, one), at)
                kl.add(Ratio((clean.exp() * (clean - edited)).sum(1), one), at)
                cross.add(Ratio(edited_loss - loss, one), at)
                advance(n)
    if not plain:
        raise BadInput("No token of the text follows another of its own document, so nothing is predicted.")
    unedited = Measured(**plain.estimate())
    found = iter(sums)
    responses = []
    for name, each in trials.items():
        made = [_dose(trial.strength, next(found)) for trial in each]
        responses.append(_response(name, sorted(made, key=lambda dose: dose.strength), cost))
    return unedited, responses


def dose_response(
    dictionary: str | Path,
    activations: Recordings,
    model: Model,
    feature: int,
    *,
    writes: Recordings | None = None,
    edit: Callable[[int, float], Edit] = added,
    target: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    cost: float = 0.1,
    tokens: int = 2_048,
    seed: int = 0,
) -> DoseResponse:
    """What editing a feature does at each strength, on held-out text of the activations, beside its baselines.

    ``activations`` are of what the dictionary reads, ``writes`` of what a transcoder predicts; those that were recorded
    with the activations and stand beside them are found. The edit goes to where the feature writes.
    ``edit`` makes an edit of a feature and a strength. ``target`` are token ids: unless given, the ten that the edit at
    a quarter of the median norm makes more of, found on as much other held-out text as is then measured on. What the
    direction writes into the logits would not do: in the middle of a model later layers decide.
    ``strengths`` are in units of what is written; unless given, ``SHARES`` of its median norm.
    ``cost`` is the rise in perplexity, as a share, that a suggested strength may have; a prompt's strength is how many
    times it is repeated, as far as the model reads that much.

    Raises BadInput if model, dictionary and activations do not belong together, for a feature that does not exist,
    never fires or cannot be edited so, and where nothing was held out.
    """
    if not 0 <= seed < 1 << 64:
        raise BadInput(f"A seed is a whole number from 0 to 2**64 - 1; received {seed}.")
    about = artifact.read(Path(dictionary), "dictionary")
    Origin.of(about).check_model(model)
    source = recorded(about, activations, writes)
    source.require(model)
    place = Place.of(source.parts, model)
    sae = dictionaries.load(dictionary, device=model.device)
    if not 0 <= feature < sae.config.n_features:
        raise BadInput(f"The dictionary has features 0 to {sae.config.n_features - 1:,}; received {feature:,}.")
    held = source.held_out.contexts
    if len(held) < 2:
        raise BadInput(
            f"{source.reads[0].folder} holds fewer than two contexts out, so no dose can be judged. Record with "
            "--held-out 0.1."
        )
    if tokens < 1 or not cost >= 0:
        raise BadInput(
            f"Doses are measured on at least 1 token, at a cost of at least 0; received {tokens} and {cost}."
        )
    n = min(max(1, tokens // source.context), len(held) // 2)
    drawn = np.random.default_rng(seed).permutation(held)[: 2 * n]
    text, whose = (torch.from_numpy(part[drawn].astype("int64")) for part in (source.tokens, source.documents))
    if target is None:
        strong = Steering.of(sae, [edit(feature, REFERENCE * place.unit)], place)
        target = raised(model, text[n:], Trial(0.0, strong.writes(), NOTHING), documents=whose[n:])
    ids = [int(each) for each in target]
    _check_target(model, ids)
    lengths = [share * place.unit for share in SHARES] if strengths is None else [float(each) for each in strengths]
    if not all(abs(each) <= LARGEST for each in lengths):
        most = max(lengths, key=abs)
        raise BadInput(f"Strengths are to be compared with the median norm, {place.unit:.3g}; received {most:.3g}.")
    random = torch.randn(source.d_out, generator=torch.Generator().manual_seed(seed)).to(model.device)

    def doses_along(direction: Float[Tensor, " d"]) -> list[Trial]:
        made = (Steering([Add(feature=0, strength=each)], direction[None], place) for each in lengths)
        return [Trial(each, steering.writes(), NOTHING) for each, steering in zip(lengths, made, strict=True)]

    prompt = torch.tensor(ids, dtype=torch.long)
    trials = {
        f"feature {feature}": [
            Trial(each, Steering.of(sae, [edit(feature, each)], place).writes(), NOTHING) for each in lengths
        ],
        "random direction": doses_along(random),
        "difference of means": doses_along(_apart(sae, source, feature, seed)),
    }
    room = (model.longest or np.inf) - source.context
    lead = int(place.skip_first)
    prompts = [Trial(float(times), {}, prompt.repeat(times), lead) for times in REPEATS if times * len(prompt) <= room]
    if prompts:
        trials["the target as a prompt"] = prompts
    unedited, responses = measure(model, text[:n], ids, trials, documents=whose[:n], cost=cost)
    return DoseResponse(
        feature=feature, target=model.token_strings(ids), target_ids=ids, unedited=unedited, cost=cost,
        n_tokens=n * source.context, unit=place.unit, responses=responses,
    )  # fmt: skip


def raised(
    model: Model,
    contexts: Int[Tensor, "contexts context"],
    trial: Trial,
    *,
    documents: Int[Tensor, "contexts context"] | None = None,
) -> list[int]:
    """The tokens that a trial makes the model expect more: those that add most to KL(trial || unedited) of the mean
    predictions, which neither a frequent token with a small rise nor a rare one with a large factor does. Ids that no
    tokenizer knows are none of them."""
    means = torch.zeros(2, model.vocab_size, dtype=torch.float64)
    if documents is None:
        documents = torch.zeros_like(contexts)
    for piece in pieces(model, contexts, documents):
        for mean, each in zip(means, (Trial(0.0, {}, NOTHING), trial), strict=True):
            mean += predicted(model, piece, each)[0].exp().sum(0).cpu().double()
    known = model.known_ids.cpu()
    p, q = means / means.sum(1, keepdim=True).clamp_min(1e-12)
    adds = torch.where(known & (p > 0) & (q > 0), q * (q / p).log(), -torch.inf)
    return adds.topk(min(TARGETS, int(known.sum()))).indices.tolist()


def _check_target(model: Model, target: Sequence[int]) -> None:
    for each in target:
        if not (0 <= each < model.vocab_size and model.known_ids[each]):
            raise BadInput(
                f"{model.name} has no token {each}: its tokenizer knows {int(model.known_ids.sum()):,}. Give ids of "
                "tokens that it knows."
            )


def _dose(strength: float, sums: Sequence[Sums]) -> Dose:
    hits, lift, kl, cross = sums
    return Dose(
        strength=strength,
        target=Measured(**hits.estimate()),
        times=_factor(lift),
        kl=Measured(**kl.estimate()),
        perplexity=_factor(cross),
    )


def _factor(logs: Sums) -> Measured:
    """exp of a mean of logarithms, as far as there are numbers for it."""
    found = logs.estimate()
    low, high = (None if end is None else _exp(end) for end in (found["low"], found["high"]))
    return Measured(value=_exp(found["value"]), low=low, high=high)


def _exp(log: float) -> float:
    return float(np.exp(min(log, LARGEST_LOG)))


def _response(name: str, doses: list[Dose], cost: float) -> Response:
    within = [dose for dose in doses if dose.perplexity.value <= 1 + cost and dose.times.value > 1]
    beyond = [dose.strength for dose in doses if dose.perplexity.value > 1 + cost]
    best = max(within, key=lambda dose: dose.times.value, default=None)
    return Response(
        name=name, doses=doses, suggested=None if best is None else best.strength, cliff=min(beyond, default=None)
    )


@torch.no_grad()
def _apart(sae: Dictionary, source: Stored, feature: int, seed: int) -> Float[Tensor, " d_out"]:
    """The mean of what is written where the feature fires less that where it does not, over about ROWS training rows
    from all of the text."""
    device = next(sae.parameters()).device
    sums, counts = torch.zeros(2, source.d_out, dtype=torch.float64), torch.zeros(2)
    for batch in source.train.batches(min(CHUNK, max(1, source.train.n_tokens)), seed=seed):
        check_interrupted()
        x = batch.x.to(device).float()
        codes = sae.encode(x)
        fires = ((codes.ids == feature) & (codes.values > 0)).any(1).cpu()
        for side, rows in enumerate((batch.y[~fires], batch.y[fires])):
            sums[side] += rows.double().sum(0)
            counts[side] += len(rows)
        if counts.sum() >= ROWS:
            break
    if counts[1] == 0:
        raise BadInput(
            f"Feature {feature} fires on none of {int(counts[0]):,} training tokens: there is no mean to compare it "
            "with. Choose one that fires."
        )
    apart = (sums[1] / counts[1] - sums[0] / counts[0].clamp_min(1)).float().to(device)
    return apart / apart.norm().clamp_min(1e-12)
