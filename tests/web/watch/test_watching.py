"""Watching a run: its history without doubled points, its states, the first features, routes, and the page in a
browser while a training goes on."""

import json
import re
import threading
import time

import numpy as np
import pytest
import torch
from browsing import expect, serving
from fastapi.testclient import TestClient
from faults import serious
from typescript import fields, interfaces

from physalis import artifact, cli, dictionaries
from physalis.artifact import claims
from physalis.atlas.build.preview import Preview, preview
from physalis.atlas.build.profiles import Text
from physalis.atlas.build.rows import Strings
from physalis.codes.segments import Coded
from physalis.dictionaries import BatchTopKConfig, TopKConfig
from physalis.errors import BadInput
from physalis.models import ByteTokenizer
from physalis.training import checkpoints, history, training
from physalis.training.training import train
from physalis.web.watch.app import create_watch_app
from physalis.web.watch.run import POINTS, Curves, First, Folder, Watched

OPTIONS = dict(batch_size=256, epochs=2)


class Stop(Exception):
    pass


def config(acts, kind=TopKConfig):
    return kind(d_in=acts.d, d_out=acts.d, n_features=4 * acts.d, k=4)


@pytest.fixture
def stop_after(monkeypatch):
    """``stop_after(n)``: from now on trainings keep a checkpoint of every step, and the n-th step is not done."""
    descend, kept = training.Run.descend, {}
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)

    def arrange(n):
        done = []

        def stopping(self, batch, step, *rest):
            done.append(step)
            if len(done) == n:
                raise Stop
            row = descend(self, batch, step, *rest)
            kept[self.dictionary.config] = {k: v.clone() for k, v in self.dictionary.state_dict().items()}
            return row

        monkeypatch.setattr(training.Run, "descend", stopping)
        return kept

    return arrange


@pytest.fixture
def beside(tiny_activations, tmp_path):
    """A folder with a link to the recording, for runs beside it."""
    (tmp_path / "acts").symlink_to(tiny_activations.folder)
    return tmp_path


def start_and_stop(acts, out, stop_after, n=26):
    kept = stop_after(n)
    with pytest.raises(Stop):
        train(acts, [config(acts)], [out], **OPTIONS)
    return kept[config(acts)]


def steps_of(folder):
    return [row["step"] for row in history.read(folder / history.METRICS)]


def test_a_run_that_goes_on_doubles_no_point(tiny_activations, tmp_path, stop_after):
    run = tmp_path / "run"
    start_and_stop(tiny_activations, run, stop_after)
    marks = history.read(run / history.PACE)
    assert steps_of(run) == [0, 10, 20] == [mark["step"] for mark in marks[1:]]
    assert marks[0] | {"at": 0} == {"step": 0, "tokens": 0, "checkpoint": "checkpoint.safetensors", "index": 0, "at": 0}
    # Killed before its checkpoint and in the middle of a line: rows of steps that will be done again, and a torn one.
    with open(run / history.METRICS, "a") as rows, open(run / history.PACE, "a") as pace:
        rows.write(json.dumps({"step": 30, "tokens": 7936, "fvu": 9.0}) + '\n{"step": 4')
        pace.write(json.dumps({"step": 30, "tokens": 7936, "at": time.time()}) + '\n{"st')
    assert len(history.read(run / history.PACE)) == 5 and steps_of(run) == [0, 10, 20, 30]
    with pytest.raises(Stop):
        stop_after(16)
        train(tiny_activations, [config(tiny_activations)], [run], **OPTIONS)
    assert steps_of(run) == [0, 10, 20, 30]
    assert history.read(run / history.METRICS)[-1]["fvu"] < 1
    assert [mark["step"] for mark in history.read(run / history.PACE)] == [0, 0, 10, 20, 25, 30]
    stop_after(10**9)
    train(tiny_activations, [config(tiny_activations)], [run], **OPTIONS)
    total = artifact.read(run, "dictionary").config["training"]["steps"]
    assert steps_of(run) == [*range(0, total, 10), *([total - 1] if (total - 1) % 10 else [])]
    assert not (run / history.PACE).exists() and not (run / checkpoints.CHECKPOINT).exists()


def test_a_poll_reads_what_was_added(tiny_activations, beside, stop_after, monkeypatch):
    start_and_stop(tiny_activations, beside / "run", stop_after)
    folder, read = Folder(beside / "run"), []
    monkeypatch.setattr(history, "_row", lambda line, real=history._row: read.append(line) or real(line))
    first = folder.watch()
    before = len(read)
    assert before >= 6 and folder.watch() == first and len(read) == before
    with open(beside / "run" / history.METRICS, "a") as rows:
        rows.write(json.dumps({"step": 30, "tokens": 7936, "fvu": 0.5, "l0": 4, "dead": 0}) + "\n")
        rows.write(json.dumps({"step": 31, "tokens": 8000}) + "\n")  # none that could be drawn
    assert folder.watch().step == 31 and len(read) == before + 2


