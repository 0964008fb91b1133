"""explain(): whatever ended a command, in one sentence with what to do, and the code that the process ends with."""

import errno
import os
import re
import sys
import tempfile
import traceback
from contextlib import suppress

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError, ValidationError

from physalis.cli.shown.console import spelt
from physalis.errors import BadInput

TRACEBACK = "PHYSALIS_TRACEBACK"
"""Set to anything, this environment variable shows where an error came from."""
USERS, OURS = 2, 1
"""Exit codes: of a mistake that who typed the command can mend, and of one that is physalis's own."""

_WORDS = {
    errno.ENOENT: "There is no {path}. Check the path.",
    errno.EISDIR: "{path} is a folder where a file is wanted. Move it away, or choose another place.",
    errno.ENOTDIR: "{path} lies below a file where a folder is wanted. Choose another place.",
    errno.EACCES: "{path} may not be read or written by this user. Change its permissions, or choose another place.",
    errno.EPERM: "{path} may not be read or written by this user. Change its permissions, or choose another place.",
    errno.EROFS: "{path} is on a read-only disk. Choose another place.",
    errno.ENOSPC: "The disk is full: {path} cannot be written. Free some space and run the same command again: what is "
    "whole is kept, and it goes on from there.",
    errno.EDQUOT: "Your quota on the disk is used up: {path} cannot be written. Free some space and run the same "
    "command again: what is whole is kept, and it goes on from there.",
    errno.EIO: "The disk failed at {path}. Check it, and run the same command again.",
    errno.ENAMETOOLONG: "The name {path} is longer than the disk allows. Choose a shorter one.",
    errno.ELOOP: "{path} is a link that leads nowhere. Choose another place.",
    errno.EMFILE: "Too many files are open at once. Raise the limit (ulimit -n 4096) and run the same command again.",
    errno.ENOMEM: "Memory did not suffice. Close other programs, and run the same command again.",
}


def explain(error: Exception) -> int:
    """Print on standard error what was wrong and what to do; returns the exit code."""
    said, code = _sentence(error), USERS
    if said is None:
        said, code = _ours(error), OURS
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    with suppress(OSError):  # where nothing can be said the code still tells
        print(f"physalis: {spelt(' '.join(said.split()))}", file=sys.stderr, flush=True)
    return code


def _sentence(error: Exception) -> str | None:
    match error:
        case BadInput():
            return str(error)
        case CycloptsError():
            return _mistyped(error)
        case OSError(errno=int(number)):
            return _of_disk(error, number)
        case _ if _out_of_memory(error):
            return (
                "Memory did not suffice. Lower --batch-size, --batch, --features or --workers, or close others; "
                "what is whole is kept."
            )
    return None


def _of_disk(error: OSError, number: int) -> str:
    path = error.filename2 or error.filename
    said = "a file" if path is None else os.fsdecode(path) if isinstance(path, str | bytes) else f"file {path}"
    return _WORDS.get(number, f"{{path}} cannot be used: {error.strerror}.").replace("{path}", said)


def _out_of_memory(error: Exception) -> bool:
    """torch has an error of its own for cards; on the CPU it is a RuntimeError."""
    words = ("can't allocate memory", "out of memory", "not enough memory")
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(each in str(error) for each in words))
    )


def _mistyped(error: CycloptsError) -> str:
    """What cannot be read of a command, in the words of its ``--help``."""
    command = " ".join(["physalis", *(error.command_chain or ())])
    more = f"`{command} --help` tells all of it."
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        argument = error.argument
        name = argument.name if argument.name.startswith("--") else argument.name.upper()
        if error.keyword is not None or argument.tokens:
            return f"{error.keyword or name} needs a value. {more}"
        told = (argument.parameter.help or "").split(". ")[0].rstrip(".")
        return f"`{command}` needs {name}{f' ({told})' if told else ''}. {more}"
    if isinstance(error, UnusedCliTokensError):
        left = " ".join(error.unused_tokens or ())
        return f"`{command}` takes no further argument; received {left!r}. {more}"
    said = _as_typed(error)
    if error.argument is not None and error.argument.name not in said:
        said = f"Invalid value for {error.argument.name}: {said}"
    said = re.sub(r'unable to convert ("[^"]*") into (int|float)\.', _number, said)
    return said if said.rstrip().endswith((".", "?")) else f"{said}. {more}"


def _as_typed(error: CycloptsError) -> str:
    """What it says, with a value that is out of range as it was typed: -1, where it was read as -1.0."""
    if not isinstance(error, ValidationError) or error.argument is None:
        return str(error)
    typed = " ".join(each.value for each in error.argument.tokens)
    return re.sub(r'Invalid value "[^"]*" for ', lambda _: f'Invalid value "{typed}" for ', str(error), count=1)


def _number(found: re.Match[str]) -> str:
    kind = "a whole number" if found[2] == "int" else "a number"
    return f"{found[1]} is not {kind}."


def _ours(error: Exception) -> str:
    said = str(error).strip().splitlines()
    what = f"{type(error).__name__}{': ' + said[0][:200] if said else ''}"
    return f"Something failed that should not have ({what}). {_where(error)} Please report it with that."


def _where(error: Exception) -> str:
    if os.environ.get(TRACEBACK):
        return "The traceback stands above."
    try:
        with tempfile.NamedTemporaryFile("w", prefix="physalis-", suffix=".txt", delete=False) as file:
            file.write("".join(traceback.format_exception(error)))
    except OSError:
        return f"Run it again with {TRACEBACK}=1 to see the traceback."
    return f"The traceback is in {file.name}; {TRACEBACK}=1 shows it here."
