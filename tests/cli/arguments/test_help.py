"""``--help`` is where a stranger starts: commands in groups, each option with what it does and its default."""

import dataclasses
import importlib
import inspect
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Unpack, get_args, get_type_hints

import pytest
import ten_layers
from cyclopts import Parameter
from cyclopts.help import HelpEntry
from earlier import CONTEXT, EARLIER, TOKENS
from taken import defaults
from tree import ROOT
from walked import COMMANDS

from physalis import artifact, dictionaries
from physalis.cli import VERBS, app
from physalis.cli.arguments.asked import AskedFinetuning, AskedReading, AskedTraining
from physalis.cli.arguments.defaults import _split, defaults_of
from physalis.cli.arguments.help import Page, Verb, first
from physalis.cli.arguments.settings import DECIDED, architectures
from physalis.cli.arguments.sources import config_for
from physalis.cli.learning import training
from physalis.dictionaries.base import Shape
from physalis.recording import Reading, record, stream
from physalis.recording.options import ReadingOptions
from physalis.training import Finetuning, Training, finetune, train
from physalis.training.options import FinetuningOptions, TrainingOptions, stored

ROOM = 76
"""Columns inside a panel of a terminal of 80."""
NOT_OF_THE_FUNCTION = {
    "activations", "all", "article", "atlas", "author", "beside", "by", "device", "dictionary", "dry_run", "dtype",
    "edit", "endpoint", "feature", "features", "field", "from_", "here_file", "host", "json", "judge", "k", "key_from",
    "layer", "message", "model", "origin", "out", "port", "rather_than",
    "reach", "reader", "reads", "serve", "settings", "share", "side",
    "site", "site_out", "skip", "strength", "task", "text", "there_file", "token", "tokens", "writes",
}  # fmt: skip
"""Options that are not a parameter of the public function by their own name, or that decide nothing by default."""


def panels(command):
    """The page of a command, as entries by the option's name."""
    entries, (_, apps, _) = {}, app.parse_commands(command.path)
    with app.app_stack(apps):
        found = app._assemble_help_panels(list(command.path), "plaintext")
    for _, panel in found:
        entries |= {(entry.positive_names or (entry.positional_label,))[0]: entry for entry in panel.entries}
    return {name: entry for name, entry in entries.items() if name not in ("--help", "--version")}


def page_of(command) -> Page:
    formatter = command.app.help_formatter
    assert isinstance(formatter, Page), f"{command} has no page"
    return formatter


def test_groups_follow_the_work():
    assert [group.name for group in VERBS] == ["Make", "Read", "Test and compare", "Share", "Lab", "This machine"]
    assert [each.name for each in next(iter(VERBS.values()))][:4] == ["record", "train", "evaluate", "build-atlas"]


GROUPS = [*[group.name for group in VERBS], "compare", "notes", "comments", "lab", "counterexample", "export", "cache"]


@pytest.mark.parametrize("group", GROUPS)
def test_each_command_is_told_in_one_line(group):
    if group.islower():
        found = {name: app[group][name] for name in app[group] if not name.startswith("-")}
    else:
        verbs = next(verbs for each, verbs in VERBS.items() if each.name == group)
        names = [each.name if isinstance(each, Verb) else each.name[0] for each in verbs]
        found = {name: app[name] for name in names}
    room = ROOM - 2 - max(map(len, found))
    for each in found.values():
        line = (each.help or "").strip().split("\n\n")[0]
        assert line and "\n" not in line and len(line) <= room, line


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_each_option_says_what_it_does(command):
    for name, entry in panels(command).items():
        assert len(str(entry.description.primary_renderable)) > 5, f"{command} {name} says nothing"
        assert not any(each.startswith("--empty-") for each in entry.negative_names), name
        wordless = entry.positional_label or entry.type in (bool, bool | None)
        assert wordless or entry.metavar not in (None, "STR", "INT", "FLOAT", "PATH"), f"{command} {name}: no word"


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_each_default_is_the_functions_own(command):
    """What ``--help`` shows is what the signature says, and the command states none itself."""
    page = page_of(command)
    if not page.of:
        return
    for name, stated in defaults(command.app.default_command).items():
        if stated is inspect.Parameter.empty or name in (
            "json",
            "loading",
            "asking",
            "suites",
            "computing",
            "serve",
            "out",
            "all_",
            "yes",
        ):
            continue
        assert stated is None, f"{command} --{name} states a default"
        function, _, own = page.called.get(name, name).rpartition(".")
        module, *names = _split(function or page.of)
        of = importlib.import_module(f"physalis.{module}")
        for each in names:
            of = getattr(of, each)
        taken = defaults(of)
        assert own in taken or name in NOT_OF_THE_FUNCTION, f"{command} --{name} is no parameter of {page.of}"
        default = taken.get(own)
        shown = page._default(HelpEntry(positive_names=(f"--{name.replace('_', '-')}",)))
        if default and isinstance(default, int | float | str) and not isinstance(default, bool):
            assert shown == default or (shown and _read(shown) == pytest.approx(default, rel=0.01)), (name, shown)


