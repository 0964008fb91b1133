"""The command line: instant help, the same defaults as the functions, data alone on standard output, sentences."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
import uvicorn

import physalis
from physalis.cli.arguments.amounts import amount, count_features
from physalis.errors import BadInput
from physalis.web.atlas import live


@pytest.fixture
def run(physalis):
    """The command in this process: importing torch takes seconds. Its own name is the package's here."""
    return physalis


@pytest.fixture
def tiny_by_name(tiny, monkeypatch):
    """``load_model`` gives the tiny model, whatever the name."""
    monkeypatch.setattr(physalis, "load_model", lambda name: tiny, raising=False)


def test_the_whole_path(tiny_by_name, tiny_text, tmp_path, run):
    def ok(*arguments):
        code, out, err = run(*arguments)
        assert code == 0, err
        return out

    acts, sae, scores, atlas = (tmp_path / name for name in ("acts", "sae", "eval", "atlas"))
    recorded = json.loads(
        ok("record", "tiny", "--site", "L1.resid_post", "--text", tiny_text, "--tokens", "8k", "--out", acts, "--json")
    )
    assert recorded["kind"] == "activations" and recorded["facts"]["n_train"] > 0
    options = ("--features", "3x", "--k", "4", "--batch-size", "512", "--epochs", "1")
    trained = json.loads(ok("train", acts, *options, "--out", sae, "--json"))
    assert trained["config"]["dictionary"]["k"] == 4
    told = json.loads(ok("evaluate", sae, acts, "--out", scores, "--splice-tokens", "320", "--json"))
    for name in ("fvu", "l0", "ce_increase", "dead_fraction"):
        assert set(told["metrics"][name]) == {"value", "low", "high"}
    tuning = ("--tokens", "2k", "--batch", "4")
    tuned = json.loads(ok("finetune", sae, acts, *tuning, "--out", tmp_path / "tuned", "--json"))
    assert tuned["config"]["finetuning"]["objective"] == "kl"
    summary = json.loads(ok("build-atlas", sae, acts, "--evaluation", scores, "--out", atlas, "--json"))
    assert summary["metrics"]["fvu"] == told["metrics"]["fvu"]
    for again in (
        ("record", "tiny", "--site", "L1.resid_post", "--text", tiny_text, "--tokens", "8k", "--out", acts),
        ("train", acts, *options, "--out", sae),
        ("evaluate", sae, acts, "--out", scores, "--splice-tokens", "320"),
        ("build-atlas", sae, acts, "--evaluation", scores, "--out", atlas),
        ("plan", "tiny", "--site", "L1.resid_post", "--tokens", "8k", "--k", "4"),
    ):
        assert len(ok(*again).strip()) > 20


def test_several_sites_go_to_folders_of_their_own(tiny_by_name, tiny_text, tmp_path, run):
    acts, sites = tmp_path / "acts", ("L1.resid_post", "L0.mlp_out")
    named = [word for site in sites for word in ("--site", site)]
    code, out, err = run(
        "record", "tiny", *named, "--text", tiny_text, "--tokens", "2k", "--out", acts, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert [made["folder"] for made in json.loads(out)] == [str(acts / site) for site in sites]
    assert sorted(path.name for path in acts.iterdir()) == sorted(sites)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["record", "tiny", "--site", "L99.resid_post", "--text", "TEXT", "--out", "OUT"], "layers, L0 to"),
        (
            ["record", "tiny", "--site", "somewhere", "--text", "TEXT", "--out", "OUT"],
            "tiny has no site named somewhere. Choose one of embed",
        ),
        (["record", "tiny", "--site", "L1.residpost", "--text", "TEXT", "--out", "OUT"], "Was resid_post meant"),
        (["record", "tiny", "--site", "L1.attn_pattern", "--text", "TEXT", "--out", "OUT"], "pattern has no width"),
        (["record", "tiny", "--site", "L1.resid_post", "--text", "EMPTY", "--out", "OUT"], "empty"),
        (["record", "tiny", "--site", "L1.resid_post", "--text", "SHORT", "--out", "OUT"], "shorter|fewer"),
        (["record", "tiny", "--site", "L1.resid_post", "--text", "nowhere/at-all.txt", "--out", "OUT"], "nowhere"),
        (["record", "tiny", "--site", "L1.resid_post", "--text", "TEXT", "--tokens", "many", "--out", "OUT"], "many"),
        (["train", "ACTS", "--k", "5000", "--out", "OUT"], "must be smaller than the number of features"),
        (["train", "ACTS", "--dictionary", "magic", "--out", "OUT"], "no dictionary architecture 'magic'"),
        (["train", "OUT", "--out", "OUT2"], "no physalis recording"),
        (["evaluate", "ACTS", "ACTS"], "not a dictionary"),
        (["serve", "ACTS", "--port", "0"], "not an atlas"),
        (["serve", "ACTS", "--activations", "ACTS", "--port", "0"], "alone steer nothing"),
        (["frobnicate"], "frobnicate"),
        (["record", "tiny"], "(?i)site"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments, says, tiny_by_name, tiny_text, tiny_activations, tmp_path, run
):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("short")
    places = {
        "TEXT": tiny_text, "ACTS": tiny_activations.folder, "OUT": tmp_path / "out", "OUT2": tmp_path / "out2",
        "EMPTY": tmp_path / "empty.txt", "SHORT": tmp_path / "short.txt",
    }  # fmt: skip
    code, out, err = run(*(places.get(a, a) for a in arguments))
    last = err.strip().splitlines()[-1]
    assert code == 2 and out == "" and "Traceback" not in err
    assert last.startswith("physalis: ")
    assert re.search(says, last), last


