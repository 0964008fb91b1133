"""rates: how much one visitor may ask: token buckets for what changes or costs something, and lanes for pages."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import anyio


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and so many a second for long."""

    burst: int
    per_second: float


class Buckets:
    """A token bucket for each key. Only the ``most`` last used are kept, so that nobody can fill the memory with keys:
    one that is forgotten starts full again, which it mostly was, being the longest unused."""

    def __init__(self, rate: Rate, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable) -> float:
        """Take one and return 0, or return the seconds until there is one."""
        with self._lock:
            now = self._clock()
            level, then = self._levels.get(key, (float(self._rate.burst), now))
            level = min(float(self._rate.burst), level + (now - then) * self._rate.per_second)
            wait = 0.0 if level >= 1 - 1e-9 else (1 - level) / self._rate.per_second
            self._levels[key] = (level if wait else level - 1, now)
            self._levels.move_to_end(key)
            if len(self._levels) > self._most:
                self._levels.popitem(last=False)
        return wait


@dataclass
class _Lane:
    free: anyio.Semaphore
    inside: int = 0
    """Requests that are worked on, or wait here."""


class Lanes:
    """Lets ``at_once`` requests of one visitor be worked on at a time. Further ones wait behind each other and in
    nobody else's way; where ``waiting`` do, there is no room."""

    def __init__(self, at_once: int = 4, waiting: int = 256) -> None:
        self._at_once, self._waiting = at_once, waiting
        self._lanes: dict[str, _Lane] = {}

    async def enter(self, visitor: str) -> Callable[[], None] | None:
        """Wait for a place; what is returned leaves it, once however often it is called. None where there is no
        room."""
        lane = self._lanes.setdefault(visitor, _Lane(anyio.Semaphore(self._at_once)))
        if lane.inside >= self._at_once + self._waiting:
            return None
        lane.inside += 1
        holding = False

        def leave() -> None:
            nonlocal holding
            if holding:
                holding = False
                lane.free.release()
                self._forget(visitor, lane)

        try:
            await lane.free.acquire()
        except BaseException:
            self._forget(visitor, lane)
            raise
        holding = True
        return leave

    def _forget(self, visitor: str, lane: _Lane) -> None:
        lane.inside -= 1
        if not lane.inside:
            self._lanes.pop(visitor, None)
