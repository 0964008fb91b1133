"""Planning: sizes are counted, rates are measured, nothing is written."""

import os
import subprocess
import sys
from itertools import islice
from subprocess import PIPE

import pytest
import torch
from tree import TESTS

from physalis import recording
from physalis.cli.shown import printing
from physalis.dictionaries import TopKConfig
from physalis.errors import BadInput
from physalis.site import Site
from physalis.training import planning, training
from physalis.training.planning import plan
from physalis.types import Batch, Frame


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(planning, "MANY", 8)


def test_a_plan(tiny, tiny_dictionary, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    p = plan(tiny, Site("resid_post", 1), tokens=12_000, n_features=4 * tiny.d_model, k=4, batch_size=512)
    # A slow run tells more lines.
    said = [line for line in capsys.readouterr().err.splitlines() if line.endswith(" parts)")]
    assert [line.partition(" (")[2].rstrip(")") for line in said] == [f"{i} of 4 parts" for i in range(1, 5)]
    assert p.fits and p.train_seconds > 0 and p.recording.seconds > 0
    on_disk = (tiny_dictionary / "dictionary.safetensors").stat().st_size
    assert p.dictionary_bytes == pytest.approx(on_disk, rel=0.1)
    assert not list(tmp_path.iterdir())
    twice = plan(tiny, Site("resid_post", 1), tokens=24_000, n_features=8 * tiny.d_model, k=4, batch_size=512)
    assert twice.dictionary_bytes > 1.9 * p.dictionary_bytes
    assert twice.recording.disk_bytes == pytest.approx(2 * p.recording.disk_bytes, rel=0.05)


REAL = """
import sys
import torch
from physalis import dictionaries
from physalis.training import planning
from physalis.training import train
from test_planning import Noise

name, folder, what = sys.argv[1:]
def config(n_features):
    return dictionaries.make(name, {"d_in": 384, "d_out": 384, "n_features": n_features, "k": 16}).config
noise, cpu = Noise(384, 25 * 1024), torch.device("cpu")
train(noise, [config(80)], [folder + "/small"], epochs=1, batch_size=1024, device="cpu")
if what == "planned":
    print(planning._probe(noise, config(6144), steps=25, batch_size=1024, device=cpu).memory)
else:
    before = planning.used_memory()
    planning.forget_peak_memory()  # of compiling, in a fresh clone
    train(noise, [config(6144)], [folder + "/real"], epochs=1, batch_size=1024, device="cpu", dead_after=1280)
    print(planning.peak_memory() - before)
"""


class Noise:
    """Rows that cost nothing."""

    origin, inputs = {}, {}

    def __init__(self, d: int, n_tokens: int) -> None:
        self.d_in = self.d_out = d
        self.n_tokens = n_tokens
        self.frame = Frame(*(part(d) for part in (torch.zeros, torch.ones, torch.zeros, torch.ones)))

    @property
    def train(self) -> "Noise":
        return self

    def n_batches(self, size, *, epochs=1):
        return self.n_tokens * epochs // size

    def batches(self, size, *, seed, epochs=1, start=0):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(start, self.n_batches(size, epochs=epochs)):
            x = torch.randn(size, self.d_in, generator=generator).bfloat16()
            yield Batch(x, x)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's peak as Linux reports it")
@pytest.mark.slow
@pytest.mark.parametrize("name", ("topk", "jumprelu", "matryoshka"))
def test_memory_is_near_what_training_takes(name, tmp_path):
    """A process each: planned from a probe, and the peak of 25 steps.

    What the allocator keeps of freed memory moves a peak by a tenth from run to run, so both processes give blocks
    back at once; the peaks then agree to half a per cent, and a tensor left out of either shows."""
    here = os.pathsep.join([str(TESTS), str(TESTS / "training"), os.environ.get("PYTHONPATH", "")])
    blocks = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": here}
    runs = [subprocess.Popen([sys.executable, "-c", REAL, name, str(tmp_path / what), what], stdout=PIPE, env=blocks)
            for what in ("planned", "real")]  # fmt: skip
    planned, peak = (int(run.communicate()[0]) for run in runs)
    assert planned == pytest.approx(peak, rel=0.05)


def test_a_step_is_what_training_waits_for(monkeypatch):
    """Not the reading, which takes next to nothing: every step here takes five seconds of a clock that is told."""
    now, descend = [0.0], training.Run.descend

    def slowly(self, *args):
        now[0] += 5.0
        return descend(self, *args)

    monkeypatch.setattr(training.Run, "descend", slowly)
    monkeypatch.setattr(planning.time, "perf_counter", lambda: now[0])
    config = TopKConfig(d_in=32, d_out=32, n_features=64, k=4)
    found = planning._probe(Noise(32, 640), config, steps=12, batch_size=64, device=torch.device("cpu"))
    assert found.steps == [5.0] * (12 - 1 - planning.SETTLED) and found.around == 0.0 and found.take(100) == 500.0


def test_later_steps_take_what_the_last_ones_took():
    found = planning._Probed([4.0, 4.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0], 0.5, 0)
    assert found.settled == 1.0 and found.take(3) == 12.0 and found.take(109) == 121.0


def test_what_is_probed_is_text_as_the_model_reads_it(tiny, monkeypatch):
    """However much a batch takes, and over and over."""
    seen = []

    def few(source, config, *, steps, **options):
        seen.append([batch.x for batch in islice(planning._Timed(source, steps).batches(256, seed=0), 150)])
        return planning._Probed([0.1], 0.0, 1)

    monkeypatch.setattr(planning, "_probe", few)
    plan(tiny, Site("resid_post", 1), tokens=40_000, n_features=96, k=4, batch_size=9_000)
    real = recording.stream(tiny, "stdlib", [Site("resid_post", 1)], tokens=18_000, held_out=0.0)
    rows = {
        row.numpy().tobytes() for row in torch.cat([batch.x for batch in real.batches(128, seed=0, epochs=3)]).float()
    }
    probed = torch.cat(seen[-1]).float()
    assert len(seen[-1]) == 150 and {row.numpy().tobytes() for row in probed[::97]} <= rows


def test_it_is_told_for_how_many_tokens(capsys):
    of_recording = recording.Plan(tokens=9_000, tokens_per_s=1.0, seconds=1.0, disk_bytes=1, memory_bytes=1)
    made = planning.Plan(
        recording=of_recording, epochs=2, train_tokens_per_s=1.0, train_seconds=1.0, train_memory_bytes=1,
        dictionary_bytes=1, free_memory_bytes=9, fits=True,
    )  # fmt: skip
    printing.show(made, json=False)
    assert capsys.readouterr().out.startswith("For 9,000 tokens, each trained on 2 times:")


def test_every_kind_has_a_plan(tiny):
    read, write = Site("mlp_in", 1), Site("mlp_out", 1)
    options = dict(tokens=4_000, n_features=96, k=4, batch_size=256)
    alone = plan(tiny, read, **options)
    skip = plan(tiny, read, writes=write, skip=True, **options)
    assert skip.dictionary_bytes == alone.dictionary_bytes + 4 * 32 * 32
    assert skip.recording.disk_bytes == 2 * alone.recording.disk_bytes
    layers = [Site("mlp_in", i) for i in range(2)]
    several = plan(tiny, layers, architecture="crosscoder", **options)
    assert several.dictionary_bytes > 1.8 * alone.dictionary_bytes
    across = plan(tiny, layers, writes=[Site("mlp_out", i) for i in range(2)], architecture="crosslayer", **options)
    assert across.fits and across.train_seconds > 0


def test_bad_input_is_a_sentence(tiny):
    with pytest.raises(BadInput, match="must be smaller than the number of features"):
        plan(tiny, Site("resid_post", 1), n_features=32, k=32)
    with pytest.raises(BadInput, match="layers"):
        plan(tiny, Site("resid_post", 99))