def test_amounts():
    assert [amount(t) for t in ("300k", "2M", "1_000", "1.5k", "1B")] == [300_000, 2_000_000, 1000, 1500, 10**9]
    assert count_features("8x", 576) == count_features(None, 576) == 4608 and count_features("1k", 576) == 1000
    with pytest.raises(BadInput, match="Cannot read 'lots'"):
        amount("lots")
    for fraction in ("4.5", "1.2345k"):
        with pytest.raises(BadInput, match=f"'{fraction}' is not a whole number"):
            amount(fraction)


@pytest.mark.parametrize("wrong", [("--batch-size", "0"), ("--epochs", "0"), ("--lr", "-1"), ("--lr", "nan")])
def test_training_that_cannot_be_is_a_sentence(run, tiny_activations, tmp_path, wrong):
    code, _, err = run("train", tiny_activations.folder, *wrong, "--out", tmp_path / "d")
    assert code == 2 and "Traceback" not in err
    assert re.search("It must be (a finite number, )?(at least 1|above 0)", err)


def test_help_does_not_import_torch():
    code = (
        "import sys, physalis.cli as c; c.app('--help', exit_on_error=False, result_action='return_value'); "
        "sys.exit('torch' in sys.modules)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "build-atlas" in done.stdout
    assert time.monotonic() - started < 20  # a hang, not a race


def test_every_kind_is_trained_without_python(tiny_by_name, tiny_text, tmp_path, run):
    sites = ["L0.mlp_in", "L1.mlp_in", "L0.mlp_out", "L1.mlp_out"]
    named = [word for site in sites for word in ("--site", site)]
    code, _, err = run("record", "tiny", *named, "--text", tiny_text, "--tokens", "4k", "--out", tmp_path / "acts")
    assert code == 0, err
    reads, writes = ([tmp_path / "acts" / site for site in half] for half in (sites[:2], sites[2:]))
    options = ("--features", "96", "--k", "4", "--batch-size", "512", "--epochs", "1", "--device", "cpu", "--json")

    def trained(name, *arguments):
        code, out, err = run("train", *arguments, *options, "--out", tmp_path / name)
        assert code == 0, err
        return json.loads(out)["config"]

    told = trained("transcoder", reads[1], "--writes", writes[1])
    assert (told["site"], told["writes"], told["dictionary"]["skip"]) == ("L1.mlp_in", "L1.mlp_out", False)
    assert trained("skip", reads[1], "--writes", writes[1], "--skip")["dictionary"]["skip"]
    told = trained("crosscoder", *reads, "--dictionary", "crosscoder")
    assert told["site"] == sites[:2] and told["dictionary"]["sites"] == [32, 32] and "writes" not in told
    written = [word for folder in writes for word in ("--writes", folder)]
    told = trained("crosslayer", *reads, *written, "--dictionary", "crosslayer")
    assert (told["site"], told["writes"]) == (sites[:2], sites[2:]) and told["dictionary"]["layers"] == 2
    code, _, err = run("train", *reads, "--writes", writes[0], "--dictionary", "crosslayer", "--out", tmp_path / "no")
    assert code == 2 and "received 2 to read and 1 to write" in err
    code, out, err = run("dead-features", tmp_path / "transcoder", reads[1], "--steps", "2", "--tokens", "1k", "--json")
    assert code == 0 and json.loads(out)["n_features"] == 96, err
    tuning = ("--tokens", "1k", "--batch", "4", "--out", tmp_path / "tuned", "--json")
    code, out, err = run("finetune", tmp_path / "transcoder", reads[1], *tuning)
    assert code == 0 and json.loads(out)["config"]["writes"] == "L1.mlp_out", err


def test_a_device_that_is_not_there_is_a_sentence(run, tiny_activations, tmp_path):
    code, _, err = run("train", tiny_activations.folder, "--device", "gpu", "--out", tmp_path / "d")
    assert code == 2 and err.startswith("physalis: This machine has no device 'gpu'. It has:")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("aux_weight", "Write NAME=VALUE"), ("bandwidth=1", "topk has no setting 'bandwidth'"),
        ("aux_weight=much", "aux_weight is a number; received 'much'"),
    ],
)  # fmt: skip
def test_settings_are_judged_early(run, tiny_activations, tmp_path, setting, says):
    code, _, err = run("train", tiny_activations.folder, "--set", setting, "--out", tmp_path / "d")
    assert code == 2 and says in err and not (tmp_path / "d").exists()


