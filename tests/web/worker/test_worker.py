"""Worker: the model beside an atlas in a process of its own, reached through the pages (relay)."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hanging import call, read_until, say, serving, until

from physalis.errors import BadInput, Unavailable
from physalis.models.tiny import tiny_model
from physalis.people.notes import Notes
from physalis.people.notes import beside as notes_beside
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.guard.guard import Rate, guard
from physalis.web.worker import worker as worker_
from physalis.web.worker.relay import relayed
from physalis.web.worker.worker import Setting, Worker

PLENTY = Rate(10**6, 10.0**6)
ASKED = {"text": "alpha beta gamma"}


def there(pid: int) -> bool:
    """Whether a process is; one that ended and was not waited for is not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def worker(tiny_atlas, tiny_dictionary):
    worker = Worker(Setting(tiny_atlas.folder, tiny_dictionary))
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def at(worker, tiny_atlas):
    with serving(guard(create_app(tiny_atlas, relayed(worker)), by_address=PLENTY)) as at:
        yield at


@pytest.fixture(scope="module")
def direct(tiny_atlas, tiny_dictionary):
    """The same without a worker."""
    return TestClient(create_app(tiny_atlas, beside(tiny_atlas, tiny_model(), tiny_dictionary)))


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/steering", None),
        ("/v1/models", None),
        ("/api/try", ASKED),
        ("/api/try?text=alpha+beta&strongest=3", None),
        ("/api/try/feature", {**ASKED, "feature": [3, 5]}),
        ("/api/contrast", {"here": ["alpha"], "there": ["gamma"]}),
        ("/api/steer", {**ASKED, "tokens": 4, "edits": [{"kind": "add", "feature": 3, "strength": 5.0}]}),
        ("/api/try", {"text": 3}),
        ("/api/steer", {**ASKED, "edits": [{"kind": "add", "feature": 10**6, "strength": 1.0}]}),
        ("/api/dose-response", {"feature": 3}),
    ],
)
def test_what_a_worker_answers_is_what_is_answered_without_one(at, direct, path, asked):
    found = call(at, path, asked)
    expected = direct.get(path) if asked is None else direct.post(path, json=asked)
    assert (found.status_code, found.text) == (expected.status_code, expected.text)
    assert found.headers["content-type"] == expected.headers["content-type"]
    assert found.headers["content-security-policy"] == expected.headers["content-security-policy"]


def test_pages_and_description_know_of_it(at, direct):
    assert "steering" in call(at, "/steer").text
    found, expected = call(at, "/api/openapi.json").json(), direct.get("/api/openapi.json").json()
    assert found["paths"].keys() == expected["paths"].keys()
    assert found["paths"]["/api/try"].keys() == expected["paths"]["/api/try"].keys()
    assert found["components"]["schemas"].keys() == expected["components"]["schemas"].keys()


def test_who_hangs_up_frees_the_model(at):
    for _ in range(12):  # more than wait
        client = say(at, "/api/steer", {**ASKED, "tokens": 60})
        assert b"plain" in read_until(client, b"plain")
        client.close()
    assert call(at, "/v1/completions", {"prompt": "a", "max_tokens": 1}).status_code == 200


def test_what_costs_is_charged(tiny_atlas, worker):
    app = guard(create_app(tiny_atlas, relayed(worker)), by_address=Rate(2, 0.001))
    with serving(app) as at:
        assert [call(at, "/api/try?text=a").status_code for _ in range(3)] == [200, 200, 429]
        assert [call(at, "/api/steering").status_code for _ in range(3)] == [200, 200, 200]


def test_only_who_can_read_it_gets_it_packed(at):
    """What is passed on is as it was made: who does not say what they can read is not asked for by what we can."""
    text = "+".join(["alpha"] * 30)
    assert call(at, f"/api/try?text={text}").headers["content-encoding"] == "gzip"
    client = say(at, f"/api/try?text={text}")
    head, _, body = read_until(client, b'"state"').partition(b"\r\n\r\n")
    client.close()
    assert b"content-encoding" not in head.lower() and b'"tokens"' in body


