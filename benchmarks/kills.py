"""Killed at any moment: every command that writes is ended by SIGKILL and by Ctrl-C, again and again, and then run to
its end: what it leaves must be what an undisturbed run leaves, byte for byte.

    python benchmarks/kills.py                    # 20 minutes on 2 busy cores
    python benchmarks/kills.py --json             # only the list of rows on standard output
    python benchmarks/kills.py --only record publish --kills 20

Everything is made of the tiny random model that the tests use, in a folder that is deleted at the end (`--keep` names
one that stays). A command is first run undisturbed: that is the truth, and how long it takes. Then it is started in a
fresh folder and ended at a moment drawn from a part of that time, the parts one after the other; every second time it
is started and ended once more; and then it is run until it ends by itself, which must be with the same exit code.
SIGKILL and SIGINT go to its whole process group, as a terminal does it. After SIGINT it must say its one sentence and
leave 130 (or nothing, and die of the signal, in the 20 ms before Python listens).

One process has imported torch, and each run is a fork of it, in a process group of its own, that listens to signals as
`physalis` does before it calls the command line: nothing of the command has been done then. So the moments fall on the
work and not on seconds of importing; once a command, each signal also goes to a real `python -m physalis` while it
imports. The work is cut finer than by default, so that tiny runs have several parts: shards of 1,024 rows, and
a checkpoint every fifth of a second.

What is compared: every file that lies in or beside what the command writes, by its bytes, but for
- `.lock`, which is empty, and stays or not;
- `notes.db` and `comments.db`, of which SQLite decides where its rows lie: what is written in the one but for random
  ids and times, who is invited in the other, and that both are whole;
- `comments.key`, which is random, and what SQLite keeps beside its databases;
- the seconds that an experiment of the lab took, which its page tells.
Commands that only read must leave what they read as it was.

Rows are {command, kills, interrupts, restarts, same, sentences}: how often it was ended by each signal, how often it
was run again until it ended by itself, in how many of these the same bytes were there, and how many of the interrupts
ended in one sentence. The exit code is 1 unless all are the same and all said so.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from commands import CASES, PREPARED, Case
from rich.console import Console
from rich.table import Table

from physalis import cli
from physalis.atlas import Atlas
from physalis.cli.learning import demo
from physalis.models.tiny import tiny_model
from physalis.people.notes import Notes, beside
from physalis.people.notes.files import export_notes
from physalis.recording import record
from physalis.recording.options import Reading
from physalis.runtime.signals import SENTENCE, listening
from physalis.site import Site
from physalis.training import checkpoints

IMPORTS_S = 2.5
"""About what `python -m physalis` imports for."""
LIMIT_S = 300
"""Longer no run may take."""
ENDED = {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 128 + signal.SIGINT}

IMPORTED = (
    "atlas.build.building", "comparing.growing", "dead_features.explaining", "evaluation", "exchange",
    "exchange.formats.neuronpedia", "exchange.formats.saedashboard", "lab.experiments", "sweeping",
    "training.finetuning", "training.planning", "web.lab.publishing", "web.publish.site",
)  # fmt: skip
"""What commands import late."""

Contents = dict[str, str]


def finer() -> None:
    """Work in more parts than tiny runs would have, in this process and in those that it forks."""
    checkpoints.FIRST_S, checkpoints.EVERY_S = 0.01, 0.2
    record.__defaults__ = (Reading(shard_rows=1024),)
    demo.load_model = lambda name, **_: tiny_model()
    demo.SITE = Site("resid_post", 1)


def prepare(folder: Path) -> None:
    """What the commands read."""
    chance = np.random.default_rng(0)
    (folder / "text").mkdir(parents=True)
    for i in range(20):
        drawn = chance.choice(["alpha", "beta", "gamma", "delta", "if", "else", "\n"], size=200)
        (folder / "text" / f"{i:02d}.txt").write_text(" ".join(drawn))
    for words in PREPARED:
        code, said = finish(started(words.split(), folder))
        if code:
            sys.exit(f"physalis {words} ended with {code}: {said}")
    atlas = Atlas.open(folder / "atlas")
    notes = Notes.open(beside(folder / "atlas"), atlas=atlas.manifest.hash)
    for feature in range(0, len(atlas), 2):
        notes.label(feature, f"label {feature}", author="Ada")
    export_notes(notes, folder / "notes")
    other = Notes.open(folder / "other.db", atlas=atlas.manifest.hash)
    for feature in range(len(atlas)):
        other.note(feature, f"note {feature}", author="Grace")
    export_notes(other, folder / "more")
    row = {"modelId": "t", "layer": "1-res", "explanationModelName": "m", "typeName": "t"}
    lines = [json.dumps(row | {"index": str(i), "description": f"explained {i}"}) for i in range(len(atlas))]
    (folder / "explanations.jsonl").write_text("\n".join(lines) + "\n")


@dataclass
class Running:
    """A run of a command: its process, which leads a group of its own, and what it says."""

    pid: int
    said: Path
    begun: float = field(default_factory=time.perf_counter)

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def started(words: Sequence[str], folder: Path) -> Running:
    """A fork of this process that runs the command in ``folder``. It listens to signals when this returns."""
    said = folder.with_name(f"{folder.name}.said")
    receive, send = os.pipe()
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        code = 70
        try:
            os.setsid()
            os.chdir(folder)
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for each in (1, 2):
                os.dup2(out, each)
            os.close(receive)
            sys.argv = ["physalis", *words]
            with listening():
                os.close(send)
                cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(send)
    os.read(receive, 1)  # until it has closed its own
    os.close(receive)
    return Running(pid, said)


def really_started(words: Sequence[str], folder: Path) -> Running:
    """The command as anybody starts it: it imports first."""
    said = folder.with_name(f"{folder.name}.said")
    with open(said, "w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "physalis", *words], cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
    process.returncode = 0  # it is waited for below
    return Running(process.pid, said)


def finish(run: Running) -> tuple[int, str]:
    """Wait for its end: its exit code, negative for a signal, and what it said."""
    while True:
        pid, status = os.waitpid(run.pid, os.WNOHANG)
        if pid:
            run.send(signal.SIGKILL)  # what it started and left
            return os.waitstatus_to_exitcode(status), run.said.read_text(errors="replace")
        if time.perf_counter() - run.begun > LIMIT_S:
            run.send(signal.SIGKILL)
        time.sleep(0.002)


SECONDS = re.compile(rb'"seconds": ?[0-9.e-]+')
DATABASES = ("notes.db", "comments.db")
NO_BYTES = (".lock", "comments.key")


def contents(folder: Path) -> Contents:
    """What a folder holds: each file with the sha256 of its bytes, or what stands for them."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and each.name not in NO_BYTES):
        name = str(path.relative_to(folder))
        if name.endswith(DATABASES):
            try:
                found[name] = rows_of(path)
            except sqlite3.Error as error:
                found[name] = str(error)
        elif not re.search(r"\.db-(wal|shm)$", name):  # SQLite's own, read with its database
            told = SECONDS.sub(b"", path.read_bytes())
            if b'"kind": "lab"' in told:  # a manifest, which has the digests of pages that tell seconds
                told = re.sub(rb"[0-9a-f]{64}", b"", told)
            found[name] = hashlib.sha256(told).hexdigest()
    return found


