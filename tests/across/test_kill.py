"""Every verb that makes an artefact can be killed at any moment and run again: the folder ends up the same, byte for
byte.

Each run is a process of its own, killed with SIGKILL after a random part of the time that an unbroken run takes. The
processes are forked from a server that has imported everything, so a kill falls into the work and not into imports.
"""

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from physalis.activations import Activations
from physalis.artifact import LOCK
from physalis.atlas.build.building import build_atlas
from physalis.codes import encode, segments
from physalis.dictionaries import TopKConfig
from physalis.models.tiny import tiny_model
from physalis.recording import record
from physalis.site import Site
from physalis.training import checkpoints, training

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(
    ["physalis.models.tiny", "physalis.recording", "physalis.training.training", "physalis.atlas.build.building"]
)

Job = Callable[..., object]
"""``job(out, *arguments)`` makes an artefact in ``out``; a function of this module, so that a new process finds it."""


def record_tiny(out: Path, text: Path) -> None:
    sites = [Site("resid_post", 1), Site("mlp_out", 0)]
    outs = [out / str(site) for site in sites]
    record(tiny_model(), str(text), sites, outs, tokens=40_000, context=64, batch=8, shard_rows=1024)


def train_tiny(out: Path, activations: Path) -> None:
    checkpoints.EVERY_S = 0.05  # in this process alone
    acts = Activations.open(activations)
    config = TopKConfig(d_in=acts.d, d_out=acts.d, n_features=4 * acts.d, k=4)
    training.train(acts, [config], [out], batch_size=256, epochs=4)


def encode_tiny(out: Path, dictionary: Path, activations: Path) -> None:
    segments.SEGMENT = 2048  # in this process alone: a shard each
    encode(dictionary, activations, out=out, device="cpu")


def build_tiny(out: Path, dictionary: Path, activations: Path) -> None:
    build_atlas(dictionary, activations, tiny_model(), out)


def _run(begun: Connection, job: Job, out: Path, arguments: tuple) -> None:
    os.setsid()  # what it starts dies with it
    torch.set_num_threads(1)
    begun.send(True)
    job(out, *arguments)


def _start(job: Job, out: Path, arguments: tuple) -> multiprocessing.process.BaseProcess:
    receive, send = FORKING.Pipe(duplex=False)
    process = FORKING.Process(target=_run, args=(send, job, out, arguments))
    process.start()
    send.close()
    assert receive.recv()
    return process


def _finish(job: Job, out: Path, arguments: tuple) -> float:
    process = _start(job, out, arguments)
    started = time.perf_counter()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - started


def _contents(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != LOCK)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def check_kills(job: Job, *arguments: object, folder: Path, kills: int, seed: int) -> None:
    """Kill ``job`` ``kills`` times, running it again each time, and compare what it makes with an unbroken run."""
    seconds = _finish(job, folder / "unbroken", arguments)
    wanted = _contents(folder / "unbroken")
    chance = random.Random(seed)
    killed = finished = 0
    while killed < kills:
        out = folder / f"broken-{finished}"
        process = _start(job, out, arguments)
        time.sleep(chance.uniform(0, seconds))
        with suppress(ProcessLookupError):  # it may have ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == 0:
            assert _contents(out) == wanted
            finished += 1
        else:
            assert process.exitcode == -signal.SIGKILL
            killed += 1
    _finish(job, out, arguments)
    assert _contents(out) == wanted


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "numbers.txt"
    path.write_text("\n\n".join(f"{i} squared is {i * i}; its half is {i / 2}." for i in range(1500)))
    return path


def test_record_survives_kills(text, tmp_path):
    check_kills(record_tiny, text, folder=tmp_path, kills=8, seed=0)


def test_train_survives_kills(tiny_activations, tmp_path):
    check_kills(train_tiny, tiny_activations.folder, folder=tmp_path, kills=7, seed=1)


@pytest.mark.slow
def test_encode_survives_kills(tiny_activations, tiny_dictionary, tmp_path):
    check_kills(encode_tiny, tiny_dictionary, tiny_activations.folder, folder=tmp_path, kills=7, seed=3)


@pytest.mark.slow
def test_build_atlas_survives_kills(tiny_activations, tiny_dictionary, tmp_path):
    check_kills(build_tiny, tiny_dictionary, tiny_activations.folder, folder=tmp_path, kills=7, seed=2)
