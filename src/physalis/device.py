"""The only file that asks what hardware exists: the device, the dtype it computes in, and memory."""

import contextlib
import os
import resource
import sys

import torch


def default_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32: emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "mps":
        return torch.bfloat16
    supported = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16:
        return torch.float32
    if any(getattr(torch.cpu, name, bool)() for name in supported):
        return torch.bfloat16
    if os.path.exists("/proc/cpuinfo"):  # 64-bit ARM names the feature there
        with open("/proc/cpuinfo") as f:
            if any(line.startswith("Features") and " bf16" in line for line in f):
                return torch.bfloat16
    return torch.float32


def ranking_dtype(device: torch.device) -> torch.dtype:
    """What an encoder's product is fastest in where it only has to rank, as in training: int8 on x86 processors with
    AVX2 or more (measured: 1.5 to 1.8 times as fast as bfloat16, twice to four times as fast as float32), else as
    ``compute_dtype`` says. The environment variable PHYSALIS_RANKING (int8, bfloat16 or float32) overrules it."""
    if device.type == "cpu" and os.environ.get("PHYSALIS_RANKING"):
        return getattr(torch, os.environ["PHYSALIS_RANKING"])
    x86 = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return torch.int8 if device.type == "cpu" and x86 else compute_dtype(device)


_WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
"""What oneDNN can be told to take a processor for: then it emulates bfloat16, and slowly."""


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on ``device``; system memory for the CPU and MPS."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def used_memory() -> int:
    """Bytes of memory that this process holds now; the most that it has held where the system does not say."""
    return _status("VmRSS") or _most_ever()


def peak_memory() -> int:
    """The most bytes of memory that this process has held since ``forget_peak_memory``, or ever."""
    return _status("VmHWM") or _most_ever()


def forget_peak_memory() -> None:
    """Start ``peak_memory`` anew, where the system lets a process do so: Linux does."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def _status(field: str) -> int | None:
    with contextlib.suppress(OSError), open("/proc/self/status") as f:
        return next((int(line.split()[1]) * 1024 for line in f if line.startswith(field)), None)
    return None


def _most_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice: torch has a class for this on CUDA only."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
