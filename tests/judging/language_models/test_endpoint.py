"""An endpoint over real sockets: what it is sent, how it refuses, and that nothing is paid for twice."""

import json
import socket

import pytest
from canned import canned, refusal, said

from physalis.errors import BadInput
from physalis.judging import Counted, Endpoint, Request

KEY = "sk-" + "very-secret"
ASKED = [Request(f"What is {i}?", 20) for i in range(3)]


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("CANNED_KEY", KEY)


def endpoint(at, **options):
    options = {"key_from": "CANNED_KEY", "pause": lambda _: None, "patience_s": 10.0} | options
    return Endpoint("canned-1", at.url, **options)


def test_what_is_sent_is_what_openai_takes(key):
    with canned(lambda body, n: said("yes")) as at:
        replies = endpoint(at).ask(ASKED)
    assert [tuple(each) for each in replies] == [("yes", 100, 7)] * 3
    first = next(each for each in at.asked if "What is 0?" in str(each))
    assert first == {
        "path": "/v1/chat/completions", "model": "canned-1", "temperature": 0, "max_tokens": 20,
        "messages": [{"role": "user", "content": "What is 0?"}],
    }  # fmt: skip
    assert {each["authorization"] for each in at.headers} == {f"Bearer {KEY}"}


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.delenv("CANNED_KEY", raising=False)
    with canned(lambda body, n: said("yes")) as at:
        endpoint(at).ask(ASKED[:1])
    assert "authorization" not in at.headers[0]


def test_what_was_answered_is_kept_and_asked_for_once(key, tmp_path):
    with canned(lambda body, n: said(body["messages"][0]["content"])) as at:
        first = endpoint(at, kept=tmp_path)
        assert [each.text for each in first.ask(ASKED)] == [each.prompt for each in ASKED]
        again = endpoint(at, kept=tmp_path)
        assert again.ask(ASKED) == first.ask(ASKED) and len(at.asked) == 3
        assert (again.spent.requests, again.spent.kept) == (0, 3)
        assert (first.spent.requests, first.spent.read, first.spent.written) == (3, 300, 21)
        other = Endpoint("canned-2", at.url, key_from="CANNED_KEY", kept=tmp_path)
        other.ask(ASKED[:1])  # another model is another question
        assert len(at.asked) == 4
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4 and not any(KEY.encode() in each for each in written)


def test_a_stopped_run_goes_on_with_what_is_missing(key, tmp_path):
    with canned(lambda body, n: refusal(401, "not now") if n == 2 else said(f"answer {n}")) as at:
        with pytest.raises(BadInput):
            endpoint(at, kept=tmp_path, at_once=1).ask(ASKED)
        again = endpoint(at, kept=tmp_path, at_once=1)
        assert [each.text for each in again.ask(ASKED)] == ["answer 0", "answer 1", "answer 3"]
    assert (again.spent.kept, again.spent.requests) == (2, 1)


def test_a_damaged_answer_is_asked_for_again(key, tmp_path):
    with canned(lambda body, n: said(f"answer {n}")) as at:
        endpoint(at, kept=tmp_path).ask(ASKED[:1])
        (path,) = tmp_path.rglob("*.json")
        for damage in ("{", '{"text": 3, "read": 1, "written": 1}', "[]"):
            path.write_text(damage)
            before = len(at.asked)
            (reply,) = endpoint(at, kept=tmp_path).ask(ASKED[:1])
            assert reply.text == f"answer {before}" and len(at.asked) == before + 1


