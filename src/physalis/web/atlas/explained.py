"""explained: what is said of an atlas's features beside it: rules, words and scores, with whose they are, as it is now.

The page of a feature holds its rule (``web.atlas.rules``), its words, and how well explanations like these did where
they were judged; /api/explained/12 has the last two.
"""

from typing import Literal

from fastapi import APIRouter, HTTPException

from physalis.atlas import Atlas
from physalis.atlas.records import Estimate, Record
from physalis.explanations.explained import Explanations
from physalis.explanations.queue import Line
from physalis.judging.records import Score
from physalis.judging.scored import Scores
from physalis.judging.words import Words
from physalis.naming import Known
from physalis.web.atlas.holding import Holds
from physalis.web.atlas.rules import (
    Queued,
    RuleList,
    RuleOf,
    RuleQuestion,
    ServedRules,
    none_yet,
    rules_router,
    told_of,
)
from physalis.web.server.numbers import NUMBER
from physalis.web.server.pages import Pages

TOKEN, ORACLE, SHUFFLED = "best token", "oracle", "shuffled: "
"""What judges beside the first are called, or how their names begin."""


class WordsOf(Record):
    """What a language model said of a feature."""

    words: str
    model: str
    side: Literal["input", "output"]
    """By what it fires on, or by the tokens that it promotes."""


class ScoreRow(Record):
    """How well explanations did at one task on one text, the mean of some features, and what that is to be held
    against; None where it was not measured."""

    task: str
    metric: str
    corpus: str
    value: Estimate
    token: float | None
    """Of the best single token."""
    swapped: float | None
    """Of the explanations of other features."""
    oracle: float | None
    """Of whoever knows the codes."""
    chance: float | None
    noise: float | None
    """The smallest difference between two draws that means anything."""


class ScoreTable(Record):
    """What one judge found."""

    of: Literal["rules", "words"]
    judge: str
    n_features: int
    among: bool
    """Whether this feature is one of them."""
    rows: list[ScoreRow]


class ExplainedFeature(Record):
    """What is said of one feature besides its rule, and how good such explanations are."""

    words: WordsOf | None
    scores: list[ScoreTable]


class Explained:
    """What is known of an atlas's features, as its pages show it."""

    def __init__(self, known: Known, queue: Line | None = None) -> None:
        """With those that wait in a ``queue``, features are explained while they are read."""
        self.known, self.queue = known, queue
        self.atlas: Atlas = known.atlas.with_annex(known.annex)
        """Told with it."""
        self._rules: ServedRules | None = None

    def rules(self) -> ServedRules | None:
        """As they are now; None where there are none."""
        found, served = self.known.beside().rules, self._rules
        if found is None:
            return None
        if served is None or served.found is not found:
            served = self._rules = ServedRules(found, self.atlas)
        return served

    def rule(self, feature: int) -> RuleOf | Queued | None:
        """Of a feature, or its place in the queue: whoever asks puts it there. Raises HTTPException (404) where no
        feature is explained, or there is no such feature."""
        rules, queue = self.rules(), self.queue
        if not 0 <= feature < len(self.atlas):
            raise HTTPException(404, f"There are features 0 to {len(self.atlas) - 1:,}, and {feature} is none.")
        if rules is not None and feature in rules.found:
            return rules.of(feature)
        if queue is not None and (said := queue.get(feature)) is not None:
            return told_of(said, None)
        if queue is not None and self._comes():
            queue.open(feature)
            return Queued(feature=feature, place=queue.place(feature), progress=queue.progress)
        if rules is None:
            raise _no_rules()
        return None

    def list_rules(self, asked: RuleQuestion) -> RuleList:
        """Those that there are. Raises HTTPException (404) where there are none, and none will come."""
        rules, progress = self.rules(), self.queue.progress if self.queue is not None and self._comes() else None
        if rules is not None:
            return rules.list(asked, None if rules.found.is_whole and len(rules.found) == len(self.atlas) else progress)
        if progress is None:
            raise _no_rules()
        return none_yet(progress)

    def holds(self, feature: int) -> Holds:
        """Where the parts of its rule hold. Raises HTTPException (404) if that is not known."""
        rules, queue = self.rules(), self.queue
        if queue is not None and queue.get(feature) is not None and (rules is None or feature not in rules.found):
            raise HTTPException(404, "Where this holds is known in a while, when its neighbours are explained too.")
        if rules is None:
            raise _no_rules()
        return rules.holds(feature)

    def of(self, feature: int) -> ExplainedFeature:
        """Of a feature."""
        found = self.known.beside()
        tables = [_table(each, "words", feature) for each in found.scores if _are_of(each, found.words)]
        tables += [_table(each, "rules", feature) for each in found.scores if _are_of(each, found.rules)]
        words = None
        if found.words is not None and feature in found.words:
            said = found.words[feature]
            words = WordsOf(words=said.words, model=said.model, side=said.side)
        ruled = found.rules is not None and feature in found.rules
        shown = [each for each in tables if each.among or (ruled if each.of == "rules" else words)]
        return ExplainedFeature(words=words, scores=shown)

    def beside(self) -> dict[str, str]:
        """What all pages are told."""
        ruled = self._comes() or self.known.beside().rules is not None
        return {"explains": "true"} | ({"ruled": "true"} if ruled else {})

    def _comes(self) -> bool:
        """Whether there are rules to come: what was finished is found beside the atlas a little later."""
        return self.queue is not None and self.queue.progress.state != "stopped"


def _no_rules() -> HTTPException:
    return HTTPException(
        404, "There are no rules beside this atlas. Write some: physalis explain DICTIONARY ACTIVATIONS."
    )


def _are_of(scores: Scores, said: Explanations | Words | None) -> bool:
    return said is not None and scores.manifest.inputs.get("explanations") == said.manifest.hash


def _table(scores: Scores, of: Literal["rules", "words"], feature: int) -> ScoreTable:
    """The first metric of each task, of the judge who comes first there: the one that was asked for."""
    judged = scores.manifest.config.get("judge", {})
    judge = ", ".join(str(judged[name]) for name in ("judge", "reader") if judged.get(name))
    features = scores.manifest.facts.get("features", [])
    rows: list[ScoreRow] = []
    first: dict[tuple[str, str], Score] = {}
    for each in scores:
        first.setdefault((each.corpus, each.task), each)
    for (corpus, task), main in first.items():
        by = {
            each.judge: each.estimate.value
            for each in scores
            if (each.corpus, each.task, each.metric) == (corpus, task, main.metric)
        }
        swapped = next((value for name, value in by.items() if name.startswith(SHUFFLED)), None)
        rows.append(ScoreRow(
            task=task, metric=main.metric, corpus=corpus, value=main.estimate, token=by.get(TOKEN), swapped=swapped,
            oracle=by.get(ORACLE), chance=main.chance, noise=main.noise.smallest_difference,
        ))  # fmt: skip
    return ScoreTable(of=of, judge=judge, n_features=len(features), among=feature in features, rows=rows)


def explained_router(explained: Explained, page: Pages) -> APIRouter:
    """The page of all rules, and what is said of each feature, as JSON."""

    router = rules_router(explained, page)

    @router.get(f"/api/explained/{{id:{NUMBER}}}")
    def said(id: int) -> ExplainedFeature:
        """What is said of a feature besides its rule, and how good such explanations are."""
        return explained.of(id)

    return router
