"""rules: what rules say of an atlas's features: /rules, the page of them all, and /api/rules/12, that of one feature.

They are read from the folder that ``explain`` wrote beside the atlas, and say of each how far it is true.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from physalis.atlas import Atlas
from physalis.atlas.records import Estimate, Histogram, Record
from physalis.errors import BadInput
from physalis.explanations.explained import Explanations
from physalis.explanations.queue import Progress
from physalis.explanations.records import Explanation, Mean
from physalis.naming.beside import check, find_beside
from physalis.naming.names import ENOUGH
from physalis.web.atlas.holding import Holding, Holds
from physalis.web.atlas.query import LAST, LONGEST, MOST_ROWS
from physalis.web.server.answers import as_json
from physalis.web.server.numbers import NUMBER
from physalis.web.server.pages import Pages

BINS = 20
LONGEST_RULE = 20_000
"""Characters of a rule that is shown."""
KEPT = 64
"""Questions whose answers stay sorted."""

Sort = Literal["f1", "f1_strong", "gain", "size", "feature"]
"""gain: by how much a rule beats the best single token."""


class RuleClause(Record):
    """Leaves that are all true, as they are written, and the activation to be expected there."""

    leaves: list[str]
    in_words: list[str]
    """Each leaf again, for a sentence."""
    level: float


class RuleOf(Record):
    """The rule of one feature, and how far it is true."""

    feature: int
    clauses: list[RuleClause]
    """Of which the first that holds says the activation."""
    in_words: str
    size: int
    f1: Estimate
    """Of all firings against silence, on held-out documents."""
    f1_strong: Estimate
    """Of the stronger half of the firings against silence."""
    f1_token: float
    """Of the best single token."""
    precision: float | None
    recall: float | None
    n_held_out: int
    """Held-out tokens on which the feature fires."""
    mean_f1: float | None
    """Of all features; None while not all are explained."""


class Queued(Record):
    """A feature that is still to be explained."""

    feature: int
    place: int | None
    """How many features that were opened come before it: 0 for the one that is explained now, or next."""
    progress: Progress


class RuleRow(Record):
    """A rule in a list."""

    id: int
    headline: str
    rule: str
    size: int
    f1: float
    f1_strong: float
    f1_token: float
    n_held_out: int


class RuleList(Record):
    """Some of the rules, and how good all of them are."""

    rows: list[RuleRow]
    total: int
    """How many match."""
    offset: int
    mean: Mean | None
    """None where there are no rules yet."""
    progress: Progress | None
    """Of a queue that still explains."""
    spread: Histogram
    """Of the F1 of features that fire in the held-out text."""


class RuleQuestion(BaseModel):
    """What the list of rules is asked, as its address says it."""

    model_config = ConfigDict(extra="forbid")

    query: str = Field("", max_length=LONGEST)
    """Every word of it stands in the rule or in the feature's headline."""
    sort: Sort = "f1"
    descending: bool = True
    offset: int = Field(0, ge=0, le=LAST)
    limit: int = Field(50, ge=0, le=MOST_ROWS)


class ServedRules:
    """The explanations of an atlas's features."""

    def __init__(self, found: Explanations, atlas: Atlas) -> None:
        """Raises BadInput if they are of another dictionary than the atlas, or of features that it does not have."""
        check(found, atlas)
        self.found = found
        self._orders = atlas.kept(dict[str, list[RuleRow]])
        self._holding = atlas.kept(lambda: Holding(found, atlas))
        self._rows = atlas.kept(lambda: _rows(found, atlas))

    @classmethod
    def beside(cls, atlas: Atlas) -> "ServedRules | None":
        """Those of the atlas's dictionary in a folder beside it: of most features, where there are several; None
        without any."""
        found = find_beside(atlas).rules
        return None if found is None else cls(found, atlas)

    def of(self, feature: int) -> RuleOf | None:
        """A feature's rule; None where it was not explained, or the rule is none that a person could read."""
        if feature not in self._rows():
            return None
        return told_of(self.found[feature], self.found.mean.f1.value if self.found.is_whole else None)

    def holds(self, feature: int) -> Holds:
        """Where the parts of a feature's rule hold in its examples. Raises HTTPException (404) if it was not
        explained, or cannot be shown."""
        if self.of(feature) is None:
            raise HTTPException(404, f"There is no rule of feature {feature}.")
        return self._holding().of(feature)

    def list(self, asked: RuleQuestion, progress: Progress | None = None) -> RuleList:
        """Those that match, best first unless asked otherwise; what was judged on few firings comes after the rest."""
        orders, key = self._orders(), asked.model_dump_json(exclude={"offset", "limit"})
        if (order := orders.get(key)) is None:
            if len(orders) >= KEPT:
                orders.clear()
            order = orders[key] = self._ordered(asked)
        return RuleList(
            rows=order[asked.offset : asked.offset + asked.limit], total=len(order), offset=asked.offset,
            mean=self.found.mean, progress=progress, spread=self._spread,
        )  # fmt: skip

    def _ordered(self, asked: RuleQuestion) -> "list[RuleRow]":
        words = asked.query.casefold().split()
        matching = [
            row for row in self._rows().values()
            if all(word in row.rule.casefold() or word in row.headline.casefold() for word in words)
        ]  # fmt: skip
        key: Callable[[RuleRow], float] = {
            "f1": lambda row: row.f1, "f1_strong": lambda row: row.f1_strong, "gain": lambda row: row.f1 - row.f1_token,
            "size": lambda row: row.size, "feature": lambda row: row.id,
        }[asked.sort]  # fmt: skip
        turn = -1 if asked.descending else 1
        by_number = asked.sort in ("size", "feature")
        return sorted(matching, key=lambda row: (row.n_held_out < ENOUGH and not by_number, turn * key(row), row.id))

    @cached_property
    def _spread(self) -> Histogram:
        return _spread([row.f1 for row in self._rows().values() if row.n_held_out])


