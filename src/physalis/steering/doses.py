"""dose_response(): what an edit does to a model at each strength: how much likelier its target, and at what cost.

1. The model reads text that it was not edited for, once as it is and once for each strength, all kept positions edited.
2. At each position: the probability of the target tokens and the change of its logarithm, the KL divergence from the
   unedited prediction, and the loss on the token that really follows. Each is two sums over contexts, divided once;
   intervals resample contexts. How many times likelier the target becomes is the change at a typical place, the
   geometric mean: the arithmetic one says mostly what happens where the target was nearly certain before.
3. The cost is perplexity, edited over unedited. The suggested strength is the one that does most for the target among
   those whose cost is allowed; the cliff is the first strength beyond it.
Any direction raises some tokens if it is pushed hard enough. So the same is measured of directions that know less, at
the same lengths: chance, and the difference between the mean activations where the feature fires and where it does not
(Marks & Tegmark 2023, arXiv 2310.06824); and of the target's words put before the text as a prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from physalis import artifact, dictionaries
from physalis.activations import Activations, check_belongs
from physalis.activations.hygiene import TIMES_MEDIAN
from physalis.dictionaries import Linear
from physalis.errors import BadInput
from physalis.metrics import Ratio, Sums
from physalis.models import Model, Write
from physalis.progress import progress
from physalis.site import Site
from physalis.steering.edits import Add, Edit, Place, Steering

LOGITS = Site("logits")
A_PASS = 4  # contexts; the logits of two passes are held at once
TARGETS = 10
REFERENCE = 1 / 4  # of the median norm: the strength whose target is looked for
SHARES = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1, 3 / 2, 2)
"""Default strengths, of the median norm at the site."""
REPEATS = (1, 2, 4)  # of the prompt
LARGEST = 3.4e38  # strength: what float32 holds
ROWS = 100_000  # for the difference of means


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Measured(Record):
    """A number with its 95 % interval over contexts."""

    value: float
    low: float
    high: float


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
    """The median norm of an activation at the site: what strengths are to be compared with."""
    responses: list[Response]
    """The feature's first, then the baselines'."""


class Trial(NamedTuple):
    """One way of running the model."""

    strength: float
    write: Mapping[Site, Write]
    before: Int[Tensor, " prompt"]
    """Tokens put before the text of every context; nothing is measured on them."""
    lead: int = 1
    """Positions that are no text and stay first: 1 where contexts begin with a BOS token, else 0."""


NOTHING = torch.empty(0, dtype=torch.long)


def added(feature: int, strength: float) -> Edit:
    """The edit that a dose-response is of unless another is asked for."""
    return Add(feature=feature, strength=strength)


def measure(
    model: Model,
    contexts: Int[Tensor, "contexts context"],
    target: Sequence[int],
    trials: Mapping[str, Sequence[Trial]],
    *,
    cost: float,
    seed: int = 0,
) -> tuple[Measured, list[Response]]:
    """The target's probability as it is, and what each trial makes of it, all on the same text.

    Raises BadInput without a target or without text.
    """
    if not target or contexts.numel() == 0:
        raise BadInput("A dose-response needs text of at least one context and a target of at least one token.")
    ids = torch.tensor(list(target))
    plain = Sums(len(contexts))
    flat = [trial for each in trials.values() for trial in each]
    sums = [[Sums(len(contexts)) for _ in range(4)] for _ in flat]
    with progress("doses", contexts.numel() * (len(flat) + 1), "tokens") as advance:
        for first in range(0, len(contexts), A_PASS):
            tokens = contexts[first : first + A_PASS]
            at = torch.arange(first, first + len(tokens)).repeat_interleave(tokens.shape[1] - 1)
            one = torch.ones(len(at))
            clean, loss = _predicted(model, tokens, Trial(0.0, {}, NOTHING))
            hit = clean[:, ids].logsumexp(1)
            plain.add(Ratio(hit.exp(), one), at)
            advance(tokens.numel())
            for trial, (hits, lift, kl, cross) in zip(flat, sums, strict=True):
                edited, edited_loss = _predicted(model, tokens, trial)
                edited_hit = edited[:, ids].logsumexp(1)
                hits.add(Ratio(edited_hit.exp(), one), at)
                lift.add(Ratio(edited_hit - hit, one), at)
                kl.add(Ratio((clean.exp() * (clean - edited)).sum(1), one), at)
                cross.add(Ratio(edited_loss - loss, one), at)
                advance(tokens.numel())
    unedited = Measured(**plain.estimate(seed=seed))
    found = iter(sums)
    responses = []
    for name, each in trials.items():
        made = [_dose(trial.strength, next(found), seed) for trial in each]
        responses.append(_response(name, sorted(made, key=lambda dose: dose.strength), cost))
    return unedited, responses


def dose_response(
    dictionary: str | Path,
    activations: str | Path,
    model: Model,
    feature: int,
    *,
    edit: Callable[[int, float], Edit] = added,
    target: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    cost: float = 0.1,
    tokens: int = 2_048,
    seed: int = 0,
) -> DoseResponse:
    """What editing a feature does at each strength, on held-out text of the activations, beside its baselines.

    ``edit`` makes an edit of a feature and a strength. ``target`` are token ids: unless given, the ten that the edit at
    a quarter of the median norm makes more of, found on as much other held-out text as is then measured on. What the
    direction writes into the logits would not do: in the middle of a model later layers decide.
    ``strengths`` are in units of the activation; unless given, ``SHARES`` of the median norm.
    ``cost`` is the rise in perplexity, as a share, that a suggested strength may have; a prompt's strength is how many
    times it is repeated.

    Raises BadInput if model, dictionary and activations do not belong together, for a feature that does not exist or
    never fires, and where nothing was held out.
    """
    acts = Activations.open(activations)
    acts.require(model)
    check_belongs(artifact.read(Path(dictionary), "dictionary"), acts)
    sae = dictionaries.load(dictionary)
    if not isinstance(sae, Linear):
        raise BadInput(f"Features of a {type(sae).__name__} have no direction of their own to edit along.")
    held = acts.tokens[acts.held_out.contexts]
    if len(held) < 2:
        raise BadInput(
            f"{activations} holds fewer than two contexts out, so no dose can be judged. Record with --held-out 0.1."
        )
    n = min(max(1, tokens // acts.context), len(held) // 2)
    drawn = torch.from_numpy(held[np.random.default_rng(seed).permutation(len(held))[: 2 * n]].astype("int64"))
    contexts = drawn[:n]
    place = Place(acts.site, acts.site, acts.hygiene)
    unit = acts.hygiene.max_norm / TIMES_MEDIAN
    if target is None:
        strong = Steering.of(sae, [edit(feature, REFERENCE * unit)], place)
        target = raised(model, drawn[n:], Trial(0.0, strong.writes(), NOTHING))
    ids = [int(each) for each in target]
    words = model.token_strings(ids)
    lengths = [share * unit for share in SHARES] if strengths is None else [float(each) for each in strengths]
    if not all(abs(each) < LARGEST for each in lengths):
        most = max(lengths, key=abs)
        raise BadInput(f"Strengths are to be compared with the median norm, {unit:.3g}; received {most:.3g}.")
    random = torch.randn(acts.d, generator=torch.Generator().manual_seed(seed))

    def doses_along(direction: Float[Tensor, " d"]) -> list[Trial]:
        made = (Steering([Add(feature=0, strength=each)], direction[None], place) for each in lengths)
        return [Trial(each, steering.writes(), NOTHING) for each, steering in zip(lengths, made, strict=True)]

    prompt, lead = torch.tensor(ids), int(place.hygiene.skip_first)
    if model.longest is not None:  # the longest prompt has its place too
        contexts = contexts[:, : max(2, model.longest - max(REPEATS) * len(ids))]
    trials = {
        f"feature {feature}": [
            Trial(each, Steering.of(sae, [edit(feature, each)], place).writes(), NOTHING) for each in lengths
        ],
        "random direction": doses_along(random),
        "difference of means": doses_along(_apart(sae, acts, feature)),
        "the target as a prompt": [Trial(float(times), {}, prompt.repeat(times), lead) for times in REPEATS],
    }
    unedited, responses = measure(model, contexts, ids, trials, cost=cost, seed=seed)
    return DoseResponse(
        feature=feature, target=words, target_ids=ids, unedited=unedited, cost=cost, n_tokens=contexts.numel(),
        unit=unit, responses=responses,
    )  # fmt: skip


def raised(model: Model, contexts: Int[Tensor, "contexts context"], trial: Trial) -> list[int]:
    """The tokens that a trial makes the model expect more: those that add most to KL(trial || unedited) of the mean
    predictions, which neither a frequent token with a small rise nor a rare one with a large factor does."""
    means = torch.zeros(2, model.vocab_size, dtype=torch.float64)
    for tokens in contexts.split(A_PASS):
        for mean, each in zip(means, (Trial(0.0, {}, NOTHING), trial), strict=True):
            mean += _predicted(model, tokens, each)[0].exp().double().sum(0)
    p, q = means / means.sum(1, keepdim=True)
    more = torch.where(model.known_ids.cpu(), torch.xlogy(q, q) - torch.xlogy(q, p), float("-inf"))
    return more.topk(min(TARGETS, int(model.known_ids.sum()))).indices.tolist()


def _predicted(
    model: Model, tokens: Int[Tensor, "contexts context"], trial: Trial
) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, " n"]]:
    """Log-probabilities at each position that predicts a token of the text, and the loss on that token."""
    before = trial.before.expand(len(tokens), -1)
    long = torch.cat([tokens[:, : trial.lead], before, tokens[:, trial.lead :]], 1)
    model.check_length(long.shape[1], "A context with the prompt before it", "Give fewer target tokens.")
    logits = model.run(long, read=[LOGITS], write=trial.write)[LOGITS][:, len(trial.before) : -1]
    log_p = logits.float().cpu().flatten(0, 1).log_softmax(-1)
    if log_p.isnan().any():
        raise BadInput(
            f"At strength {trial.strength:.3g} the predictions of {model.name} are not numbers any more. Choose "
            "smaller strengths."
        )
    return log_p, -log_p.gather(1, tokens[:, 1:].flatten()[:, None])[:, 0]


def _dose(strength: float, sums: Sequence[Sums], seed: int) -> Dose:
    hits, lift, kl, cross = sums
    return Dose(
        strength=strength,
        target=Measured(**hits.estimate(seed=seed)),
        times=_factor(lift, seed),
        kl=Measured(**kl.estimate(seed=seed)),
        perplexity=_factor(cross, seed),
    )


def _factor(logs: Sums, seed: int) -> Measured:
    """exp of a mean of logarithms."""
    return Measured(**{end: float(np.exp(value)) for end, value in logs.estimate(seed=seed).items()})


def _response(name: str, doses: list[Dose], cost: float) -> Response:
    within = [dose for dose in doses if dose.perplexity.value <= 1 + cost]
    beyond = [dose.strength for dose in doses if dose.perplexity.value > 1 + cost]
    best = max(within, key=lambda dose: dose.times.value, default=None)
    return Response(
        name=name, doses=doses, suggested=None if best is None else best.strength, cliff=min(beyond, default=None)
    )


def _apart(sae: Linear, acts: Activations, feature: int) -> Float[Tensor, " d"]:
    """Mean activation where the feature fires less that where it does not, over at most ROWS training rows."""
    sums, counts = torch.zeros(2, acts.d, dtype=torch.float64), torch.zeros(2)
    for part in acts.train.ordered(4_096):
        x = part.x.float()
        with torch.no_grad():
            codes = sae.encode(x)
        fires = ((codes.ids == feature) & (codes.values > 0)).any(1)
        for side, rows in enumerate((x[~fires], x[fires])):
            sums[side] += rows.double().sum(0)
            counts[side] += len(rows)
        if counts.sum() >= ROWS:
            break
    if counts[1] == 0:
        raise BadInput(
            f"Feature {feature} fires on none of the first {int(counts[0]):,} training tokens: there is no mean to "
            "compare it with. Choose one that fires."
        )
    apart = (sums[1] / counts[1] - sums[0] / counts[0]).float()
    return apart / apart.norm()
