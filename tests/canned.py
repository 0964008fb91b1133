"""An endpoint that answers as OpenAI's does, by what a test says: honest, wrong, refusing, garbled, cut off, hung."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Answer = tuple[int, dict[str, str], bytes] | None
"""Status, headers and body; None: it never answers."""


class Canned(NamedTuple):
    """Where it is, and what it was asked."""

    url: str
    asked: list[dict[str, Any]]
    headers: list[dict[str, str]]
    go: threading.Event
    """What hangs goes on with this."""


def said(text: object, **more: Any) -> Answer:
    """A chat completion."""
    reply: dict[str, Any] = {
        "id": "c", "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
    }  # fmt: skip
    return 200, {}, json.dumps(reply | more).encode()


def refusal(status: int, message: str, **headers: str) -> Answer:
    """An error as OpenAI's API says it."""
    return status, headers, json.dumps({"error": {"message": message, "type": "t"}}).encode()


@contextmanager
def canned(answer: Callable[[dict[str, Any], int], Answer]) -> Iterator[Canned]:
    """Served by threads: ``answer`` of what was asked and how many were asked before."""
    asked: list[dict[str, Any]] = []
    heads: list[dict[str, str]] = []
    go, lock = threading.Event(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(asked)
                asked.append({"path": self.path, **body})
                heads.append({name.lower(): value for name, value in self.headers.items()})
            try:
                given = answer(body, number)
            except Exception as error:  # a mistake of the test's: told at once, not tried again
                given = refusal(400, repr(error))
            if given is None:
                go.wait(60)
                return
            status, headers, data = given
            self.send_response(status)
            for name, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Canned(f"http://127.0.0.1:{server.server_port}/v1", asked, heads, go)
    finally:
        go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def knows_letters(body: dict[str, Any], _: int = 0) -> Answer:
    """A judge that understands "Fires on the letter X." and goes by it, and that describes by the marked token that is
    most frequent."""
    prompt = body["messages"][0]["content"]
    found = re.search(r"letter '(.)'", prompt)
    passages = re.findall(r'<passage n="\d+">\n(.*?)\n</passage>', prompt, re.DOTALL)
    if found is None:
        marked = re.findall(r"⟦(.)⟧\(", prompt, re.DOTALL)
        letters = [each for each in marked if each.isalpha()] or ["a"]
        return said(f"Fires on the letter '{max(sorted(set(letters)), key=letters.count)}'.")
    letter = found[1]
    if wanted := re.search(r"Write (\d+) different", prompt):
        return said("\n".join(f"- {'so ' * i}{letter}" for i in range(int(wanted[1]))))
    if "12=7" in prompt:
        tokens = re.findall(r"^(\d+): '(.*)'$", prompt, re.MULTILINE)
        return said("\n".join(f"{i}=9" for i, token in tokens if token == letter) or "none")
    if "wrong ones" in prompt:
        marks = [re.findall("⟦(.*?)⟧", each, re.DOTALL) for each in passages]
        return said(json.dumps([10 * (each == [letter] * len(each)) for each in marks]))
    fires = [letter in each for each in passages]
    if "In which one" in prompt:
        return said(f"[{fires.index(False) + 1}]" if False in fires else "I cannot tell.")
    return said(f"I judge them so: {[9 * each for each in fires]}")
