"""telling: Teller, a language model that answers requests; Kept, where answers are kept so that none is paid for twice.

A kept answer is one file under the sha256 of the whole request: who is asked, with which settings, and every word. A
run that was killed asks only for what is missing, and the same request costs nothing again. No key is ever written.
"""

import hashlib
import json
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from physalis import artifact
from physalis.errors import BadInput

LETTERS_A_TOKEN = 4
"""About; for costs that are told before."""


class Request(NamedTuple):
    """What a language model is asked."""

    prompt: str
    most: int
    """Tokens of the reply, at most."""

    def digest(self, teller: str) -> str:
        """sha256 of all that decides the reply."""
        return hashlib.sha256(json.dumps([teller, self.prompt, self.most]).encode()).hexdigest()

    @property
    def about(self) -> int:
        """Its tokens, about."""
        return -(-len(self.prompt) // LETTERS_A_TOKEN)


class Reply(NamedTuple):
    """What it answered."""

    text: str
    read: int
    """Tokens of the request."""
    written: int


@dataclass
class Spent:
    """What was asked so far."""

    requests: int = 0
    read: int = 0
    written: int = 0
    kept: int = 0
    """Answers that were there already, and cost nothing."""

    def __str__(self) -> str:
        return f"{self.requests:,} requests, {self.read:,} tokens read, {self.written:,} written, {self.kept:,} kept"


class Unanswered(BadInput):
    """Nothing that was answered can be used."""


@runtime_checkable
class Teller(Protocol):
    """Answers requests."""

    spent: Spent
    kept: "Kept | None"

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def settings(self) -> str:
        """All that decides what it answers, as one line without secrets."""
        ...

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """A reply to each."""
        ...


class Kept:
    """A folder of answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def get(self, digest: str) -> Reply | None:
        """The answer; None where there is none, or a damaged one."""
        path = self._path(digest)
        if not path.exists():
            return None
        try:
            said: Any = artifact.read_json(path)
            text, read, written = said["text"], said["read"], said["written"]
        except (BadInput, KeyError, TypeError):
            return None
        whole = isinstance(text, str) and isinstance(read, int) and isinstance(written, int)
        return Reply(text, read, written) if whole else None

    def put(self, digest: str, request: Request, reply: Reply) -> None:
        """Keep it, whole or not at all."""
        path = self._path(digest)
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
        artifact.write_json(path, {"prompt": request.prompt, "most": request.most, **reply._asdict()})

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.json"


class Counted:
    """A teller that asks nobody, and counts what it would cost: what another's ``kept`` answers hold costs nothing."""

    def __init__(self, name: str, settings: str, kept: Kept | None) -> None:
        self.name, self.settings, self.spent, self.kept = name, settings, Spent(), kept
        self._seen = set[str]()

    @classmethod
    def like(cls, teller: Teller) -> "Counted":
        """In another's place."""
        return cls(teller.name, teller.settings, teller.kept)

    def tell(self) -> None:
        """Say on standard error what was counted, before it is asked for in earnest."""
        print(
            f"{self.name} is to be asked {self.spent.requests:,} times: about {self.spent.read:,} tokens to read, and "
            f"at most {self.spent.written:,} to write. {self.spent.kept:,} answers are kept already.",
            file=sys.stderr,
        )

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Empty replies to what is not kept."""
        found = []
        for request in requests:
            digest = request.digest(self.settings)
            reply = None if self.kept is None else self.kept.get(digest)
            if reply is not None or digest in self._seen:
                self.spent.kept += 1
            else:
                self.spent.requests += 1
                self.spent.read += request.about
                self.spent.written += request.most
            self._seen.add(digest)
            found.append(reply or Reply("", 0, 0))
        return found