def rows_of(database: Path) -> str:
    """What people wrote there, whatever ids and times it got, and whether all of it is whole."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        [whole] = db.execute("PRAGMA integrity_check").fetchone()
        if database.name.endswith("comments.db"):  # an invitation that is made again is another, of the same person
            rows = db.execute("SELECT DISTINCT name FROM invitations").fetchall()
        else:
            rows = [json.loads(body) for (body,) in db.execute("SELECT body FROM records")]
            rows = [{key: value for key, value in row.items() if key not in ("id", "time")} for row in rows]
    return f"{whole}: {sorted(map(str, rows))}"


@dataclass(frozen=True)
class Row:
    command: str
    kills: int
    interrupts: int
    restarts: int
    same: int
    sentences: int


class Bench:
    """Runs cases below a folder, on what lies in its ``in``."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._inputs, self._chance = root, root / "in", random.Random(seed)
        self._count = 0

    def fresh(self, case: Case) -> Path:
        """A folder for a run, with what the command writes beside."""
        self._count += 1
        folder = self._root / f"{self._count:04d}-{re.sub(r'[^a-z]+', '-', case.name)}"
        folder.mkdir()
        for each in case.copies:
            shutil.copytree(self._inputs / each, folder / each)
        return folder

    def words(self, case: Case) -> list[str]:
        return case.words.format(**{"in": self._inputs}).split()

    def run(self, case: Case, kills: int, interrupts: int) -> Row:
        """The row of a case."""
        folder, begun = self.fresh(case), time.perf_counter()
        inputs = contents(self._inputs)
        code, said = finish(started(self.words(case), folder))
        seconds, truth = time.perf_counter() - begun, contents(folder)
        if code != case.code:
            sys.exit(f"physalis {case.words} ended with {code}: {said}")
        shutil.rmtree(folder)
        done, restarts, same, sentences = {signal.SIGKILL: 0, signal.SIGINT: 0}, 0, 0, 0
        sooner = 1.0
        for number, wanted in ((signal.SIGKILL, kills), (signal.SIGINT, interrupts)):
            while done[number] < wanted:
                folder, ended = self.fresh(case), 0
                while done[number] < wanted and ended < 1 + self._chance.randrange(2):
                    really = done[number] == wanted - 1
                    part = sooner * (done[number] + self._chance.random()) / wanted
                    left, said = self.end(case, folder, number, IMPORTS_S if really else seconds, part, really)
                    if left == case.code:  # it had ended by then
                        sooner *= 0.7
                        break
                    done[number] += 1
                    sooner = 1.0
                    ended += 1
                    if number == signal.SIGINT:
                        good = left == ENDED[number] and said.strip().endswith(SENTENCE) and "Traceback" not in said
                        good |= really and left == -signal.SIGINT and not said.strip()  # before Python listens
                        sentences += good
                        tell(case, good, f"after SIGINT it ended with {left} and said:\n{said[-2000:]}")
                if not ended:
                    continue
                code, said = finish(started(self.words(case), folder))
                restarts += 1
                found = contents(folder)
                good = code == case.code and found == truth and contents(self._inputs) == inputs
                same += good
                if tell(case, good, f"run again it ended with {code}; {differences(truth, found)}\n{said[-2000:]}"):
                    shutil.rmtree(folder)
        return Row(case.name, done[signal.SIGKILL], done[signal.SIGINT], restarts, same, sentences)

    def end(self, case: Case, folder: Path, number: int, seconds: float, part: float, really: bool) -> tuple[int, str]:
        """Start it, and end it in that part of its time."""
        run = (really_started if really else started)(self.words(case), folder)
        time.sleep(seconds * part)
        run.send(number)
        return finish(run)


