"""The only file that asks what hardware exists: the device, the dtype it computes in, memory, and how rows get there.

One rule for all verbs: what has a model computes where the model is; what has none takes ``device``, and None means
``default_device()``.
"""

import contextlib
import ctypes
import gc
import os
import resource
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from physalis.errors import BadInput

A = TypeVar("A", bound=tuple)


def has(kind: str) -> bool:
    """Whether this machine has a device of that kind: "cuda", "mps" or "cpu"."""
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def default_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if has(kind)))


def chosen(device: torch.device | str | None) -> torch.device:
    """The device that was asked for, ``default_device()`` for None. Raises BadInput for one that this machine does not
    have."""
    if device is None:
        return default_device()
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or not has(found.type):
        there = ", ".join(kind for kind in ("cuda", "mps", "cpu") if has(kind))
        raise BadInput(f"This machine has no device {str(device)!r}. It has: {there}.")
    return found


def dtype_named(name: str) -> torch.dtype:
    """What numbers are computed in, by its name. Raises BadInput listing those there are."""
    known = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    if name not in known:
        raise BadInput(f"There is no number format {name!r} here. Choose one of: {', '.join(known)}.")
    return known[name]


def pinned() -> bool:
    """Whether rows are read into memory that a card can copy from while it computes."""
    return default_device().type == "cuda"


def moved(rows: Iterable[A], device: torch.device) -> Iterator[A]:
    """Tuples of tensors, on ``device``; a tensor that stands twice in a tuple does so there too.

    To a card the next tuple is copied while the one before it is computed with. Elsewhere nothing is read ahead.
    """
    if device.type != "cuda":
        for each in rows:
            yield _copied(each, lambda x: x.to(device))
        return
    copying, before = torch.cuda.Stream(device), None
    for each in rows:
        with torch.cuda.stream(copying):
            after = _copied(each, lambda x: x.to(device, non_blocking=True))
        if before is not None:
            yield _arrived(before, copying)
        before = after
    if before is not None:
        yield _arrived(before, copying)


def _copied(each: A, move: Callable[[Tensor], Tensor]) -> A:
    there = {id(x): move(x) for x in {id(x): x for x in each}.values()}
    values = [there[id(x)] for x in each]
    return type(each)(*values) if hasattr(each, "_fields") else type(each)(values)


def _arrived(each: A, copying: Any) -> A:
    """``each``, to be computed with once the stream ``copying`` has copied it."""
    computing = torch.cuda.current_stream(copying.device)
    computing.wait_stream(copying)
    for x in each:
        x.record_stream(computing)  # its memory is not given away while it is computed with
    return each


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """The same bits each time, where sums would otherwise be added in the order in which threads finish: many on a
    card, and on a CPU the gradient of what was taken out of a tensor by its ids."""
    if device.type not in ("cuda", "cpu"):
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    memory.fill_uninitialized_memory = False  # costs time, and nothing reads what it has not written
    try:
        with warnings.catch_warnings():
            # of matrix products that several streams may share: ours are all taken on one
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


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
        asked, known = os.environ["PHYSALIS_RANKING"], ("int8", "bfloat16", "float32")
        if asked not in known:
            raise BadInput(f"PHYSALIS_RANKING is one of {', '.join(known)}; received {asked!r}.")
        return getattr(torch, asked)
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


CPU = torch.device("cpu")


def used_memory(device: torch.device = CPU) -> int:
    """Bytes of memory that this process holds now, on a card or of the system's; the most that it has held where the
    system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS") or _most_ever()


def peak_memory(device: torch.device = CPU) -> int:
    """The most bytes of memory that this process has held since ``forget_peak_memory``, or ever."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM") or _most_ever()


def forget_peak_memory(device: torch.device = CPU) -> None:
    """Start ``peak_memory`` anew, where the system lets a process do so: Linux does."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def release_unused_memory() -> None:
    """Give what was freed back to the system, where the allocator can be told to: what it keeps for later is counted as
    this process's, and what comes next grows by so much less."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int | None:
    with contextlib.suppress(OSError), open("/proc/self/status") as f:
        return next((int(line.split()[1]) * 1024 for line in f if line.startswith(field)), None)
    return None


def _most_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice: torch has a class for this on CUDA only."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    said = ("can't allocate memory", "out of memory")
    return known or isinstance(error, RuntimeError) and any(words in str(error) for words in said)
