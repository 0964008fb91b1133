"""Whoever hangs up, at whatever moment of whatever request, frees the model; so do limits of time and memory."""

import asyncio
import json
import threading
import time
from typing import ClassVar

import pytest
from fastapi import HTTPException
from hanging import Talking, call, occupied, paced, read_until, say, serving, until
from test_meaning import Trigrams

from physalis.errors import BadInput
from physalis.models import Model
from physalis.runtime.cancellation import Interrupted, check_interrupted, interruptible
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.guard.guard import Rate, guard
from physalis.web.server.events import Events
from physalis.web.worker.model_lock import ModelLock

PLENTY = Rate(10**6, 10.0**6)
TOKENS = 60
LONG = {
    "steer": ("/api/steer", {"text": "alpha", "tokens": TOKENS}),
    "completion": ("/v1/completions", {"prompt": "alpha", "max_tokens": TOKENS}),
    "streamed": ("/v1/completions", {"prompt": "alpha", "max_tokens": TOKENS, "stream": True}),
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": TOKENS}),
    "chat streamed": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": TOKENS, "stream": True},
    ),
    "doses": ("/api/dose-response", {"feature": 3}),
    "try": ("/api/try", {"text": "alpha beta " * 20}),
    "contrast": ("/api/contrast", {"here": ["alpha beta"] * 40, "there": ["gamma"] * 40}),
    "try by a link": ("/api/try?text=alpha", None),
    "meaning": ("/api/meaning?query=alpha", None),
}  # fmt: skip
WRITES = ("steer", "completion", "streamed", "chat", "chat streamed")
SHORT = ("/v1/completions", {"prompt": "a", "max_tokens": 1})


class Slow(Trigrams):
    """An embedder that waits as the model does."""

    go = threading.Event()
    asked = 0

    def embed(self, texts):
        if len(texts) == 1:
            Slow.asked += 1
            assert self.go.wait(60)
        return super().embed(texts)


@pytest.fixture(scope="module")
def model(tiny):
    return Model(tiny.hf, Talking(), name="tiny", family=tiny.family)


@pytest.fixture(scope="module")
def turns():
    return ModelLock(waiting=3)


@pytest.fixture(scope="module")
def never_ends(model):
    """Texts go on until they have all their tokens."""
    kept, model.__dict__["ends"] = model.ends, frozenset()
    yield
    model.__dict__["ends"] = kept


@pytest.fixture(scope="module")
def at(one_thread, model, never_ends, tiny_dictionary, tiny_activations, tiny_atlas, turns):
    live = beside(tiny_atlas, model, tiny_dictionary, tiny_activations.folder, embedder=Slow("slow"), turns=turns)
    app = guard(create_app(tiny_atlas, live), by_address=PLENTY, by_session=PLENTY)
    with serving(app) as place:
        Slow.go.set()
        assert call(place, *LONG["meaning"]).status_code == 200
        yield place


def at_work(what: str, pace, layers: int = 1) -> bool:
    return Slow.asked > 0 if what == "meaning" else len(pace.layers) >= layers


def is_free_again(turns) -> None:
    until(lambda: not turns._taken and turns.waiting == 0)


def is_free(at, turns) -> None:
    is_free_again(turns)
    assert call(at, *SHORT).status_code == 200


@pytest.mark.parametrize("what", LONG)
def test_who_hangs_up_at_the_start_frees_the_model(at, model, turns, what):
    Slow.asked = 0
    Slow.go.clear()
    with paced(model) as pace:
        pace.go.clear()
        client = say(at, *LONG[what])
        until(lambda: at_work(what, pace))
        client.close()
        time.sleep(0.1)  # the server hears of it; on a slow machine later, and the model does more
        pace.go.set()
        Slow.go.set()
        until(lambda: not turns._taken)
        whole = {"doses": 500, "try": 3, "contrast": 3, "try by a link": 3}.get(what, 3 * TOKENS)
        assert len(pace.layers) <= whole / 2 or what == "meaning"
    is_free(at, turns)


