"""Attackers: what people and bad luck do to a server, one function each, run by fire.py as processes of their own.

    python benchmarks/attackers.py NAME ADDRESS NOTES SECONDS

Each goes on for SECONDS and then prints one JSON object: how often each thing was answered how, and the labels that the
server said it kept. They come from an address of their own (127.0.0.66) where the system has several. They stand for
other machines, whose processors are not the server's: so fire.py starts them such that they yield it what there is, and
take of it what they make it do.
"""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

SOURCE = "127.0.0.66"
ONE_STEER = {"text": "The city was", "edits": [{"kind": "add", "feature": 3, "strength": 5.0}], "tokens": 60}
ONE_COMPLETION = {"prompt": "The city was", "max_tokens": 60}
BALLAST = "ballast"


class Attack:
    """The server and how long it is attacked; what it answered."""

    def __init__(self, name: str, address: str, notes: Path, seconds: float) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.host, self.port, self.notes = host, int(port), notes
        self.until = time.monotonic() + seconds
        self.answers: Counter[str] = Counter()
        self.kept: list[str] = []
        self.random = random.Random(0)
        self.numbers = [*range(1_000 + list(ATTACKS).index(name), 4_600, len(ATTACKS))]
        """Features that are labelled here, and by no other attacker."""

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        source = (SOURCE, 0) if sys.platform == "linux" and self.host == "127.0.0.1" else None
        return await asyncio.open_connection(self.host, self.port, local_addr=source)

    async def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, read: float = 120
    ) -> str:
        """One request on a connection of its own: the status, or what became of it. ``read`` is after how many seconds
        the connection is dropped, whatever has come by then."""
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(sent)}"]
        status, writer = "no answer", None
        try:
            reader, writer = await self.connect()
            writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
            async with asyncio.timeout(read):
                head = await reader.readline()
                status = head.split()[1].decode() if head else "closed"
                while await reader.read(1 << 16):
                    pass
        except TimeoutError:
            status = f"{status}, hung up"
        except OSError as error:
            status = type(error).__name__
        finally:
            if writer is not None:
                writer.transport.abort()
        self.answers[f"{method} {path.split('?')[0][:40]}: {status}"] += 1
        return status

    async def label(self, text: str, headers: dict[str, str] | None = None) -> str:
        # A feature has one label of one author: another would take its place.
        feature = self.numbers.pop()
        asked = {"feature": feature, "text": text}
        status = await self.ask("POST", "/api/notes/labels", asked, headers=headers)
        if status == "201":
            self.kept.append(text)
        else:
            self.numbers.insert(0, feature)
        return status


async def long_searches(attack: Attack) -> None:
    """Queries without end, the longest that are allowed, and filters and numbers without end."""
    words = "+".join([".", "a", "e", "the"] * 8_000)
    longest = "+".join(["a", "e", "o", "i", "s", "t", "n"] * 60)[:490]
    paths = [
        f"/features?query={words}", f"/features.json?query={longest}", f"/features?query={longest}",
        f"/features?{'filter=density:..1&' * 3_000}", f"/features/{'9' * 5_000}", f"/features?offset={'9' * 5_000}",
    ]  # fmt: skip
    while attack.goes_on:
        await asyncio.gather(*(attack.ask("GET", path) for path in paths))


async def foreign_pages(attack: Attack) -> None:
    """What a page of another site makes a visitor's browser ask for."""
    paths = [
        "/api/try?text=The+city+was+" + "built+" * 300, "/api/contrast?here=the+city&there=a+river",
        "/api/meaning?query=import", "/features?query=the", "/api/map",
    ]  # fmt: skip
    foreign = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    while attack.goes_on:
        await asyncio.gather(*(attack.ask("GET", path, headers=foreign) for path in paths))


async def silent_connections(attack: Attack) -> None:
    """Twelve hundred connections that say nothing, half a head, or half a body."""
    said = [
        b"", b"GET /features/1 HTTP/1.1\r\nhost: x\r\nx-a: ",
        b"POST /api/notes/labels HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 4000\r\n\r\n{",
    ]  # fmt: skip
    open_: list[asyncio.StreamWriter] = []
    try:
        while attack.goes_on:
            while len(open_) < 1_200 and attack.goes_on:
                try:
                    async with asyncio.timeout(2):
                        _, writer = await attack.connect()
                except (OSError, TimeoutError) as error:
                    attack.answers[f"connection: {type(error).__name__}"] += 1
                    await asyncio.sleep(0.1)
                    continue
                writer.write(said[len(open_) % len(said)])
                open_.append(writer)
                attack.answers["connection: opened"] += 1
                if len(open_) % 100 == 0:
                    await asyncio.sleep(0.2)
            await asyncio.sleep(1)
            gone = [writer for writer in open_ if writer.transport.is_closing()]
            attack.answers["connection: closed by the server"] += len(gone)
            open_ = [writer for writer in open_ if not writer.transport.is_closing()]
    finally:
        for writer in open_:
            writer.transport.abort()


