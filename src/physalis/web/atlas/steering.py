"""steering_router: edited texts over HTTP, streamed beside the unedited ones, and an endpoint for OpenAI's clients.

| route | what |
| --- | --- |
| GET /api/steering | what can be steered here, and in which units |
| POST /api/steer | both texts by tokens, as server-sent events ``{"plain": …, "edited": …}``, null after their end |
| POST /api/dose-response | what an edit does at each strength, beside its baselines |
| GET /v1/models, POST /v1/completions, POST /v1/chat/completions | OpenAI's own, with ``edits`` besides |

The model is asked one thing at a time: a second request waits for its turn. Imported late, for it needs torch.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from jaxtyping import Int
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from physalis import artifact
from physalis.errors import BadInput
from physalis.models import Model
from physalis.models.generation import Sampler, generate
from physalis.models.memory import most_tokens
from physalis.models.text.prompting import room
from physalis.models.text.tokens import Decoder
from physalis.placement.origin import Origin
from physalis.steering import DoseResponse, Edit, Steering, chat, completion, dose_response, steer
from physalis.steering.edits import place_of, steerable
from physalis.web.atlas.records import Steerable
from physalis.web.server.events import Events
from physalis.web.server.shortened import cut, shown
from physalis.web.worker.model_lock import ModelLock

LONGEST = 8_000  # characters of a prompt, or of a message
ALTOGETHER = 32_000  # characters of all messages
PROMPTS = 2  # that become tokens at once: long ones take a while, and others wait for threads too
MOST_STRENGTH = 1e6  # of a dose: more is not a number any more in 16 bit
USUAL = 128  # tokens of OpenAI's answers, where their number is not asked for
UNHEARD = frozenset(
    {"metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "user"}
)
"""Fields of OpenAI's that say nothing about the text."""
NOTHING: Mapping[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "logprobs": (False,), "top_logprobs": (0,), "echo": (False,), "suffix": ("",),
    "stop": ([], ""), "frequency_penalty": (0,), "presence_penalty": (0,), "logit_bias": ({},), "tools": ([],),
    "functions": ([],), "tool_choice": ("none", "auto"), "function_call": ("none", "auto"), "modalities": (["text"],),
    "response_format": ({"type": "text"},), "stream_options": ({}, {"include_usage": False}), "store": (False,),
}  # fmt: skip
"""Values with which other fields of OpenAI's ask for nothing."""
Edits = Annotated[list[Edit], Field(max_length=32, fail_fast=True)]
Text = Annotated[str, Field(max_length=LONGEST)]


class SteerRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Message(SteerRequest):
    role: Literal["system", "user", "assistant"]
    content: Text


def _bounded(messages: list[Message]) -> list[Message]:
    size = sum(len(message.content) for message in messages)
    if size > ALTOGETHER:
        raise ValueError(f"The messages have {size:,} characters together; at most {ALTOGETHER:,} are read")
    return messages


Messages = Annotated[list[Message], Field(max_length=100, fail_fast=True), AfterValidator(_bounded)]


class Sampling(SteerRequest):
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


Strength = Annotated[float, Field(ge=-MOST_STRENGTH, le=MOST_STRENGTH, allow_inf_nan=False)]


class Dosed(SteerRequest):
    feature: Annotated[int, Field(ge=0)]
    strengths: Annotated[list[Strength], Field(min_length=1, max_length=16, fail_fast=True)] | None = None


def _asks_nothing(field: str, value: Any) -> bool:  # 0 asks for something where False does not
    return any(each == value and isinstance(each, bool) == isinstance(value, bool) for each in NOTHING.get(field, ()))


class Completions(Sampling):
    """OpenAI's request, as far as it means something here. Of its other fields only those that ask for nothing are
    taken."""

    # Fields that nobody knows are told by name; what is described is only what does something.
    model_config = ConfigDict(frozen=True, extra="allow", json_schema_extra={"additionalProperties": False})

    model: Annotated[str, Field(max_length=LONGEST)] | None = None
    prompt: Text | None = None
    messages: Messages | None = None
    max_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=512)] | None = None
    stream: bool = False
    edits: Edits = []

    def check(self, name: str) -> None:
        """Raise BadInput for what is asked for and not done here, where the model is the one of this name."""
        if self.model not in (None, name):
            raise BadInput(f"There is no model {shown(self.model)} here. Ask for {name}, or leave it out.")
        for field, value in (self.model_extra or {}).items():
            if field not in UNHEARD and value is not None and not _asks_nothing(field, value):
                raise BadInput(f"{cut(field)}={shown(value)} asks for what is not done here. Leave {cut(field)} out.")


