"""Pages: what makes the pages of one room."""

import json
from collections.abc import Callable, Mapping

from fastapi.responses import HTMLResponse

from physalis.web.server.shell import fill


class Pages:
    """Makes pages of one shell: with the same records ``beside`` those of each, and with where the room begins, if that
    is not at "/": links and requests of its scripts begin there too."""

    def __init__(
        self,
        shell: str,
        *,
        prefix: str = "",
        beside: Mapping[str, str] | None = None,
        now: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """``shell`` as ``read_shell`` reads it; the records are JSON, each under its name. ``now`` gives those that may
        be others later."""
        self._shell, self._now = shell, now
        self._beside = ({"base": json.dumps(prefix)} if prefix else {}) | dict(beside or {})

    def __call__(self, title: str, *, status: int = 200, text: str = "", **records: str) -> HTMLResponse:
        """A page with records, each already JSON, and text, which is HTML."""
        html = fill(self._shell, title=title, records=records | self._beside | {**self._now()}, text=text)
        return HTMLResponse(html, status, {"cache-control": "no-cache"})
