"""Events: an answer that is read as it is made, as server-sent events of JSON, the last of them ``[DONE]``.

What refuses a question, a full queue or an edit that does not exist, does so before the answer begins, when its status
can still say it; later it can only be said in the answer itself, as ``{"detail": sentence}``.
"""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from physalis.errors import BadInput

DONE = "data: [DONE]\n\n"


class Events(StreamingResponse):
    """Made by ``Events.of``."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncGenerator[Any, None], first: list[Any]) -> None:
        self._parts = parts
        self._told = _told(parts, first)
        super().__init__(self._told)

    @classmethod
    async def of(cls, parts: AsyncGenerator[Any, None]) -> "Events":
        """The answer of these parts, each an event. Raises what making the first one raises."""
        try:
            first = [await anext(parts)]
        except StopAsyncIteration:
            first = []
        return cls(parts, first)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Not as its base class does it, which leaves the generator to the garbage collector when the client hangs up;
        that it did, the parts say themselves."""
        async with aclosing(self._parts), aclosing(self._told):
            await self.stream_response(send)


async def _told(parts: AsyncGenerator[Any, None], first: list[Any]) -> AsyncGenerator[str, None]:
    try:
        for part in first:
            yield event(part)
        async for part in parts:
            yield event(part)
    except BadInput as error:
        yield event({"detail": str(error)})
    except HTTPException as error:
        yield event({"detail": str(error.detail)})
    except Exception:
        logging.getLogger("uvicorn.error").exception("An answer broke off")
        yield event({"detail": "Something went wrong on this server. Its owner finds in its log what it was."})
    yield DONE


def event(data: Any) -> str:
    """As it is sent."""
    return f"data: {json.dumps(data)}\n\n"
