"""create_watch_app: a page that shows a run while it trains: its curves, how long it will take, its first features.

| path | |
| --- | --- |
| / | the page |
| /api/run | the run as it stands: a Watched. With its ETag; a browser asks for it every second or two |
| /api/first | its first features: a First. Asked for when the run's ``readable`` changed |

Everything is read from the run's folder, so the trainer need not know of it, may not have begun, and may be long done.
Features are encoded when someone asks, with the latest checkpoint: a page that nobody looks at costs nothing.
"""

import hashlib
import inspect
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from physalis import artifact, dictionaries
from physalis.activations import Activations
from physalis.atlas.build.preview import Preview, preview
from physalis.atlas.build.profiles import Text
from physalis.atlas.build.rows import Strings
from physalis.codes.segments import Coded
from physalis.dictionaries import Dictionary
from physalis.errors import BadInput
from physalis.models import announced, load_corpus
from physalis.runtime.device import chosen
from physalis.training import training
from physalis.types import Batch
from physalis.web.server.pages import Pages
from physalis.web.server.refusals import to_visitor
from physalis.web.server.rooms import Room, app_of
from physalis.web.server.shell import STATIC, read_shell
from physalis.web.watch.run import First, Folder, Watched

CHUNK = 4096
"""Tokens encoded at a time."""


def create_watch_app(
    run: Path | str,
    activations: Path | str | None = None,
    *,
    features: int = 12,
    examples: int = 4,
    tokens: int = 16_384,
    device: str = "cpu",
    note: str = "",
) -> FastAPI:
    """The server of ``serving.watch``; the page tells the ``note`` with the run. Raises BadInput as that does."""
    for name, number in (("features", features), ("examples", examples), ("tokens", tokens)):
        if number < 1:
            raise BadInput(f"{name} counts what is shown, from 1 on; received {number}.")
    folder = Folder(run, note=note)
    options = {"features": features, "examples": examples, "tokens": tokens, "device": chosen(device)}
    reading = Reading(folder, activations, **options)
    app = app_of([watch_room(folder, reading)])
    reading.begin()  # before anyone asks
    return app


def open_run(run: Path | str, *, prefix: str) -> Room:
    """The page of a run below others, as ``serving.watch`` shows it unless told otherwise."""
    folder, usual = Folder(run), inspect.signature(create_watch_app).parameters
    options = {name: usual[name].default for name in ("features", "examples", "tokens")}
    reading = Reading(folder, None, **options, device=chosen(usual["device"].default))
    return watch_room(folder, reading, prefix=prefix)


def watch_room(folder: Folder, reading: "Reading", *, prefix: str = "") -> Room:
    """The page of a run. What is read of its features is made ready when somebody opens it, if not before."""
    front = STATIC.parent / "watch"
    page = Pages(read_shell(front), prefix=prefix)
    router = APIRouter()

    @router.get("/")
    def run_page() -> HTMLResponse:
        reading.begin()
        run = folder.watch()
        return page(f"{run.name} – physalis", run=run.model_dump_json())

    @router.get("/api/run", response_model=Watched)
    def run_now(request: Request) -> Response:
        """The run as it stands."""
        body = folder.watch().model_dump_json()
        tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:20]}"'
        fresh = {"etag": tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=fresh)
        return Response(body, media_type="application/json", headers=fresh)

    @router.get("/api/first")
    def first() -> First:
        """Its first features."""
        return reading.first()

    here, loads = f"{prefix}/, {prefix}/api/run and {prefix}/api/first", {"/assets": front}
    return Room("physalis watch", [router], here, prefix=prefix, loads=loads, described=None)


def create_relay_app(runs: Mapping[Path, str]) -> ASGIApp:
    """The watch page of several runs, one after another, each with a note: always of the last that has something to
    read, and before any has, of the first. A page that is open goes on with the next by itself."""
    folders = [Folder(run) for run in runs]
    apps = [create_watch_app(run, note=note) for run, note in runs.items()]

    async def latest(scope: Scope, receive: Receive, send: Send) -> None:
        readable = await run_in_threadpool(lambda: [i for i, folder in enumerate(folders) if folder.readable()])
        await apps[readable[-1] if readable else 0](scope, receive, send)

    return latest