def test_looking_keeps_nobody_from_claiming(tmp_path):
    with artifact.claim(tmp_path, "dictionary", {}):
        assert artifact.is_claimed(tmp_path)
        with pytest.raises(BadInput, match="Another process is writing"), artifact.claim(tmp_path, "dictionary", {}):
            pass
    assert not artifact.is_claimed(tmp_path) and not artifact.is_claimed(tmp_path / "nowhere")
    entered = threading.Event()

    def look():
        with open(tmp_path / artifact.LOCK) as lock:
            assert claims._lock(lock, claims.fcntl.LOCK_SH)
            entered.set()
            time.sleep(claims.LOOK_S / 10)

    looker = threading.Thread(target=look)
    looker.start()
    entered.wait()
    with artifact.claim(tmp_path, "dictionary", {}):
        looker.join()


def test_states(tiny_activations, tmp_path, stop_after):
    run, acts = tmp_path / "run", tiny_activations
    folder = Folder(run)
    told = folder.watch()
    assert (told.state, told.steps, told.since, told.readable) == ("waiting", 0, None, "")
    start_and_stop(acts, run, stop_after)
    told = folder.watch()
    assert (told.state, told.step, told.rate, told.left) == ("stopped", 21, None, None)
    assert told.tokens == 21 * 256 and abs(told.since - time.time()) < 600 and told.readable.startswith("checkpoint")
    assert (told.architecture, told.n_features, told.k, told.d_in) == ("TopK", 4 * acts.d, 4, acts.d)
    rows = history.read(run / history.METRICS)
    assert told.curves.fvu == pytest.approx([row["fvu"] for row in rows], rel=1e-4)
    assert told.curves.loss == pytest.approx([row["fvu"] + row["aux"] for row in rows], rel=1e-4)
    assert told.curves.dead == [row["dead"] for row in rows] and told.curves.tokens[-1] == told.tokens
    with artifact.claim(run, "dictionary", folder.job()):
        told = folder.watch()
        assert told.state == "training" and told.rate > 0
        assert told.left == pytest.approx((told.n_tokens - told.tokens) / told.rate)
        (run / history.METRICS).rename(tmp_path / "kept")
        assert folder.watch().state == "waiting", "it holds the folder and has done no step"
        (tmp_path / "kept").rename(run / history.METRICS)
    stop_after(10**9)
    train(acts, [config(acts)], [run], **OPTIONS)
    told = folder.watch()
    assert (told.state, told.step, told.readable) == ("finished", told.steps, "finished")
    assert told.tokens == told.n_tokens == told.steps * 256


