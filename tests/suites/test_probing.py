"""Texts of a task are read as they are recorded, and pooled as is said."""

import numpy as np
import pytest
import torch

from physalis import dictionaries
from physalis.models.text.prompting import begin
from physalis.suites import ProbingTasks
from physalis.suites.probing import Probing
from physalis.suites.probing_tasks import Labelled
from physalis.suites.task_rows import TaskRows

TEXTS = Labelled(["alpha beta", "12 34 gamma delta alpha", "if"], [False, True, True])


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
def test_rows_are_what_the_model_computes(pool, tiny, tiny_activations, tiny_dictionary):
    rows = TaskRows.read(tiny, tiny_activations, TEXTS, pool=pool, length=8)
    of, site = dictionaries.load(tiny_dictionary), tiny_activations.site
    assert rows.labels.tolist() == TEXTS.labels and [len(each) for each in rows.tokens] == [8, 8, 2]
    for i, text in enumerate(TEXTS.texts):
        ids = begin(tiny, tiny.encode([text])[0][:8], bos=True)
        x = tiny.run(torch.tensor([ids]), read=[site])[site]
        x = x[tiny_activations.hygiene.keep(x)].float()
        pooled = {"last": lambda v: v[-1], "mean": lambda v: v.mean(0), "max": lambda v: v.max(0).values}[pool]
        assert np.allclose(rows.activations()[i], pooled(x), atol=1e-4)
        assert np.allclose(rows.codes(of)[i], pooled(of.encode(x).dense()), atol=1e-3)


def test_probes_tell_what_is_there(tiny, tiny_activations, tiny_dictionary, wheel):
    tasks = ProbingTasks(wheel).get(["1_has_digits"])
    probing = Probing(tiny, tiny_activations, tasks, texts=60, pool="mean", length=32, seed=0)
    by = probing.by_task({"topk": dictionaries.load(tiny_dictionary)}, 0)
    assert set(by) == {each.name for each in probing.metrics} and "probe_5_shifted" in by
    assert by["probe_5"]["topk"]["1_has_digits"] > 0.9  # digits are other bytes than letters
    assert by["probe_5"]["tokens"]["1_has_digits"] > 0.95 < by["probe_5"]["dense probe"]["1_has_digits"]
    assert by == probing.by_task({"topk": dictionaries.load(tiny_dictionary)}, 0)
    assert by != probing.by_task({"topk": dictionaries.load(tiny_dictionary)}, 1)
