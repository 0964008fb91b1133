"""A model on this machine: what it writes is what greedy generation writes; how it judges is what its logits say."""

import numpy as np
import pytest
import torch
from hanging import Talking

from physalis.codes import StoredCodes
from physalis.errors import BadInput
from physalis.judging import Judge, LocalReader, LocalTeller, Question, Request, Shown, Teller
from physalis.judging.material import Material
from physalis.models import Model
from physalis.models.families import TINY
from physalis.models.generation import LOGITS
from physalis.models.tiny import ByteTokenizer, TinyConfig, untrained

WORDS = {0: "Fires on the letter 'a'.", 1: "Fires on line breaks."}


def roomy(tokenizer, **config) -> Model:
    torch.manual_seed(0)
    config = {"vocab_size": max(tokenizer.get_vocab().values()) + 1, "context": 4096} | config
    return Model(untrained(TinyConfig(**config)), tokenizer, name="roomy", family=TINY)


@pytest.fixture(scope="module")
def model():
    return roomy(ByteTokenizer())


@pytest.fixture(scope="module")
def reader(model, tiny, tiny_activations, tiny_codes):
    return LocalReader(model, WORDS, Material("text", tiny_activations, StoredCodes.open(tiny_codes), tiny))


def question(reader, ask, n=2):
    at = reader._material.judged.at[:n]
    return Question(ask, tuple(Shown(each, np.arange(len(each)) == 1) for each in at))


def test_they_are_what_is_asked_for(model, reader):
    assert isinstance(LocalTeller(model), Teller) and isinstance(reader, Judge)


def test_it_writes_what_is_likeliest_and_keeps_it(model, tmp_path):
    teller = LocalTeller(model, kept=tmp_path)
    (reply,) = teller.ask([Request("alpha", 5)])
    ids = [model.bos_id, *b"alpha"]
    for _ in range(reply.written):
        logits = model.run(torch.tensor([ids]), read=[LOGITS])[LOGITS][0, -1].masked_fill(~model.known_ids, -torch.inf)
        ids.append(int(logits.argmax()))
    assert reply.text == bytes(i for i in ids[6:] if i < 256).decode(errors="replace") and reply.written
    again = LocalTeller(model, kept=tmp_path)
    assert again.ask([Request("alpha", 5)]) == [reply] and again.spent.kept == 1 and again.spent.requests == 0


def test_a_chat_template_is_used(tmp_path):
    talking = LocalTeller(roomy(Talking()))
    assert talking._ids("so") == list(b"so")


def test_yes_and_no_are_compared_and_what_is_said_without_words_is_subtracted(model, reader):
    asked = question(reader, "fires")
    (found,) = reader.answers(0, [asked])
    tokens = reader._material.strings(asked.shown[0].at)

    shown = f"{tokens[0]}⟦{tokens[1]}⟧{''.join(tokens[2:])}"

    def odds(words):
        prompt = (
            f"This was said of one feature of a neural network that reads text: {words}\n\nText, with some tokens "
            f'between ⟦ and ⟧ if they are asked about:\n<passage n="1">\n{shown}\n'
            "</passage>\n\nQuestion: Does the feature fire on any token of this text? Answer yes or no.\nAnswer:"
        )
        start, total = [model.bos_id, *prompt.encode()], []
        for answer in (b" yes", b" no"):
            logits = model.run(torch.tensor([[*start, *answer]]), read=[LOGITS])[LOGITS][0].float().log_softmax(-1)
            total.append(sum(float(logits[len(start) - 1 + i, byte]) for i, byte in enumerate(answer)))
        return total[0] - total[1]

    wanted = odds(WORDS[0]) - odds("Nothing is known of it.")
    assert found[0] == pytest.approx(1 / (1 + np.exp(-wanted)), abs=1e-4)
    (odd,) = reader.answers(0, [question(reader, "odd")])
    assert odd[0] == pytest.approx(-wanted, abs=1e-3)


def test_every_question_gets_finite_answers_that_depend_on_the_words(reader):
    asked = [
        question(reader, "fires"),
        question(reader, "marked"),
        question(reader, "odd"),
        question(reader, "levels", 1),
    ]
    one, two = (reader.answers(feature, asked) for feature in WORDS)
    for each, a, b in zip(asked, one, two, strict=True):
        assert a.shape == (each.n_answers,) and np.isfinite(a).all() and not np.array_equal(a, b)
    again = reader.answers(0, asked)
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))


def test_who_reads_too_little_says_so(reader, tiny, tiny_activations, tiny_codes):
    short = LocalReader(tiny, WORDS, reader._material)
    with pytest.raises(BadInput, match="A question has .* tokens; tiny reads at most 256"):
        short.answers(0, [question(reader, "fires")])