RECORDS = {
    record: (Reading, ReadingOptions, AskedReading), stream: (Reading, ReadingOptions, None),
    train: (Training, TrainingOptions, AskedTraining), finetune: (Finetuning, FinetuningOptions, AskedFinetuning),
}  # fmt: skip
"""Functions whose options are a record: that, its fields as keywords, and those that the command line has."""


@pytest.mark.parametrize("function", RECORDS, ids=lambda function: function.__name__)
def test_a_record_its_keywords_and_its_options_are_one_set(function):
    of, keywords, asked = RECORDS[function]
    fields = {each.name: each.type for each in dataclasses.fields(of)}
    parameters = inspect.signature(function).parameters.values()
    assert get_type_hints(keywords) == fields and not keywords.__required_keys__
    assert [each.default for each in parameters if isinstance(each.default, of)] == [of()]
    assert [each.annotation for each in parameters if each.kind is each.VAR_KEYWORD] == [Unpack[keywords]]
    assert not {each.name for each in parameters} & {*fields}
    if asked is not None:
        command = inspect.signature(app[function.__name__].default_command)
        assert vars(asked()) == dict.fromkeys(vars(asked())) and {*vars(asked())} <= {*fields}
        assert asked() in [each.default for each in command.parameters.values()]
        assert not {*command.parameters} & {*fields}, "it is asked for beside the record"


def test_what_a_manifest_says_is_the_record():
    """That of an earlier version too: a folder that was begun with it is gone on with."""
    recorded = artifact.read(EARLIER / "0.1.0" / "activations", "activations")
    trained = artifact.read(EARLIER / "0.1.0" / "narrow", "dictionary")
    fields, said = ({each.name for each in dataclasses.fields(of)} for of in (Reading, Training))
    assert {*recorded.config} == fields - {"seed"} | {"model", "dtype", "text", "site", "hygiene"}
    assert Reading(**{name: recorded.config[name] for name in fields - {"seed"}}, seed=recorded.seed) == Reading(
        tokens=TOKENS, context=CONTEXT, held_out=0.3
    )
    assert {*trained.config["training"]} == {*stored(dict.fromkeys(said)), "steps"}
    names = stored({name: name for name in said})
    again = Training(**{own: trained.config["training"][name] for name, own in names.items()})
    assert again.said(trained.config["training"]["steps"]) == trained.config["training"]


def _read(shown: str) -> float | None:
    try:
        return float(shown.replace(",", ""))
    except ValueError:
        return None


def test_defaults_are_read_as_they_stand():
    found = defaults_of("training.training.train")
    assert found["batch_size"] == "2,048" and found["epochs"] == "3" and "lr" not in found
    assert defaults_of("dictionaries.architectures.topk.TopKConfig") == {"k": "32", "aux_weight": "0.0312"}
    assert defaults_of("sweeping.sweeping.sweep")["architectures"] == "topk batchtopk jumprelu"
    assert defaults_of("recording.recorder.record")["bos"] == "yes"


def test_settings_are_the_fields_of_the_configs():
    assert list(architectures()) == [each.__name__.lower() for each in dictionaries.ARCHITECTURES]
    own = {field.name for field in dataclasses.fields(Shape)}
    for each in dictionaries.ARCHITECTURES:
        config = each.__init__.__annotations__["config"]
        fields = {field.name for field in dataclasses.fields(config)} - own - DECIDED
        assert set(architectures()[each.__name__.lower()]) == fields
        assert all(setting.meaning for setting in architectures()[each.__name__.lower()].values())


