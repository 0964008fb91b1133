"""steering_router: edited texts over HTTP, streamed beside the unedited ones, and an endpoint for OpenAI's clients.

| route | what |
| --- | --- |
| GET /api/steering | what can be steered here, and in which units |
| POST /api/steer | both texts by tokens, as server-sent events ``{"plain": …, "edited": …}``, null after their end |
| POST /api/doses | what an edit does at each strength, beside its baselines |
| GET /v1/models, POST /v1/completions, POST /v1/chat/completions | OpenAI's own, with ``edits`` besides |

The model is asked one thing at a time: a second request waits for its turn. Imported late, for it needs torch.
"""

import json
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from physalis import artifact
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.generation import Sampler, generate
from physalis.models.prompting import room
from physalis.models.tokens import Decoder
from physalis.origin import Origin
from physalis.steering import DoseResponse, Edit, Steering, chat, completion, dose_response, steer
from physalis.steering.edits import place_of, steerable
from physalis.web.records import Steerable
from physalis.web.turns import Turns

LONGEST = 8_000  # characters of a prompt
USUAL = 128  # tokens of OpenAI's answers, where their number is not asked for
Edits = Annotated[list[Edit], Field(max_length=32, fail_fast=True)]
Text = Annotated[str, Field(max_length=LONGEST)]


class Events(StreamingResponse):
    media_type = "text/event-stream"


class Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(Asked):
    role: Literal["system", "user", "assistant"]
    content: Text


Messages = Annotated[list[Message], Field(max_length=100, fail_fast=True)]


class Sampling(Asked):
    """What is not given is what the functions have by default."""

    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None

    def sampler(self) -> Sampler:
        said = {"temperature": self.temperature, "top_p": self.top_p, "seed": self.seed}
        return Sampler(**{name: value for name, value in said.items() if value is not None})


class Steered(Sampling):
    """A text to go on with, or messages to answer; one of them."""

    text: Text | None = None
    messages: Messages | None = None
    edits: Edits = []
    tokens: Annotated[int, Field(ge=1, le=512)] | None = None


class Dosed(Asked):
    feature: Annotated[int, Field(ge=0)]
    strengths: Annotated[list[float], Field(max_length=16, fail_fast=True)] | None = None


