"""The loop: a run that stopped goes on from its checkpoint, and from none that is of another run or not whole."""

import json

import pytest
import torch

from physalis.training import checkpoints, history
from physalis.training.checkpoints import Checkpoint, Kept
from physalis.training.loop import is_logged, loop

STEPS, SIZE = 23, 4


class Stop(Exception):
    pass


class Sum:
    """Adds up what it is given."""

    def __init__(self, facts=None):
        self.total, self.facts = torch.zeros(2), {"rows": [{"seen": 0, "row": {}}]} if facts is None else facts

    @property
    def note(self):
        return f"total {int(self.total[0])}"

    def kept(self, step):
        return Kept(step, {"total": self.total}, self.facts)

    def load(self, kept):
        self.total, self.facts = kept.tensors["total"], kept.facts


@pytest.fixture(autouse=True)
def always_kept(monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)


def take(folder, state, *, stop=STEPS, steps=STEPS):
    """Two folders' rows, up to step ``stop``; returns the steps that were taken."""
    folders = [folder / "a", folder / "b"]
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    taken = []

    def step(number, batch):
        if number == stop:
            raise Stop
        assert batch == 10 * number
        taken.append(number)
        state.total += batch
        state.facts = {"rows": [{"seen": number, "row": {"step": number}}]}
        for name in "ab":
            row = {"step": number, "tokens": (number + 1) * SIZE, "name": name}
            yield row if is_logged(number, steps) else None

    def batches(start):
        return (10 * number for number in range(start, 2 * steps))

    checkpoint = Checkpoint(folders[0], {"what": "sum"})
    loop(step, state, folders, checkpoint, batches=batches, steps=steps, size=SIZE, title="add")
    return taken


def metrics(folder):
    return [history.read(folder / name / history.METRICS) for name in "ab"]


def test_rows_come_where_they_are_due(tmp_path, capsys):
    state = Sum()
    assert take(tmp_path, state) == list(range(STEPS)) and state.total.tolist() == [10 * sum(range(STEPS))] * 2
    assert [[row["step"] for row in each] for each in metrics(tmp_path)] == [[0, 10, 20, 22]] * 2
    assert [{row["name"] for row in each} for each in metrics(tmp_path)] == [{"a"}, {"b"}]
    assert "add: 100 %" in capsys.readouterr().err.splitlines()[-1]
    marks = [json.loads(line) for line in (tmp_path / "b" / history.PACE).read_text().splitlines()]
    assert marks[0]["checkpoint"] == "../a/checkpoint.safetensors" and marks[0]["index"] == 1


@pytest.mark.parametrize("stop", [1, 10, 11, 22])
def test_it_goes_on_where_it_stopped(stop, tmp_path):
    whole, state = Sum(), Sum()
    take(tmp_path / "whole", whole)
    with pytest.raises(Stop):
        take(tmp_path / "broken", Sum(), stop=stop)
    assert take(tmp_path / "broken", state) == list(range(stop, STEPS))
    assert torch.equal(state.total, whole.total) and state.facts == whole.facts
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")
    assert take(tmp_path / "broken", Sum()) == [], "a kill may come after the last step"


def other_tensors(folder, state):
    state.total = torch.zeros(3)


def other_facts(folder, state):
    state.facts = {"rows": [{"seen": "0", "row": {}}]}


def more_facts(folder, state):
    state.facts = {"rows": [{"seen": 0, "row": {}}] * 2}


def fewer_rows(folder, state):
    path = folder / "b" / history.METRICS
    path.write_text(path.read_text().splitlines(keepends=True)[0])


@pytest.mark.parametrize(
    "harm, why",
    [
        (other_tensors, "it is of no such run"), (other_facts, "it is of no such run"),
        (more_facts, "it is of no such run"), (fewer_rows, "it goes on at step 15, and metrics.jsonl does not reach"),
    ],
)  # fmt: skip
def test_of_another_run_nothing_is_loaded(harm, why, tmp_path, capsys):
    with pytest.raises(Stop):
        take(tmp_path, Sum(), stop=15)
    state = Sum()
    harm(tmp_path, state)
    assert take(tmp_path, state) == list(range(STEPS))
    assert f"checkpoint.safetensors is damaged ({why}" in capsys.readouterr().err


def test_a_checkpoint_beyond_the_last_step_is_refused(tmp_path, capsys):
    with pytest.raises(Stop):
        take(tmp_path, Sum(), stop=15)
    assert take(tmp_path, Sum(), steps=10) == list(range(10))
    assert "it is of no such run" in capsys.readouterr().err