def steering_router(
    model: Model, dictionary: str | Path, activations: str | Path | None = None, *, turns: ModelLock | None = None
) -> tuple[Steerable, APIRouter]:
    """What can be steered with the features of one dictionary, and the routes to do it. Without its activations there
    is no text to judge doses on, and /api/dose-response says so. ``turns`` are those of the model, where others use it
    too."""
    router, turns = APIRouter(), turns or ModelLock()
    place = place_of(Origin.of(artifact.read(Path(dictionary), "dictionary")), model, dictionary)
    told = Steerable(
        model=model.name, site=", ".join(map(str, place.writes)),
        unit=place.unit if math.isfinite(place.unit) else None,
        answers=bool(getattr(model.tokenizer, "chat_template", None)), doses=activations is not None,
    )  # fmt: skip

    opened = cache(lambda: steerable(dictionary, model))  # on the first turn that needs it: texts can be tried without

    def bind(edits: Sequence[Edit]) -> Steering:
        found, where = opened()
        return Steering.of(found, edits, where)

    prompts = CapacityLimiter(PROMPTS)

    def prompt_of(text: str | None, messages: Sequence[Message] | None) -> Int[Tensor, " tokens"]:
        if (text is None) == (messages is None):
            raise BadInput("Give a text to go on with or messages to answer, one of them.")
        if text is not None:
            prompt = completion(model, text, bos=place.skip_first)
        else:
            prompt = chat(model, [message.model_dump() for message in messages or ()], bos=place.skip_first)
        most = most_tokens(model, contexts=2)  # one edited and one not
        if len(prompt) > most:
            raise BadInput(
                f"The prompt has {len(prompt):,} tokens; {model.name} reads at most {most:,} here. Shorten it."
            )
        return prompt

    streamed: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}

    @router.get("/api/steering")
    def steering() -> Steerable:
        """What can be steered here."""
        return told

    @router.post("/api/steer", response_model=None, responses=streamed)
    async def both(asked: Steered, request: Request) -> Events:
        """Both texts as they are written."""
        prompt = await run_sync(prompt_of, asked.text, asked.messages, limiter=prompts)
        room(model, len(prompt), asked.tokens, 1)

        def steps() -> Iterator[dict[str, str | None]]:
            for step in steer(model, prompt, bind(asked.edits), n=asked.tokens, sampler=asked.sampler()):
                yield step._asdict()

        return await Events.of(turns.stream(request, steps))

    @router.post("/api/dose-response")
    async def doses(asked: Dosed, request: Request) -> DoseResponse:
        """What adding a feature does at each strength. Takes the model a minute or two."""
        if activations is None:
            raise BadInput("Doses are judged on held-out text. Start `physalis serve` with --activations.")
        judge = partial(dose_response, dictionary, activations, model, asked.feature, strengths=asked.strengths)
        return await turns.answer(request, judge)

    @router.get("/v1/models")
    def models() -> dict[str, Any]:
        """The one model there is."""
        return {"object": "list", "data": [{"id": model.name, "object": "model", "owned_by": "physalis"}]}

    @router.post("/v1/completions", response_model=None, responses=streamed)
    @router.post("/v1/chat/completions", response_model=None, responses=streamed)
    async def complete(asked: Completions, request: Request) -> Response:
        """One text, edited where ``edits`` are given."""
        asked.check(model.name)
        talks = asked.messages is not None
        prompt = await run_sync(prompt_of, asked.prompt, asked.messages, limiter=prompts)
        n = room(model, len(prompt), asked.max_completion_tokens or asked.max_tokens, USUAL)
        head = {
            "id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model.name,
            "object": "chat.completion" if talks else "text_completion",
        }  # fmt: skip
        written: list[int] = []

        def words() -> Iterator[str]:
            decoder = Decoder(model.pieces)
            writes = bind(asked.edits).writes
            for ids in generate(model, prompt[None], n, writes=writes, sampler=asked.sampler()):
                if int(ids[0]) in model.ends:
                    break
                written.append(int(ids[0]))
                yield decoder.add(written[-1])
            yield decoder.rest()

        if asked.stream:
            chunks = partial(_chunks, words, head, written, n, talks=talks)
            return await Events.of(turns.stream(request, chunks))
        text = await turns.answer(request, lambda: "".join(words()))
        body: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if talks else {"text": text}
        choice = {"index": 0, "finish_reason": _why(written, n), "logprobs": None, **body}
        usage = {
            "prompt_tokens": len(prompt), "completion_tokens": len(written), "total_tokens": len(prompt) + len(written),
        }  # fmt: skip
        return JSONResponse({**head, "choices": [choice], "usage": usage})

    return told, router


def _chunks(
    words: Callable[[], Iterator[str]], head: dict[str, Any], written: list[int], n: int, *, talks: bool
) -> Iterator[dict[str, Any]]:
    kind = "chat.completion.chunk" if talks else "text_completion"
    for word in filter(None, words()):  # nothing is said of a token that only begins a character
        body = {"delta": {"role": "assistant", "content": word}} if talks else {"text": word}
        yield {**head, "object": kind, "choices": [{"index": 0, "finish_reason": None, **body}]}
    end = {"delta": {}} if talks else {"text": ""}
    yield {**head, "object": kind, "choices": [{"index": 0, "finish_reason": _why(written, n), **end}]}


def _why(written: list[int], n: int) -> str:
    return "length" if len(written) == n else "stop"
