"""Steering: edits against the arithmetic they state, texts with and without them, doses beside their baselines."""

import numpy as np
import pytest
import torch
from written import TURNS, byte_level, model_of, sentencepiece

from physalis.activations.hygiene import Hygiene
from physalis.dictionaries import TopK, TopKConfig
from physalis.errors import BadInput
from physalis.metrics import Ratio, Sums
from physalis.models import tiny_model
from physalis.models.generation import Sampler, generate
from physalis.site import Site
from physalis.steering import (
    Add,
    Cap,
    Clamp,
    Place,
    Project,
    Scale,
    Steering,
    chat,
    completion,
    measure,
    parse_edit,
    steer,
)
from physalis.steering.dose_curves import NOTHING, Trial, raised
from physalis.steering.edits import EDITS
from physalis.types import Batch

AT = Site("resid_post", 1)
ALL = Hygiene(max_norm=float("inf"), skip_first=False)
PLACE = Place(AT, AT, ALL)
TOKENS = torch.arange(24).reshape(2, 12) + 60


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def sae():
    made = TopK(TopKConfig(d_in=32, d_out=32, n_features=64, k=8))
    x = torch.randn(512, 32, generator=torch.Generator().manual_seed(0))
    made.start(Batch(x, x), seed=0)
    return made


def written(model, steering, start=0):
    return model.run(TOKENS, read=[AT], write=steering.writes(start))[AT]


def code(sae, x, feature):
    found = sae.encode(x.flatten(0, 1))
    return (found.values * (found.ids == feature)).sum(1).view(x.shape[:2])


@pytest.mark.parametrize(
    "edit, moved",
    [
        (Add(feature=3, strength=2.5), lambda c, p: torch.full_like(p, 2.5)),
        (Clamp(feature=3, value=4.0), lambda c, p: 4 - c),
        (Scale(feature=3, factor=0.0), lambda c, p: -c),
        (Scale(feature=3, factor=3.0), lambda c, p: 2 * c),
        (Project(feature=3, strength=1.5), lambda c, p: 1.5 - p),
        (Cap(feature=3, limit=0.1), lambda c, p: -(p - 0.1).clamp_min(0)),
    ],
)
def test_an_edit_moves_by_what_it_says(model, sae, edit, moved):
    x = model.run(TOKENS, read=[AT])[AT]
    u = sae.W_dec[3].detach() / sae.W_dec[3].norm()
    expected = x + moved(code(sae, x, 3), x @ u)[..., None].detach() * u
    assert (written(model, Steering.of(sae, [edit], PLACE)) - expected).abs().max() < 1e-5


def test_several_edits_in_their_order(model, sae):
    x = model.run(TOKENS, read=[AT])[AT]
    u, v = (sae.W_dec[i].detach() / sae.W_dec[i].norm() for i in (3, 5))
    after = x + 2 * u
    expected = after + (1 - after @ v)[..., None] * v
    edits = [Add(feature=3, strength=2), Project(feature=5, strength=1)]
    assert (written(model, Steering.of(sae, edits, PLACE)) - expected).abs().max() < 1e-5


def test_hygiene_is_left_alone(model, sae):
    x = model.run(TOKENS, read=[AT])[AT]
    norms = x.norm(dim=-1)
    hygiene = Hygiene(max_norm=float(norms[:, 1:].median()), skip_first=True)
    steering = Steering.of(sae, [Add(feature=3, strength=9)], Place(AT, AT, hygiene))
    changed = (written(model, steering) != x).any(-1)
    assert torch.equal(changed, hygiene.keep(x)) and not changed.all() and changed.any()
    later = (written(model, steering, start=5) != x).any(-1)  # a pass that begins later has no first position
    assert torch.equal(later, norms <= hygiene.max_norm)


def test_a_transcoder_is_read_in_one_place_and_written_in_another(model, sae):
    reads, writes = Site("mlp_in", 1), Site("mlp_out", 1)
    steering = Steering.of(sae, [Scale(feature=3, factor=0)], Place(reads, writes, ALL))
    x, y = (model.run(TOKENS, read=[site])[site] for site in (reads, writes))
    got = model.run(TOKENS, read=[writes], write=steering.writes())[writes]
    u = sae.W_dec[3].detach() / sae.W_dec[3].norm()
    assert (got - (y - code(sae, x, 3)[..., None].detach() * u)).abs().max() < 1e-5
    assert (got != y).any()


