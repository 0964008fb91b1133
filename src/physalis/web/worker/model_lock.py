"""ModelLock: a model answers one request at a time; whoever asks meanwhile waits, and where too many do is sent away.

1. Who waits costs no thread, only a place in a queue, and leaves it by hanging up.
2. The work is done by a thread of its own while it is the request's turn. What it makes is handed to the event loop and
   never waits for being read: a client that reads slowly does not hold the model.
3. Work ends early where its client hangs up, where the server stops, and where it takes too long. Its thread is told by
   ``interruption``, which a model's passes ask at every layer.
4. That thread hands the model on whatever happened to the request, so that nobody can keep it.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from typing import TypeVar

from fastapi import HTTPException, Request
from starlette.types import Message

from physalis.runtime.cancellation import Interrupted, interruptible
from physalis.web.guard.admission import leave_early

WAITING = 8
"""Requests that wait for the model, at most."""
MOST_SECONDS = 600.0
"""How long one request may use the model, and how long one waits for its turn."""
SPARE_SECONDS = 5.0
"""How much longer a thread may take to notice, before its request is answered without it."""

T = TypeVar("T")


class ModelLock:
    """Lets one request at a time use a model, and a few wait. Share one between all that use the same model. It belongs
    to no event loop; its methods are called inside one."""

    def __init__(self, waiting: int = WAITING, *, most_seconds: float = MOST_SECONDS) -> None:
        self._waiting, self._seconds = waiting, most_seconds
        self._lock = threading.Lock()
        self._queue: deque[Future[None]] = deque()
        self._taken = False

    @property
    def waiting(self) -> int:
        """How many wait now."""
        with self._lock:
            return len(self._queue)

    async def answer(self, request: Request, work: Callable[[], T]) -> T:
        """What ``work`` returns, called in a thread when it is this request's turn.

        Raises what it raises, and HTTPException 503: at once where too many wait already; later where it took too long,
        where nobody waits any more for the answer, or where there was not enough memory.
        """
        async with aclosing(self.stream(request, lambda: [work()])) as parts:
            (found,) = [part async for part in parts]  # to its end: then others may have the model
        return found

    async def stream(self, request: Request, make: Callable[[], Iterable[T]]) -> AsyncGenerator[T, None]:
        """What ``make`` makes, one after another, likewise. Close it where not all of it is read."""
        turn = self._line_up()
        leave_early(request.scope)
        gone = asyncio.ensure_future(hung_up(request.receive))
        try:
            await self._wait(turn, gone)
            parts: asyncio.Queue[T | BaseException] = asyncio.Queue()
            stopped = threading.Event()
            gone.add_done_callback(lambda _: parts.put_nowait(stopping()))
            until = time.monotonic() + self._seconds
            self._start(make, _giver(parts), stopped, until)
            try:
                while True:
                    try:
                        left = until + SPARE_SECONDS - time.monotonic()
                        part = await asyncio.wait_for(parts.get(), left)
                    except TimeoutError as error:
                        raise _too_long(self._seconds) from error
                    if isinstance(part, StopAsyncIteration):
                        return
                    if isinstance(part, BaseException):
                        raise part
                    yield part
            finally:
                stopped.set()
        finally:
            gone.cancel()

    def _line_up(self) -> Future[None]:
        turn: Future[None] = Future()
        with self._lock:
            if not self._taken:
                self._taken = True
                turn.set_result(None)
            elif len(self._queue) < self._waiting:
                self._queue.append(turn)
            else:
                raise _later("The model is busy with other questions. Ask again soon.", 2)
        return turn

    async def _wait(self, turn: Future[None], gone: asyncio.Future[None]) -> None:
        """Until it is our turn. Who does not wait for it any more leaves the queue, or hands on what came too late."""
        ours = asyncio.wrap_future(turn)
        try:
            await asyncio.wait({ours, gone}, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise stopping()
            if not ours.done():
                raise _later(f"The model was busy with other questions for {self._seconds:g} s. Ask again later.", 60)
        except BaseException:
            self._leave(turn)
            raise

    def _leave(self, turn: Future[None]) -> None:
        with self._lock:
            waits = turn in self._queue
            if waits:
                self._queue.remove(turn)
        if not waits:
            self._hand_on()

    def _hand_on(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set_result(None)
            else:
                self._taken = False

    def _start(
        self,
        make: Callable[[], Iterable[T]],
        give: Callable[[T | BaseException], None],
        stopped: threading.Event,
        until: float,
    ) -> None:
        def check() -> None:
            if stopped.is_set():
                raise Interrupted
            if time.monotonic() > until:
                raise _too_long(self._seconds)

        def work() -> None:
            last: BaseException = StopAsyncIteration()
            try:
                with interruptible(check):
                    for part in make():
                        give(part)
                        check()
            except BaseException as error:
                last = error
            self._hand_on()  # before it is said, so that who is answered may ask again
            give(_no_memory() if _lacks_memory(last) else last)

        try:
            threading.Thread(target=work, daemon=True, name="model").start()
        except RuntimeError as error:
            self._hand_on()
            raise _later("This server has no thread left. Ask again soon.", 10) from error


def _giver(parts: asyncio.Queue[T | BaseException]) -> Callable[[T | BaseException], None]:
    loop = asyncio.get_running_loop()

    def give(part: T | BaseException) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(parts.put_nowait, part)

    return give


async def hung_up(receive: Callable[[], Awaitable[Message]]) -> None:
    """Returns when the client is not there any more, or the server, as it stops, says so."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _later(sentence: str, seconds: int) -> HTTPException:
    return HTTPException(503, sentence, {"retry-after": str(seconds)})


def stopping() -> HTTPException:
    """Who hung up does not hear it; everybody else is told because the server stops."""
    return _later("The server is being stopped. Ask again when it is back.", 10)


def _too_long(seconds: float) -> HTTPException:
    return _later(
        f"This took longer than {seconds:g} s, which is how long one request may use the model here. Ask for less: "
        "fewer tokens, strengths or texts. In Python and on the command line there is no such limit.",
        60,
    )


def _no_memory() -> HTTPException:
    return _later("The server has not enough memory for this now. Ask for less, or again later.", 10)


def _lacks_memory(error: BaseException) -> bool:
    """Python's own error, an accelerator's, or torch's on the CPU, which is a RuntimeError like others."""
    said = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or "out of memory" in said or "allocate memory" in said