async def hang_ups(attack: Attack) -> None:
    """Every long request, left at a random moment."""
    asked: list[tuple[str, str, object]] = [
        ("POST", "/api/steer", ONE_STEER), ("POST", "/v1/completions", {**ONE_COMPLETION, "stream": True}),
        ("POST", "/v1/completions", ONE_COMPLETION),
        ("POST", "/api/try", {"text": "The city was built by the river. " * 40}),
        ("POST", "/api/contrast", {"here": ["the city"] * 4, "there": ["a river"] * 4}),
        ("POST", "/api/dose-response", {"feature": 3}),
    ]  # fmt: skip
    while attack.goes_on:
        await asyncio.gather(
            *(attack.ask(*each, read=attack.random.choice([0.01, 0.1, 0.4, 1.5])) for each in asked),
            asyncio.sleep(0.5),
        )


async def huge_prompts(attack: Attack) -> None:
    """Prompts whose tokens are many more than their characters say."""
    emoji, rare = "🌱🪻🫧" * 2_660, "龘靐齉" * 2_660
    asked: list[tuple[str, str, object]] = [
        ("POST", "/api/steer", {"text": emoji, "tokens": 2}), ("POST", "/v1/completions", {"prompt": rare}),
        ("POST", "/api/try", {"text": emoji}), ("POST", "/api/steer", {"text": "a " * 4_000, "tokens": 2}),
        ("POST", "/api/steer", {**ONE_STEER, "seed": 2**63}), ("POST", "/v1/chat/completions", {"messages": []}),
        ("POST", "/api/steer", {"text": "a", "edits": [{"kind": "add", "feature": 1, "strength": 1e308}]}),
    ]  # fmt: skip
    while attack.goes_on:
        for each in asked:
            await attack.ask(*each)
            if not attack.goes_on:
                break


async def forged_addresses(attack: Attack) -> None:
    """Another address in every request, to write and to guess without limit."""
    i = 0
    while attack.goes_on:
        forged = [f"10.{attack.random.randrange(256)}.{i % 256}.{k}" for k in range(8)]
        await asyncio.gather(
            *(attack.label(f"forged {i} {k}", {"x-forwarded-for": each}) for k, each in enumerate(forged)),
            attack.ask("GET", "/features/1", headers={"x-forwarded-for": forged[0], "forwarded": f"for={forged[1]}"}),
        )
        i += 1


async def full_disk(attack: Attack) -> None:
    """The disk is full, then it is not, while labels are written."""
    ballast, i = attack.notes.parent / BALLAST, 0
    try:
        while attack.goes_on:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            for _ in range(3):
                await attack.label(f"full disk {i}")
                i += 1
                await asyncio.sleep(0.6)
            ballast.unlink()
            for _ in range(2):
                await attack.label(f"room again {i}")
                i += 1
                await asyncio.sleep(0.6)
    finally:
        ballast.unlink(missing_ok=True)


async def replaced_files(attack: Attack) -> None:
    """The notes are replaced by a whole copy of theirs (a backup that is put back), between two writes."""
    i = 0
    while attack.goes_on:
        copy = attack.notes.with_name(".restored.db")
        copy.unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(attack.notes, timeout=5)) as live:
            live.execute("BEGIN IMMEDIATE")  # nobody writes between the copy and its taking the place
            with contextlib.closing(sqlite3.connect(attack.notes)) as reader:
                reader.execute("VACUUM INTO ?", (str(copy),))
            os.replace(copy, attack.notes)
            live.execute("ROLLBACK")
        attack.answers["notes: replaced"] += 1
        for _ in range(3):
            await attack.label(f"replaced {i}")
            i += 1
            await asyncio.sleep(0.6)


ATTACKS: dict[str, Callable[[Attack], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        long_searches, foreign_pages, silent_connections, hang_ups, huge_prompts, forged_addresses, full_disk,
        replaced_files,
    )
}  # fmt: skip


def main() -> None:
    name, address, notes, seconds = sys.argv[1:]
    attack = Attack(name, address, Path(notes), float(seconds))

    async def run() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(seconds) + 5):
                await ATTACKS[name](attack)

    asyncio.run(run())
    print(json.dumps({"answers": attack.answers, "kept": attack.kept}))


if __name__ == "__main__":
    main()
