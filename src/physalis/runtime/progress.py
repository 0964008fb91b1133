"""status(): what is waited for. progress(): one long job's progress, a rich bar with rate and time left on a
terminal and plain lines elsewhere."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_EVERY_S = 10.0
SOON_S = 1.0
"""What is done by then needs no word."""
RECENT_S = 60.0
"""What is left is judged by how fast it went in so many seconds, and never by what comes before the first units are
done: meanwhile kernels are compiled, and buffers filled."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{_short(speed)} {self.unit}/s" if speed else f"– {self.unit}/s", style="cyan")


def _short(x: float) -> str:
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:.1f}{suffix}"
    return f"{x:.0f}" if x >= 10 else f"{x:.1f}"


Advance = Callable[..., None]
"""``advance(n, note="fvu 0.15")``: n more units are done; the note, if given, replaces the one shown. With n = 0 it is
the name of the unit that begins, which is said at once."""


@contextmanager
def status(what: str) -> Iterator[None]:
    """Say on standard error what is waited for that has no units, such as "loading smollm2": a line that goes when it
    is done on a terminal, and elsewhere a plain one, where it takes longer than ``SOON_S``: what is refused at once is
    one sentence."""
    console = Console(file=sys.stderr)
    if console.is_terminal:
        with console.status(Text(f"{what} …")):
            yield
        return
    late = threading.Timer(SOON_S, _tell, (what,))
    late.daemon = True
    late.start() if SOON_S else _tell(what)
    try:
        yield
    finally:
        late.cancel()


def _tell(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int, unit: str, *, done: int = 0) -> Iterator[Advance]:
    """Show a job of ``total`` units on standard error. ``done`` units were finished by an earlier run and do not count
    towards the rate."""
    console = Console(file=sys.stderr)  # as it is now, whoever redirects it later
    if console.is_terminal:
        columns = (
            TextColumn("{task.description:<22}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            _Rate(unit), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(title, total=total, completed=done, note="")

            def advance(n: int, note: str | None = None) -> None:
                bar.advance(task, n)
                if note is not None:
                    bar.update(task, note=note)

            yield advance
        return

    started = last = time.monotonic()
    count, shown, said = done, "", (-1, "")
    seen: deque[tuple[float, int]] = deque()
    """When so many were done: after the first units, and at each line since."""

    def line(now: float) -> None:
        nonlocal said
        rate = (count - done) / max(now - started, 1e-9)
        if count < total and seen and count > seen[0][1]:
            rate = (count - seen[0][1]) / max(now - seen[0][0], 1e-9)
        left = f", {max(total - count, 0) / rate:.0f} s left" if rate and count < total else ""
        said = count, shown
        share = 100 * count / total if total else 100
        tail = f"  {shown}" if shown else ""
        print(f"{title}: {share:.0f} % ({_short(rate)} {unit}/s, {now - started:.0f} s{left}){tail}", file=sys.stderr)

    def advance(n: int, note: str | None = None) -> None:
        nonlocal count, last, shown
        count += n
        shown = note if note is not None else shown
        if n == 0 and note is not None:  # something by that name begins, and may take minutes
            print(f"{title}: {note} ({count + 1} of {total} {unit})", file=sys.stderr, flush=True)
            last = time.monotonic()
        now = time.monotonic()
        if n and not seen:
            seen.append((now, count))
        if now - last >= PLAIN_EVERY_S:
            last = now
            line(now)
            seen.append((now, count))
            while now - seen[0][0] > RECENT_S and len(seen) > 1:
                seen.popleft()

    yield advance
    if said != (count, shown):
        line(time.monotonic())
