"""Ctrl-C, SIGTERM and a terminal that is closed end a command in one sentence, wherever it was, with the exit codes
that shells know."""

import errno
import os
import signal
import subprocess
import sys
import time
import weakref

import pytest

from physalis.cli.arguments import sentences
from physalis.cli.learning import recording
from physalis.cli.reading import serving
from physalis.runtime import signals
from physalis.runtime.signals import SENTENCE, STOPPED, Stopped, deaf, listening


@pytest.fixture(autouse=True)
def handlers():
    before = {each: signal.getsignal(each) for each in signals.SIGNALS}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def interrupt(*_, number=signal.SIGINT, **__):
    os.kill(os.getpid(), number)
    time.sleep(1)  # the handler runs before this ends


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_command_that_is_stopped_says_so(physalis, monkeypatch, number, code):
    monkeypatch.setattr(recording.early, "sites", lambda names: interrupt(number=number))
    found, out, err = physalis("record", "tiny", "--site", "L1.z", "--text", "stdlib", "--out", "nowhere")
    assert (found, out, err.strip()) == (code, "", SENTENCE)


def test_a_command_that_fills_no_folder_does_not_say_that_it_kept_something(physalis, monkeypatch):
    monkeypatch.setattr(serving.artifact, "read", interrupt)
    code, _, err = physalis("serve", "nowhere")
    assert (code, err.strip()) == (130, STOPPED)


def test_an_import_that_fails_because_it_was_interrupted_is_a_stop(physalis, monkeypatch):
    def sites(names):
        try:
            interrupt()
        except KeyboardInterrupt:
            raise ImportError("half imported") from None

    monkeypatch.setattr(recording.early, "sites", sites)
    code, _, err = physalis("record", "tiny", "--site", "L1.z", "--text", "stdlib", "--out", "nowhere")
    assert code == 130 and err.strip() == SENTENCE


def test_the_second_one_ends_it_at_once(monkeypatch, capfd):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    with pytest.raises(SystemExit), listening():
        try:
            interrupt()
        except Stopped:
            interrupt()
    assert left == [130] and capfd.readouterr().err.startswith(STOPPED)


def test_what_python_cannot_raise_is_not_printed(monkeypatch, capfd):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    with pytest.raises(SystemExit), listening():
        thing = type("Thing", (), {})()
        weakref.finalize(thing, interrupt)
        del thing
        raise Stopped
    assert left == [130] and "Traceback" not in capfd.readouterr().err


def test_handlers_come_back_and_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) != before
        interrupt()
    assert signal.getsignal(signal.SIGTERM) == before


def test_nohup_is_heeded():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with listening() as signals:
        interrupt(number=signal.SIGHUP)
    assert not signals.heard


def test_a_terminal_that_is_closed_is_as_sigterm_to_whoever_hears_that():
    heard = []
    with listening():
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))  # as a server does
        interrupt(number=signal.SIGHUP)
    assert heard == [signal.SIGTERM]


def test_a_terminal_that_is_gone_takes_no_words(monkeypatch):
    def gone(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sys.stderr, "write", gone)
    with pytest.raises(SystemExit) as stop, listening():
        interrupt()
    assert stop.value.code == 130


def test_a_listener_inside_another_is_the_same():
    with listening() as outer, listening() as inner:
        assert inner is outer


@pytest.mark.parametrize("leave", [lambda: None, lambda: sys.exit(0)], ids=["returned", "exit 0"])
def test_a_server_that_is_asked_to_end_ends_with_143(leave):
    with pytest.raises(SystemExit) as stop, listening():
        try:
            interrupt(number=signal.SIGTERM)
        except KeyboardInterrupt:
            pass
        leave()
    assert stop.value.code == 143


def test_what_is_started_deaf_does_not_hear_and_who_starts_it_waits():
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(.1); print('alive')"
    with pytest.raises(KeyboardInterrupt):
        with deaf():
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            interrupt()  # waits
        time.sleep(1)
    assert done.stdout.strip() == "alive"


@pytest.mark.parametrize("after", [0.2, 0.8])
def test_while_it_is_imported(after, tmp_path):
    words = ["record", "tiny", "--site", "L1.z", "--text", "stdlib", "--tokens", "9M", "--out", tmp_path / "acts"]
    process = subprocess.Popen([sys.executable, "-m", "physalis", *words], stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err and (process.returncode, err.strip()) in [
        (130, SENTENCE),
        (130, STOPPED),
        (-signal.SIGINT, ""),
    ]


@pytest.mark.slow
def test_workers_leave_no_tracebacks(tmp_path):
    words = ["record", "tiny", "--site", "L1.z", "--text", "stdlib", "--tokens", "9M", "--workers", "2"]
    command = [sys.executable, "-m", "physalis", *words, "--out", tmp_path / "acts"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list((tmp_path / "acts").glob("layout.json")):
        time.sleep(0.1)
    time.sleep(1)  # workers are being started, or at work
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip().endswith(SENTENCE) and "Traceback" not in err


def test_a_demo_that_fails_in_its_own_process_is_a_sentence(capsys):
    assert sentences.explain(ValueError("odd")) == 1
    assert capsys.readouterr().err.startswith("physalis: Something failed that should not have (ValueError: odd).")


def test_a_process_that_is_done_cannot_be_stopped_any_more(tmp_path):
    """While Python tidies up: it ends at once, with the exit code and the output of what it has done."""
    early = "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(60)))"
    late = "sys.late = type('Late', (), {'__del__': lambda _, kill=os.kill, me=os.getpid(): kill(me, 2)})()"
    for asked, ends, code in ((early, "", 0), (early, "sys.exit(1)", 1), (late, "", 0), (late, "sys.exit(1)", 1)):
        ran = f"""
import atexit, os, signal, sys, time
from physalis.runtime.signals import leaving, listening
with leaving(), listening():
    {asked}
    print("done")
    {ends}
"""
        done = subprocess.run([sys.executable, "-c", ran], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (code, "done\n", "")