def test_edits_are_data():
    edits = [Add(feature=1, strength=2), Cap(feature=3)]
    assert EDITS.validate_json(EDITS.dump_json(edits)) == edits
    with pytest.raises(ValueError, match="kind"):
        EDITS.validate_python([{"kind": "explode", "feature": 1}])


def test_a_feature_that_is_not_there(sae):
    with pytest.raises(BadInput, match="features 0 to 63; received an edit of 64"):
        Steering.of(sae, [Add(feature=64, strength=1)], PLACE)


def test_texts_differ_only_by_the_edits(model, sae):
    prompt = completion(model, "def f(")
    assert prompt[0] == model.bos_id
    same = list(steer(model, prompt, Steering.of(sae, [Add(feature=3, strength=0)], PLACE), n=12))
    assert len(same) == 12 and all(step.plain == step.edited for step in same)
    moved = list(steer(model, prompt, Steering.of(sae, [Add(feature=3, strength=300)], PLACE), n=12))
    assert [s.plain for s in moved] == [s.plain for s in same]
    assert [s.edited for s in moved] != [s.plain for s in moved]
    alone = generate(model, prompt[None], 12, sampler=Sampler())
    text = b"".join(each.encode() if isinstance(each, str) else each for each in model.pieces([int(i) for i in alone]))
    assert "".join(s.plain for s in same) == text.decode(errors="replace")


CHARACTERS = "日本 🌱 и"


@pytest.mark.parametrize("made", [byte_level, sentencepiece, None], ids=["byte-level", "sentencepiece", "tiny"])
def test_what_is_written_is_text(made, sae, tell, model):
    model = model if made is None else model_of(made())
    (ids,) = model.encode([CHARACTERS])
    tell(ids)
    steering = Steering.of(sae, [Add(feature=3, strength=0)], PLACE)
    steps = list(steer(model, completion(model, "the"), steering, n=len(ids)))
    assert len(steps) == len(ids)
    assert "".join(s.plain or "" for s in steps) == "".join(s.edited or "" for s in steps) == CHARACTERS
    cut = list(steer(model, completion(model, "the"), steering, n=len(ids) - 1))  # in the middle of a letter
    assert "".join(s.plain or "" for s in cut) == CHARACTERS[:-1] + "\ufffd"
    tell([*ids[:-1], model.separator_id])
    over = list(steer(model, completion(model, "the"), steering, n=len(ids) + 5))
    assert "".join(s.plain or "" for s in over) == CHARACTERS[:-1] + "\ufffd" and len(over) == len(ids)


@pytest.mark.parametrize("end", ["</s>", "<end>", "<turn>"])
def test_an_answer_ends_with_every_end_that_the_model_names(tell, sae, end):
    tokenizer = byte_level(template=TURNS)
    model = model_of(tokenizer, ends=[tokenizer.convert_tokens_to_ids("<turn>")])
    (ids,) = model.encode(["the hat"])
    tell([*ids, tokenizer.convert_tokens_to_ids(end), *ids])
    prompt = chat(model, [{"role": "user", "content": "the cat?"}])
    steps = list(steer(model, prompt, Steering.of(sae, [Add(feature=3, strength=0)], PLACE), n=30))
    assert "".join(s.plain or "" for s in steps) == "the hat"


def test_ids_without_a_token_are_never_chosen():
    model = model_of(byte_level(), spare=40)
    unknown = ~model.known_ids
    assert int(unknown.sum()) == 40

    def raise_them(x):
        return x + 50.0 * unknown

    for sampler in (Sampler(temperature=0), Sampler(), Sampler(top_p=0.5)):
        chosen = generate(
            model, torch.tensor([[5, 6]]), 8, writes=lambda _: {Site("logits"): raise_them}, sampler=sampler
        )
        assert all(model.known_ids[ids].all() for ids in chosen)


