"""Device: a device, a dtype it multiplies natively, and memory."""

import ctypes

import pytest
import torch

from physalis import device
from physalis.device import repeatable


def test_there_is_a_device_and_memory():
    d = device.default_device()
    assert device.compute_dtype(d) in (torch.bfloat16, torch.float32)
    assert device.free_memory(torch.device("cpu")) > 1 << 20


def test_a_cpu_without_bfloat16_computes_in_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(device.os.path, "exists", lambda _: False)
    assert device.compute_dtype(torch.device("cpu")) == torch.float32


def test_a_cpu_taken_for_a_lesser_one_has_no_bfloat16(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    cpu = torch.device("cpu")
    for isa, dtype in (("AVX512_CORE_VNNI", torch.float32), ("avx2", torch.float32), ("ALL", torch.bfloat16)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
        assert device.compute_dtype(cpu) == dtype


def test_what_training_ranks_by(monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.delenv("PHYSALIS_RANKING", raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert device.ranking_dtype(cpu) == torch.int8
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert device.ranking_dtype(cpu) == device.compute_dtype(cpu)
    monkeypatch.setenv("PHYSALIS_RANKING", "float32")
    assert device.ranking_dtype(cpu) == torch.float32


def test_gradients_by_ids_are_the_same_bits_each_time():
    """Several threads add to one place in whatever order they come; thresholds and gates are learned from that."""
    threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(64, (100_000,), generator=generator)
    values = torch.randn(100_000, generator=generator)
    found = set()
    torch.set_num_threads(4)
    try:
        with repeatable(torch.device("cpu")):
            for _ in range(20):
                thresholds = torch.zeros(64, requires_grad=True)
                (thresholds[ids] * values).sum().backward()
                assert thresholds.grad is not None
                found.add(thresholds.grad.numpy().tobytes())
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this allocator is not told to give back")
def test_what_was_freed_is_given_back():
    held = [bytes(2000) for _ in range(100_000)]
    last = bytes(2000)  # above them: what lies below it is kept
    before = device.used_memory()
    del held
    device.release_unused_memory()
    assert before - device.used_memory() > 100e6 and len(last) == 2000