def test_another_job_is_told_in_the_words_of_the_command_line(run, tiny_activations, tmp_path):
    words = ("train", tiny_activations.folder, "--features", "64", "--batch-size", "512", "--out", tmp_path / "d")
    code, out, err = run(*words, "--k", "4", "--epochs", "1", "--set", "aux_weight=0", "--json")
    assert code == 0 and json.loads(out)["config"]["dictionary"]["aux_weight"] == 0, err
    code, _, err = run(*words, "--k", "4", "--epochs", "2", "--set", "aux_weight=0")
    assert code == 2 and "holds another job: --epochs was 1, now 2. A training is not lengthened" in err
    assert f"--continue {tmp_path / 'd'} goes on with it there." in err
    code, _, err = run(*words, "--k", "5", "--epochs", "1", "--set", "aux_weight=0.5")
    assert code == 2 and "--k was 4, now 5; --set aux_weight was 0, now 0.5. Choose" in err
    code, _, err = run(*words, "--k", "4", "--epochs", "1", "--dictionary", "matryoshka")
    assert code == 2 and "--dictionary was TopK, now Matryoshka" in err and "threshold_decay" not in err


def test_the_next_command_works_as_pasted(run, tiny, tiny_by_name, tiny_text, tmp_path, monkeypatch):
    """From a recording to a served atlas, in folders whose names a shell would part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    monkeypatch.setattr(live, "load_model", lambda name, **_: tiny)
    words = ["record", "tiny", "--site", "L1.resid_post", "--text", tiny_text, "--tokens", "4k", "--out", "my acts"]
    cheaper = {
        "train": ("--k", "4", "--features", "64"),
        "evaluate": ("--splice-tokens", "320"),
        "serve": ("--port", "0"),
    }
    done = []
    while words:
        done.append(words[0])
        code, out, err = run(*words, *cheaper.get(words[0], ()))
        assert code == 0, (words, err)
        *_, last = out.strip().splitlines() or [""]
        words = shlex.split(last.removeprefix("Next: physalis ")) if last.startswith("Next: ") else []
    assert done == ["record", "train", "evaluate", "build-atlas", "serve"]
    assert all((tmp_path / name).is_dir() for name in ("sae", "eval", "atlas"))  # as README calls them
    assert "on another recording" not in err
    tuned = run("finetune", "sae", "my acts", "--tokens", "2k", "--batch", "4", "--out", "tuned")[1]
    assert "KL to the model's own predictions 0." in tuned and "Next: physalis evaluate tuned 'my acts'" in tuned


def test_judging_on_another_recording_is_told(run, tiny_by_name, tiny_activations, tiny_dictionary, tmp_path):
    (tmp_path / "text.txt").write_text("other words for once " * 400)
    words = ("record", "tiny", "--site", "L1.resid_post", "--text", tmp_path / "text.txt", "--held-out", "0.5")
    assert run(*words, "--tokens", "2k", "--out", tmp_path / "acts")[0] == 0
    copied = shutil.copytree(tiny_dictionary, tmp_path / "sae")
    judged = ("evaluate", copied, tmp_path / "acts", "--splice-tokens", "320", "--out", tmp_path / "eval")
    code, _, err = run(*judged)
    assert code == 0 and "trained on another recording; whether their texts overlap is not known" in err, err
    shutil.copytree(tiny_activations.folder, tmp_path / "own")
    code, _, err = run(*judged)
    assert code == 0 and "another recording, own: on " in err and "this is " in err


def test_less_is_not_lengthening(run, tiny_by_name, tiny_text, tmp_path):
    words = ("record", "tiny", "--site", "L1.resid_post", "--text", tiny_text, "--out", tmp_path / "acts")
    assert run(*words, "--tokens", "4k")[0] == 0
    code, _, err = run(*words, "--tokens", "2k")
    assert code == 2 and "--tokens was 4,000, now 2,000. Choose another --out" in err
    code, _, err = run(*words, "--tokens", "8k")
    assert code == 2 and "A recording is not lengthened" in err


def test_a_setting_that_is_not_given_any_more_is_named(run, tiny_activations, tmp_path):
    words = ("sweep", tiny_activations.folder, "--dictionary", "topk", "--k", "4", "--features", "48")
    words = (*words, "--epochs", "1", "--batch-size", "512", "--out", tmp_path / "sweep")
    assert run(*words, "--set", "aux_weight=0.1")[0] == 0
    code, _, err = run(*words)
    assert code == 2 and "holds another job: --set aux_weight was 0.1, now not given. Choose" in err


@pytest.mark.parametrize("number", ["-1", "-1.50", "0", "-0.001"])
def test_a_number_out_of_range_is_told_as_it_was_typed(run, tiny_activations, tmp_path, number):
    code, _, err = run("train", tiny_activations.folder, "--lr", number, "--out", tmp_path / "d")
    assert code == 2 and f'Invalid value "{number}" for --lr. It must be above 0.' in err


@pytest.mark.parametrize(
    "command",
    [
        ["record", "tiny", "--site", "L1.z", "--text", "stdlib"], ["train", "acts"], ["evaluate", "sae", "acts"],
        ["sweep", "acts"], ["demo", "--no-serve"], ["publish", "atlas"], ["compare", "pair", "a", "b"],
        ["convert", "x"],
        ["notes", "export", "atlas"], ["lab", "publish"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_name_that_is_no_utf_8_is_refused_before_anything_else(run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"\xff")
    code, _, err = run(*command, *([] if command[0] in ("notes", "lab") else ["--out"]), name)
    assert code == 2 and "The name is no UTF-8" in err and not list(tmp_path.iterdir())


def test_what_is_refused_leaves_no_folder(run, tiny_by_name, tmp_path):
    (tmp_path / "text.txt").write_text("hi")
    out = tmp_path / "new" / "acts"
    words = ("record", "tiny", "--site", "L1.resid_post", "--text", tmp_path / "text.txt", "--out", out)
    code, _, err = run(*words)
    assert code == 2 and "shorter than one context" in err and not out.parent.exists()
    out.mkdir(parents=True)
    assert run(*words)[0] == 2 and out.exists()  # somebody else made it


def test_a_sweep_that_cannot_be_trains_nothing(run, tiny_activations, tmp_path, monkeypatch):
    monkeypatch.setattr("physalis.sweeping.sweeping.train", lambda *_, **__: pytest.fail("something was trained"))
    words = ("--k", "4", "--k", "64", "--features", "64", "--out", tmp_path / "sweep")
    code, _, err = run("sweep", tiny_activations.folder, *words)
    assert code == 2 and "k = 64 must be smaller than the number of features, 64" in err
    assert not (tmp_path / "sweep").exists()


def test_a_folder_in_which_only_a_job_stands_is_taken_over(run, tiny_activations, tmp_path):
    out = tmp_path / "d"
    out.mkdir()
    (out / "job.json").write_text(json.dumps({"kind": "activations", "schema_version": 1, "job": {}}))
    words = ("train", tiny_activations.folder, "--features", "64", "--batch-size", "512", "--epochs", "1")
    code, _, err = run(*words, "--k", "4", "--out", out)
    assert code == 0, err