def test_any_whole_number_is_a_seed():
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    drawn = {seed: int(Sampler(seed=seed).choose(logits, 3)) for seed in (0, -1, -(2**70), 2**63, 2**64, 10**40)}
    assert drawn[0] == drawn[2**64] and len(set(drawn.values())) > 1
    assert int(Sampler(temperature=1e-300).choose(logits, 0)) == int(logits.argmax())
    for temperature in (float("nan"), float("inf")):
        with pytest.raises(BadInput, match="temperature is at least 0"):
            Sampler(temperature=temperature)


def test_an_edit_that_leaves_no_predictions_is_refused(model):
    def spoil(x):
        return x * float("inf")

    with pytest.raises(BadInput, match="not numbers any more"):
        list(generate(model, TOKENS, 3, writes=lambda _: {AT: spoil}))
    with pytest.raises(BadInput, match="At strength 7 the predictions of tiny are not numbers any more"):
        measure(model, TOKENS, [4], {"it": [Trial(7, {AT: spoil}, NOTHING)]}, cost=0.1)


def test_amounts_are_numbers():
    for amount in ("1e308", "-1e10", "inf", "nan"):
        with pytest.raises(BadInput, match="KIND:FEATURE:AMOUNT"):
            parse_edit(f"add:3:{amount}")


def test_a_prompt_stands_before_text_that_begins_without_bos(model):
    prompt = torch.tensor([70, 71])
    for lead in (0, 1):
        _, (told,) = measure(model, TOKENS, [4], {"prompt": [Trial(1, {}, prompt, lead)]}, cost=0.1)
        before = prompt.expand(2, -1)
        long = torch.cat([TOKENS[:, :lead], before, TOKENS[:, lead:]], 1)
        log_p = model.run(long, read=[Site("logits")])[Site("logits")][:, 2:-1].log_softmax(-1)
        assert told.doses[0].target.value == pytest.approx(float(log_p[..., 4].exp().mean()), rel=1e-5)


def test_sampling_follows_the_softmax():
    logits = torch.tensor([[1.0, 0.0, 2.0, -1.0]])
    drawn = np.bincount([int(Sampler(seed=s).choose(logits, 0)) for s in range(4_000)], minlength=4) / 4_000
    assert np.abs(drawn - logits[0].softmax(0).numpy()).max() < 0.03
    kept = {int(Sampler(seed=s, top_p=0.6).choose(logits, 0)) for s in range(200)}
    assert kept == {2}  # .64 alone
    assert int(Sampler(temperature=0).choose(logits, 3)) == 2
    with pytest.raises(BadInput, match="temperature is at least 0"):
        Sampler(temperature=-1)
    assert int(Sampler(top_p=1e-60).choose(logits, 0)) == int(logits.argmax())
    with pytest.raises(BadInput, match="top_p"):
        Sampler(top_p=0)


def test_doses_are_what_the_logits_say(model):
    end = Site("logits")
    direction = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
    steering = Steering([Add(feature=0, strength=5)], direction, PLACE)
    trials = {
        "it": [Trial(5, steering.writes(), NOTHING), Trial(0, {}, NOTHING)],
        "prompt": [Trial(1, {}, torch.tensor([70, 71]))],
    }
    unedited, (it, prompt) = measure(model, TOKENS, [4, 9], trials, cost=0.1)
    log_p, log_q = (
        model.run(TOKENS, read=[end], write=write)[end][:, :-1].log_softmax(-1) for write in ({}, steering.writes())
    )
    assert unedited.value == pytest.approx(float(log_p[..., [4, 9]].exp().sum(-1).mean()), rel=1e-5)
    nothing, dose = it.doses
    assert nothing.kl.value == 0 and nothing.perplexity.value == 1 and nothing.times.value == 1
    assert dose.target.value == pytest.approx(float(log_q[..., [4, 9]].exp().sum(-1).mean()), rel=1e-5)
    lift = log_q[..., [4, 9]].logsumexp(-1) - log_p[..., [4, 9]].logsumexp(-1)
    assert dose.times.value == pytest.approx(float(lift.mean().exp()), rel=1e-4)
    assert dose.kl.value == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum(-1).mean()), rel=1e-4)
    gain = -log_q.gather(2, TOKENS[:, 1:, None]).mean() + log_p.gather(2, TOKENS[:, 1:, None]).mean()
    assert dose.perplexity.value == pytest.approx(float(gain.exp()), rel=1e-4)
    assert it.suggested in (0, 5) and (it.cliff == 5) == (dose.perplexity.value > 1.1)
    long = torch.cat([TOKENS[:, :1], torch.tensor([[70, 71]]).expand(2, -1), TOKENS[:, 1:]], 1)
    after = model.run(long, read=[end])[end][:, 2:-1].log_softmax(-1)
    assert prompt.doses[0].target.value == pytest.approx(float(after[..., [4, 9]].exp().sum(-1).mean()), rel=1e-5)
    with pytest.raises(BadInput, match="at least one token"):
        measure(model, TOKENS, [], trials, cost=0.1)