@pytest.mark.parametrize("what", WRITES)
def test_who_hangs_up_in_the_middle_frees_the_model(at, model, turns, what):
    with paced(model) as pace:
        client = say(at, *LONG[what])
        until(lambda: at_work(what, pace, 30))
        if "stream" in json.dumps(LONG[what][1]) or what == "steer":
            assert b"data: " in read_until(client, b"data: ")
        client.close()
        until(lambda: not turns._taken)
        assert len(pace.layers) < 3 * TOKENS
    is_free(at, turns)


@pytest.mark.parametrize("what", WRITES)
def test_who_hangs_up_at_the_end_frees_the_model(at, turns, what):
    client = say(at, *LONG[what])
    read_until(client, b"[DONE]" if "stream" in what or what == "steer" else b"usage")
    client.close()
    is_free(at, turns)


@pytest.mark.parametrize("what", [name for name in LONG if name != "meaning"])
def test_who_hangs_up_while_it_waits_leaves_the_queue(at, model, turns, what):
    with paced(model) as pace, occupied(turns):
        clients = [say(at, *LONG[what]) for _ in range(3)]
        until(lambda: turns.waiting == 3)
        full = call(at, *LONG[what])
        assert full.status_code == 503 and "busy" in full.json()["detail"] and full.headers["retry-after"] == "2"
        clients[1].close()
        until(lambda: turns.waiting == 2)
        clients[1] = say(at, *LONG[what])
        until(lambda: turns.waiting == 3)
        for client in clients:
            client.close()
        until(lambda: turns.waiting == 0)
        assert not pace.layers
    is_free(at, turns)


def test_who_waits_is_served_in_order_and_costs_no_thread(at, model, turns):
    served: list[int] = []  # prompts' lengths, as the model comes to them: clients may hear of it in another order
    answers: list[int] = []

    def ask(tokens: int) -> None:
        answer = call(at, "/v1/completions", {"prompt": "a" * tokens, "max_tokens": 1}).json()
        answers.append(answer["usage"]["prompt_tokens"])

    def note(_, given) -> None:
        served.append(given[0].shape[1])

    noting = model.hf.blocks[0].register_forward_pre_hook(note)
    with occupied(turns):
        asking = []
        before = sum("AnyIO" in thread.name for thread in threading.enumerate())
        for tokens in (3, 1, 2):
            asking.append(threading.Thread(target=ask, args=(tokens,)))
            asking[-1].start()
            until(lambda: turns.waiting == len(asking))
        assert not [thread for thread in threading.enumerate() if thread.name == "model"]
        assert sum("AnyIO" in thread.name for thread in threading.enumerate()) <= max(before, 1)
        assert call(at, "/map").status_code == 200  # a page that takes a thread
    for each in asking:
        each.join()
    noting.remove()
    assert served == [4, 2, 3]  # each begins with one more token
    assert sorted(answers) == [2, 3, 4]


def test_more_clients_than_threads_stop_no_page(at, model, turns):
    with paced(model) as pace:
        pace.go.clear()
        clients = [say(at, *LONG["steer"]) for _ in range(60)]
        until(lambda: turns.waiting == 3)
        for path in ("/map", "/api/metrics", "/steer", "/api/steering"):
            assert call(at, path).status_code == 200
        for client in clients:
            client.close()
        pace.go.set()
    is_free(at, turns)


def test_who_does_not_read_holds_no_model(never_ends):
    turns, made = ModelLock(), []

    async def reads_one() -> None:
        parts = turns.stream(Nobody(), lambda: (made.append(i) or i for i in range(1000)))
        assert await anext(parts) == 0
        while turns._taken:
            await asyncio.sleep(0.001)
        assert made == list(range(1000))
        await parts.aclose()

    asyncio.run(reads_one())


class Nobody:
    """A request whose client stays."""

    scope: ClassVar[dict] = {}

    async def receive(self):
        await asyncio.Event().wait()


