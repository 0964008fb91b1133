"""A served app on a socket, and what its pages are looked at with."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn

from physalis.web.server.serving import address, bind

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
expect = playwright.expect


@contextmanager
def serving(app) -> Iterator[str]:
    """The address of an app, served by a thread."""
    with bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield address(listener).rstrip("/")
        finally:
            server.should_exit = True
            thread.join()


def whole(page) -> None:
    """Waits for the page, and for what stands below its first screen, which is drawn after that is painted."""
    page.wait_for_selector("main h1", state="attached")
    page.wait_for_selector("[data-later]", state="detached")


def fits(page, width: int) -> bool:
    """Nothing has to be scrolled to the side."""
    return page.evaluate("document.documentElement.scrollWidth") <= width


WIDGET = """async ([code, traits]) => {
  const widget = (await import(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })))).default;
  const listeners = {};
  window.model = {
    get: (key) => traits[key],
    set: (key, value) => { traits[key] = value; listeners[`change:${key}`]?.(); },
    save_changes: () => { window.asked = traits.path; },
    on: (event, f) => { listeners[event] = f; },
    off: () => {},
  };
  const host = document.body.appendChild(document.createElement('div'));
  window.root = host.attachShadow({ mode: 'open' });
  widget.render({ model: window.model, el: window.root.appendChild(document.createElement('div')) });
}"""
"""Shows a notebook's widget with no notebook: its script, and the traits that the kernel would send."""
