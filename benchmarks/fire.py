"""Under fire: readers of a served atlas while eight attackers do what people and bad luck do, one by one and together.

    python benchmarks/fire.py                # 8 minutes on 2 cores, and 3 more once to make the atlas
    python benchmarks/fire.py --json         # only the list of rows on standard output
    python benchmarks/fire.py --seconds 5 --only hang_ups huge_prompts

SmolLM2's dictionary and atlas are made once and kept. For every row `physalis serve` is started anew as a process of
its own, with the model, on a copy of the atlas whose pages are then dropped from the file cache. 200 requests a second
of readers (an open loop, as in load.py) come from one address, the attackers (attackers.py) from another, and a third
writes a label every .6 seconds. Where this process may mount one, the copy stands on a small disk of its own that an
attacker fills; else that attack is left out, and said so.

Rows are {attack, readers_p95_ms, readers_errors, lost_writes, peak_mb}: milliseconds of all readers' requests, how many
were not answered by 200, labels that were acknowledged and are not there after SIGKILL, and the server's peak resident
memory (10^6 bytes), its libraries and model included. The first row is without an attack. After each the server must
still answer a steer; the exit code is 1 where it does not, or where a bar is missed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from attackers import ATTACKS, ONE_STEER
from load import Client
from rich.console import Console
from rich.table import Table

from physalis import artifact
from physalis.cli.learning.demo import SITE
from physalis.models import cache_folder
from physalis.people.notes import Notes, beside

HERE = Path(__file__).resolve().parent
CACHE = cache_folder() / "benchmarks" / "fire"
TOKENS, FEATURES = 100_000, 4_608
RATE, BAR_MS = 200, 50
READERS, WRITER = "127.0.0.2", "127.0.0.3"
ROOM = 32 << 20
TOGETHER = "all together"
NONE = "none"


@dataclass(frozen=True)
class Row:
    attack: str
    readers_p95_ms: float
    readers_errors: int
    lost_writes: int
    peak_mb: int


@dataclass(frozen=True)
class Outcome:
    """A row, and what the table says besides."""

    row: Row
    kept: int
    steered_s: float | None
    answers: Counter[str]
    wrong: list[str]


def made(folder: Path) -> tuple[Path, Path]:
    """A real atlas and its dictionary; what is there is used again."""
    physalis = [sys.executable, "-m", "physalis"]
    activations, dictionary, atlas = (folder / name for name in ("activations", "dictionary", "atlas"))
    for command in (
        ["record", "smollm2", "--site", str(SITE), "--text", "stdlib", "--tokens", str(TOKENS), "--out", activations],
        ["train", activations, "--features", str(FEATURES), "--out", dictionary],
        ["build-atlas", dictionary, activations, "--causes", "0", "--out", atlas],
    ):
        if not (Path(command[-1]) / artifact.MANIFEST).exists():
            subprocess.run([*physalis, *map(str, command)], check=True, stdout=sys.stderr)
    return atlas, dictionary


@contextlib.contextmanager
def disk(size: int) -> Iterator[tuple[Path, bool]]:
    """A folder with room for so many bytes and a little more, and whether there is no more room than that."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        image, folder = Path(name) / "disk", Path(name) / "mounted"
        folder.mkdir()
        small = sys.platform == "linux" and shutil.which("mkfs.ext4") is not None
        if small:
            with image.open("wb") as file:
                file.truncate(size * 5 // 4 + ROOM)
            commands = ["mkfs.ext4", "-q", "-m", "0", str(image)], ["mount", "-o", "loop", str(image), str(folder)]
            small = all(subprocess.run(each, stderr=subprocess.DEVNULL).returncode == 0 for each in commands)
        try:
            yield folder, small
        finally:
            if small:
                subprocess.run(["umount", "-l", str(folder)], check=False)


@contextlib.contextmanager
def served(atlas: Path, dictionary: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """The server and its address, once it answers; killed in the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "physalis", "serve", str(atlas), "--dictionary", str(dictionary)]
    server = subprocess.Popen(
        [*command, "--author", "fire", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(address, timeout=5)
                break
            time.sleep(0.1)
        else:
            raise RuntimeError("the server does not answer")
        yield server, address
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def drop(folder: Path) -> None:
    """Let the system forget what it holds of these files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                if sys.platform == "linux":
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def read(address: str, seconds: float) -> tuple[list[float], list[str]]:
    """Milliseconds of readers' requests, sent at moments fixed beforehand, and what went wrong."""
    r, client = random.Random(0), Client(address, source=READERS)
    times: list[float] = []
    wrong: list[str] = []
    paths = [
        (0.5, lambda: f"/features/{r.randrange(FEATURES)}"), (0.2, lambda: f"/features/{r.randrange(FEATURES)}.json"),
        (0.12, lambda: f"/features?sort=density&offset={50 * r.randrange(20)}"),
        (0.08, lambda: f"/features.json?query={r.choice(['import', 'the', 'if', 'self'])}"),
        (0.05, lambda: f"/api/notes/features/{r.randrange(FEATURES)}"), (0.05, lambda: "/"),
    ]  # fmt: skip

    async def ask(path: str, due: float) -> None:
        status = await client.get(path)
        if status != 200:
            wrong.append(f"{path}: {status}")
        times.append(1000 * (time.perf_counter() - due))

    asked, started = [], time.perf_counter() + 0.1
    for i in range(int(RATE * seconds)):
        due = started + i / RATE
        await asyncio.sleep(max(0, due - time.perf_counter()))
        [path] = r.choices([path for _, path in paths], [share for share, _ in paths])
        asked.append(asyncio.create_task(ask(path(), due)))
    await asyncio.gather(*asked)
    return times, wrong


async def write(address: str, seconds: float) -> tuple[list[str], Counter[str]]:
    """Labels that the server said it kept, of one every .6 seconds; what it said to the others."""
    kept, said = [], Counter()
    transport = httpx.AsyncHTTPTransport(local_address=WRITER if sys.platform == "linux" else None)
    async with httpx.AsyncClient(base_url=address, timeout=60, transport=transport) as writer:
        for i in range(int(seconds / 0.6)):
            asked = {"feature": 100 + i, "text": f"label {i}"}
            try:
                response = await writer.post("/api/notes/labels", json=asked)
                said[f"label of a reader: {response.status_code}"] += 1
                if response.status_code == 201:
                    kept.append(asked["text"])
            except httpx.HTTPError as error:
                said[f"label of a reader: {type(error).__name__}"] += 1
            await asyncio.sleep(0.6)
    return kept, said


async def under(attacks: list[str], address: str, notes: Path, seconds: float) -> tuple[list, list, list[str], Counter]:
    """Readers and a writer while these attackers are at work: times, errors, labels kept, answers to attackers."""
    commands = [[str(HERE / "attackers.py"), each, address, str(notes), str(seconds)] for each in attacks]
    yielding = ["nice", "-n", "19"] if shutil.which("nice") else []
    running = [
        await asyncio.create_subprocess_exec(*yielding, sys.executable, *each, stdout=asyncio.subprocess.PIPE)
        for each in commands
    ]
    (times, wrong), (kept, answers) = await asyncio.gather(read(address, seconds), write(address, seconds))
    for each in running:
        found = json.loads((await each.communicate())[0])
        answers.update(found["answers"])
        kept += found["kept"]
    return times, wrong, kept, answers


def steered(address: str) -> float | None:
    """Seconds until a whole steer was answered, None if it was not. One that finds no room asks again, as people do."""
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.post(f"{address}/api/steer", json={**ONE_STEER, "tokens": 4}, timeout=60).status_code == 200:
                return time.perf_counter() - started
        time.sleep(0.5)
    return None


def peak_mb(server: subprocess.Popen) -> int:
    """Of the pages' process and the model's, each at its peak."""
    of = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    pids = [server.pid, *map(int, of.read_text().split())] if of.exists() else []
    peaks = [Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split() for pid in pids]
    return sum(int(words[0]) * 1024 for words in peaks if words) // 10**6


def outcome(name: str, attacks: list[str], atlas: Path, dictionary: Path, seconds: float) -> Outcome:
    size = sum(path.stat().st_size for path in atlas.rglob("*") if path.is_file())
    with disk(size) as (folder, small):
        if not small and "full_disk" in attacks:
            print("full_disk is left out: a disk of its own cannot be mounted here (that needs root).", file=sys.stderr)
            attacks = [each for each in attacks if each != "full_disk"]
        copy = folder / "atlas"
        shutil.copytree(atlas, copy)
        with served(copy, dictionary) as (server, address):
            drop(copy)
            times, wrong, kept, answers = asyncio.run(under(attacks, address, beside(copy), seconds))
            seconds_to_steer, peak = steered(address), peak_mb(server)
        found = Notes.open(beside(copy), atlas=artifact.read(copy, "atlas").hash).all_labels().values()
        there = {each.label.text for labels in found for each in labels}
    p95 = round(statistics.quantiles(times, n=20)[-1], 1)
    row = Row(name, p95, len(wrong), len(set(kept) - there), peak)
    return Outcome(row, len(kept), seconds_to_steer, answers, wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of all attackers together; each alone a quarter")
    parser.add_argument("--only", nargs="+", choices=[NONE, *ATTACKS, TOGETHER], help="rows")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    options = parser.parse_args()
    atlas, dictionary = made(CACHE)
    rows = {NONE: [], **{name: [name] for name in ATTACKS}, TOGETHER: list(ATTACKS)}
    found = []
    for name in options.only or rows:
        seconds = options.seconds if name == TOGETHER else options.seconds / 4
        found.append(outcome(name, rows[name], atlas, dictionary, seconds))
        said = ", ".join(f"{what} x{n}" for what, n in sorted(found[-1].answers.items()))
        print(f"{name}: {said}\n  {'; '.join(found[-1].wrong[:3])}", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(each.row) for each in found], indent=1))
    show(Console(stderr=options.json, width=None if sys.stdout.isatty() else 140), found)
    good = all(
        each.row.readers_p95_ms <= BAR_MS and not each.row.readers_errors and not each.row.lost_writes
        and each.steered_s is not None
        for each in found
    )  # fmt: skip
    sys.exit(0 if good else 1)


def show(console: Console, found: list[Outcome]) -> None:
    table = Table(title=f"{RATE} readers' requests a second; bars: p95 {BAR_MS} ms, no error, no lost label, a steer")
    for column in ("attack", "readers' p95, ms", "errors", "lost labels", "peak, MB", "then a steer, s"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    for each in found:
        row = each.row
        steer = "not answered" if each.steered_s is None else f"{each.steered_s:.1f}"
        table.add_row(
            row.attack, f"{row.readers_p95_ms:g}", str(row.readers_errors), f"{row.lost_writes} of {each.kept}",
            str(row.peak_mb), steer,
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