def test_time_is_limited(model, never_ends, tiny_dictionary, tiny_atlas):
    turns = ModelLock(most_seconds=0.2)
    app = create_app(tiny_atlas, beside(tiny_atlas, model, tiny_dictionary, turns=turns))
    with serving(app) as at, paced(model):
        whole = call(at, *LONG["completion"])
        assert whole.status_code == 503 and "longer than 0.2 s" in whole.json()["detail"]
        assert "longer than 0.2 s" in call(at, *LONG["steer"]).text  # or as its last event, where it got to the first
    is_free_again(turns)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (BadInput("too strong"), "too strong"),
        (HTTPException(503, "too long"), "too long"),
        (MemoryError(), "not enough memory"),
        (ZeroDivisionError("secret"), "in its log"),
    ],
)
def test_what_goes_wrong_in_an_answer_is_its_last_event(error, words):
    turns = ModelLock()

    def make():
        yield {"plain": "a"}
        raise error

    async def told() -> list[str]:
        answer = await Events.of(turns.stream(Nobody(), make))
        return [part async for part in answer.body_iterator]

    first, last, done = asyncio.run(told())
    assert first == 'data: {"plain": "a"}\n\n' and words in last and done == "data: [DONE]\n\n"
    assert "secret" not in last and not turns._taken


def test_what_cannot_be_interrupted_is_answered_without_and_waited_for(monkeypatch):
    monkeypatch.setattr("physalis.web.worker.model_lock.SPARE_SECONDS", 0.05)
    turns, stuck = ModelLock(most_seconds=0.05), threading.Event()

    async def ask() -> None:
        for words in ("longer than 0.05 s", "was busy with other questions for 0.05 s"):
            with pytest.raises(HTTPException, match=words) as refused:
                await turns.answer(Nobody(), lambda: stuck.wait(60))
            assert refused.value.status_code == 503
        stuck.set()
        while turns._taken:
            await asyncio.sleep(0.001)
        assert await turns.answer(Nobody(), lambda: 3) == 3

    asyncio.run(ask())


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("CUDA out of memory")],
)
def test_too_little_memory_is_a_sentence(error):
    turns = ModelLock()

    def work():
        raise error

    with pytest.raises(HTTPException, match="not enough memory"):
        asyncio.run(turns.answer(Nobody(), work))
    assert asyncio.run(turns.answer(Nobody(), lambda: 3)) == 3


def test_no_thread_left_is_a_sentence(monkeypatch):
    turns = ModelLock()

    def start(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(HTTPException, match="no thread left"):
            asyncio.run(turns.answer(Nobody(), lambda: 3))
    assert asyncio.run(turns.answer(Nobody(), lambda: 3)) == 3


@pytest.mark.parametrize("seed", range(8))
def test_tasks_cancelled_at_any_moment_keep_nothing(seed):
    """As a server does that stops: many requests, each cancelled at a moment of its own."""
    import random

    chance, turns = random.Random(seed), ModelLock(waiting=100)

    def work():
        for i in range(5):
            check_interrupted()
            time.sleep(0.0005)
            yield i

    async def one() -> None:
        parts = turns.stream(Nobody(), work)
        try:
            async for _ in parts:
                await asyncio.sleep(0)
        finally:
            await parts.aclose()

    async def many() -> None:
        tasks = []
        for _ in range(30):
            tasks.append(asyncio.create_task(one()))
            await asyncio.sleep(chance.choice([0, 0, 0.001]))
            chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while turns._taken:
            await asyncio.sleep(0.001)
        assert turns.waiting == 0

    asyncio.run(asyncio.wait_for(many(), 60))


def test_interruption_holds_where_it_was_asked_for(tiny):
    def check() -> None:
        raise Interrupted

    check_interrupted()
    with interruptible(check), pytest.raises(Interrupted):
        check_interrupted()
    check_interrupted()
