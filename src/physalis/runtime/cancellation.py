"""cancellation: how work ends early that nobody waits for any more, or that takes too long.

Whoever starts work says how to tell: ``interruptible`` with a function that raises. Long work asks it between its
steps, by ``check_interrupted``; the forward passes of a model do so at every layer. Where nobody said anything, as on
the command line, nothing ends early. It holds for the thread that does the work, as a ``ContextVar`` does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Check = Callable[[], None]
"""Raises where the work is to end."""

_check: ContextVar[Check | None] = ContextVar("check", default=None)


class Interrupted(BaseException):
    """Raised where nobody waits for the work. No ``Exception``: nothing on the way takes it for a fault of its own."""


@contextmanager
def interruptible(check: Check) -> Iterator[None]:
    """What is done inside, in this thread, ends with what ``check`` raises, soon after it does."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def check_interrupted() -> None:
    """Raise what ends this work, if anything does."""
    check = _check.get()
    if check is not None:
        check()


def is_interruptible() -> bool:
    """Whether anything could end this work."""
    return _check.get() is not None
