"""One tool that traces graphs, in a process of its own: loads what it needs, traces, times itself, writes the graph.
Runs in either environment, so what only one has is imported where it is used.

``circuits_peer.py`` starts ``python -m implementations.tracing JOB PIPE`` for physalis and
``implementations.circuit_tracer`` for the other, writes a line to standard input and reads one from the pipe, both
JSON: ``{"trace": 0, "nodes": 256, "batch": 32}`` traces the first prompt and answers with its seconds, ``{"keep":
"graph"}`` writes the last graph and answers with the peak of memory since loading.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from implementations.worker import _memory_mb
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Job:
    """What both tools are asked to do."""

    folder: str
    """Holds "set", "theirs" and "model"."""
    prompts: list[list[int]]
    """Token ids, the special one at the start included."""
    threads: int
    batch: int
    """Nodes of one backward pass of circuit-tracer's, where none is asked for; physalis settles its own."""


class Traced(NamedTuple):
    """A graph: rows are features and then ends; columns are features, errors layer by layer, and tokens."""

    nodes: Tensor
    """[features, 3]: layer, position, feature."""
    ends: Tensor
    """Token ids."""
    probabilities: Tensor
    edges: Tensor
    active: Tensor
    """[all that fire, 3], in the graph or not: layer, position, feature."""


def serve(job: Job, channel: int, trace: Callable[[int, int, int], Callable[[], Traced]], *packages: str) -> None:
    """Answer ``circuits_peer.py`` until it closes the pipe. ``trace`` takes a prompt's place, how many nodes and the
    batch, and gives what makes a ``Traced`` of the graph: that is not timed."""
    said = os.fdopen(channel, "w")

    def say(**what: object) -> None:
        said.write(json.dumps(what) + "\n")
        said.flush()

    trace(0, 8, job.batch)  # first allocations and compilation are nobody's tracing time
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of loading
    say(versions={name: version(name) for name in ("torch", *packages)}, threads=torch.get_num_threads())
    made: Callable[[], Traced] | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "trace" in asked:
            made = None
            began, spent = time.perf_counter(), time.process_time()
            made = trace(asked["trace"], asked["nodes"], asked.get("batch", job.batch))
            say(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - spent)
        else:
            peak = _memory_mb("VmHWM", "cpu")
            assert made is not None
            graph = made()
            save_file({name: each.contiguous() for name, each in graph._asdict().items()}, asked["keep"])
            say(peak_mb=peak)


def main() -> None:
    from physalis.circuits import TranscoderSet, trace
    from physalis.circuits.local import LocalReplacementModel
    from physalis.models import load_model

    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    model = load_model("smollm2", dtype=torch.float32)
    transcoders = TranscoderSet.open(Path(job.folder, "set"))

    def ours(prompt: int, nodes: int, _: int) -> Callable[[], Traced]:
        graph = trace(model, transcoders, job.prompts[prompt], features=nodes)

        def made() -> Traced:
            ends = torch.tensor([end.token for end in graph.ends])
            p = torch.tensor([end.probability for end in graph.ends])
            local = LocalReplacementModel.of(model, transcoders, job.prompts[prompt])
            fires = [(layer, place.features) for layer, place in local.places.items()]
            each = [(torch.full_like(f.ids, i), f.positions, f.ids) for i, f in fires]
            active = torch.cat([torch.stack(columns, 1) for columns in each])
            nodes = torch.stack([graph.layer, graph.position, graph.feature], 1)
            return Traced(nodes, ends, p, graph.edges, active)

        return made

    serve(job, int(sys.argv[2]), ours, "physalis")


if __name__ == "__main__":
    main()