class Reading:
    """The features of a run, read with its latest checkpoint."""

    def __init__(
        self, folder: Folder, activations: Path | str | None, *,
        features: int, examples: int, tokens: int, device: torch.device,
    ) -> None:  # fmt: skip
        """Raises BadInput if ``activations`` are given and are none, or none that the run trains on."""
        self.folder, self.features, self.examples, self.tokens = folder, features, examples, tokens
        self.device = device
        self._lock, self._begun = threading.Lock(), threading.Event()
        self._held: _Held | None = None
        self._last: First | None = None
        self._given = Path(activations) if activations is not None else None
        if self._given is not None:
            _check(self._given, folder.job())

    def begin(self) -> None:
        """Have a thread load, once, what does not depend on the checkpoint: tokenizer and text take seconds."""
        if not self._begun.is_set():
            self._begun.set()
            threading.Thread(target=self.prepare, daemon=True).start()

    def prepare(self) -> None:
        """Load and compile what does not depend on the checkpoint."""
        try:
            with self._lock:
                held = self._hold()
                if held is not None:
                    held.compile()
        except BadInput:
            pass  # said to whoever asks for features

    def first(self) -> First:
        """The first features as the run's folder has them now. The same record until there is another checkpoint."""
        with self._lock:
            readable = self.folder.readable()
            if self._last is None or self._last.readable != readable:
                self._last = self._look(readable)
            return self._last

    def _look(self, readable: str) -> First:
        def lacking(why: str) -> First:
            return First(readable=readable, step=0, n_tokens=0, held_out=True, text="", features=[], lack=why)

        if not readable:
            return lacking("There is no checkpoint yet.")
        try:
            held = self._hold()
        except BadInput as error:
            return lacking(to_visitor(error))
        if held is None:
            return lacking(
                "The activations that it trains on do not lie beside the run. Stop this page and give them: "
                "physalis watch RUN --activations FOLDER."
            )
        try:
            step, dictionary, inside = self._dictionary()
        except FileNotFoundError:  # it finished between two looks, and is read the next time
            return lacking("The run is just being finished.")
        found = held.read(
            dictionary, inside, n=self.features, examples=self.examples, device=self.device,
            kept=[each.id for each in self._last.features] if self._last else [],
        )  # fmt: skip
        lack = "" if found else "No feature fires often enough on these tokens to show examples."
        return First(
            readable=readable, step=step, n_tokens=len(held.at), held_out=held.held_out, text=held.source,
            features=found, lack=lack,
        )  # fmt: skip

    def _dictionary(self) -> tuple[int, Dictionary, bool]:
        """Steps done, the dictionary, and whether it reads rows inside the training's frame."""
        job = self.folder.job()
        assert job is not None
        if self.folder.finished:
            return job["training"]["steps"], dictionaries.load(self.folder.path, device=self.device), False
        found = self.folder.checkpoint()
        if found is None:
            raise FileNotFoundError
        step, dictionary = training.peek(*found, job)
        return step, dictionary.to(self.device), True

    def _hold(self) -> "_Held | None":
        job = self.folder.job()
        if self._held is None and job is not None:
            where = self._given or _beside(self.folder.path, job)
            if where is not None:
                _check(where, job)
                self._held = _Held(Activations.open(where), self.tokens)
        return self._held


def _check(activations: Path, job: dict | None) -> None:
    about = artifact.read(activations, "activations")
    if job is not None and job["inputs"]["activations"] != about.hash:
        raise BadInput(
            f"{activations} is not what the run trains on ({about.hash[:12]}, and the run reads "
            f"{job['inputs']['activations'][:12]}). Give the activations of that run; features of a run on several "
            "recordings at once are not shown."
        )