def test_a_long_history_is_thinned_evenly(tiny_dictionary, tmp_path):
    (tmp_path / artifact.JOB).write_text((tiny_dictionary / artifact.JOB).read_text())
    rows = [{"step": i, "tokens": i, "fvu": 0.1, "aux": 0.2, "l0": 4.0, "dead": 0, "lr": 1e-3} for i in range(12_345)]
    (tmp_path / history.METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens = Folder(tmp_path).watch().curves.tokens
    assert len(tokens) == POINTS and (tokens[0], tokens[-1]) == (0, 12_344)
    assert set(np.diff(tokens)) <= {24, 25}


def test_a_checkpoint_is_read_as_it_was_written(tiny_activations, tmp_path, stop_after):
    run, acts = tmp_path / "run", tiny_activations
    wanted = start_and_stop(acts, run, stop_after)
    file, index = Folder(run).checkpoint()
    step, dictionary = training.peek(file, index, Folder(run).job())
    assert step == 25 and index == 0
    assert all(torch.equal(value, wanted[name]) for name, value in dictionary.state_dict().items())


def test_first_features_are_those_of_the_codes(tiny_activations, tiny_dictionary, beside):
    """Every example against the dictionary's own codes of the rows it shows."""
    (beside / "sae").symlink_to(tiny_dictionary)
    app = create_watch_app(beside / "sae", features=6, examples=3, tokens=900)
    with TestClient(app) as client:
        said = First.model_validate(client.get("/api/first").json())
        acts = tiny_activations
        assert said.held_out and said.lack == "" and said.step == Folder(tiny_dictionary).job()["training"]["steps"]
        assert 900 / 2 < said.n_tokens < 900 + acts.context and 1 <= len(said.features) <= 6
        coder = dictionaries.load(tiny_dictionary)
        x, at = (torch.cat(part) for part in zip(*acts.held_out.ordered(512), strict=True))
        codes = coder.encode(x.float())
        letters = ByteTokenizer().convert_ids_to_tokens(acts.tokens.reshape(-1).tolist())
        for feature in said.features:
            own = (codes.values * (codes.ids == feature.id)).sum(1)
            by_place = dict(zip(at.tolist(), own.tolist(), strict=True))
            peaks = [example.codes[example.position] for example in feature.examples]
            assert peaks == sorted(peaks, reverse=True) and peaks[0] == pytest.approx(feature.max_code, rel=1e-3)
            assert max(by_place.values()) >= feature.max_code * 0.999
            for example in feature.examples:
                text = list(example.tokens)
                places = [
                    p for p, v in by_place.items() if v == pytest.approx(example.codes[example.position], rel=2e-3)
                ]
                starts = [p - example.position for p in places]
                assert any(letters[s : s + len(text)] == text for s in starts)
        again = client.get("/api/first").json()
        assert again == said.model_dump(mode="json")


def test_features_that_were_shown_are_shown_again():
    """Twelve features of one token each; the fifth falls silent."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 12, 4000).astype(np.int32)
    text = Text(tokens, np.zeros(4000, np.int32), 40, 0, np.bincount(tokens) / 4000)
    strings = Strings(lambda ids: [f"{'abcdefghijkl'[i]}{'word' * 2}" for i in ids])
    values = rng.uniform(1, 2, (4000, 1)).astype(np.float32)

    def look(alive, **more):
        shown = values * np.isin(tokens, alive)[:, None]
        coded = Coded(shown, tokens[:, None], np.arange(4000), np.empty((0, 0)))
        return preview(coded, text, strings, n_features=12, examples=4, **more)

    first = look(range(12), n=5)
    assert first == [], "features that fire on a twelfth of all tokens are too dense to be read"
    values *= rng.random((4000, 1)) < 0.4
    first = look(range(12), n=5)
    ids = [feature.id for feature in first]
    assert len(set(ids)) == 5 and all(feature.headline == f"{'abcdefghijkl'[feature.id]}wordword" for feature in first)
    for feature in first:
        fired = np.flatnonzero((tokens == feature.id) & (values[:, 0] > 0))
        assert feature.density == pytest.approx(len(fired) / 4000, rel=1e-3)
        assert feature.max_code == pytest.approx(values[fired].max(), rel=1e-3)
        assert all(each.tokens[each.position].startswith("abcdefghijkl"[feature.id]) for each in feature.examples)
    alive = [i for i in range(12) if i != ids[2]]
    then = [feature.id for feature in look(alive, n=5, kept=ids)]
    assert then[:2] == ids[:2] and then[3:] == ids[3:] and then[2] not in ids


def test_each_run_of_a_list_is_read_from_their_common_checkpoint(tiny_activations, beside, stop_after):
    acts = tiny_activations
    kinds = [TopKConfig, BatchTopKConfig]
    stop_after(80)
    outs = [beside / "a" / "one", beside / "b" / "two"]
    (beside / "b" / "acts").parent.mkdir()
    (beside / "b" / "acts").symlink_to(acts.folder)
    with pytest.raises(Stop):
        train(acts, [config(acts, kind) for kind in kinds], outs, **OPTIONS)
    assert not (outs[1] / checkpoints.CHECKPOINT).exists() and Folder(outs[1]).checkpoint()[1] == 1
    with TestClient(create_watch_app(outs[1], tokens=1000)) as client:
        assert client.get("/api/run").json()["architecture"] == "BatchTopK"
        said = client.get("/api/first").json()
        assert said["features"] and said["step"] == 39


def test_routes(tiny_activations, beside, stop_after):
    run = beside / "run"
    with TestClient(create_watch_app(run, tokens=1000)) as client:
        page = client.get("/")
        assert page.status_code == 200 and "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get(re.search(r'src="(/assets/watch\.js)"', page.text)[1]).status_code == 200
        assert '"state":"waiting"' in page.text
        assert client.get("/api/first").json()["lack"] == "There is no checkpoint yet."
        waiting = client.get("/api/run")
        same = {"if-none-match": waiting.headers["etag"]}
        assert client.get("/api/run", headers=same).status_code == 304
        start_and_stop(tiny_activations, run, stop_after)
        now = client.get("/api/run", headers=same)
        assert now.status_code == 200 and Watched.model_validate(now.json()).state == "stopped"
        said = client.get("/api/first").json()
        assert said["step"] == 25 and said["readable"] == now.json()["readable"] and said["features"]
        assert said["text"] and said["held_out"]
        lost = client.get("/features")
        assert lost.status_code == 404 and "There are /, /api/run and /api/first." in lost.json()["detail"]
        (run / artifact.JOB).write_text(json.dumps({"kind": "atlas", "job": {}}))
        assert client.get("/api/run").status_code == 400 and "an atlas" in client.get("/api/run").json()["detail"]


def test_bad_input(tiny_activations, tiny_dictionary, tiny_atlas, tmp_path, stop_after):
    with pytest.raises(BadInput, match="holds an atlas.*Only runs of `physalis train`"):
        create_watch_app(tiny_atlas.folder)
    with pytest.raises(BadInput, match="it holds something else"):
        create_watch_app(tiny_activations.folder / "tokens.npy")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "poem.txt").write_text("so much depends")
    with pytest.raises(BadInput, match="it holds something else"):
        create_watch_app(tmp_path / "strange")
    with pytest.raises(BadInput, match="holds no physalis recording"):
        create_watch_app(tmp_path / "run", tmp_path / "nowhere")
    with pytest.raises(BadInput, match="features counts what is shown, from 1 on; received 0"):
        create_watch_app(tmp_path / "run", features=0)
    job = json.loads((tiny_dictionary / artifact.JOB).read_text())
    job["job"]["inputs"]["activations"] = "f" * 64
    other = tmp_path / "other"
    other.mkdir()
    (other / artifact.JOB).write_text(json.dumps(job))
    with pytest.raises(BadInput, match="is not what the run trains on .*ffffffffffff"):
        create_watch_app(other, tiny_activations.folder)
    with TestClient(create_watch_app(tiny_dictionary, tokens=1000)) as client:
        assert client.get("/api/first").json()["features"], "the recording lies beside the dictionary"
    start_and_stop(tiny_activations, tmp_path / "run", stop_after)
    with TestClient(create_watch_app(tmp_path / "run")) as client:
        said = client.get("/api/first").json()
        assert said["features"] == [] and "physalis watch RUN --activations FOLDER" in said["lack"]
    with TestClient(create_watch_app(tmp_path / "run", tiny_activations.folder, tokens=1000)) as client:
        assert client.get("/api/first").json()["features"]


def test_the_command_refuses_in_a_sentence(tiny_atlas, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["physalis", "watch", str(tiny_atlas.folder), "--port", "0"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and err.startswith("physalis: ") and "holds an atlas" in err


def test_typescript_knows_the_records():
    written = interfaces("watching")
    for model in (Curves, Watched, Preview, First):
        assert fields(model) == written[model.__name__], model


@pytest.mark.browser
@pytest.mark.parametrize("width, scheme", [(1200, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])
def test_the_page_follows_a_training(browse, tiny_activations, beside, monkeypatch, width, scheme):
    """The training waits at gates, so that the page is seen before it, in the middle and at its end."""
    descend, gates = training.Run.descend, {12: threading.Event(), 31: threading.Event()}
    monkeypatch.setattr(checkpoints, "EVERY_S", -1.0)

    def gated(self, batch, step, *rest):
        if step in gates:
            assert gates[step].wait(60)
        return descend(self, batch, step, *rest)

    monkeypatch.setattr(training.Run, "descend", gated)
    run, acts = beside / "run", tiny_activations
    trainer = threading.Thread(target=lambda: train(acts, [config(acts)], [run], **OPTIONS))
    with serving(create_watch_app(run, tokens=1000)) as site:
        page = browse(site, "/", width, scheme)
        state = page.get_by_role("status").first
        expect(state).to_have_text("Waiting")
        expect(page.locator("main")).to_contain_text("--out run")
        try:
            trainer.start()
            expect(state).to_have_text("Training")
            expect(page.locator(".state")).to_contain_text("step 11 of")
            expect(page.get_by_role("progressbar")).to_be_visible()
            features = page.get_by_role("region", name=re.compile("^Feature "))
            expect(features.first).to_be_visible()
            expect(page.locator("main")).to_contain_text("after 12 of")
            expect(page.locator("svg[role=img]")).to_have_count(3)
            expect(page.locator(".token.peak").nth(3)).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert serious(page) == []
            gates[12].set()
            expect(page.locator(".state")).to_contain_text("step 31 of")
            expect(page.locator("main")).to_contain_text("after 31 of")
            line = features.first.get_by_role("button").first
            line.click()
            expect(line).to_have_attribute("aria-expanded", "true")
        finally:
            for gate in gates.values():
                gate.set()
            trainer.join()
        expect(state).to_have_text("Finished")
        expect(page.locator("main")).to_contain_text("after all")
        assert page.get_by_role("progressbar").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
