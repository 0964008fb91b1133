"""trying_router: text in, features out: the routes of "Try it" beside the pages of an atlas. Loads torch.

Each question is one record, asked as a JSON body (POST) or as a query string (GET): the query string is what a link to
the answer holds, and every answer repeats it as ``state``.

| question | answer |
| --- | --- |
| /api/try?text&strongest&sort&densest&limit | each token's strongest features, and those of the whole text |
| /api/try/feature?text&feature&feature... | the code of some features at every token |
| /api/try/token?text&text...&token&limit | features that fire on one kind of token in some texts |
| /api/contrast?here...&there...&measure&limit | features that fire on some texts and not on others |
| /api/meaning?query&limit | features whose headline or label means something like the query |

A model has one forward pass at a time: ``ModelLock`` makes the others wait, and sends away those there is no room for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated
from urllib.parse import urlencode

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ConfigDict

from physalis.atlas import Atlas
from physalis.atlas.records import Record
from physalis.errors import BadInput
from physalis.search import MEASURES, Embedder, Meanings, Reader, Reading, Summed, contrast, on_token
from physalis.search.records import Contrast
from physalis.web.atlas.index import Index
from physalis.web.atlas.try_records import (
    ContrastTried,
    FiredFeature,
    MeaningTried,
    Named,
    TokenCode,
    TokenTried,
    Trace,
    Traced,
    Tried,
    TriedToken,
    Try,
    TryContrast,
    TryFeatures,
    TryMeaning,
    TryToken,
)
from physalis.web.guard.guard import costs
from physalis.web.worker.model_lock import ModelLock

ALTOGETHER = 100_000
"""Characters of all texts of one question, at most: some 25,000 tokens."""
ALTOGETHER_TOKENS = 32_768
"""Their tokens: where characters are rare, each takes several."""
LINK = ConfigDict(strict=False)


def state_of(asked: Record) -> str:
    """The query string that asks the same again; what has its default value is left out."""
    return urlencode(asked.model_dump(mode="json", exclude_defaults=True), doseq=True)


class Trying:
    """Answers the questions about an atlas's features, one at a time: a model has one forward pass at a time."""

    def __init__(self, reader: Reader, atlas: Atlas) -> None:
        """``reader`` reads with the atlas's dictionary. Raises BadInput if its dictionary is not the atlas's."""
        of = atlas.manifest.inputs.get("dictionary", "unknown")
        if len(atlas) != reader.n_features or reader.hash not in (None, of):
            raise BadInput(
                f"The atlas is of another dictionary ({of[:12]}, {len(atlas):,} features) than the one to read text "
                f"with ({(reader.hash or 'unnamed')[:12]}, {reader.n_features:,}). Open the one it was built from."
            )
        self._reader, self._atlas = reader, atlas

    def text(self, asked: Try) -> Tried:
        (reading,) = self._read([asked.text])
        fired = reading.summed()
        shown = self._density[fired.ids] <= asked.densest
        hidden = set(fired.ids[~shown].tolist())
        tokens = [
            TriedToken(
                token=token,
                left_out=why,
                features=[TokenCode(id=i, code=_short(v)) for i, v in each if i not in hidden][: asked.strongest],
            )
            for token, why, each in zip(
                reading.tokens, reading.left_out, reading.strongest(asked.strongest + len(hidden)), strict=True
            )
        ]
        order = np.argsort(-self._rank(fired, asked.sort), kind="stable")
        best = [i for i in order.tolist() if shown[i]][: asked.limit]
        features = [
            FiredFeature(
                id=int(fired.ids[i]), peak=_short(float(fired.peak[i])), at=int(fired.at[i]),
                total=_short(float(fired.total[i])), tokens=int(fired.tokens[i]),
            )  # fmt: skip
            for i in best
        ]  # fmt: skip
        mentioned = [*(f.id for f in features), *(f.id for token in tokens for f in token.features)]
        return Tried(
            state=state_of(asked), tokens=tokens, n_fired=int(shown.sum()), features=features,
            names=self._names(mentioned),
        )  # fmt: skip

    def features(self, asked: TryFeatures) -> Traced:
        names = {name.id: name for name in self._names(asked.feature)}
        (reading,) = self._read([asked.text])
        traces = [
            Trace(feature=names[id], codes=[_short(v) for v in reading.of(id).tolist()])
            for id in dict.fromkeys(asked.feature)
        ]
        return Traced(state=state_of(asked), tokens=reading.tokens, left_out=reading.left_out, traces=traces)

    def token(self, asked: TryToken) -> TokenTried:
        token = self._reader.token(asked.token)
        found = on_token(self._read(asked.text), token, top=asked.limit)
        return TokenTried(state=state_of(asked), on=found, names=self._names([f.id for f in found.features]))

    def contrast(self, asked: TryContrast) -> ContrastTried:
        readings = self._read([*asked.here, *asked.there])
        (measure,) = (each for each in MEASURES if getattr(each, "__name__", "") == asked.measure)
        n = len(asked.here)
        found = contrast(readings[:n], readings[n:], measure=measure, top=asked.limit)
        mentioned = [f.id for f in (*found.more_here, *found.more_there)]
        return ContrastTried(
            state=state_of(asked), verdict=verdict(found), contrast=found, names=self._names(mentioned)
        )  # fmt: skip

    def meaning(self, asked: TryMeaning, meanings: Meanings) -> MeaningTried:
        found = meanings.search(asked.query, top=asked.limit)
        return MeaningTried(state=state_of(asked), found=found, names=self._names([f.id for f in found.features]))

    def _read(self, texts: Sequence[str]) -> list[Reading]:
        size = sum(map(len, texts))
        if size > ALTOGETHER:
            raise BadInput(
                f"The texts have {size:,} characters together; at most {ALTOGETHER:,} are read for one question. Give "
                "fewer or shorter ones; in Python there is no such limit."
            )
        n = sum(map(len, self._reader.model.encode(texts)))
        if n > ALTOGETHER_TOKENS:
            raise BadInput(
                f"The texts have {n:,} tokens together; at most {ALTOGETHER_TOKENS:,} are read for one question. Give "
                "fewer or shorter ones; in Python there is no such limit."
            )
        return self._reader.read(texts)

    def _rank(self, fired: Summed, sort: str) -> np.ndarray:
        if sort != "relative":
            return {"peak": fired.peak, "total": fired.total, "tokens": fired.tokens}[sort]
        largest = np.array([row.max_code for row in self._atlas.rows(fired.ids.tolist())])
        return fired.peak / np.maximum(largest, 1e-9)  # what never fired in the atlas comes first: it is news

    def _names(self, ids: Sequence[int]) -> list[Named]:
        return [
            Named(id=row.id, headline=row.headline, density=row.density, max_code=row.max_code)
            for row in self._atlas.rows(sorted(set(ids)))
        ]

    @cached_property
    def _density(self) -> np.ndarray:
        map = self._atlas.map()
        density = np.zeros(len(self._atlas))
        density[map.ids] = map.density
        return density


