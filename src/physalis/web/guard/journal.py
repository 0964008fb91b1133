"""journal: what the owner of a server finds in its log, however often a visitor makes it happen."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

LOG = logging.getLogger("physalis.web")


class Seldom:
    """Lets the same thing be said once in ``every_s`` seconds, so that nobody fills a disk with it. The ``most`` last
    said are remembered."""

    def __init__(self, every_s: float = 60.0, *, most: int = 100, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._most, self._clock = every_s, most, clock
        self._said: OrderedDict[Hashable, float] = OrderedDict()

    def may(self, what: Hashable) -> bool:
        """Whether it is time to say it, which is then taken as done."""
        now, before = self._clock(), self._said.get(what)
        if before is not None and now - before < self._every:
            return False
        self._said[what] = now
        self._said.move_to_end(what)
        if len(self._said) > self._most:
            self._said.popitem(last=False)
        return True


class Sparing(logging.Filter):
    """Lets a line through once a minute: what anybody can send does not fill a log."""

    def __init__(self, seldom: Seldom | None = None) -> None:
        super().__init__()
        self._seldom = seldom or Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        return self._seldom.may(record.getMessage())


def number_of(error: BaseException) -> str:
    """Eight hexadecimal digits that stand for what went wrong and where: the same for the same fault."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f"{at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at is not None else ""
    return hashlib.sha256(f"{type(error).__qualname__} {place}".encode()).hexdigest()[:8]