def test_doses_count_what_can_be_predicted_by_document(model):
    """The first token of another document follows from nothing; contexts of one document are one observation."""
    end = Site("logits")
    tokens = torch.arange(72).reshape(6, 12) + 60
    documents = torch.tensor([0, 0, 1, 2, 3, 4])[:, None].repeat(1, 12)
    documents[2, 5:] = 5
    steering = Steering(
        [Add(feature=0, strength=5)], torch.randn(1, 32, generator=torch.Generator().manual_seed(1)), PLACE
    )
    trials = {"it": [Trial(5, steering.writes(), NOTHING)]}
    unedited, (it,) = measure(model, tokens, [4, 9], trials, documents=documents, cost=0.1)
    counts = torch.ones(6, 11, dtype=torch.bool)
    counts[2, 4] = False
    p = model.run(tokens, read=[end])[end][:, :-1].softmax(-1)[..., [4, 9]].sum(-1)
    assert unedited.value == pytest.approx(float(p[counts].mean()), rel=1e-5)
    sums = Sums()
    sums.add(Ratio(p[counts], torch.ones(int(counts.sum()))), documents[:, :-1][counts])
    assert len(sums.ids) == 6 and unedited.low == pytest.approx(sums.estimate()["low"], rel=1e-5)
    assert it.doses[0].kl.value > 0
    with pytest.raises(BadInput, match="nothing is predicted"):
        measure(model, tokens, [4], trials, documents=torch.arange(72).reshape(6, 12), cost=0.1)


def test_ids_without_a_token_are_no_target(model, monkeypatch):
    known = torch.ones(model.vocab_size, dtype=torch.bool)
    steering = Steering(
        [Add(feature=0, strength=50)], torch.randn(1, 32, generator=torch.Generator().manual_seed(1)), PLACE
    )
    trial = Trial(50, steering.writes(), NOTHING)
    before = raised(model, TOKENS, trial)
    known[before[:6]] = False
    monkeypatch.setitem(model.__dict__, "known_ids", known)
    after = raised(model, TOKENS, trial)
    assert len(before) == len(after) == 10 and after[:4] == before[6:] and not set(after) & set(before[:6])
    with pytest.raises(BadInput, match=f"has no token {before[0]}"):
        measure(model, TOKENS, [before[0]], {"it": [trial]}, cost=0.1)


def test_a_prompt_that_does_not_fit_is_refused(model):
    long = torch.zeros(model.longest, dtype=torch.long)
    with pytest.raises(BadInput, match="reads at most"):
        measure(model, TOKENS, [4], {"prompt": [Trial(1, {}, long)]}, cost=0.1)


def test_what_writes_once_may_write_again(model, sae):
    """One mapping of writes serves passes of other sizes, and no pass sees what another read."""
    writes = Steering.of(sae, [Scale(feature=3, factor=0)], PLACE).writes()
    whole = model.run(TOKENS, read=[AT], write=writes)[AT]
    again = torch.cat([model.run(part, read=[AT], write=writes)[AT] for part in TOKENS.split(1)])
    assert torch.allclose(again, whole, atol=1e-5)
