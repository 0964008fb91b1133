"""jobs: work in pieces: a shard, the causes of a few features, an experiment's page. A job makes one thing, which is
whole or not there.

Whoever has long work says of which jobs it consists, and ``run`` makes those that are not done. No job knows of another
and none counts on its place in the row, so they can be made in any order and by any process, one again that was made
before, and the bytes are the same: work that was killed goes on with what is missing. Where and in which order is an
``Engine``: here one after another in this process; ``processes`` has another.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from physalis.runtime.progress import Advance, progress

Write = Callable[[], object]
"""What is left of a job when all is computed."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of a work. Where it may go to another process, ``done`` and ``run`` can be pickled."""

    name: str
    """What it makes; no other job of the same work has this name."""
    inputs: Mapping[str, str]
    """Hashes of what it is made from, by role: jobs of the same name and inputs make the same."""
    size: int
    """In the units in which progress is told."""
    done: Callable[[], bool]
    """Whether what it makes is there, and whole."""
    run: Callable[[Advance], Write | None]
    """Makes it, and says how far it is. What it returns, if anything, writes what was computed: that goes on in a
    thread while the next job computes, and only then it is done."""


Engine = Callable[[Sequence[Job], Advance], None]
"""Makes jobs, and says how far they are. Raises what a job raises; of the others some are made then, and some not."""


def run(jobs: Sequence[Job], title: str, unit: str, engine: Engine | None = None) -> int:
    """Make the jobs that are not done, one after another unless an ``engine`` is given; returns how many they were.
    Progress is told under ``title``, in a ``unit`` such as "tokens". Raises what they raise."""
    missing = [job for job in jobs if not job.done()]
    total, left = (sum(job.size for job in each) for each in (jobs, missing))
    if missing:
        with progress(title, total, unit, done=total - left) as advance:
            (engine or in_order)(missing, advance)
    return len(missing)


def in_order(jobs: Sequence[Job], advance: Advance) -> None:
    """The engine of one process: each job when the one before it is computed. What one has to write is written while
    the next is computed: one in flight bounds the memory, and a full disk is noticed soon."""
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        pending: Future | None = None
        for job in jobs:
            write = job.run(advance)
            if pending is not None:
                pending.result()
            pending = writer.submit(write) if write is not None else None
        if pending is not None:
            pending.result()
