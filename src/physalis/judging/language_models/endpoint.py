"""endpoint: Endpoint, a language model behind any address that answers as OpenAI's chat completions do.

Its key is read from an environment variable when something is asked, and goes nowhere but into the request's header.
What may pass is asked again, with growing pauses or after what ``Retry-After`` says; what will not is a sentence.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx

from physalis.errors import BadInput
from physalis.judging.language_models.telling import LETTERS_A_TOKEN, Kept, Reply, Request, Spent

OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"
LARGEST = 4 << 20
"""Bytes of a reply that are read."""
LONGEST_PAUSE_S = 60.0
_HERE = ("localhost", "127.0.0.1", "::1")


class _Again(Exception):
    """It may answer if it is asked once more, after so many seconds if it says so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Endpoint:
    """Asks a language model over HTTP."""

    def __init__(
        self,
        model: str,
        url: str = OPENAI,
        *,
        key_from: str = KEY,
        kept: Path | str | None = None,
        patience_s: float = 60.0,
        tries: int = 5,
        at_once: int = 4,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """``model`` is its name there, ``key_from`` the environment variable that holds the key, if it needs one. With
        ``kept`` answers are kept in that folder. Each of ``tries`` waits ``patience_s`` for a whole answer; ``at_once``
        requests are under way together.

        Raises BadInput for what is no address, and for one to which a key would go unencrypted.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise BadInput(f"{_without_secrets(url)!r} is no address. Give one such as {OPENAI}, and no key in it.")
        if parts.scheme == "http" and parts.hostname not in _HERE and os.environ.get(key_from):
            raise BadInput(
                f"The key in ${key_from} would go to {parts.hostname} unencrypted. Use https, or unset the variable."
            )
        self.name, self.url, self.key_from = model, url.rstrip("/"), key_from
        self.kept = None if kept is None else Kept(Path(kept))
        self.spent = Spent()
        self._patience, self._tries, self._at_once, self._pause = patience_s, tries, at_once, pause
        self._spelling = {"max_tokens": "max_tokens", "temperature": "temperature"}
        self._lock = Lock()

    @property
    def settings(self) -> str:
        """Where, which model, and that nothing is left to chance as far as it can be helped."""
        return json.dumps({"url": self.url, "model": self.name, "temperature": 0})

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply to each, those that are kept at once. Raises BadInput where there is no answer to be had."""
        with httpx.Client(timeout=self._patience) as client, ThreadPoolExecutor(self._at_once) as pool:
            waiting = {each: pool.submit(self._one, client, each) for each in dict.fromkeys(requests)}
            try:
                return [waiting[each].result() for each in requests]
            finally:
                for each in waiting.values():
                    each.cancel()

    def _one(self, client: httpx.Client, request: Request) -> Reply:
        digest = request.digest(self.settings)
        found = None if self.kept is None else self.kept.get(digest)
        if found is not None:
            with self._lock:
                self.spent.kept += 1
            return found
        reply = self._patiently(client, request)
        with self._lock:
            self.spent.requests += 1
            self.spent.read += reply.read
            self.spent.written += reply.written
        if self.kept is not None:
            self.kept.put(digest, request, reply)
        return reply

    def _patiently(self, client: httpx.Client, request: Request) -> Reply:
        for attempt in range(self._tries):
            try:
                return self._answer(client, request)
            except _Again as error:
                if attempt + 1 == self._tries:
                    raise BadInput(
                        f"{self.url} was asked {self._tries} times: {error} Run the same command again later: what was "
                        "answered is kept."
                    ) from error
                after = 2.0**attempt if error.after is None else error.after
                self._pause(min(max(after, 0.0), LONGEST_PAUSE_S))
        raise AssertionError("there is at least one try")

    def _answer(self, client: httpx.Client, request: Request) -> Reply:
        status, headers, body = self._post(client, self._body(request))
        if status == 400 and self._respelt(body):
            status, headers, body = self._post(client, self._body(request))
        if status == 200:
            return _read(body, request)
        said = _said(body)
        if key := self._key:
            said = said.replace(key, "...")  # some say what they were given
        if status == 429 and "quota" not in said.lower():
            raise _Again(f"it has had enough requests for now (429: {said}).", _seconds(headers.get("retry-after")))
        if status in (408, 409) or status >= 500:
            raise _Again(f"it answers with an error ({status}: {said}).", _seconds(headers.get("retry-after")))
        raise BadInput(f"{self.url} refuses ({status}: {said}). {self._advice(status)}")

    @property
    def _key(self) -> str:
        return os.environ.get(self.key_from, "").strip()

    def _body(self, request: Request) -> dict[str, Any]:
        values = {"max_tokens": request.most, "temperature": 0}
        settings = {spelt: values[name] for name, spelt in self._spelling.items() if spelt}
        return {"model": self.name, "messages": [{"role": "user", "content": request.prompt}], **settings}

    def _respelt(self, body: bytes) -> bool:
        """Whether it wants a setting under another name, or not at all, and has it so from now on."""
        said, before = _said(body), dict(self._spelling)
        if "max_completion_tokens" in said:
            self._spelling["max_tokens"] = "max_completion_tokens"
        elif "temperature" in said:
            self._spelling["temperature"] = ""
        return before != self._spelling

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        headers = {"authorization": f"Bearer {key}"} if (key := self._key) else {}
        until = time.monotonic() + self._patience
        try:
            with client.stream("POST", f"{self.url}/chat/completions", json=body, headers=headers) as response:
                got = bytearray()
                for part in response.iter_bytes():
                    got += part
                    if len(got) > LARGEST:
                        raise BadInput(f"{self.url} answers with more than {LARGEST:,} bytes. Check the address.")
                    if time.monotonic() > until:
                        raise _Again(f"its answer was not whole after {self._patience:g} s.")
                return response.status_code, dict(response.headers), bytes(got)
        except (httpx.ConnectError, httpx.UnsupportedProtocol) as error:
            raise BadInput(
                f"Nobody answers at {self.url} ({error}). Check the address, and whether it runs."
            ) from error
        except httpx.TimeoutException as error:
            raise _Again(f"no answer came within {self._patience:g} s.") from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Again(f"its answer broke off ({type(error).__name__}).") from error
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise BadInput(f"The key in ${self.key_from}, or the address, is not one. Check both.") from error

    def _advice(self, status: int) -> str:
        if status in (401, 403):
            return f"Put a key that is good there into ${self.key_from}, or name another variable with --key-from."
        if status == 404:
            return f"Check the address, which should end as {OPENAI} does, and the model's name, {self.name!r}."
        if status == 429:
            return "Its account has nothing left."
        return "Check the model's name and the address."


def _read(body: bytes, request: Request) -> Reply:
    try:
        said = json.loads(body)
        text = said["choices"][0]["message"]["content"]
        used = said.get("usage") or {}
        read, written = (used.get(name) for name in ("prompt_tokens", "completion_tokens"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Again("its answer is no chat completion.") from error
    text = text if isinstance(text, str) else ""
    about = (request.about, len(text) // LETTERS_A_TOKEN)
    counts = (n if isinstance(n, int) and n >= 0 else guess for n, guess in zip((read, written), about, strict=True))
    return Reply(text, *counts)


def _said(body: bytes) -> str:
    """What an error says of itself, as far as a sentence has room for it."""
    try:
        said = json.loads(body)
        error = said.get("error", said) if isinstance(said, dict) else said
        text = error.get("message") or error if isinstance(error, dict) else error
    except ValueError:
        text = body[:400].decode(errors="replace")
    text = " ".join(str(text).split())
    return (text[:200] + "..." if len(text) > 200 else text).rstrip(".") or "no reason given"


def _seconds(said: str | None) -> float | None:
    try:
        return None if said is None else float(said)
    except ValueError:
        return None


def _without_secrets(url: str) -> str:
    return url.rpartition("@")[2][:100]