class Completions(Sampling):
    """OpenAI's request, as far as it means something here. Other fields that its clients send are not refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Annotated[str, Field(max_length=LONGEST)] | None = None
    prompt: Text | None = None
    messages: Messages | None = None
    max_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    stream: bool = False
    edits: Edits = []


def steering_router(
    model: Model, dictionary: str | Path, activations: str | Path | None = None, *, turns: Turns | None = None
) -> tuple[Steerable, APIRouter]:
    """What can be steered with the features of one dictionary, and the routes to do it. Without its activations there
    is no text to judge doses on, and /api/doses says so. ``turns`` are those of the model, where others use it too."""
    router, turns = APIRouter(), turns or Turns()
    place = place_of(Origin.of(artifact.read(Path(dictionary), "dictionary")), model, dictionary)
    told = Steerable(
        model=model.name, site=", ".join(map(str, place.writes)),
        unit=place.unit if math.isfinite(place.unit) else None,
        answers=bool(getattr(model.tokenizer, "chat_template", None)), doses=activations is not None,
    )  # fmt: skip

    opened = cache(lambda: steerable(dictionary, model))  # when it is first needed: texts can be tried without

    def bind(edits: Sequence[Edit]) -> Steering:
        found, where = opened()
        return Steering.of(found, edits, where)

    def prompt_of(text: str | None, messages: Sequence[Message] | None, *, bos: bool) -> Int[Tensor, " tokens"]:
        if (text is None) == (messages is None):
            raise BadInput("Give a text to go on with or messages to answer, one of them.")
        if text is not None:
            return completion(model, text, bos=bos)
        return chat(model, [message.model_dump() for message in messages or ()], bos=bos)

    streamed: dict[int | str, dict[str, Any]] = {200: {"content": {Events.media_type: {}}}}

    @router.get("/api/steering")
    def steering() -> Steerable:
        """What can be steered here."""
        return told

    @router.post("/api/steer", response_model=None, responses=streamed)
    def both(asked: Steered) -> Events:
        """Both texts as they are written."""
        bound = bind(asked.edits)
        prompt = prompt_of(asked.text, asked.messages, bos=bound.bos)
        steps = steer(model, prompt, bound, n=asked.tokens, sampler=asked.sampler())

        def events() -> Iterator[str]:
            with turns.take():
                for step in steps:
                    yield _event(step._asdict())
            yield _event("[DONE]")

        return Events(_begun(events()))

    @router.post("/api/doses")
    def doses(asked: Dosed) -> DoseResponse:
        """What adding a feature does at each strength. Takes the model a minute or two."""
        if activations is None:
            raise BadInput("Doses are judged on held-out text. Start `physalis serve` with --activations.")
        with turns.take():
            return dose_response(dictionary, activations, model, asked.feature, strengths=asked.strengths)

    @router.get("/v1/models")
    def models() -> dict[str, Any]:
        """The one model there is."""
        return {"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "physalis"}]}

    @router.post("/v1/completions", response_model=None, responses=streamed)
    @router.post("/v1/chat/completions", response_model=None, responses=streamed)
    def complete(asked: Completions) -> Response:
        """One text, edited where ``edits`` are given."""
        talks = asked.messages is not None
        bound = bind(asked.edits)
        prompt = prompt_of(asked.prompt, asked.messages, bos=bound.bos)
        n = room(model, len(prompt), asked.max_completion_tokens or asked.max_tokens, USUAL)
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model.name,
            "object": "chat.completion" if talks else "text_completion",
        }  # fmt: skip
        written: list[int] = []

        def words() -> Iterator[str]:
            decoder = Decoder(model.pieces)
            with turns.take():
                for ids in generate(model, prompt[None], n, writes=bound.writes, sampler=asked.sampler()):
                    if int(ids[0]) in model.ends:
                        break
                    written.append(int(ids[0]))
                    yield decoder.add(written[-1])
            yield decoder.rest()

        if asked.stream:
            return Events(_begun(_chunks(words(), head, written, n, talks=talks)))
        text = "".join(words())
        body: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if talks else {"text": text}
        choice = {"index": 0, "finish_reason": _why(written, n), "logprobs": None, **body}
        usage = {
            "prompt_tokens": len(prompt), "completion_tokens": len(written), "total_tokens": len(prompt) + len(written),
        }  # fmt: skip
        return JSONResponse({**head, "choices": [choice], "usage": usage})

    return told, router


def _begun(events: Iterator[str]) -> Iterator[str]:
    """The same events, of which the first is there already: what refuses a question, a full queue or an edit that is
    too strong, does so before the answer begins, when its status can still say it."""
    first = next(events)

    def all_of_them() -> Iterator[str]:
        try:
            yield from chain([first], events)
        except BadInput as error:  # later it can only be said in the answer itself
            yield _event({"detail": str(error)})
            yield _event("[DONE]")

    return all_of_them()


def _chunks(words: Iterator[str], head: dict[str, Any], written: list[int], n: int, *, talks: bool) -> Iterator[str]:
    kind = "chat.completion.chunk" if talks else "text_completion"
    for word in filter(None, words):  # nothing is said of a token that only begins a character
        body = {"delta": {"role": "assistant", "content": word}} if talks else {"text": word}
        yield _event({**head, "object": kind, "choices": [{"index": 0, "finish_reason": None, **body}]})
    end = {"delta": {}} if talks else {"text": ""}
    yield _event({**head, "object": kind, "choices": [{"index": 0, "finish_reason": _why(written, n), **end}]})
    yield _event("[DONE]")


def _why(written: list[int], n: int) -> str:
    return "length" if len(written) == n else "stop"


def _event(data: Any) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"
