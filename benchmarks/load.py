"""Load: a served atlas of 100,000 features under 200 requests a second, while notes are written, and then killed.

    python benchmarks/load.py                  # a minute and a half, and 4 minutes once to write the atlas
    python benchmarks/load.py --seconds 5      # does everything work?
    python benchmarks/load.py --cold           # and once more with no page of the atlas in the file cache

The server is `physalis serve` as a process of its own, killed with SIGKILL at the end in the middle of its work. This
process sends requests at moments fixed beforehand (an open loop: a slow answer does not make the next request wait, and
its waiting counts), mixed as MIX says. A label is written every half second, as fast as one address may for long. With
--cold the same is measured on a server whose atlas was dropped from the system's file cache before it started, as after
the machine did. Rows are {name, value, unit, bar}.
"""

import argparse
import asyncio
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from atlas import synthetic_atlas
from rich.console import Console
from rich.table import Table

from physalis.models import cache_folder
from physalis.people.notes import Notes, beside

SORTS = ("density", "max_code", "token_entropy", "logit_kurtosis")
BAR_MS = 50
MIX: dict[str, tuple[float, Callable[[random.Random, int], str]]] = {
    "feature page": (0.5, lambda r, n: f"/features/{r.randrange(n)}"),
    "feature as JSON": (0.2, lambda r, n: f"/features/{r.randrange(n)}.json"),
    "sorted list": (0.12, lambda r, n: f"/features?sort={r.choice(SORTS)}&offset={50 * r.randrange(20)}"),
    "search": (0.08, lambda r, n: f"/features.json?query={r.choice('bdfgklmn')}{r.choice(['a', 'or', 'ai'])}k"),
    "labels of a feature": (0.05, lambda r, n: f"/api/notes/features/{r.randrange(n)}"),
    "summary": (0.05, lambda r, n: "/"),
}
"""Name to its share and the address of one."""


class Client:
    """Asks for pages over kept connections and reads whole answers, compressed as browsers have them, and no more: a
    client that costs as much as the server would measure itself."""

    def __init__(self, address: str, *, source: str | None = None) -> None:
        """``source`` is the address of this machine to ask from, where it has several."""
        self.host, port = address.removeprefix("http://").split(":")
        self.port = int(port)
        self.source = (source, 0) if source and sys.platform == "linux" else None
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self, path: str) -> int | str:
        """The status, or what went wrong."""
        while self.idle:
            kept = self.idle.pop()
            if not kept[0].at_eof():  # else the server has closed it, having heard nothing for long
                try:
                    return await self.ask(*kept, path)
                except ConnectionResetError:  # closed while we asked: browsers ask again, too
                    continue
        try:
            connected = await asyncio.open_connection(self.host, self.port, local_addr=self.source)
            return await self.ask(*connected, path)
        except OSError as error:
            return repr(error)

    async def ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int | str:
        asked = f"GET {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\naccept-encoding: gzip\r\n\r\n"
        writer.write(asked.encode())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise ConnectionResetError("closed before it answered") from error
            return repr(error)
        self.idle.append((reader, writer))
        return int(head.split()[1])


async def load(
    address: str, n: int, rate: float, seconds: float
) -> tuple[dict[str, list[float]], list[str], list[str]]:
    """Answers' milliseconds by kind, what went wrong, and the labels that the server said it kept."""
    r, times, wrong, kept = random.Random(0), {name: [] for name in MIX}, [], []
    client = Client(address)

    async def ask(name: str, path: str, due: float) -> None:
        status = await client.get(path)
        if status != 200:
            wrong.append(f"{path}: {status}")
        times[name].append(1000 * (time.perf_counter() - due))

    async def write() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=30) as writer:
            for i, feature in enumerate(random.Random(1).sample(range(n), int(2 * seconds))):
                text = f"label {i}"
                response = await writer.post("/api/notes/labels", json={"feature": feature, "text": text})
                if response.status_code == 201:
                    kept.append(text)
                else:
                    wrong.append(f"label: {response.status_code} {response.text[:100]}")
                await asyncio.sleep(0.5)

    names, shares = list(MIX), [share for share, _ in MIX.values()]
    writing, asked = asyncio.create_task(write()), []
    started = time.perf_counter() + 0.1
    for i in range(int(rate * seconds)):
        due = started + i / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        [name] = r.choices(names, shares)
        asked.append(asyncio.create_task(ask(name, MIX[name][1](r, n), due)))
    await asyncio.gather(*asked, writing)
    return times, wrong, kept


def serve(folder: Path) -> tuple[subprocess.Popen, str]:
    """The server and its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "physalis", "serve", str(folder), "--author", "load", "--port", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            httpx.get(address, timeout=5)
            return server, address
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("the server does not answer")


DROP = Path("/proc/sys/vm/drop_caches")


def drop_caches() -> str:
    """Have the system forget every file that it holds in memory; why not, where that cannot be."""
    try:
        subprocess.run(["sync"], check=True)
        DROP.write_text("3")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"The file cache could not be dropped ({error}), so that nothing cold was measured."
    return ""


def measured(folder: Path, options: argparse.Namespace) -> tuple[dict[str, list[float]], list[str], list[str]]:
    """``load`` on a server of the atlas, which is killed at the end."""
    beside(folder).unlink(missing_ok=True)
    server, address = serve(folder)
    try:
        return asyncio.run(load(address, options.features, options.rate, options.seconds))
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def row(name: str, value: float, unit: str, bar: float | None = None) -> dict:
    return {"name": name, "value": round(value, 2), "unit": unit, "bar": bar}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--folder", type=Path, default=cache_folder() / "benchmarks" / "load")
    parser.add_argument("--cold", action="store_true", help="also with the atlas dropped from the file cache")
    parser.add_argument("--json", action="store_true", help="only the rows")
    options = parser.parse_args()
    folder = options.folder / f"atlas-{options.features}"
    atlas = synthetic_atlas(folder, options.features)
    times, wrong, kept = measured(folder, options)
    found = Notes.open(beside(folder), atlas=atlas.manifest.hash).all_labels().values()
    there = {each.label.text for labels in found for each in labels}
    every = [each for some in times.values() for each in some]
    rows = [row(f"{name}, p95 of {len(t)}", statistics.quantiles(t, n=20)[-1], "ms") for name, t in times.items()]
    rows += [
        row(f"all, p95 of {len(every)}", statistics.quantiles(every, n=20)[-1], "ms", BAR_MS),
        row("all, p50", statistics.median(every), "ms"),
        row("errors", len(wrong), "", 0),
        row(f"labels lost, of {len(kept)} that were kept before SIGKILL", len(set(kept) - there), "", 0),
    ]
    if options.cold:
        why = drop_caches()
        if why:
            print(why, file=sys.stderr)
        else:
            times, failed, _ = measured(folder, options)
            cold = [each for some in times.values() for each in some]
            wrong += failed
            rows += [
                row(f"cold: all, p95 of {len(cold)}", statistics.quantiles(cold, n=20)[-1], "ms", BAR_MS),
                row("cold: all, p50", statistics.median(cold), "ms"),
                row("cold: the slowest", max(cold), "ms"),
                row("cold: errors", len(failed), "", 0),
            ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    table = Table("", "", "bar", title=f"{options.rate:g} requests/s for {options.seconds:g} s")
    for each in rows:
        table.add_row(
            each["name"], f"{each['value']:g} {each['unit']}", "" if each["bar"] is None else f"{each['bar']:g}"
        )
    Console().print(table)
    for sentence in wrong[:5]:
        print(sentence)


if __name__ == "__main__":
    main()
