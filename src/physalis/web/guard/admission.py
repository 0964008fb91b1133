"""admission: whose request is worked on next, where more come than a server can answer at once.

Work on pages shares one interpreter, so a few requests are worked on at a time and the others wait:
1. A visitor whose requests take much longer than others' waits until nobody else is inside, for at most a second, and
   has one place: what is long cannot be put off once it runs.
2. Of the others, next is who has had least of the server's time in the last seconds. Whoever asks for much so waits
   behind whoever asks for little (fair queueing; Demers, Keshav and Shenker, 1989), and in nobody else's way.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Scope

AT_ONCE, WAITING = 4, 256
"""Requests that are worked on at a time; of one visitor, that wait."""
MEMORY_S = 2.0
"""Time that a visitor had is forgotten by half in so many seconds."""
LONG, LONG_S, NEWEST = 4.0, 0.025, 0.1
"""Much longer: so many times the quickest visitor's mean, and so many seconds; the share of the last request in such
a mean."""
PATIENCE_S = 1.0
"""How long one that is long is put off at most, while another is not running."""
PRESENT_S = 0.05
"""How long after a request its visitor still counts as inside: another one mostly follows."""
USUAL_S = 0.003
"""What a request is taken to need of a visitor who never asked before."""
FORGETTING = 1000
"""Visitors that are remembered before the idle ones are forgotten."""
_LEAVE = "physalis.leave"


@dataclass(eq=False)
class _Place:
    """A request's place, wanted ``since`` then. Who waits for it is told."""

    since: float
    given: bool = False
    told: asyncio.Future[None] | None = None

    def give(self) -> None:
        self.given = True
        if self.told is not None and not self.told.done():
            self.told.set_result(None)


@dataclass(eq=False)
class _Visitor:
    waiting: deque[_Place] = field(default_factory=deque)
    inside: int = 0
    used: float = 0.0
    """Seconds of the server's time, as remembered at ``at``."""
    at: float = 0.0
    mean: float = USUAL_S
    """Seconds that a request of theirs took lately."""

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.inside)


class Admission:
    """The places of one server. It belongs to the event loop that its methods are called in."""

    def __init__(
        self, at_once: int = AT_ONCE, waiting: int = WAITING, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._at_once, self._waiting, self._clock = at_once, waiting, clock
        self._visitors: dict[str, _Visitor] = {}
        self._present: dict[_Visitor, None] = {}
        """Who waits, is inside, or was a moment ago."""
        self._inside = 0
        self._shared, self._then = 0.0, clock()
        """Time as one request sees it that shares the server with all others inside."""

    def __len__(self) -> int:
        """Visitors that are remembered."""
        return len(self._visitors)

    async def enter(self, name: str) -> Callable[[], None] | None:
        """Wait for a place; what is returned leaves it, once however often it is called. None where too many requests
        of this visitor wait already."""
        visitor = self._visitors.get(name)
        if visitor is None:
            if len(self._visitors) >= FORGETTING:
                self._forget()
            visitor = self._visitors[name] = _Visitor(at=self._clock())
        if len(visitor.waiting) >= self._waiting:
            return None
        self._present[visitor] = None
        place = _Place(self._clock())
        visitor.waiting.append(place)
        self._admit()
        if not place.given:  # mostly it is
            await self._wait(visitor, place)
        began: float | None = self._tick()

        def leave() -> None:
            nonlocal began
            if began is not None:
                since, began = began, None
                self._leave(visitor, since)

        return leave

    async def _wait(self, visitor: _Visitor, place: _Place) -> None:
        place.told = asyncio.get_running_loop().create_future()
        try:
            await place.told
        except BaseException:
            if place.given:
                self._leave(visitor, self._tick())
            else:
                visitor.waiting.remove(place)
            raise

    def _leave(self, visitor: _Visitor, since: float) -> None:
        took = self._tick() - since
        visitor.used, visitor.at = self._used(visitor) + took, self._clock()
        visitor.mean += NEWEST * (took - visitor.mean)
        visitor.inside -= 1
        self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        """Give what places are free to those who are next."""
        while self._inside < self._at_once and (visitor := self._next()) is not None:
            self._tick()
            visitor.inside += 1
            self._inside += 1
            visitor.waiting.popleft().give()

    def _next(self) -> _Visitor | None:
        now = self._clock()
        for idle in [each for each in self._present if each.idle and each.at < now - PRESENT_S]:
            del self._present[idle]
        long = max(LONG * min((each.mean for each in self._present), default=0.0), LONG_S)
        most = self._at_once if len(self._present) == 1 else max(self._at_once - 1, 1)
        quick = [each for each in self._present if each.mean <= long]
        may = [each for each in quick if each.waiting and each.inside < most]
        if may or len(quick) == len(self._present):
            return min(may, key=self._used, default=None)
        slow = [each for each in self._present if each.mean > long]
        if any(each.inside for each in slow):
            return None
        busy = any(each.inside for each in quick)
        may = [each for each in slow if each.waiting and (not busy or each.waiting[0].since < now - PATIENCE_S)]
        return min(may, key=self._used, default=None)

    def _tick(self) -> float:
        now = self._clock()
        self._shared += (now - self._then) / max(self._inside, 1)
        self._then = now
        return self._shared

    def _used(self, visitor: _Visitor) -> float:
        return visitor.used * math.exp2((visitor.at - self._clock()) / MEMORY_S)

    def _forget(self) -> None:
        """Forget whom nothing is remembered of that would matter."""
        gone = self._clock() - 10 * MEMORY_S
        for name in [name for name, each in self._visitors.items() if each not in self._present and each.at < gone]:
            del self._visitors[name]


def held(scope: Scope, leave: Callable[[], None]) -> Scope:
    """The scope of a request that holds a place."""
    return {**scope, _LEAVE: leave}


def leave_early(scope: Scope) -> None:
    """Leave the place of a request that waits for something else from now on, such as its turn with the model."""
    leave = scope.get(_LEAVE)
    if leave is not None:
        leave()
