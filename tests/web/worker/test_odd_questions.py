"""Whatever is asked of a model over HTTP: an answer or a sentence, no error of the server's; streams end as such."""

import json
import math
from functools import partial

import pytest
from hanging import Talking
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from starlette.testclient import TestClient
from test_meaning import Trigrams

from physalis.errors import BadInput
from physalis.models import Model
from physalis.steering import dose_response
from physalis.web import create_app
from physalis.web.atlas.live import beside

ODD = ["\x00", "\ud800", "\u202e", "<bos>", 3, None]
TEXTS = some.sampled_from(["", " ", "alpha", "a" * 255, "a" * 256, "a" * 8_001, "\U0001f331" * 300, *ODD])
LARGE = [1e9, -1e9, 1.0000001e9, 1e38, 1e308, math.inf, -math.inf, 2**63, -(2**64), 10**400]
NUMBERS = some.sampled_from([0, 1, -1, 3, 1.5, 5e-324, math.nan, *LARGE, True, "1", None, [], {}])
WHOLE = some.sampled_from([0, 1, 2, 127, 128, -1, 513, 2**31, 2**63, 10**40, 1.5, "3", None])
KINDS = some.sampled_from(["add", "clamp", "scale", "project", "cap", "explode", None])
AMOUNTS = {"add": "strength", "clamp": "value", "scale": "factor", "project": "strength", "cap": "limit"}
EDITS = some.lists(
    some.tuples(KINDS, WHOLE, NUMBERS).map(
        lambda e: {"kind": e[0], "feature": e[1], AMOUNTS.get(e[0], "strength"): e[2]}
    ),
    max_size=3,
)
MESSAGES = some.lists(some.fixed_dictionaries({"role": some.sampled_from(["user", "x"]), "content": TEXTS}), max_size=2)
SAMPLING = {"temperature": NUMBERS, "top_p": NUMBERS, "seed": NUMBERS, "edits": EDITS}
LINES = some.lists(TEXTS, max_size=3) | some.just(["a"] * 101)


def asked(always: dict, maybe: dict):
    return some.fixed_dictionaries(always, optional=maybe)


FEW = some.sampled_from([1, 2, 0, 513, None])
OPENAI = asked({"max_tokens": FEW}, {"prompt": TEXTS, "messages": MESSAGES, "stream": some.booleans(), **SAMPLING})
QUESTIONS = {
    "/api/steer": asked({"tokens": FEW}, {"text": TEXTS, "messages": MESSAGES, **SAMPLING}),
    "/v1/completions": OPENAI,
    "/v1/chat/completions": OPENAI,
    "/api/dose-response": asked({"feature": WHOLE}, {"strengths": some.lists(NUMBERS, max_size=2)}),
    "/api/try": asked({"text": TEXTS}, {"strongest": WHOLE, "densest": NUMBERS, "limit": WHOLE}),
    "/api/try/feature": asked({"text": TEXTS, "feature": some.lists(WHOLE, max_size=3)}, {}),
    "/api/try/token": asked({"text": LINES, "token": TEXTS}, {"limit": WHOLE}),
    "/api/contrast": asked({"here": LINES, "there": LINES}, {"measure": some.sampled_from(["mean_code", "no"])}),
}
GETS = ("/api/try", "/api/try/feature", "/api/try/token", "/api/contrast", "/api/meaning")


@pytest.fixture(scope="module")
def client(one_thread, tiny, tiny_dictionary, tiny_activations, tiny_atlas):
    model = Model(tiny.hf, Talking(), name="tiny", family=tiny.family)
    live = beside(tiny_atlas, model, tiny_dictionary, tiny_activations.folder, embedder=Trigrams())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("physalis.web.atlas.steering.dose_response", partial(dose_response, tokens=64))
        yield TestClient(create_app(tiny_atlas, live), raise_server_exceptions=False)


def check(answer) -> None:
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        assert isinstance(answer.json()["detail"], str) and "Traceback" not in answer.text
    elif answer.headers["content-type"].startswith("text/event-stream"):
        *events, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        assert all(json.loads(event.removeprefix("data: ")) for event in events)
    else:
        strictly(answer.text)


def strictly(text: str) -> None:
    """JSON of numbers that are some, which Python's own reader does not insist on."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("path", QUESTIONS)
def test_any_question_has_an_answer_or_a_sentence(client, path):
    @given(QUESTIONS[path])
    @settings(
        max_examples=12 if path == "/api/dose-response" else 60, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    def ask(question):
        check(client.post(path, content=json.dumps(question), headers={"content-type": "application/json"}))

    ask()


@pytest.mark.parametrize("path", GETS)
def test_any_link_has_an_answer_or_a_sentence(client, path):
    odd = {
        "query": TEXTS,
        "text": TEXTS,
        "limit": WHOLE,
        "feature": WHOLE,
        "here": TEXTS,
        "there": TEXTS,
        "token": TEXTS,
    }

    @given(some.fixed_dictionaries({}, optional=odd))
    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    def ask(question):
        check(client.get(path, params={k: str(v).encode("utf-8", "replace").decode() for k, v in question.items()}))

    ask()


@pytest.mark.parametrize("length", [100, 4_000, 500_000])
@pytest.mark.parametrize("path", QUESTIONS)
def test_deep_and_broken_bodies(client, path, length):
    for body in (
        "[" * length,
        '{"text":' * length,
        '{"a":1',
        "\xff",
        "null",
        "9" * length,
        '{"seed":' + "9" * length + "}",
    ):
        answer = client.post(path, content=body.encode("latin-1"), headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500 and isinstance(answer.json()["detail"], str), answer.text[:200]


@pytest.mark.parametrize("seed", [-1, 2**64, 10**30])
def test_seeds_of_doses_have_ends(tiny, tiny_dictionary, tiny_activations, seed):
    with pytest.raises(BadInput, match="A seed is a whole number from 0"):
        dose_response(tiny_dictionary, tiny_activations.folder, tiny, 3, seed=seed)
