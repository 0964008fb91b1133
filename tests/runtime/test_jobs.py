"""Jobs: only what is missing is made, in this process or in several; what was made before one failed is kept."""

import os
import threading
from functools import partial

import pytest

from physalis.errors import BadInput
from physalis.runtime.jobs import Job, run
from physalis.runtime.processes import in_processes


def compute(path, advance):
    advance(1)
    return partial(path.write_text, f"{path.name} by {os.getpid()}")


def die(path, advance):
    os._exit(1)


def fail(path, advance):
    raise BadInput(f"{path.name} cannot be made.")


def job(path, how=compute):
    return Job(path.name, {"letter": path.name}, 1, path.exists, partial(how, path))


def test_only_what_is_missing_is_made(tmp_path, capsys):
    jobs = [job(tmp_path / name) for name in "abcd"]
    (tmp_path / "b").write_text("as it was")
    assert run(jobs, "Letters", "letters") == 3
    assert (tmp_path / "b").read_text() == "as it was" and all(each.done() for each in jobs)
    assert "Letters: 100 %" in capsys.readouterr().err
    assert run(jobs, "Letters", "letters") == 0
    assert not capsys.readouterr().err, "there was nothing to tell"


def test_what_a_job_writes_is_written_while_the_next_computes():
    computed, said = threading.Event(), []

    def first(advance):
        return lambda: said.append(computed.wait(60))

    def second(advance):
        computed.set()
        return lambda: said.append("second")

    run([Job(str(i), {}, 1, lambda: False, each) for i, each in enumerate((first, second))], "Both", "jobs")
    assert said == [True, "second"]


def test_after_a_failed_write_no_more_than_one_is_computed(tmp_path):
    computed = []

    def each(name, advance):
        computed.append(name)
        return partial((tmp_path / "no folder" / name).write_text, name)

    with pytest.raises(FileNotFoundError):
        run([Job(name, {}, 1, lambda: False, partial(each, name)) for name in "abc"], "Letters", "letters")
    assert computed == ["a", "b"]


def test_several_processes_make_what_is_missing(tmp_path, capsys):
    jobs = [job(tmp_path / name) for name in "abcd"]
    (tmp_path / "b").write_text("as it was")
    assert run(jobs, "Letters", "letters", partial(in_processes, workers=2)) == 3
    made = {name: (tmp_path / name).read_text() for name in "abcd"}
    assert made.pop("b") == "as it was" and all(text.startswith(f"{name} by ") for name, text in made.items())
    assert not any(text.endswith(f" by {os.getpid()}") for text in made.values())
    assert "Letters: 100 %" in capsys.readouterr().err


def test_one_job_is_made_here(tmp_path):
    run([job(tmp_path / "a")], "Letters", "letters", partial(in_processes, workers=2))
    assert (tmp_path / "a").read_text() == f"a by {os.getpid()}"


@pytest.mark.parametrize(
    "how, sentence", [(die, "One of 2 worker processes died, perhaps for lack"), (fail, "b cannot be made.")]
)
def test_what_ends_one_process_is_said_and_the_next_run_goes_on(tmp_path, how, sentence):
    paths = [tmp_path / name for name in "abcd"]
    jobs = [job(path, how if path.name == "b" else compute) for path in paths]
    with pytest.raises(BadInput, match=sentence):
        run(jobs, "Letters", "letters", partial(in_processes, workers=2))
    there = [path for path in paths if path.exists()]
    assert paths[1] not in there
    assert run([*map(job, paths)], "Letters", "letters") == 4 - len(there)
    assert all(path.exists() for path in paths)
