"""The OpenAPI description against the server: whatever it allows is answered as it says, and whatever it forbids is
refused. Requests are made up by Schemathesis, honest ones and malformed ones."""

from functools import partial

import pytest
import schemathesis
from hanging import Talking
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from test_meaning import Trigrams

from physalis.models import Model
from physalis.people.comments import Database, Invitations
from physalis.people.notes import Notes
from physalis.steering import dose_response
from physalis.web import create_app
from physalis.web.atlas.live import beside
from physalis.web.comparison.serving import create_comparison_app
from physalis.web.guard.guard import Rate, guard
from physalis.web.server.serving import MOST_BYTES

PLENTY, HERE = Rate(10**6, 10.0**6), {"host": "127.0.0.1"}
COOKIE = "physalis_session_80"
SLOW = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
MODES = {"as described": GenerationMode.POSITIVE, "malformed": GenerationMode.NEGATIVE}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return Database(tmp_path_factory.mktemp("comments") / "comments")


@pytest.fixture(scope="module")
def atlas_app(one_thread, tiny, tiny_dictionary, tiny_activations, tiny_atlas, database, tmp_path_factory):
    model = Model(tiny.hf, Talking(), name="tiny", family=tiny.family)
    notes = Notes.open(tmp_path_factory.mktemp("notes") / "notes.db", atlas=tiny_atlas.manifest.hash)
    live = beside(tiny_atlas, model, tiny_dictionary, tiny_activations.folder, notes=notes, embedder=Trigrams())
    with pytest.MonkeyPatch.context() as patched:  # doses on little text: a request here has 10 s
        patched.setattr("physalis.web.atlas.steering.dose_response", partial(dose_response, tokens=64))
        yield create_app(tiny_atlas, live, notes, author="Somebody", comments=database)


@pytest.fixture(scope="module")
def comparison_app(comparison, tiny_atlas):
    return create_comparison_app(comparison, [tiny_atlas])


@pytest.fixture(scope="module")
def forest_app(forest, tiny_atlas):
    return create_comparison_app(forest, [tiny_atlas])


def signed_in(invitations: Invitations) -> dict[str, str]:
    """The headers of an owner, whom most may be asked by. New ones each time: signing out is among the operations."""
    opened = invitations.accept(invitations.invite("Ada", role="owner").token, days=1)
    return HERE | {"cookie": f"{COOKIE}={opened.token}", "x-csrf-token": opened.session.csrf}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["atlas", "comparison", "forest"])
def test_the_server_is_as_described(what, mode, database, request, subtests):
    """Not checked: that what is described is also accepted. Which ids and metrics there are, no description says."""
    app, invitations = request.getfixturevalue(f"{what}_app"), Invitations(database)
    guarded = guard(app, most_bytes=MOST_BYTES, by_address=PLENTY, by_session=PLENTY)
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", guarded, headers=HERE)
    answered = refused = 0
    for operation in (found.ok() for found in schema.get_all_operations()):
        if mode == "malformed" and not (operation.body or operation.query or operation.path_parameters):
            continue  # there is nothing to get wrong

        @given(case=operation.as_strategy(generation_mode=MODES[mode]))
        @settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=SLOW, database=None)
        def answers_as_described(case):
            nonlocal answered, refused
            response = case.call(headers=signed_in(invitations) if "/comments" in case.path else HERE)
            answered += response.status_code < 300
            refused += response.status_code in (400, 401, 403, 404, 413, 422)
            # That too much is refused as too much, Schemathesis does not expect.
            large = [negative_data_rejection] if response.status_code == 413 else []
            case.validate_response(response, excluded_checks=[positive_data_acceptance, *large])

        with subtests.test(operation.label):
            answers_as_described()
    assert (answered if mode == "as described" else refused) > 20
    if what != "comparison":  # which is asked for no ids, so that its description leaves nothing to refuse
        assert refused  # also by what is described: there the refusals were held against the description