def test_one_that_ended_is_started_again(tiny_atlas, tiny_dictionary, monkeypatch):
    monkeypatch.setattr(worker_, "AGAIN_S", 0.0)
    own = Worker(Setting(tiny_atlas.folder, tiny_dictionary))
    with serving(guard(create_app(tiny_atlas, relayed(own)), by_address=PLENTY)) as at:
        assert call(at, "/api/try", ASKED).status_code == 200
        process = own._process
        assert process is not None and process.poll() is None
        with pytest.raises(Unavailable, match="does not answer just now"):  # it is there
            own.missed()
        process.kill()
        process.wait()
        answer = call(at, "/api/try", ASKED)
        assert answer.status_code == 503 and "started again" in answer.json()["detail"]
        assert call(at, "/map").status_code == 200  # the pages are there
        until(lambda: call(at, "/api/try", ASKED).status_code == 200)
    own.close()


@pytest.mark.parametrize("left", ["process", "nothing"])
def test_one_whose_socket_was_deleted_is_started_again(tiny_atlas, tiny_dictionary, monkeypatch, left):
    """As what cleans folders for temporary files does."""
    monkeypatch.setattr(worker_, "AGAIN_S", 0.0)
    own = Worker(Setting(tiny_atlas.folder, tiny_dictionary))
    with serving(guard(create_app(tiny_atlas, relayed(own)), by_address=PLENTY)) as at:
        before = own._process
        assert before is not None
        shutil.rmtree(own.address.parent)
        if left == "nothing":
            before.kill()
            before.wait()
        until(lambda: call(at, "/api/try", ASKED).status_code == 200)
        assert before.poll() is not None
    own.close()


def test_one_that_was_stopped_ends_too(tiny_atlas, tiny_dictionary):
    own = Worker(Setting(tiny_atlas.folder, tiny_dictionary))
    assert own._process is not None
    own._process.send_signal(signal.SIGSTOP)
    own.close()
    assert not there(own._process.pid)


@pytest.mark.parametrize("name", ["uvicorn.py", "multiprocessing/__init__.py"])
def test_no_code_of_the_folder_is_run(tiny_atlas, tiny_dictionary, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    stranger = tmp_path / name
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    Worker(Setting(tiny_atlas.folder, tiny_dictionary)).close()
    assert not (tmp_path / "ran").exists()


def test_whatever_a_visitor_sends_is_no_mishap(at):
    for said in (
        "GET /api/try?text=alpha#beta HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
        "GET /api/try?text=alpha&x=\\^`{|} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
        "GET /api/try?text=alpha HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: \xe9\r\nconnection: close\r\n\r\n",
    ):
        with socket.create_connection(at, timeout=60) as client:
            client.sendall(said.encode("latin-1"))
            status = client.makefile("rb").readline().split()[1]
        assert status in (b"200", b"400", b"422"), said


def test_what_is_wrong_is_said_at_the_start(tiny_atlas, widths):
    with pytest.raises(BadInput, match="is the atlas of another dictionary"):
        Worker(Setting(tiny_atlas.folder, widths[0]))


def test_labels_are_read_where_there_are_notes(tiny_atlas, tiny_dictionary):
    notes = Notes.open(notes_beside(tiny_atlas.folder), atlas="a" * 64)
    try:
        with pytest.raises(BadInput, match="notes about another atlas"):
            Worker(Setting(tiny_atlas.folder, tiny_dictionary, noted=True))
    finally:
        notes.close()
        notes_beside(tiny_atlas.folder).unlink()


_SLOW = [pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("how", [signal.SIGKILL, *_SLOW])
def test_it_ends_with_who_started_it(tiny_atlas, tiny_dictionary, how):
    script = f"""
    import json, time
    from pathlib import Path
    from physalis.web.worker.worker import Setting, Worker

    worker = Worker(Setting(Path({str(tiny_atlas.folder)!r}), Path({str(tiny_dictionary)!r})))
    print(json.dumps([worker._process.pid, str(worker.address)]), flush=True)
    time.sleep(600)
    """
    file = tiny_atlas.folder.parent / "starts.py"
    file.write_text(textwrap.dedent(script))
    process = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    pid, address = json.loads(process.stdout.readline())
    assert there(pid) and Path(address).exists()
    process.send_signal(how)
    process.wait()
    process.stdout.close()
    until(lambda: not there(pid))
    until(lambda: not Path(address).parent.exists())
