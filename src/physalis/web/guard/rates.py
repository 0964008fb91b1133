"""rates: how much one visitor may ask in a time: token buckets."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass


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