def test_each_example_of_a_setting_works(tiny_activations):
    """With the dictionary and the size that it is shown with."""
    shown = next(each.help for each in get_args(training.Set) if isinstance(each, Parameter))
    found = re.findall(r"(?:--dictionary (\S+) --features (\S+) )?--set (\S+=\S*\w)", shown)
    assert [example for *_, example in found] == ["aux_weight=0.1", "widths=64,512"]
    for dictionary, features, example in found:
        config = config_for(tiny_activations, features or None, [example], architecture=dictionary or "topk", k=4)
        name, _, value = example.partition("=")
        assert getattr(config, name) in (float(value.replace(",", "") or 0), tuple(map(float, value.split(","))))


def test_settings_are_listed(physalis):
    code, out, _ = physalis("train", "--help")
    assert code == 0 and "aux_weight" in out and "crosslayer" in out and "--set NAME=VALUE" in out


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_first_line_names_what_is_needed(command, physalis):
    code, out, _ = physalis(*command.path, "--help")
    first_line = " ".join(out.split("\n\n")[0].split())
    assert code == 0 and first_line.startswith(f"Usage: physalis {command} [OPTIONS]") and "ARGS" not in first_line
    needed = [each for each in command.app.assemble_argument_collection() if each.required]
    for each in needed:
        named = each.name if each.name.startswith("--") else each.name.upper()
        assert named.removesuffix("...") in first_line


def test_one_sentence():
    assert first("Of ``most * k`` features. Then more.") == "Of most * k features."


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_each_example_can_be_read(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command.example[-1][: len(command.path)] == list(command.path), command.app.help_epilogue
    for words in command.example:
        app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.fixture
def tiny_smollm2(monkeypatch):
    """Whatever the name, the model is small, and has the layers that examples name."""
    from physalis import models
    from physalis.web.worker import worker

    ten_layers.load_it_everywhere(monkeypatch.setattr)
    monkeypatch.setattr(worker, "WORKING", ten_layers.__name__)
    monkeypatch.setenv("PYTHONPATH", str(Path(ten_layers.__file__).parent), prepend=os.pathsep)
    inspect_model = models.inspect_model
    monkeypatch.setattr(models, "inspect_model", lambda name: inspect_model("tiny"))


LONG = {"lab check", "lab publish", "counterexample run", "counterexample methods"}
"""Minutes of experiments: their own tests run them."""


@pytest.mark.slow
def test_each_example_works_as_pasted(physalis, tiny_smollm2, tmp_path, monkeypatch):
    """One after another, in one folder."""
    import uvicorn

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    (tmp_path / "explanations.jsonl").write_text(
        '{"modelId": "tiny", "layer": "9-res", "index": "2", "description": "quotes", '
        '"explanationModelName": "m", "typeName": "t"}\n'
    )
    ids = {}
    for command in sorted(COMMANDS, key=lambda each: each.path[0] in ("publish", "export", "serve")):
        if str(command) in LONG or str(command) == "lab serve":
            continue
        for words in command.example:
            words = [ids.get(word, word) for word in words]
            code, out, err = physalis(*words)
            if str(command) in ("comments publish", "comments withdraw"):  # there is no such comment
                assert code == 2 and "Traceback" not in err
                continue
            assert code == 0, (shlex.join(words), err)
            if str(command) == "comments list":
                ids = {"b1f2a3c4d5e6": re.split(r"\s", out)[0]}
    shutil.rmtree(tmp_path / "acts")


PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.name != "reference.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_on_pages_can_be_read(page, tmp_path, monkeypatch):
    """And name what the demo writes as it is called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "commas.md").touch()
    for line in re.findall(r"^    (physalis .*)", page.read_text().replace("\\\n", " "), re.M):
        for each in re.split("&&|;", line):
            words = shlex.split(each, comments=True)[1:]
            app.parse_args(words, exit_on_error=False, print_error=False)
            assert not any(word.startswith("demo/") for word in words), each
