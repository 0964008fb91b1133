"""rounds: Rounds, features' questions on one text, asked of several judges, draw after draw, and counted."""

from collections.abc import Sequence

import numpy as np

from physalis.corpora.characters import alone
from physalis.explanations import Clause, Leaf, Rule
from physalis.judging import counting
from physalis.judging.counting import METRICS, Rows
from physalis.judging.judges import Judge, Predicting, best_token
from physalis.judging.material import Material
from physalis.judging.passages import BLOCKS
from physalis.judging.questions import MADE, Asked, Task
from physalis.judging.reader import Reader
from physalis.judging.records import Score
from physalis.judging.writing import Responding, Texts
from physalis.runtime.progress import progress

RESPONSIVENESS = "responsiveness"
READ_AGAIN = 5
"""Contexts of each feature that the oracle has read again: they are long."""


class Rounds:
    """What is asked of some features on one text."""

    def __init__(self, material: Material, features: Sequence[int], *, draws: int, passages: int, seed: int) -> None:
        self.material, self.features = material, list(features)
        self.draws, self.passages, self.seed = draws, passages, seed
        self.oracle = Predicting("oracle", lambda feature: material.fired(feature).codes)
        self.token = best_token(material.judged.tokens, material.learned_from, material.firings)

    def asked(self, task: Task, feature: int) -> list[list[Asked]]:
        """The questions of each draw. Those of one draw are about the same passages in every task."""
        fired, text, made = self.material.fired(feature), self.material.judged, []
        for draw in range(self.draws):
            rng = np.random.default_rng([self.seed, feature, draw])
            made.append(MADE[task](text, fired, text.draw(fired, self.passages, rng), rng))
        return made

    def scores(self, task: Task, judges: Sequence[Judge]) -> list[Score]:
        """Of each judge, metric by metric."""
        rows: list[list[Rows]] = [[] for _ in judges]
        unanswered = [0 for _ in judges]
        with progress(f"judge {task} on {self.material.name}", len(self.features), "features") as advance:
            for feature in self.features:
                rounds = self.asked(task, feature)
                questions = [question for asked in rounds for question, _ in asked]
                for j, judge in enumerate(judges):
                    answers = iter(judge.answers(feature, questions))
                    parts = []
                    for draw, asked in enumerate(rounds):
                        part, none = counting.rows_of(task, asked, [next(answers) for _ in asked], draw)
                        parts.append(part)
                        unanswered[j] += none
                    rows[j].append(Rows(*(np.concatenate(column) for column in zip(*parts, strict=True))))
                advance(1, note=", ".join(str(each.teller.spent) for each in judges if isinstance(each, Reader)))
        return [
            score
            for judge, of, none in zip(judges, rows, unanswered, strict=True)
            for score in self._counted(task, judge.name, of, none)
        ]

    def responses(self, name: str, responding: Responding, texts: dict[int, Texts]) -> list[Score]:
        """Which share of the texts that were written for a feature it fires on; of features for which there are any.
        The interval is over texts, for they are of no document."""
        owners = [feature for feature in self.features for _ in texts.get(feature, [])]
        every = [text for feature in self.features for text in texts.get(feature, [])]
        if not every:
            return []
        fires, whose = responding.fires(owners, every).astype(float), np.array(owners)
        rows = []
        for feature in dict.fromkeys(owners):
            right = fires[whose == feature]
            numbers = np.arange(len(right))
            none = np.full(len(right), -1)
            rows.append(Rows(right, right, none, numbers % BLOCKS, numbers % self.draws))
        return self._counted(RESPONSIVENESS, name, rows, 0)

    def read_again(self) -> dict[int, Texts]:
        """The oracle's texts: contexts up to the end of a passage in which the feature fires."""
        found, text = {}, self.material.judged
        context = self.material.stored.context
        for feature in self.features:
            rng = np.random.default_rng([self.seed, feature])
            drawn = text.draw(self.material.fired(feature), self.passages, rng).firing
            drawn = drawn[:: max(1, len(drawn) // READ_AGAIN)]
            found[feature] = [
                text.tokens[text.at[i][-1] // context * context : text.at[i][-1] + 1].tolist() for i in drawn
            ]
        return found

    def token_rules(self) -> dict[int, Rule]:
        """The best single token of each feature, as a rule."""
        found = {}
        for feature in self.features:
            ids = np.unique(self.material.judged.tokens[self.token.codes(feature) > 0])
            pieces = [alone(self.material.pieces[i]) for i in ids]
            found[feature] = Rule(tuple(Clause((Leaf("symbol", piece),), 1.0) for piece in pieces))
        return found

    def _counted(self, task: str, judge: str, rows: Sequence[Rows], unanswered: int) -> list[Score]:
        made = []
        for name, (metric, chance) in METRICS[task].items():
            of = [each for each in rows if len(each.said) and not np.isnan(metric(each))]
            if not of:
                continue
            made.append(Score(
                corpus=self.material.name, task=task, judge=judge, metric=name, chance=chance,
                estimate=counting.estimate(of, metric), by_decile=counting.by_decile(of, metric),
                noise=counting.noise(of, metric, self.draws), n_features=len(of),
                n_answers=sum(len(each.said) for each in of), unanswered=unanswered,
            ))  # fmt: skip
        return made
