"""signals: what Ctrl-C, SIGTERM and a closed terminal do to a command: it ends in one sentence, wherever it was.

The first signal raises Stopped, a KeyboardInterrupt, so that whatever tidies up after one does so. The second ends the
process at once: every verb may be killed at any moment, and what is whole is kept. Nothing here takes time to import,
for signals come meanwhile.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = "physalis: stopped."
SENTENCE = f"{STOPPED} What is whole is kept: run the same command again, and it goes on from there."
"""Of a command that fills a folder."""
CURSOR = "\x1b[?25h"
"""Shows a terminal's cursor again, which a bar of progress hides."""


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to stop."""


class Listener:
    """Hears the signals of one command."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        """Numbers of the signals, in their order."""
        self.sentence = STOPPED
        """What is said at the end. Whoever knows what is being made says that it is kept."""

    @property
    def code(self) -> int:
        """What the process ends with: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.heard[0] if self.heard else signal.SIGINT)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: the first raises ``Stopped``, the second leaves."""
        self.heard.append(number)
        if len(self.heard) > 1:
            self.leave()
        raise Stopped

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        """Handles SIGHUP, which comes when a terminal is closed: as SIGTERM, whoever handles that now."""
        signal.raise_signal(signal.SIGTERM)

    def leave(self) -> None:
        """End the process here and now, with the sentence."""
        shown = CURSOR if sys.stderr is not None and sys.stderr.isatty() else ""
        with suppress(OSError):  # the terminal may be gone
            os.write(2, f"{shown}{self.sentence}\n".encode())
        self.end()

    def tell(self) -> None:
        """Say the sentence."""
        with suppress(OSError):
            print(self.sentence, file=sys.stderr, flush=True)

    def end(self, *_: object) -> None:
        """End the process here and now: the sentence was said."""
        os._exit(self.code)

    def ignored(self, unraisable: Any) -> None:
        """Where Python cannot raise (a destructor, a callback of an import) it would print the exception and go on."""
        if issubclass(unraisable.exc_type, Stopped):
            self.leave()
        else:
            sys.__unraisablehook__(unraisable)


@contextmanager
def listening() -> Iterator[Listener]:
    """Within it Ctrl-C ends in the sentence and SystemExit(130), SIGTERM and SIGHUP in it and SystemExit(143). Signals
    that whoever started the process wants ignored stay so, as SIGHUP with ``nohup``."""
    listener, before, hook = Listener(), {}, sys.unraisablehook
    if threading.current_thread() is threading.main_thread():
        before = {each: signal.getsignal(each) for each in SIGNALS}
        before = {each: handler for each, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for handler in before.values():
        already = getattr(handler, "__self__", None)
        if isinstance(already, Listener):  # whoever called this listens
            yield already
            return
    for each in before:
        signal.signal(each, listener.hang_up if each == signal.SIGHUP else listener.hear)
    sys.unraisablehook = listener.ignored
    try:
        yield listener
    except SystemExit as stop:
        if stop.code or signal.SIGTERM not in listener.heard:
            raise
    except BaseException as error:
        # an import that was interrupted may fail with an error of its own
        if not listener.heard and not isinstance(error, KeyboardInterrupt):
            raise
        listener.tell()
        raise SystemExit(listener.code) from None
    finally:
        sys.unraisablehook = hook
        for each, handler in before.items():  # once asked to stop, it may not be asked to wait for what Python tidies
            signal.signal(each, listener.end if listener.heard else handler)
    if signal.SIGTERM in listener.heard:  # a server that was asked to end has said goodbye
        raise SystemExit(listener.code)


@contextmanager
def leaving() -> Iterator[None]:
    """What is done inside is all that the process is for. From its end on Ctrl-C and SIGTERM end the process at once,
    with the exit code that it has then: Python tidies up for a while, and nothing is left to be stopped. At last, when
    it takes all handlers away, they are ignored."""
    code = 0

    def ignore() -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    atexit.register(ignore)  # called last, as it is registered first
    try:
        yield
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        raise
    finally:

        def end(*_: object) -> None:
            with suppress(Exception):
                sys.stdout.flush()
            os._exit(code)

        for each in SIGNALS:
            if signal.getsignal(each) not in (signal.SIG_IGN, None):
                signal.signal(each, end)


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that are started within it never hear what a terminal sends to all, Ctrl-C and that it is closed:
    whoever started them ends them. For this thread both wait until the end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
