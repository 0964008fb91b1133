"""A server on a socket, clients that hang up whenever they like, and a model that takes its time."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import httpx
import uvicorn

from physalis.models import Model
from physalis.models.tiny import ByteTokenizer
from physalis.web.server.serving import bind

PATIENCE_S = 60.0


class Talking(ByteTokenizer):
    """Knows a chat template, as tokenizers of models that answer do."""

    chat_template = "whatever was said"

    def apply_chat_template(self, messages, tokenize=True, **_):
        said = "".join(message["content"] for message in messages)
        return list(said.encode()) if tokenize else said


@contextmanager
def serving(app) -> Iterator[tuple[str, int]]:
    """Where an app is served, by a thread."""
    with bind("127.0.0.1", 0) as listener:
        config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        until(lambda: server.started)
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = True
            thread.join()


def until(holds: Callable[[], bool]) -> None:
    """Waits until something holds, for long on a slow machine."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.005)


def call(at: tuple[str, int], path: str, asked: dict | None = None) -> httpx.Response:
    """An ordinary client's answer; a GET where nothing is asked."""
    url = f"http://{at[0]}:{at[1]}{path}"
    return httpx.get(url, timeout=PATIENCE_S) if asked is None else httpx.post(url, json=asked, timeout=PATIENCE_S)


def say(at: tuple[str, int], path: str, asked: dict | None = None) -> socket.socket:
    """A client that has sent its request, and read nothing yet."""
    body = b"" if asked is None else json.dumps(asked).encode()
    client = socket.create_connection(at, timeout=PATIENCE_S)
    head = f"{'GET' if asked is None else 'POST'} {path} HTTP/1.1\r\nhost: 127.0.0.1:{at[1]}\r\n"
    client.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    return client


def read_until(client: socket.socket, words: bytes) -> bytes:
    """What the server sent, as far as some words in it, or the end."""
    got = b""
    while words not in got and (more := client.recv(65536)):
        got += more
    return got


class Pace(NamedTuple):
    """How a model's passes go: each layer's beginning is counted, and waits for ``go``."""

    layers: list[float]
    """When each began."""
    go: threading.Event


@contextmanager
def paced(model: Model, seconds: float = 0.005) -> Iterator[Pace]:
    """A model whose layers each take so long at least, and stand still where ``go`` is cleared."""
    pace = Pace([], threading.Event())
    pace.go.set()

    def wait(*_) -> None:
        pace.layers.append(time.monotonic())
        time.sleep(seconds)
        pace.go.wait(PATIENCE_S)

    handles = [block.register_forward_pre_hook(wait) for block in model.hf.blocks]
    try:
        yield pace
    finally:
        pace.go.set()
        for handle in handles:
            handle.remove()


@contextmanager
def occupied(turns) -> Iterator[None]:
    """Somebody else holds the model meanwhile."""
    assert turns._line_up().done()
    try:
        yield
    finally:
        with suppress(Exception):
            turns._hand_on()
