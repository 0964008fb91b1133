"""Queue: features explained while they are read, in a process of its own; the bytes are those of explain."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from physalis import Atlas, artifact
from physalis.errors import BadInput
from physalis.explanations import Explanations, explain, pieces
from physalis.explanations.explained import pieces_in
from physalis.explanations.queue import Alone, Begun, Queue, Sources
from physalis.explanations.queueing import Asked, explain_asked

PATIENCE_S = 300
"""What comes about in the end is tested, not how soon."""
N, SMALL = 128, 6
"""Features, and those of a piece."""


def files(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.name not in (".lock", "manifest.json")}


@pytest.fixture(scope="module")
def whole(tiny, tiny_dictionary, tiny_activations, tmp_path_factory):
    """What ``explain`` writes of all features."""
    return explain(tiny_dictionary, tiny_activations, tiny, tmp_path_factory.mktemp("whole") / "rules")


@pytest.fixture
def sources(tiny_atlas, tiny_dictionary, tiny_activations, tmp_path):
    """An atlas with its dictionary and recording beside it."""
    for each in (tiny_atlas.folder, tiny_dictionary, tiny_activations.folder):
        shutil.copytree(each, tmp_path / Path(each).name)
    return Sources.beside(Atlas.open(tmp_path / tiny_atlas.folder.name))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("physalis.explanations.explaining.PIECE", SMALL)


@pytest.fixture
def explained(monkeypatch):
    """The features that are explained, in their order."""
    made, order = pieces._explain, []

    def noted(feature, *rest):
        order.append(feature)
        return made(feature, *rest)

    monkeypatch.setattr(pieces, "_explain", noted)
    return order


def test_what_is_explained_is_found_beside_the_atlas(sources, tiny_dictionary, tmp_path):
    assert sources == Sources(tmp_path / "dictionary", tmp_path / "activations", tmp_path / "dictionary-explanations")
    atlas = Atlas.open(tmp_path / "atlas")
    assert Sources.beside(atlas, tiny_dictionary, "elsewhere")[:2] == (tiny_dictionary, Path("elsewhere"))
    shutil.rmtree(sources.activations)
    with pytest.raises(BadInput, match="not the recording .*--activations"):
        Sources.beside(atlas)
    shutil.rmtree(sources.dictionary)
    with pytest.raises(BadInput, match="not the dictionary .*--dictionary"):
        Sources.beside(atlas)


def test_the_order_is_that_of_readers_and_the_bytes_are_those_of_explain(sources, small, explained, whole):
    asked, told = Asked(), []

    def tell(said):
        told.append(said)
        if said == Begun(0, N):
            assert asked.take() is None and not explained
            for feature in (20, 45):
                asked.add(feature)
        if isinstance(said, int) and len(explained) == 4:  # in the middle of a piece
            asked.add(3)

    explain_asked(sources, asked, tell)
    assert explained[:2] == [45, 20] and explained[2:4] == [42, 43]
    assert explained[4] == 3 and explained[5:9] == [44, 45, 46, 47]
    assert explained[9:15] == [0, 1, 2, 3, 4, 5]  # of 3, which was opened last
    assert explained[15:21] == [18, 19, 20, 21, 22, 23] and explained[21:27] == [6, 7, 8, 9, 10, 11]
    assert sum(said for said in told if isinstance(said, int)) == N
    alone = [said.line for said in told if isinstance(said, Alone)]
    assert alone == [whole[feature].model_dump_json() for feature in (45, 20, 3)]
    assert files(sources.out) == files(whole.folder)
    assert Explanations.open(sources.out).manifest.files == whole.manifest.files


def test_what_is_there_so_far_is_read(sources, small, tiny, whole):
    class Killed(BaseException): ...

    asked = Asked()
    asked.add(45)

    def tell(said):
        if said == 1 and len(pieces_in(sources.out)) == 2:
            raise Killed

    with pytest.raises(BadInput, match="not rules of features"):
        Explanations.so_far(sources.dictionary)
    with pytest.raises(Killed):
        explain_asked(sources, asked, tell)
    some = Explanations.so_far(sources.out)
    assert [each.feature for each in some] == [*range(6), *range(42, 48)]
    assert all(each == whole[each.feature] for each in some)
    assert some.manifest.inputs == whole.manifest.inputs and some.vocabulary == whole.vocabulary
    judged = [each.detection.f1.value for each in some if each.n_held_out]
    assert some.mean.f1.value == pytest.approx(sum(judged) / len(judged)) and some.mean.f1.low is None
    done = explain(sources.dictionary, sources.activations, tiny, sources.out)  # goes on with what is missing
    assert len(done) == N and files(sources.out) == files(whole.folder)
    assert len(Explanations.so_far(sources.out)) == N


def test_a_process_explains_what_is_opened_and_then_all(sources, whole):
    queue = Queue(sources)
    try:
        queue.line.open(45)
        queue.line.open(7)
        assert queue.line.place(7) == 0 and queue.line.place(45) in (1, None) and queue.line.place(3) is None
        assert queue.line.wait(45, PATIENCE_S) and queue.line.wait(7, PATIENCE_S)
        assert queue.line.get(45) == whole[45] and queue.line.get(7) == whole[7] and queue.line.place(7) is None
        assert queue.line.wait(seconds=PATIENCE_S), queue.line.why
        assert (queue.line.progress.state, queue.line.progress.done, queue.line.progress.total) == ("finished", N, N)
        assert files(sources.out) == files(whole.folder)
    finally:
        queue.close()


def test_killed_it_is_gone_on_with(sources, whole):
    queue = Queue(sources)
    queue.line.open(45)
    assert queue.line.wait(45, PATIENCE_S)
    queue._process.send_signal(signal.SIGKILL)
    assert not queue.line.wait(seconds=PATIENCE_S)
    if queue.line.progress.state == "stopped":  # and not done before the signal came
        assert "ended before it was done" in (queue.line.why or "")
    queue.close()
    again = Queue(sources)
    try:
        assert again.line.wait(seconds=PATIENCE_S), again.line.why
        assert files(sources.out) == files(whole.folder)
    finally:
        again.close()


def test_where_another_writes_it_says_so(sources, whole):
    with artifact.claim(sources.out, "explanations", {}):
        queue = Queue(sources)
        try:
            assert not queue.line.wait(seconds=PATIENCE_S)
            assert queue.line.progress.state == "stopped" and "Another process is writing" in (queue.line.why or "")
        finally:
            queue.close()


def test_what_failed_is_told(sources, capfd):
    shutil.rmtree(sources.activations)
    queue = Queue(sources)
    try:
        assert not queue.line.wait(seconds=PATIENCE_S)
        assert queue.line.progress.state == "stopped" and str(sources.activations) in (queue.line.why or "")
    finally:
        queue.close()
    assert f"The features are not explained. {queue.line.why}" in capfd.readouterr().err


STARTS = """
import sys
from pathlib import Path
from physalis.explanations.queue import Queue, Sources

queue = Queue(Sources(*map(Path, sys.argv[1:])))
print(queue._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, None])
def test_it_ends_with_who_started_it(sources, how):
    command = [sys.executable, "-c", STARTS, *map(str, sources)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as parent:
        assert parent.stdin and parent.stdout
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.stdin.close() if how is None else parent.send_signal(how)
    while is_there(pid):  # a test that hangs here has found an orphan
        time.sleep(0.05)


def is_there(pid):
    """Whether a process is; one that ended and was not waited for is not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
