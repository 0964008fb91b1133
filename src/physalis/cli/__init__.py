"""The command line: one short function a verb. Each reads its arguments, calls one public function, prints the record.

An option that is not given is not passed on, so defaults are those in the public functions' signatures, which
``--help`` reads. What these have no default for (a folder to write; a width of 8 features a dimension, in
``arguments.amounts``; an architecture, in ``arguments.sources``) is decided here and said by ``--help``. Data goes to
standard output, everything else to standard error. torch is imported late, so that ``--help`` is instant.
"""

import inspect
import os
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import Parameter

from physalis import __version__
from physalis.cli import lab, machine
from physalis.cli.arguments.help import COMPARE, LAB, MACHINE, MAKE, OPTIONS, READ, SHARE, Verb, verb
from physalis.cli.arguments.sentences import explain
from physalis.cli.arguments.usage import write_usages
from physalis.cli.learning import atlases, circuits, exchanging, explaining, judging, recording, training
from physalis.cli.reading import comparing, heads, searching, serving, steering, verifying
from physalis.cli.sharing import comments, notes, publishing
from physalis.cli.shown.jobs import differing
from physalis.errors import AnotherJob, BadInput
from physalis.runtime.signals import SENTENCE, listening

__all__ = ["VERBS", "app", "main"]

app = cyclopts.App(
    name="physalis",
    version=__version__,
    help="Open up a neural network: record activations, learn sparse features, browse them in an atlas.",
    help_format="plaintext",
    help_epilogue="`physalis COMMAND --help` tells all options of a command, with an example. With --no-cache what a "
    "GGUF file holds is not kept for the next command.",
    default_parameter=Parameter(negative_iterable=()),
    suppress_keyboard_interrupt=False,
)

VERBS: dict[cyclopts.Group, tuple[Verb | cyclopts.App, ...]] = {
    MAKE: (
        recording.record, training.train, atlases.evaluate, atlases.build_atlas, atlases.encode, explaining.explain,
        judging.describe, training.sweep, training.finetune, circuits.transcode, circuits.trace, recording.plan,
        recording.model, atlases.demo, exchanging.convert,
    ),
    READ: (
        serving.serve, serving.watch, searching.contrast, steering.steer, steering.dose_response, heads.heads,
    ),
    COMPARE: (training.dead_features, judging.score, comparing.app, verifying.verify),
    SHARE: (
        verb(of="web.publish.site.publish", example="physalis publish atlas --out site")(publishing.publish),
        publishing.export, comments.app, notes.app,
    ),
    LAB: (lab.app, lab.counterexample),
    MACHINE: (machine.doctor, machine.app, machine.completion),
}  # fmt: skip
"""Every command, in the order of the work."""
RENAMED = {"autopsy": "dead-features", "deaths": "dead-features", "doses": "dose-response"}
"""What commands were called in 0.1, or after its docs: they answer to it still, and say what they are called now."""

for flag in ("--help", "--version"):
    app[flag].group = (OPTIONS,)
for group, each in VERBS.items():
    for place, command in enumerate(each):
        if isinstance(command, Verb):
            app.command(command.run, name=command.name, group=group, **{**command.page, "sort_key": place})
        else:
            command.group, command.sort_key = (group,), place
            app.command(command)
write_usages(app, "physalis")


def main() -> None:
    """The entry point. What goes wrong ends in one sentence: a person's mistakes with exit code 2, ours with 1, and
    what was stopped with 130 or 143."""
    arguments = sys.argv[1:]
    if "--no-cache" in arguments:  # of every command that loads a model, and of the processes that it starts
        arguments.remove("--no-cache")
        os.environ["PHYSALIS_NO_CACHE"] = "1"
    if arguments and arguments[0] in RENAMED:
        now = RENAMED[arguments[0]]
        print(f"physalis: `{arguments[0]}` is called `{now}` now.", file=sys.stderr)
        arguments[0] = now
    with listening() as signals:
        try:
            if fills_a_folder(arguments):
                signals.sentence = SENTENCE
            app(arguments, exit_on_error=False, print_error=False)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader of our output left, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:
            if signals.heard:  # what was interrupted may fail with an error of its own
                raise
            if isinstance(error, AnotherJob):
                error = BadInput(differing(error, options_of(arguments), arguments))
            sys.exit(explain(error))


def fills_a_folder(arguments: Sequence[str]) -> bool:
    """Whether the command that is called makes something that it goes on with when it is called again."""
    _, apps, _ = app.parse_commands(arguments)
    run = apps[-1].default_command
    return run is not None and "out" in inspect.signature(run).parameters


def options_of(arguments: Sequence[str]) -> set[str]:
    """The names of all options of the command that is called."""
    _, apps, _ = app.parse_commands(arguments)
    return {name for each in apps[-1].assemble_argument_collection() for name in each.names}
