"""workers: several processes that record, each with its own copy of the model, taking one shard at a time."""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import active_children, connection, get_context, parent_process
from pathlib import Path

import torch

from physalis.activations import Span
from physalis.errors import BadInput
from physalis.models import Family, Model, load_model
from physalis.recording.jobs import record_spans
from physalis.runtime.signals import deaf
from physalis.site import Site


def run_workers(
    model: Model, sites: Sequence[Site], folders: Sequence[Path], spans: Sequence[Span], *,
    batch: int, seed: int, workers: int,
) -> Iterator[Span]:  # fmt: skip
    """Make the shards of ``spans``; yields each when it is done, in no particular order.

    Raises BadInput if the workers cannot load this very model by its name, or if one of them dies.
    """
    loading = (model.name, str(model.device), model.dtype, model.family, model.fingerprint, model.trusts_code)
    threads = max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start, initargs=(threads,))
    others = set(active_children())
    try:
        with deaf():  # a terminal sends Ctrl-C to all, and this process ends them
            doing = {pool.submit(_make, loading, sites, folders, span, batch, seed): span for span in spans}
        for done in as_completed(doing):
            done.result()
            yield doing[done]
    except KeyboardInterrupt:
        for each in set(active_children()) - others:  # a shard takes a minute, and the next run makes it anew
            each.kill()
        raise
    except BrokenProcessPool as error:
        raise BadInput(
            f"One of {workers} recording workers died, perhaps for lack of memory. Run the same command again, with "
            "fewer workers if it happens again: finished shards are kept."
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


@cache
def _loaded(
    name: str, device: str, dtype: torch.dtype, family: Family, fingerprint: str, trust_code: bool
) -> Model:  # fmt: skip
    model = load_model(name, device=device, dtype=dtype, family=family, trust_code=trust_code)
    if model.fingerprint != fingerprint:
        raise BadInput(
            f"The model named {name!r} is not the one given: workers load it anew, and its weights differ. "
            "Save the changed model to a folder and load it from there, or record with workers=1."
        )
    return model


def _make(
    loading: tuple, sites: Sequence[Site], folders: Sequence[Path], span: Span, batch: int, seed: int
) -> None:  # fmt: skip
    record_spans(_loaded(*loading), sites, folders, [span], batch=batch, seed=seed, advance=lambda *_: None)
