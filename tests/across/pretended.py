"""A second device without a card: tensors that say they are on "cuda", and errors wherever a card would raise one.

Values are computed on the CPU. What is pretended is where they are: a storage is on the card if it was made there,
moved there, or computed from what is there. Computing with tensors of both places, reading numpy from the card, or
giving it the CPU's generator raises what torch raises. So a verb that runs under ``card`` forgets no tensor, and its
numbers can be compared with the CPU's: they come from the plain torch paths that a card without Triton takes.

Only what the thread that entered does is watched: threads that read rows ahead stay on the CPU anyway.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from physalis.dictionaries.kernels import rows
from physalis.runtime import device

CARD = torch.device("cuda", 0)
_MOVES = ("copy_", "_to_copy", "set_", "set_data", "lift_fresh", "lift", "detach", "alias", "_has_same_storage_numel")
"""Operations whose tensors may be in two places."""
_PLACED = ("index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index")
"""What stays in place may be indexed by the CPU's."""


class Admission:
    """Which storages are on the card."""

    def __init__(self) -> None:
        self._there: dict[int, StorageWeakRef] = {}
        self.inside = False
        """Whether one of torch's own functions is computing with what is there: what it makes anew goes there too."""

    def has(self, x: torch.Tensor) -> bool:
        found = self._storage(x)
        known = self._there.get(found._cdata) if found is not None else None
        return known is not None and not known.expired()

    def put(self, x: torch.Tensor, there: bool) -> None:
        found = self._storage(x)
        if found is None:
            return
        if there:
            self._there[found._cdata] = StorageWeakRef(found)
        else:
            self._there.pop(found._cdata, None)

    @staticmethod
    def _storage(x: torch.Tensor) -> Any:
        with torch._C.DisableTorchFunction():
            return x.untyped_storage() if x.layout == torch.strided else None  # of others the parts are watched


class _Operations(TorchDispatchMode):
    """Every operation, those of autograd too."""

    def __init__(self, places: Admission) -> None:
        super().__init__()
        self.places = places

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        tensors = [x for x in tree_iter((args, kwargs)) if isinstance(x, torch.Tensor)]
        if name in _PLACED:
            tensors = [args[0], *(x for x in tree_iter(args[2:]) if isinstance(x, torch.Tensor))]
            if not self.places.has(args[0]) and any(self.places.has(x) for x in args[1] if x is not None):
                raise RuntimeError(
                    f"{name}: indices should be either on cpu or on the same device as the indexed tensor"
                )
        there = [self.places.has(x) for x in tensors]
        if any(there) and name not in _MOVES:
            left = [x for x, on_card in zip(tensors, there, strict=True) if not on_card and x.dim()]
            if left and any(x.layout == torch.strided for x in left):
                shapes = [tuple(x.shape) for x in left]
                raise RuntimeError(
                    f"{name}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 "
                    f"and cpu! On the CPU are {shapes}."
                )
        found = func(*args, **kwargs)
        if name in ("set_", "set_data"):
            return found
        given = {id(x) for x in tensors}
        for x in tree_iter(found):
            if isinstance(x, torch.Tensor) and id(x) not in given:
                aliases = any(self._same(x, other) for other in tensors)
                if not aliases:
                    self.places.put(x, any(there) or (self.places.inside and not tensors))
        return found

    def _same(self, x: torch.Tensor, other: torch.Tensor) -> bool:
        a, b = self.places._storage(x), self.places._storage(other)
        return a is not None and b is not None and a._cdata == b._cdata


class _Functions(TorchFunctionMode):
    """What Python says to torch: where a tensor is, and where it is to be."""

    def __init__(self, places: Admission) -> None:
        super().__init__()
        self.places = places

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        x = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if name == "__get__" and x is not None:
            asked = getattr(func.__self__, "__name__", "")
            if asked == "device":
                return CARD if self.places.has(x) else func(*args)
            if asked == "is_cuda":
                return self.places.has(x)
            if asked == "is_cpu":
                return not self.places.has(x)
            return func(*args, **kwargs)
        if name in ("numpy", "__array__") and x is not None and self.places.has(x):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if name in ("cpu", "cuda") and x is not None:
            return self._moved(x, name == "cuda", copy=False)
        if name == "to" and x is not None:
            return self._to(x, args[1:], kwargs)
        if name == "pin_memory" and x is not None:
            return x
        kwargs.pop("pin_memory", None)
        where = kwargs.get("device")
        if where is None:
            values = [each for each in tree_iter((args, kwargs)) if isinstance(each, torch.Tensor)]
            before, self.places.inside = self.places.inside, any(map(self.places.has, values))
            try:
                return func(*args, **kwargs)
            finally:
                self.places.inside = before
        where = torch.device(where)
        if where.type != "cuda":
            return self._placed(func(*args, **kwargs), False) if where.type == "cpu" else func(*args, **kwargs)
        if "generator" in kwargs and kwargs["generator"] is not None:
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        kwargs["device"] = "cpu"
        if func is torch.asarray or func is torch.as_tensor:
            return self._moved(func(*args, **kwargs), True, copy=True)
        return self._placed(func(*args, **kwargs), True)

    def _placed(self, x: torch.Tensor, there: bool) -> torch.Tensor:
        self.places.put(x, there)
        return x

    def _to(self, x: torch.Tensor, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
        there, rest = self.places.has(x), []
        for arg in args:
            if isinstance(arg, torch.Tensor):
                there = self.places.has(arg)
                rest.append(arg.dtype)
            elif isinstance(arg, torch.device | str):
                there = torch.device(arg).type == "cuda"
            else:
                rest.append(arg)
        where = kwargs.pop("device", None)
        there = there if where is None else torch.device(where).type == "cuda"
        kwargs.pop("non_blocking", None)
        copy = kwargs.pop("copy", False)
        rest = [each for each in rest if isinstance(each, torch.dtype)]
        dtype = kwargs.pop("dtype", rest[0] if rest else None)
        changed = x if dtype is None or dtype == x.dtype else x.to(dtype)
        return self._moved(changed, there, copy=copy and changed is x)

    def _moved(self, x: torch.Tensor, there: bool, *, copy: bool) -> torch.Tensor:
        if there == self.places.has(x) and not copy:
            return x
        with torch._C.DisableTorchFunction():
            return self._placed(x.clone(), there)


class _Stream:
    def __init__(self, device: Any = None) -> None:
        self.device = device

    def wait_stream(self, other: Any) -> None:
        pass


@contextlib.contextmanager
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Admission]:
    """A machine with a card, which is its default device."""
    with monkeypatch.context() as patched:
        patched.setattr(device, "has", lambda kind: kind in ("cpu", "cuda"))
        patched.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
        patched.setattr(torch.cuda, "mem_get_info", lambda *_: (1 << 34, 1 << 34))
        patched.setattr(torch.Tensor, "record_stream", lambda *_: None)
        patched.setattr(torch.cuda, "Stream", _Stream)
        patched.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
        patched.setattr(torch.cuda, "current_stream", lambda *_: _Stream())
        rows.release_buffers()  # those of an earlier card
        places = Admission()
        with _Functions(places), _Operations(places):
            yield places


def on_card(*values: Any) -> bool:
    """Whether every tensor in ``values`` says that it is on the card; asked under ``card``."""
    seen: list[bool] = []
    tree_map(lambda x: seen.append(x.device.type == "cuda") if isinstance(x, torch.Tensor) else None, values)
    return bool(seen) and all(seen)
