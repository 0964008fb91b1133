"""Device: a device, a dtype it multiplies natively, and memory."""

import torch

from physalis import device


def test_there_is_a_device_and_memory():
    d = device.default_device()
    assert device.compute_dtype(d) in (torch.bfloat16, torch.float32)
    assert device.free_memory(torch.device("cpu")) > 1 << 20


def test_a_cpu_without_bfloat16_computes_in_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    monkeypatch.setattr(device.os.path, "exists", lambda _: False)
    assert device.compute_dtype(torch.device("cpu")) == torch.float32
