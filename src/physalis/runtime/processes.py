"""processes: an engine of jobs that makes them in several processes of this machine, one at a time in each."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, connection, get_context, parent_process

import torch

from physalis.errors import BadInput
from physalis.runtime.jobs import Job, in_order
from physalis.runtime.progress import Advance
from physalis.runtime.signals import deaf


def in_processes(jobs: Sequence[Job], advance: Advance, *, workers: int) -> None:
    """Make jobs in ``workers`` processes, each with its share of the processor, in no particular order; in this one
    where there is only one of either. Raises what a job raises, and BadInput if a process dies."""
    if workers == 1 or len(jobs) <= 1:
        return in_order(jobs, advance)
    threads = max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start, initargs=(threads,))
    others = set(active_children())
    try:
        with deaf():  # a terminal sends Ctrl-C to all, and this process ends them
            doing = {pool.submit(_make, job): job for job in jobs}
        for done in as_completed(doing):
            done.result()
            advance(doing[done].size)
    except KeyboardInterrupt:
        for each in set(active_children()) - others:  # a job takes a minute, and the next run makes it anew
            each.kill()
        raise
    except BrokenProcessPool as error:
        raise BadInput(
            f"One of {workers} worker processes died, perhaps for lack of memory. Run the same command again, with "
            "fewer workers if it happens again: what is whole is kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    # A killed parent gives the folder's lock back; a worker that went on writing would then meet the next run's.
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _make(job: Job) -> None:
    in_order([job], lambda *_, **__: None)