def _beside(run: Path, job: dict) -> Path | None:
    """The recording that a run trains on, if it lies in the same folder as the run."""
    for file in sorted(run.resolve().parent.glob(f"*/{artifact.MANIFEST}")):
        said = json.loads(file.read_text())
        if said.get("kind") == "activations" and artifact.digest(said) == job["inputs"]["activations"]:
            return file.parent
    return None


class _Held:
    """Whole contexts of held-out text with their activations, and the tokenizer that reads them."""

    def __init__(self, stored: Activations, tokens: int) -> None:
        """Raises BadInput if the tokenizer is not the one that the text was recorded with."""
        corpus = load_corpus(announced(stored.manifest.config["model"], "The recording"))
        if corpus.fingerprint != stored.manifest.inputs["tokenizer"]:
            raise BadInput(
                f"The tokenizer of {stored.manifest.config['model']!r} is another one now than when {stored.folder} "
                "was recorded. Record again."
            )
        self.frame, self.strings = stored.frame, Strings(corpus.pieces)
        self.held_out = stored.held_out.n_tokens > 0
        part = stored.held_out if self.held_out else stored.train
        said = stored.manifest.config["text"]
        self.source = said.get("name", "") if isinstance(said, dict) else str(said)
        # Of the first shard: rows lie shuffled, so that any choice among more would mean to read all of them.
        near = Activations(
            stored.folder, stored.manifest, stored.positions, stored.mean, part.spans[:1], part.shards[:1]
        )
        contexts = near.contexts
        few = min(len(contexts), -(-tokens // stored.context))
        wanted = contexts[np.linspace(0, len(contexts) - 1, few).round().astype(int)]
        rows = [(x[keep], at[keep]) for x, at in near.ordered(CHUNK) for keep in [_among(at, stored.context, wanted)]]
        self.x, self.at = torch.cat([x for x, _ in rows]), torch.cat([at for _, at in rows]).numpy()
        flat, documents = (np.asarray(each).reshape(-1) for each in (stored.tokens, stored.documents))
        counts = np.bincount(flat[self.at], minlength=int(flat.max()) + 1)
        lead = 1 if stored.hygiene.skip_first else 0
        self.text = Text(flat, documents, stored.context, lead, counts / max(1, counts.sum()))

    def compile(self) -> None:
        """Have the kernels compiled, which takes seconds the first time on a machine."""
        codes = np.ones((len(self.at), 1), np.float32)
        coded = Coded(codes, np.zeros((len(self.at), 1), np.int64), self.at, np.empty((0, 0)))
        preview(coded, self.text, self.strings, n_features=1, n=1, examples=1)

    def read(
        self, dictionary: Dictionary, inside: bool, *, n: int, examples: int, device: torch.device, kept: Sequence[int]
    ) -> list[Preview]:
        """``n`` features of a dictionary that reads raw rows or, ``inside``, rows of the training's frame."""
        values, ids = [], []
        with torch.no_grad():
            for x in self.x.split(CHUNK):
                rows = self.frame.apply(Batch(x, x)).x if inside else x.float()
                codes = dictionary.encode(rows.to(device))
                values.append(codes.values.float().cpu().numpy())
                ids.append(codes.ids.cpu().numpy())
        width = max(part.shape[1] for part in values)
        values, ids = (np.concatenate([_padded(part, width) for part in parts]) for parts in (values, ids))
        coded = Coded(values, ids, self.at, np.empty((0, 0)))
        return preview(
            coded, self.text, self.strings, n_features=dictionary.config.n_features, n=n, examples=examples, kept=kept
        )


def _among(at: torch.Tensor, context: int, wanted: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.isin(at.numpy() // context, wanted))


def _padded(part: np.ndarray, width: int) -> np.ndarray:
    """Codes of a chunk with as many columns as the widest has; a code of 0 is none."""
    return np.pad(part, ((0, 0), (0, width - part.shape[1])))
