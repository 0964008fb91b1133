"""refusals: what a server of pages answers where it has nothing: a sentence, as a page or as JSON. What a visitor is
told names no folder of the server; what went wrong is told to its owner, in the log."""

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from physalis.errors import BadInput, Unavailable
from physalis.web.guard.journal import LOG, Seldom, number_of
from physalis.web.server.shortened import cut
from physalis.web.server.unfit import unfit

_PATH = re.compile(r"(?<![\w/.:-])(?:/(?:[^\s/'\"`,;:()<>]+/)+|[A-Za-z]:\\(?:[^\s\\'\"`,;()<>]+\\)+)[^\s'\"`,;:()<>]*")
"""What may be a path of this machine."""
_HERE = "\N{HORIZONTAL ELLIPSIS}"
_seldom = Seldom()


def refuse_in_words(app: FastAPI, page: Callable[..., Response] | None = None, *, here: str, prefix: str) -> None:
    """Have ``app`` answer every mistake with a sentence: in JSON where JSON was asked for or there is no page, else by
    ``page``, which takes a title, the status and the sentence as its record "error". ``here`` says which pages there
    are, which begin at ``prefix``. What nobody foresaw is answered with 500 and a number, under which the log has the
    rest."""

    def refuse(request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
        path = request.url.path.removeprefix(prefix)
        if page is None or path.startswith(("/api/", "/static/", "/v1/")) or path.endswith(".json"):
            told: dict[str, Any] = {"detail": sentence}
            if path.startswith("/v1/"):  # where OpenAI's clients ask, who look for it there
                kind = "invalid_request_error" if status < 500 else "server_error"
                told["error"] = {"message": sentence, "type": kind, "param": None, "code": None}
            return JSONResponse(told, status, dict(headers or {}))
        if status < 500:
            return page("Not available – physalis", status=status, error=json.dumps(sentence))
        return page("Something went wrong – physalis", status=status, error=json.dumps(sentence), mishap="true")

    @app.exception_handler(BadInput)
    async def bad_input(request: Request, error: BadInput) -> Response:
        return refuse(request, 503 if isinstance(error, Unavailable) else 400, to_visitor(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refuse(request, 422, unfit(request, error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        lost = error.status_code == 404 and error.detail == "Not Found"
        sentence = f"There is no page {cut(request.url.path)} here. There are {here}." if lost else to_visitor(error)
        return refuse(request, error.status_code, sentence, error.headers)

    # Inside of all that adds headers to an answer, so that this one has them too.
    app.user_middleware.append(Middleware(Mishaps, refuse=refuse))


def to_visitor(error: BadInput | HTTPException) -> str:
    """What a visitor is told of an error: its sentence, in which paths of this machine are named by their last part
    alone. Where that left something out, the owner finds the whole sentence in the log."""
    sentence = str(error.detail) if isinstance(error, HTTPException) else str(error)
    told = without_paths(sentence)
    if told != sentence and _seldom.may(sentence):
        LOG.warning("A visitor was refused: %s", sentence)
    return told


def without_paths(sentence: str) -> str:
    """A sentence in which paths of this machine are named by their last part alone. Addresses of pages stay."""
    # Known folders first, whose names may hold spaces, at which nobody can tell whether a path ends.
    known = {str(Path.home()), tempfile.gettempdir(), str(Path.cwd())} - {os.sep}
    for folder in sorted(known, key=len, reverse=True):
        sentence = sentence.replace(folder + os.sep, f"/{_HERE}/")
    return _PATH.sub(lambda found: _named(found[0]), sentence)


def _named(path: str) -> str:
    first, *rest = re.split(r"[/\\]", path.removeprefix("/").rstrip("/\\."))
    if path.startswith("/") and first != _HERE and not os.path.lexists(f"/{first}"):
        return path  # a page
    return (rest or [first])[-1] + ("." if path.endswith(".") else "")


class Mishaps:
    """Answers with a sentence what nobody foresaw, and puts it into the log, the same once a minute."""

    def __init__(self, app: ASGIApp, refuse: Callable[..., Response]) -> None:
        self._app, self._refuse, self._seldom = app, refuse, Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            number = number_of(error)
            if self._seldom.may(number):
                LOG.error("%s: %s %s", number, scope["method"], cut(ascii(scope["path"])), exc_info=error)
            if begun:
                return  # without an end, at which the connection is cut: nobody takes half an answer for a whole one
            sentence = f"The server could not answer this. Its owner finds the reason in its log, under {number}."
            await self._refuse(Request(scope), 500, sentence)(scope, receive, send)