def tell(case: Case, good: bool, what: str) -> bool:
    """Say what went wrong as soon as it does."""
    if not good:
        print(f"{case.name}: {what}", file=sys.stderr, flush=True)
    return good


def differences(truth: Contents, found: Contents) -> str:
    changed = [name for name in sorted({*truth, *found}) if truth.get(name) != found.get(name)]
    told = [
        f"{name} {'is missing' if name not in found else 'is too much' if name not in truth else 'differs'}"
        for name in changed
    ]
    return ", ".join(told[:8]) or "the same bytes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4, help="SIGKILLs of a command (default: 4; of some fewer)")
    parser.add_argument("--interrupts", type=int, default=2, help="SIGINTs of a command (default: 2)")
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], help="commands", metavar="COMMAND")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--keep", type=Path, help="a new folder for all that is made; what differs stays there")
    parser.add_argument("--json", action="store_true", help="print only the list of rows on standard output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in IMPORTED:
        importlib.import_module(f"physalis.{name}")
    finer()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()) if options.keep is None else options.keep)
        root.mkdir(parents=True, exist_ok=True)
        prepare(root / "in")
        bench, rows = Bench(root.resolve(), options.seed), []
        for case in CASES:
            if options.only is None or case.name in options.only:
                begun = time.perf_counter()
                rows.append(bench.run(case, max(1, round(options.kills * case.share)), options.interrupts))
                print(f"{rows[-1]} in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    show(Console(stderr=options.json, width=None if sys.stdout.isatty() else 140), rows)
    good = all(row.same == row.restarts and row.sentences == row.interrupts for row in rows)
    sys.exit(0 if good else 1)


def show(console: Console, rows: list[Row]) -> None:
    table = Table(title="ended at random moments, then run to the end")
    for column in ("command", "SIGKILLs", "SIGINTs", "one sentence", "run again", "same bytes"):
        table.add_column(column, justify="left" if column == "command" else "right")
    total = Row("all", *(sum(getattr(row, name) for row in rows) for name in list(asdict(rows[0]))[1:]))
    for row in (*rows, total):
        table.add_row(
            row.command, str(row.kills), str(row.interrupts), f"{row.sentences} of {row.interrupts}",
            str(row.restarts), f"{row.same} of {row.restarts}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
