"""Refusals: what a server of pages answers where it has nothing: a sentence, as a page or as JSON."""

import json
from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from physalis.errors import BadInput, Unavailable


def refuse_in_words(app: FastAPI, page: Callable[..., Response], *, here: str) -> None:
    """Have ``app`` answer every mistake with a sentence: in JSON where JSON was asked for, else by ``page``, which
    takes a title, the status and the sentence as its record "error". ``here`` says which pages there are."""

    def refuse(request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
        path = request.url.path
        if path.startswith(("/api/", "/static/", "/v1/")) or path.endswith(".json"):
            return JSONResponse({"detail": sentence}, status, dict(headers or {}))
        return page("Not here – physalis", status=status, error=json.dumps(sentence))

    @app.exception_handler(BadInput)
    def bad_input(request: Request, error: BadInput) -> Response:
        return refuse(request, 503 if isinstance(error, Unavailable) else 400, str(error))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        # A body is anyone's: in ASCII, since half a surrogate pair could not be sent back, and no longer than a line.
        given = ascii(first.get("input"))
        given = given if len(given) <= 200 else f"{given[:200]}…"
        return refuse(request, 422, f"{first['loc'][-1]}={given} cannot be used: {first['msg']}.")

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        lost = error.status_code == 404 and error.detail == "Not Found"
        sentence = f"There is no page {request.url.path} here. There are {here}." if lost else str(error.detail)
        return refuse(request, error.status_code, sentence, error.headers)
