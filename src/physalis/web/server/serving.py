"""serve, watch: show an atlas, or a run of ``train``, at an address of this machine until it is interrupted; serve_app:
any app; serve_while: one app while something is made, then another.

The port is taken before anything is read, so that one in use is told at once. torch is imported after that.
"""

import contextlib
import errno
import inspect
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from physalis.errors import BadInput
from physalis.runtime.progress import status
from physalis.web.contents.finding import around
from physalis.web.guard.connections import configured
from physalis.web.guard.guard import guard
from physalis.web.guard.proxies import read_proxies
from physalis.web.server.server import Server

MOST_BYTES = 1 << 19
"""Of a request: a long text to try, and no more."""
STOPPED = 130
"""The exit code of what was interrupted."""
HOSTS = "Use 127.0.0.1 for this machine alone, or 0.0.0.0 for every address it has."


def serve(
    folders: Path | str | Sequence[Path | str],
    dictionary: Path | str | None = None,
    activations: Path | str | None = None,
    *,
    author: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8123,
    token: str | None = None,
    origin: str | None = None,
    proxies: Sequence[str] = (),
    tree: Path | str | None = None,
    articles: Sequence[Path | str] = (),
    explain: bool = False,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Serve the pages of an atlas folder until interrupted, and say where. Port 0 takes any that is free.

    A comparison, a tree of features, a circuit graph with its verdict or a lab that was published is served as well.
    Where there are several folders, or one that is none of these but holds some up to two levels below, a table of
    contents leads to what they hold, runs of ``train`` too: each has its pages under a prefix, such as /a/NAME/, and
    beside comparisons, trees and graphs lie the atlases of their dictionaries. Of all that follows, ``author`` is for
    every atlas then, and a ``dictionary`` for the one that it is of.

    With the ``dictionary`` that the atlas is of there are pages to try texts and to steer on; with the ``activations``
    that it was trained on, also a measure of what steering does and costs. Labels, notes and lists of the file beside
    the atlas are shown; ``author`` is in whose name visitors write there, and without one they only read. Comments
    beside the atlas are shown, and written by who was invited. Other machines reach the pages only with a ``token``,
    which the printed address holds; ``origin`` is where a proxy shows them to the world, such as
    "https://atlas.example.org", and ``proxies`` are the addresses from which proxies ask: they alone are believed about
    who the visitor is. ``tree`` is the folder of a tree of features (``comparing.growing.grow``) with the
    atlas's dictionary in it: each feature's page then shows its family. ``articles`` are Markdown files about the
    atlas, as ``publish`` takes them: each has a page with live figures, and whoever was invited comments on its words
    and figures. With ``explain`` a process of its own explains the atlas's features meanwhile, those that readers open
    first, into the folder that ``physalis explain`` writes (see ``explanations.queue``); what hinders it is said, and
    the atlas served without. The model and the dictionary compute on ``device``, the model in ``dtype`` ("float32",
    say): what the machine does best unless given.

    Raises BadInput if the folders hold nothing of these or the dictionary is of none of the atlases, if the tree has no
    place for its dictionary, if an article does not resolve, if the port is in use or not ours to take, if this machine
    does not have that address, if a proxy has none, or if other machines could reach it without a token.
    """

    given = [folders] if isinstance(folders, Path | str) else [*folders]

    def make() -> FastAPI:
        from physalis.web.contents.opening import open_app

        options = {"author": author, "tree": tree, "articles": articles, "explain": explain}
        options |= {"device": device, "dtype": dtype}
        return open_app(given, dictionary, activations, **options)

    folder = around([Path(each) for each in given])
    serve_app(make, folder, host=host, port=port, token=token, origin=origin, proxies=proxies)


def watch(
    run: Path | str,
    activations: Path | str | None = None,
    *,
    features: int = 12,
    examples: int = 4,
    tokens: int = 16_384,
    host: str = "127.0.0.1",
    port: int = 8124,
    token: str | None = None,
    origin: str | None = None,
    proxies: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Serve a page that shows the run of ``train`` whose folder is ``run``, until interrupted, and say where.

    The run may be training in another process, stopped, finished, or not begun. ``features`` of its features are shown
    with up to ``examples`` examples each, read on about ``tokens`` held-out tokens of the ``activations`` that it
    trains on; these are looked for beside the run unless given. They are encoded on ``device``: the training may need
    all of the others. ``host``, ``port``, ``token``, ``origin`` and ``proxies`` are as in ``serve``.

    Raises BadInput if ``run`` holds something else, if ``activations`` are none or none it trains on, if a number is
    below 1, and as ``serve`` does.
    """

    def make() -> FastAPI:
        from physalis.web.watch.app import create_watch_app

        options = {"features": features, "examples": examples, "tokens": tokens, "device": device}
        return create_watch_app(run, activations, **options)

    serve_app(make, run, host=host, port=port, token=token, origin=origin, proxies=proxies)


def usual_address() -> str:
    """Where ``serve`` shows an atlas unless told otherwise."""
    given = inspect.signature(serve).parameters
    return f"http://{given['host'].default}:{given['port'].default}"


def serve_app(
    make: Callable[[], ASGIApp],
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    token: str | None = None,
    origin: str | None = None,
    proxies: Sequence[str] = (),
) -> None:
    """Serve the app that ``make`` makes of a folder behind ``web.guard.guard`` until interrupted, and say where it is.

    The port is ours before ``make`` is called: who asks meanwhile waits. Where that fails, the port is free again.
    """

    async def made(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    guarded = guard(made, host=host, token=token, origin=origin, most_bytes=MOST_BYTES)
    networks = read_proxies(proxies)
    with bind(host, port) as listener:
        with status(f"opening {Path(folder).resolve().name}"):
            app = make()
        there = address(listener) + (f"?token={token}" if token else "")
        with contextlib.suppress(KeyboardInterrupt):
            Server(configured(guarded, proxies=networks), started=lambda: _tell(folder, there)).run([listener])


def serve_while(
    work: Callable[[], int],
    before: Callable[[], ASGIApp],
    after: Callable[[], ASGIApp],
    folder: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8123,
    proxies: Sequence[str] = (),
) -> int:
    """Serve the app that ``before`` makes while ``work`` goes on in a thread, and once that returned 0 the one that
    ``after`` makes, at the same address until interrupted. Returns what ``work`` did.

    ``work`` waits for a process, so that serving and working do not wait for each other. Where it returns something
    else than 0 the server ends; where it was interrupted before, 130 is returned. Raises BadInput as ``serve_app``
    does, and what ``after`` raises.
    """
    shown: list[ASGIApp] = []
    codes: list[int] = []
    errors: list[BaseException] = []

    async def made(scope: Scope, receive: Receive, send: Send) -> None:
        await shown[-1](scope, receive, send)

    guarded = guard(made, host=host, token=None, origin=None, most_bytes=MOST_BYTES)
    networks = read_proxies(proxies)
    with bind(host, port) as listener:
        there = address(listener)
        server = Server(configured(guarded, proxies=networks))

        def working() -> None:
            try:
                codes.append(work())
                if codes == [0]:
                    shown.append(after())
                    server.spare_threads()
                    _tell(folder, there)
            except BaseException as error:  # raised again by the thread that serves
                errors.append(error)
            server.should_exit = bool(errors) or codes != [0]

        print(f"Watch it being made at {there} (stop with Ctrl-C)", file=sys.stderr, flush=True)
        threading.Thread(target=working, daemon=True).start()
        shown.insert(0, before())
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
    if errors:
        raise errors[0]
    return codes[0] if codes else STOPPED


def _tell(folder: Path | str, there: str) -> None:
    print(f"{Path(folder).resolve().name} is at {there} (stop with Ctrl-C)", file=sys.stderr, flush=True)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises BadInput, with what to do, where it cannot."""
    if not 0 <= port <= 65535:
        raise BadInput(f"A port is a number from 0 to 65535; received {port}.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise BadInput(f"There is no host {host!r} ({error.strerror}). {HOSTS}") from error
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
        listener.listen(128)
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: f"Port {port} of {host} is in use. Stop what listens there, or choose another with "
            "--port (0 takes any that is free).",
            errno.EACCES: f"Port {port} may not be taken by this user. Choose one above 1023 with --port.",
            errno.EADDRNOTAVAIL: f"This machine does not have the address {host}. {HOSTS}",
        }.get(error.errno or 0)
        if why is None:
            raise
        raise BadInput(why) from error
    return listener


def address(listener: socket.socket) -> str:
    """What to type into a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
