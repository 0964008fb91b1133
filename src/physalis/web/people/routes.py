"""routes: how what people write is asked for: bodies have an end, and what is refused is a sentence with a status."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Message

from physalis.errors import BadInput, Unavailable
from physalis.people.refusals import Conflict, Missing, NotAllowed, NotKnown
from physalis.web.server.refusals import to_visitor
from physalis.web.server.unfit import unfit

MOST_BYTES = 256 * 1024
"""The longest body. More is refused as soon as it is seen, not after it was read. It holds the longest texts and lists
that people may write, also with each character as an escape: twice a comment's 10,000, so that what is too long by less
is told so in its own words."""
STATUS = {NotKnown: 401, NotAllowed: 403, Missing: 404, Conflict: 409, Unavailable: 503}
"""Of each refusal; 400 of any other."""


class PeopleRoute(APIRoute):
    """A route whose bodies are limited, and whose refusals are sentences, whatever was sent."""

    headers: ClassVar[Mapping[str, str]] = {}
    """Sent with every answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def limited(request: Request) -> Response:
            said = request.headers.get("content-length", "0")
            if not said.isdecimal() or int(said[:20]) > MOST_BYTES:
                raise _too_long()
            received = 0

            async def receive() -> Message:
                nonlocal received
                message = await request.receive()
                received += len(message.get("body", b""))
                if received > MOST_BYTES:
                    raise _too_long()
                return message

            try:
                response = await handle(Request(request.scope, receive))
            except RequestValidationError as error:
                response = JSONResponse({"detail": unfit(request, error)}, 422)
            except BadInput as error:
                status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 400)
                response = JSONResponse({"detail": to_visitor(error)}, status)
            response.headers.update(self.headers)
            return response

        return limited


class PersonalRoute(PeopleRoute):
    """A route whose answers depend on who asks, so that no cache keeps them."""

    headers = {"cache-control": "no-store"}


def _too_long() -> HTTPException:
    # The rest of the body is not waited for, so the connection cannot be used again.
    return HTTPException(413, f"A body takes up to {MOST_BYTES:,} bytes; this one has more.", {"connection": "close"})