def none_yet(progress: Progress) -> RuleList:
    """The list while the first rules are learned."""
    return RuleList(rows=[], total=0, offset=0, mean=None, progress=progress, spread=_spread([]))


def told_of(said: Explanation, mean_f1: float | None) -> RuleOf | None:
    """One rule, beside the mean of all; None if it is none that a person could read."""
    if len(said.rule) > LONGEST_RULE:
        return None
    try:
        rule = said.program
    except BadInput:  # damaged from outside: the feature is shown without it
        return None
    return RuleOf(
        feature=said.feature,
        clauses=[
            RuleClause(
                leaves=[str(leaf) for leaf in clause.leaves], in_words=[leaf.in_words() for leaf in clause.leaves],
                level=clause.level,
            )
            for clause in rule.clauses
        ],
        in_words=rule.in_words(), size=said.size, f1=said.detection.f1, f1_strong=said.strong.f1,
        f1_token=said.token.f1.value, precision=said.detection.precision, recall=said.detection.recall,
        n_held_out=said.n_held_out, mean_f1=mean_f1,
    )  # fmt: skip


def _spread(scores: list[float]) -> Histogram:
    counts, edges = np.histogram(scores, bins=BINS, range=(0, 1))
    return Histogram(edges=edges.tolist(), counts=counts.tolist())


def _rows(found: Explanations, atlas: Atlas) -> dict[int, RuleRow]:
    every = list(found)
    names = (row.headline for row in atlas.rows([each.feature for each in every]))
    return {each.feature: _row(each, name) for each, name in zip(every, names, strict=True)}


def _row(said: Explanation, headline: str) -> RuleRow:
    return RuleRow(
        id=said.feature, headline=headline, rule=said.rule, size=said.size, f1=said.detection.f1.value,
        f1_strong=said.strong.f1.value, f1_token=said.token.f1.value, n_held_out=said.n_held_out,
    )  # fmt: skip


@runtime_checkable
class Rules(Protocol):
    """Rules as they are now."""

    def rule(self, feature: int) -> RuleOf | Queued | None: ...
    def holds(self, feature: int) -> Holds: ...
    def list_rules(self, asked: RuleQuestion) -> RuleList: ...


def rules_router(rules: Rules, page: Pages) -> APIRouter:
    """The page of all rules, and each as JSON."""
    router = APIRouter()

    @router.get("/api/rules", response_model=RuleList)
    @router.get("/rules.json", include_in_schema=False)
    def listed(asked: Annotated[RuleQuestion, Query()]) -> Response:
        """One page of the rules that match."""
        return as_json(rules.list_rules(asked))

    @router.get(f"/api/rules/{{id:{NUMBER}}}")
    def rule(id: int) -> RuleOf | Queued | None:
        """The rule of a feature, and how far it is true, or its place in the queue: to ask puts it there. null where it
        was not explained."""
        return rules.rule(id)

    @router.get(f"/api/rules/{{id:{NUMBER}}}/holds")
    def holds(id: int) -> Holds:
        """Where the parts of its rule hold in the examples of a feature."""
        return rules.holds(id)

    @router.get("/rules", include_in_schema=False)
    def rules_page(asked: Annotated[RuleQuestion, Query()]) -> HTMLResponse:
        return page("Rules – physalis", rules=rules.list_rules(asked).model_dump_json())

    return router
