"""doctor: what matters here of the machine and of what is installed on it, and what stands in the way."""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement
from pydantic import BaseModel, ConfigDict

from physalis import __version__
from physalis.machine.cache import cached
from physalis.models import cache_folder
from physalis.runtime import device

FLAGS = {
    "avx2": "AVX2", "avx512f": "AVX-512", "avx_vnni": "VNNI", "avx512_vnni": "VNNI", "avx512_bf16": "bfloat16",
    "amx_tile": "AMX", "amx_bf16": "bfloat16", "asimddp": "dot products of int8", "i8mm": "int8 matrices",
    "bf16": "bfloat16",
}  # fmt: skip
"""What Linux calls what matters here, on x86 and on ARM."""
LITTLE_DISK, LITTLE_MEMORY = 5e9, 4e9
"""Bytes: a recording of a million tokens and a small model take about so much."""
EXTRAS = {
    "hub": "text from the Hugging Face hub", "notebook": "widgets in notebooks", "tables": "pandas tables",
    "gpu": "sparse kernels on a CUDA card",
}  # fmt: skip


class Extra(BaseModel):
    """An optional part."""

    model_config = ConfigDict(frozen=True)

    name: str
    gives: str
    missing: tuple[str, ...]
    """Packages that are not installed, or not in a version that will do."""


class Cache(BaseModel):
    """Where models are kept."""

    model_config = ConfigDict(frozen=True)

    folder: str
    bytes: int
    free_bytes: int
    """On its disk."""


class Machine(BaseModel):
    """The machine and what is installed on it."""

    model_config = ConfigDict(frozen=True)

    physalis: str
    python: str
    system: str
    processor: str
    instructions: tuple[str, ...]
    """Those that make something here faster; none where the system does not say."""
    cores: int
    """That this process may use."""
    threads: int
    """That torch computes with."""
    memory_bytes: int
    """Free."""
    device: str
    """Where is computed unless something else is asked for."""
    cards: tuple[str, ...]
    """Each with its memory."""
    computes_in: str
    """What a model computes in there unless something else is asked for."""
    ranks_in: str
    """What the encoder's product is taken in while a dictionary is trained."""
    free_bytes: int
    """On the disk of the folder that this process is in."""
    cache: Cache
    versions: dict[str, str]
    """Of the libraries that decide numbers and speed."""
    extras: tuple[Extra, ...]
    warnings: tuple[str, ...]
    """Sentences: what will be slow or will fail, and what to do."""

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        told = f"{len(self.warnings)} warnings" if self.warnings else "nothing is in the way"
        return f"Machine({self.processor}, {self.cores} cores, computes on {self.device} in {self.computes_in}; {told})"


def examine() -> Machine:
    """Look at this machine. Nothing is changed, and nothing outside it is asked."""
    where = device.default_device()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processor, flags = _processor()
    libraries = ("torch", "numpy", "numba", "transformers", "safetensors", "pyarrow", "scikit-learn")
    here, folder = Path.cwd(), cache_folder()
    disk = shutil.disk_usage(next(each for each in (folder, *folder.parents) if each.exists()))
    found = Machine(
        physalis=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        processor=processor,
        instructions=tuple(dict.fromkeys(named for flag, named in FLAGS.items() if flag in flags)),
        cores=cores,
        threads=torch.get_num_threads(),
        memory_bytes=device.free_memory(device.CPU),
        device=str(where),
        cards=tuple(_cards()),
        computes_in=_name(device.compute_dtype(where)),
        ranks_in=_name(device.ranking_dtype(where)),
        free_bytes=shutil.disk_usage(here).free,
        cache=Cache(folder=str(folder), bytes=sum(each.bytes for each in cached()), free_bytes=disk.free),
        versions={name: found for name in libraries if (found := _version(name))},
        extras=tuple(
            Extra(name=name, gives=gives, missing=tuple(misfits(requires("physalis") or (), name)))
            for name, gives in EXTRAS.items()
        ),
        warnings=(),
    )
    return found.model_copy(update={"warnings": tuple(warnings(found, requires("physalis") or ()))})


def warnings(found: Machine, needed: Sequence[str]) -> Iterator[str]:
    """What is in the way on a machine where a package's requirements are ``needed``, a sentence each."""
    for each in misfits(needed):
        yield f"physalis needs {each}. Install it: pip install '{each.split(' (')[0]}'."
    if found.free_bytes < LITTLE_DISK:
        yield f"{found.free_bytes / 1e9:.1f} GB are free on this disk: recordings take 2 bytes a number. Use another."
    if found.memory_bytes < LITTLE_MEMORY:
        yield f"{found.memory_bytes / 1e9:.1f} GB of memory are free: `physalis plan` says whether a training fits."
    if found.threads > found.cores:
        yield (
            f"torch computes with {found.threads} threads on {found.cores} cores, and they wait for each other. Set "
            f"OMP_NUM_THREADS={found.cores}."
        )
    if found.device == "cpu" and found.computes_in == "float32":
        yield "This processor does not multiply bfloat16: models compute in float32, which takes longer."
    if found.device.startswith("cuda") and (gpu := next(each for each in found.extras if each.name == "gpu")).missing:
        yield f"Training on the card lacks its sparse kernels ({gpu.missing[0]}): pip install 'physalis[gpu]'."


def misfits(needed: Sequence[str], extra: str = "") -> Iterator[str]:
    """Those of the requirements of one extra, or of none, that what is installed does not meet, each with what is there
    instead."""
    for each in map(Requirement, needed):
        always = each.marker is None or each.marker.evaluate({"extra": ""})
        if not (always if not extra else not always and each.marker and each.marker.evaluate({"extra": extra})):
            continue
        found = _version(each.name)
        if found is None:
            yield f"{each.name}{each.specifier}"
        elif not each.specifier.contains(found, prereleases=True):
            yield f"{each.name}{each.specifier} ({found} is installed)"


def _version(name: str) -> str | None:
    try:
        return version(name) if metadata(name) else None
    except PackageNotFoundError:
        return None


def _cards() -> Iterator[str]:
    if device.has("cuda"):
        for i in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(i)
            yield f"{about.name}, {about.total_memory / 1e9:.0f} GB"
    if device.has("mps"):
        yield "Apple MPS"


def _name(dtype: torch.dtype) -> Literal["int8", "bfloat16", "float16", "float32"]:
    return str(dtype).removeprefix("torch.")  # pyright: ignore[reportReturnType]


def _processor(about: Path = Path("/proc/cpuinfo")) -> tuple[str, set[str]]:
    """Its name and its flags."""
    try:
        said = about.read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine(), set()
    name = re.search(r"^model name\s*: (.+)$", said, re.M)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", said, re.M)
    return (name[1] if name else platform.machine()), set(flags[1].split()) if flags else set()