class TryLink(Try):
    """``Try``, as a link asks it: numbers are text there."""

    model_config = LINK


class TryFeaturesLink(TryFeatures):
    """``TryFeatures``, as a link asks it."""

    model_config = LINK


class TryTokenLink(TryToken):
    """``TryToken``, as a link asks it."""

    model_config = LINK


class TryContrastLink(TryContrast):
    """``TryContrast``, as a link asks it."""

    model_config = LINK


def trying_router(
    reader: Reader,
    atlas: Atlas,
    embedder: Embedder | None = None,
    *,
    labels: Callable[[], Mapping[int, Sequence[str]]] = dict,
    turns: ModelLock | None = None,
) -> APIRouter:
    """The routes of the table above, for ``include_router``. ``embedder`` searches by meaning. ``labels`` gives what
    people say of features now, searched as headlines are. ``turns`` are those of the model, where others use it too.
    Raises BadInput as ``Trying`` does."""
    trying, turns = Trying(reader, atlas), turns or ModelLock()
    index, searches = Index(atlas, embedder, labels), ModelLock()
    router = APIRouter(tags=["try"], dependencies=[Depends(costs)])

    async def answered(request: Request, work: Callable[[], Record], of: ModelLock = turns) -> Response:
        """As JSON, which the thread writes too: that of a long text is megabytes."""
        return Response(await of.answer(request, lambda: work().model_dump_json()), media_type="application/json")

    @router.post("/api/try", response_model=Tried)
    async def try_text(asked: Try, request: Request) -> Response:
        """Each token's strongest features, and those of the whole text."""
        return await answered(request, partial(trying.text, asked))

    @router.get("/api/try", response_model=Tried)
    async def try_text_again(asked: Annotated[TryLink, Query()], request: Request) -> Response:
        """The same, as a link asks it."""
        return await answered(request, partial(trying.text, asked))

    @router.post("/api/try/feature", response_model=Traced)
    async def try_features(asked: TryFeatures, request: Request) -> Response:
        """The code of some features at every token."""
        return await answered(request, partial(trying.features, asked))

    @router.get("/api/try/feature", response_model=Traced)
    async def try_features_again(asked: Annotated[TryFeaturesLink, Query()], request: Request) -> Response:
        """The same, as a link asks it."""
        return await answered(request, partial(trying.features, asked))

    @router.post("/api/try/token", response_model=TokenTried)
    async def try_token(asked: TryToken, request: Request) -> Response:
        """Features that fire on one kind of token."""
        return await answered(request, partial(trying.token, asked))

    @router.get("/api/try/token", response_model=TokenTried)
    async def try_token_again(asked: Annotated[TryTokenLink, Query()], request: Request) -> Response:
        """The same, as a link asks it."""
        return await answered(request, partial(trying.token, asked))

    @router.post("/api/contrast", response_model=ContrastTried)
    async def contrasted(asked: TryContrast, request: Request) -> Response:
        """Features that fire on some texts and not on others."""
        return await answered(request, partial(trying.contrast, asked))

    @router.get("/api/contrast", response_model=ContrastTried)
    async def contrasted_again(asked: Annotated[TryContrastLink, Query()], request: Request) -> Response:
        """The same, as a link asks it."""
        return await answered(request, partial(trying.contrast, asked))

    @router.get("/api/meaning", response_model=MeaningTried)
    async def meaning(asked: Annotated[TryMeaning, Query()], request: Request) -> Response:
        """Features whose headline or label means something like the query."""
        meanings = await index.opened()
        return await answered(request, partial(trying.meaning, asked, meanings), searches)

    return router


def verdict(found: Contrast) -> str:
    """What a contrast allows to conclude, in a sentence."""
    texts = f"{found.n_here} {'text' if found.n_here == 1 else 'texts'} in A and {found.n_there} in B"
    if found.least_q > 0.05:
        return (
            f"With {texts} nothing can be told from chance: these are differences between these texts, not between "
            "kinds of text. Give at least 4 in each."
        )
    if not found.found:
        return f"With {texts}, no feature differs by more than chance would (at a false discovery rate of 5 %)."
    what = "1 feature differs" if found.found == 1 else f"{found.found:,} features differ"
    return f"{what} between {texts}, of {found.n_features:,} that fire at all; at most 1 in 20 of such is chance."


def _short(value: float) -> float:
    return float(f"{value:.4g}")