def test_cost_is_counted_before_anything_is_asked(key, tmp_path, capsys):
    with canned(lambda body, n: said("yes")) as at:
        real = endpoint(at, kept=tmp_path)
        real.ask(ASKED[:1])
        counted = Counted.like(real)
        counted.ask([*ASKED, ASKED[2]])
        assert len(at.asked) == 1
    assert (counted.spent.requests, counted.spent.kept, counted.spent.written) == (2, 2, 40)
    counted.tell()
    assert "asked 2 times: about 6 tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    "first",
    [
        refusal(429, "Slow down", retry_after="7"),
        refusal(500, "Oops"),
        refusal(503, "Overloaded"),
        (200, {}, b"<html>garbage"),
        (200, {}, b"{}"),
        (200, {}, b'{"choices": []}'),
        (200, {}, said("yes")[2][:60]),
        (200, {"content-length": "4000"}, b'{"choices": ['),
        (200, {"content-encoding": "gzip"}, b"not zipped at all"),
    ],
)
def test_what_passes_is_asked_again(key, first):
    pauses = []
    with canned(lambda body, n: first if n == 0 else said("yes")) as at:
        (reply,) = endpoint(at, pause=pauses.append, patience_s=5).ask(ASKED[:1])
    assert reply.text == "yes" and len(at.asked) == 2
    assert pauses == [7.0 if first[0] == 429 else 1.0]


@pytest.mark.parametrize(
    ("answer", "says", "tries"),
    [
        (
            refusal(401, f"Wrong key {KEY}"),
            r"refuses \(401: Wrong key[ .]*\)\. Put a key .*\$CANNED_KEY",
            1,
        ),
        (refusal(404, "no such model"), "404.*'canned-1'", 1),
        (refusal(400, "bad request"), "400: bad request", 1),
        (refusal(429, "You exceeded your current quota"), "nothing left", 1),
        (refusal(429, "Slow down", retry_after="soon"), "asked 3 times: it has had enough", 3),
        (refusal(500, "Oops"), "asked 3 times: it answers with an error", 3),
        ((200, {}, b"[1, 2]"), "no chat completion", 3),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "refuses .302", 1),
        ((200, {}, b" " * (5 << 20)), "more than 4,194,304 bytes", 1),
    ],
)
def test_what_does_not_pass_is_a_sentence(key, answer, says, tries):
    with canned(lambda body, n: answer) as at, pytest.raises(BadInput, match=says) as refused:
        endpoint(at, tries=3).ask(ASKED[:1])
    assert len(at.asked) == tries
    assert KEY not in str(refused.value) and str(refused.value).endswith(".")


def test_whoever_never_answers_is_not_waited_for(key):
    with canned(lambda body, n: None) as at, pytest.raises(BadInput, match=r"asked 2 times: .*within 0\.2 s"):
        endpoint(at, patience_s=0.2, tries=2).ask(ASKED[:1])


def test_nobody_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(BadInput, match="Nobody answers at http://127"):
        Endpoint("m", f"http://127.0.0.1:{port}/v1").ask(ASKED[:1])


def test_newer_models_spell_settings_otherwise(key):
    def picky(body, n):
        if "max_tokens" in body:
            return refusal(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
        return said("yes")

    with canned(picky) as at:
        one = endpoint(at, at_once=1)
        assert [each.text for each in one.ask(ASKED)] == ["yes"] * 3
    assert len(at.asked) == 4 and at.asked[-1]["max_completion_tokens"] == 20

    with canned(lambda body, n: refusal(400, "temperature: only 1") if "temperature" in body else said("yes")) as at:
        assert endpoint(at).ask(ASKED[:1])[0].text == "yes" and "temperature" not in at.asked[-1]


def test_what_is_no_text_is_an_empty_answer(key):
    for content in (None, 3, ["a"]):
        with canned(lambda body, n, content=content: said(content, usage=None)) as at:
            (reply,) = endpoint(at).ask(ASKED[:1])
        assert reply.text == "" and reply.read == ASKED[0].about


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "https://", "https://me:secret@x/v1"])
def test_addresses_that_are_none(url):
    with pytest.raises(BadInput, match="is no address") as refused:
        Endpoint("m", url)
    assert "secret" not in str(refused.value)


def test_a_key_goes_nowhere_unencrypted(key):
    with pytest.raises(BadInput, match=r"\$CANNED_KEY would go to far\.example unencrypted"):
        Endpoint("m", "http://far.example/v1", key_from="CANNED_KEY")


def test_settings_hold_no_secret(key):
    said_ = Endpoint("m", key_from="CANNED_KEY").settings
    assert KEY not in said_ and json.loads(said_)["model"] == "m"
