"""told: what lies beside an atlas and is said of its features, as Neuronpedia is told it."""

from collections.abc import Iterator

from physalis.atlas.records import Estimate
from physalis.exchange.formats.neuronpedia import Told
from physalis.explanations.records import Explanation
from physalis.judging.scored import Scores
from physalis.naming.beside import Beside

RULE, WORDS = "physalis-rule", "physalis-words"


def told(found: Beside) -> list[Told]:
    """The rules and words, feature by feature, each with how good it is: a rule by its own F1, words by how such did
    where they were judged."""
    every: list[Told] = []
    if found.rules is not None:
        every += [_of_rule(each) for each in found.rules if each.size]
    if found.words is not None:
        scores = [
            each for each in found.scores if each.manifest.inputs.get("explanations") == found.words.manifest.hash
        ]
        notes = " ".join(sentence for each in scores for sentence in _sentences(each)) or "Nobody judged it."
        every += [
            Told(feature=each.feature, description=each.words, method=WORDS, model=each.model, notes=notes)
            for each in found.words
        ]
    return sorted(every, key=lambda each: (each.feature, each.method))


def _of_rule(rule: Explanation) -> Told:
    notes = f"{rule.size} leaves. It fires on no held-out token, so that it could not be judged."
    if rule.n_held_out:
        notes = (
            f"F1 {_said(rule.detection.f1)} on {rule.n_held_out} held-out tokens on which it fires, counted; the best "
            f"single token has {rule.token.f1.value:.3f}. {rule.size} leaves. In physalis's language: {rule.rule}"
        )
    return Told(feature=rule.feature, description=rule.program.in_words(), method=RULE, model=None, notes=notes)


def _sentences(scores: Scores) -> Iterator[str]:
    """The first metric of each task, of the judge that was asked for."""
    done: set[tuple[str, str]] = set()
    judge = scores.manifest.config.get("judge", {})
    by = " ".join(str(judge[name]) for name in ("judge", "reader") if judge.get(name))
    for each in scores:
        if (each.corpus, each.task) not in done:
            done.add((each.corpus, each.task))
            metric = each.metric.replace("_", " ")
            yield f"{each.task}, {metric}: {_said(each.estimate)}, mean of {each.n_features} features, judged by {by}."


def _said(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
