"""demo_process: the demo in a process of its own, its pages served meanwhile: runs as they train, then the atlas."""

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from physalis.cli.arguments.options import given
from physalis.cli.arguments.sentences import explain
from physalis.runtime.signals import deaf
from physalis.web.server.serving import serve_while

FIRST = (
    "A first look, on the beginning of the text only: features that a minute of work can find. Then all of the text is "
    "recorded and the real dictionary is trained on it; this page goes on with that one by itself."
)
REAL = "When it is trained it is evaluated, and its atlas opens here, at this address."


def make_and_serve(
    out: Path,
    *,
    port: int | None = None,
    proxies: Sequence[str] = (),
    tokens: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> int:
    """Make the demo in ``out`` and serve it at one address from the start. Returns the exit code of what made it."""
    options = given(tokens=tokens, device=device, dtype=dtype)
    process = multiprocessing.get_context("spawn").Process(target=_make, args=(out, options))

    def work() -> int:
        with deaf():  # this process ends it
            process.start()
        process.join()
        return process.exitcode or 0

    def before() -> ASGIApp:
        from physalis.cli.learning.demo import first_look
        from physalis.web.watch.app import create_relay_app

        return create_relay_app({first_look(out): FIRST, out / "dictionary": REAL})

    def after() -> ASGIApp:
        from physalis.web.contents.opening import open_app

        where = given(device=device, dtype=dtype)
        return open_app(out / "atlas", out / "dictionary", out / "activations", **where)

    try:
        return serve_while(work, before, after, out / "atlas", proxies=proxies, **given(port=port))
    finally:
        if process.is_alive():
            process.terminate()


def _make(out: Path, options: dict[str, Any]) -> None:
    from physalis.cli.learning.demo import run
    from physalis.cli.shown import printing

    try:
        printing.show(run(out, **options), json=False)
    except Exception as error:
        sys.exit(explain(error))
