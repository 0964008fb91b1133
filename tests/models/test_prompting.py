"""How a text begins for a model, and how much of it there is room for: the same in all that reads or writes texts."""

import numpy as np
import pytest
import torch
from written import TURNS, byte_level, model_of

from physalis.activations import Hygiene
from physalis.dictionaries import TopK, TopKConfig
from physalis.errors import BadInput
from physalis.models import pack
from physalis.models.text.prompting import begin, first_id, room
from physalis.search import Reader
from physalis.site import Site
from physalis.steering import Add, Place, Steering, chat, completion, steer

AT = Site("resid_post", 0)


def rule(bos: bool) -> Hygiene:
    return Hygiene(max_norm=float("inf"), skip_first=bos)


def adding(model, bos: bool) -> Steering:
    """An edit at every position that a dictionary recorded so keeps."""
    place = Place.inside(model, [AT], [AT], {AT: rule(bos)})
    return Steering([Add(feature=0, strength=9.0)], torch.ones(1, 32), place)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("has_bos", [True, False], ids=["a model with BOS", "a model without"])
def test_one_text_is_the_same_ids_everywhere(bos, has_bos):
    model = model_of(byte_level(bos="<s>" if has_bos else None))
    text = "the cat and the hat"
    (packed,) = pack(model, [text], context=5, bos=bos)
    ids = packed.ids[0].tolist()
    assert (ids[0] == first_id(model)) == bos
    (encoded,) = model.encode([text])
    assert begin(model, encoded, bos=bos)[:5] == ids
    assert completion(model, text, bos=bos).tolist()[:5] == ids
    sae = TopK(TopKConfig(d_in=32, d_out=32, n_features=8, k=2))
    (reading,) = Reader(model, sae, AT, rule(bos)).read([text])
    assert reading.ids[:5] == ids
    # What is kept is what is edited, and what a recording keeps.
    steering = adding(model, bos)
    tokens = torch.tensor([ids])
    plain = model.run(tokens, read=[AT])[AT]
    edited = model.run(tokens, read=[AT], write=steering.writes())[AT]
    kept = rule(bos).keep(plain)[0].tolist()
    assert steering.bos == bos and ((edited - plain).norm(dim=-1) > 1)[0].tolist() == kept
    assert [why is None for why in reading.left_out[:5]] == kept == [not bos, True, True, True, True]


def moved(model, steering, prompt) -> list[bool]:
    """Which positions of a prompt ``steer`` edits."""
    seen = []
    run = model.run

    def spy(tokens, *, read, write, **more):
        if not seen:
            both = run(tokens, read=[AT], write=write)[AT]
            seen.append((tokens[0].tolist(), ((both[0] - both[1]).norm(dim=-1) > 1).tolist()))
        return run(tokens, read=read, write=write, **more)

    model.run = spy
    list(steer(model, prompt, steering, n=1))
    model.run = run
    return seen[0]


def test_a_prompt_of_one_token_is_edited():
    for bos in ("<s>", None):
        model = model_of(byte_level(bos=bos))
        steering = adding(model, True)
        (ids,) = model.encode(["the"])
        assert len(ids) == 1
        for prompt in (completion(model, "the"), torch.tensor(ids)):  # BOS is put before what comes without
            assert moved(model, steering, prompt) == ([first_id(model), *ids], [False, True])
        none = adding(model, False)
        assert moved(model, none, completion(model, "the", bos=none.bos)) == (ids, [True])


def test_the_first_position_is_left_out_where_it_is_bos():
    model = model_of(byte_level())
    (ids,) = model.encode(["the cat"])
    for bos in (True, False):
        for tokens in (ids, [model.bos_id, *ids]):
            read = torch.tensor([tokens, tokens])
            write = adding(model, bos).writes(contexts=slice(1, None))
            plain, edited = (model.run(read, read=[AT], write=each)[AT] for each in ({}, write))
            far = (plain - edited).norm(dim=-1) > 1
            assert not far[0].any() and far[1].tolist() == [token != model.bos_id for token in tokens]


def test_a_template_may_bring_bos_along():
    model, told = model_of(byte_level(template=TURNS)), [{"role": "user", "content": "the cat"}]
    with_bos, without = (chat(model, told, bos=bos).tolist() for bos in (True, False))
    assert with_bos == without and with_bos.count(model.bos_id) == 1 and with_bos[0] == model.bos_id
    bare = model_of(byte_level(template=TURNS.removeprefix("{{ bos_token }}")))
    assert chat(bare, told).tolist() == with_bos and chat(bare, told, bos=False).tolist() == with_bos[1:]
    steering = adding(model, False)
    ids, edited = moved(model, steering, chat(model, told, bos=steering.bos))
    assert ids == with_bos and edited == [False, *[True] * (len(ids) - 1)]  # BOS is not text, whoever put it there


def test_messages_that_a_template_refuses():
    model = model_of(byte_level(template=TURNS))
    with pytest.raises(BadInput, match="refuses these messages: No system role"):
        chat(model, [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}])
    with pytest.raises(BadInput, match="no message to answer"):
        chat(model, [])
    with pytest.raises(BadInput, match="no chat template"):
        chat(model_of(byte_level()), [{"role": "user", "content": "hi"}])


def test_there_is_room_or_a_sentence():
    model = model_of(byte_level(), longest=20)
    assert room(model, 10, None, 60) == 10 and room(model, 10, None, 6) == 6 and room(model, 10, 10, 60) == 10
    with pytest.raises(BadInput, match="has 10 tokens, and 11 after it are asked for; small reads at most 20 in all"):
        room(model, 10, 11, 60)
    for prompt in (20, 57):
        with pytest.raises(BadInput, match=f"The prompt has {prompt} tokens; small reads at most 20"):
            room(model, prompt, None, 60)
    with pytest.raises(BadInput, match="Nothing comes before"):
        room(model, 0, 5, 60)


@pytest.mark.parametrize("n", [None, 15])
def test_a_text_ends_where_the_model_does(n):
    model = model_of(byte_level(), longest=16)
    steering = adding(model, True)
    prompt = completion(model, "the cat")
    if n is None:
        assert len(list(steer(model, prompt, steering))) <= 16 - len(prompt)
    else:
        with pytest.raises(BadInput, match="Ask for at most"):
            steer(model, prompt, steering, n=n)  # at once, before anything is read of it
    with pytest.raises(BadInput, match="Shorten the prompt"):
        steer(model, torch.from_numpy(np.arange(4, 60)), steering)
