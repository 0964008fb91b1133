"""The server: every record at its addresses, every refusal a sentence, nothing loaded from elsewhere."""

import json
import re
import socket
import subprocess
import sys

import httpx
import pytest
from fastapi.testclient import TestClient
from tree import ROOT
from typescript import fields, interfaces

from physalis.atlas import records
from physalis.atlas.schema import METRICS
from physalis.errors import BadInput
from physalis.web import create_app, serve
from physalis.web.atlas import histograms
from physalis.web.atlas.query import read_filter
from physalis.web.server.serving import address, bind, serve_app
from physalis.web.server.shell import fill, read_shell


@pytest.fixture(scope="module")
def client(tiny_atlas):
    return TestClient(create_app(tiny_atlas))


def inlined(page: httpx.Response) -> dict:
    """The records inside a page."""
    (text,) = re.findall(r'<script type="application/json" id="page">(.*?)</script>', page.text, re.S)
    return json.loads(text)


def test_twins_are_the_records(client, tiny_atlas):
    summary, feature, map = tiny_atlas.summary(), tiny_atlas[3], tiny_atlas.map()
    rows = tiny_atlas.list(query="a", sort="max_code", limit=5)
    asked = "?query=a&sort=max_code&limit=5"
    for path, record in {
        "/api/summary": summary, "/index.json": summary, "/summary.json": summary,
        "/api/features/3": feature, "/features/3.json": feature,
        "/api/map": map, "/map.json": map,
        f"/api/features{asked}": rows, f"/features.json{asked}": rows,
    }.items():  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.json() == json.loads(record.model_dump_json()), path


def test_pages_hold_their_records(client, tiny_atlas):
    home = inlined(client.get("/"))
    assert home["summary"] == client.get("/index.json").json()
    assert home["striking"] == client.get("/api/striking").json()
    assert [row["id"] for row in home["striking"]] == tiny_atlas.summary().striking
    assert inlined(client.get("/features/3"))["feature"] == client.get("/features/3.json").json()
    assert inlined(client.get("/map"))["map"] == client.get("/map.json").json()
    page = inlined(client.get("/features?query=a&filter=n_fired:5.."))
    assert page["list"] == client.get("/features.json?query=a&filter=n_fired:5..").json()
    assert page["metrics"] == client.get("/api/metrics").json()


def test_lists_sort_filter_and_page(client, tiny_atlas):
    for name in METRICS:
        values = [row[name] for row in client.get(f"/api/features?sort={name}&limit=1000").json()["rows"]]
        assert len(values) == len(tiny_atlas) and values == sorted(values, reverse=True)
    first = client.get("/api/features?limit=3&descending=false&sort=id").json()
    assert [row["id"] for row in first["rows"]] == [0, 1, 2]
    some = client.get("/api/features?filter=max_code:0.5..2&filter=n_fired:10..&limit=1000").json()
    assert 0 < some["total"] < len(tiny_atlas)
    assert all(0.5 <= row["max_code"] <= 2 and row["n_fired"] >= 10 for row in some["rows"])
    assert client.get("/api/features?limit=2&offset=2").json()["offset"] == 2


def test_metrics_count_the_features_that_fired(client, tiny_atlas):
    fired = tiny_atlas.list(filters={"n_fired": (1, None)}, limit=0).total
    found = client.get("/api/metrics").json()
    assert [metric["name"] for metric in found] == list(METRICS)
    for metric in found:
        assert sum(metric["histogram"]["counts"]) == fired, metric["name"]
        assert min(metric["histogram"]["counts"]) >= 0
        assert len(metric["histogram"]["edges"]) == len(metric["histogram"]["counts"]) + 1


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/features/99999", 404, "There is no feature 99999"),
        ("/features/abc", 404, "There is no page /features/abc"),
        ("/nothing", 404, "There is no page /nothing"),
        ("/features?sort=beauty", 400, "cannot be sorted by 'beauty'"),
        ("/features?filter=beauty:1..2", 400, "no metric 'beauty'"),
        ("/features?filter=density", 400, "metric:low..high"),
        ("/features?filter=density:a..b", 400, "metric:low..high"),
        ("/features?limit=many", 422, "limit='many'"),
        ("/features?limit=100000", 422, "limit='100000'"),
        ("/features?offset=-1", 422, "offset='-1'"),
        ("/features?sorted=id", 422, "sorted='id'"),
    ],
)
def test_refusals_are_sentences(client, path, status, words):
    page = client.get(path)
    assert page.status_code == status
    assert words in inlined(page)["error"]
    name, mark, asked = path.partition("?")
    twin = client.get(f"{name}.json{mark}{asked}")
    assert twin.status_code == status
    assert words.replace("/nothing", "/nothing.json").replace("/abc", "/abc.json") in twin.json()["detail"]


def test_any_feature(client, tiny_atlas):
    assert tiny_atlas[client.get("/api/random").json()].n_fired > 0
    moved = client.get("/features/random", follow_redirects=False)
    assert moved.status_code == 307 and re.fullmatch(r"/features/\d+", moved.headers["location"])


def test_map_is_sent_once(client):
    first = client.get("/api/map")
    again = client.get("/api/map", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content


def test_headers_forbid_everything_else(client):
    for path in ("/", "/features/3.json", "/static/theme.js", "/nothing", "/features?limit=x"):
        answer = client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"]
    (script,) = re.findall(r'src="(/static/assets/[^"]+\.js)"', client.get("/").text)
    assert "immutable" in client.get(script).headers["cache-control"]


def test_no_text_can_leave_its_element():
    evil = "</script><script>alert(1)</script><!--"
    page = fill(read_shell(), title=evil, records={"error": json.dumps(evil)})
    assert page.count("<script>") == 0 and page.count("</script>") == read_shell().count("</script>")
    assert "&lt;/script&gt;" in page
    (text,) = re.findall(r'id="page">(.*?)</script>', page, re.S)
    assert json.loads(text) == {"error": evil}


def test_unbuilt_pages_are_a_sentence(tmp_path):
    with pytest.raises(BadInput, match="pages are not built"):
        read_shell(tmp_path)


def test_filters_are_read():
    assert read_filter("density:1e-4..0.01") == ("density", (1e-4, 0.01))
    assert read_filter("n_fired:100..") == ("n_fired", (100.0, None))
    assert read_filter("n_fired:..") == ("n_fired", (None, None))
    for wrong in ("density", "density:1", "density:x..1", "density:nan..1", ""):
        with pytest.raises(BadInput, match="filter"):
            read_filter(wrong)


def test_ports(tiny_atlas):
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address(listener) == f"http://127.0.0.1:{port}/"
        with pytest.raises(BadInput, match=f"Port {port} of 127.0.0.1 is in use"):
            serve(tiny_atlas.folder, port=port)
    with pytest.raises(BadInput, match="received 70000"):
        bind("127.0.0.1", 70000)
    with pytest.raises(BadInput, match=r"does not have the address 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_a_port_in_use_is_told_before_anything_is_read(tiny_atlas, tmp_path):
    """By every command that serves, in a process of its own to see that torch was not imported. The demo begins
    nothing."""
    commands = (
        ["serve", str(tiny_atlas.folder)], ["watch", "run"], ["lab", "serve", "lab"],
        ["compare", "serve", "pair", "--atlases", "atlas"], ["demo", "--out", "demo"],
    )  # fmt: skip
    code = """
import json, sys
from physalis import cli
port, *commands = json.loads(sys.argv[1])
for command in commands:
    sys.argv = ["physalis", *command, "--port", str(port)]
    try:
        cli.main()
    except SystemExit as stop:
        print(stop.code, "torch" in sys.modules)
"""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        told = subprocess.run(
            [sys.executable, "-c", code, json.dumps([port, *commands])],
            capture_output=True, text=True, cwd=tmp_path, timeout=60,
        )  # fmt: skip
    assert told.stdout == "2 False\n" * len(commands)
    assert told.stderr.count(f"physalis: Port {port} of 127.0.0.1 is in use.") == len(commands)
    assert not list(tmp_path.iterdir())


def test_a_port_is_held_while_loading_and_given_back_if_that_fails(tmp_path):
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    called = []

    def fail():
        called.append(port)
        with pytest.raises(BadInput, match="is in use"):
            bind("127.0.0.1", port)
        raise BadInput("There is no model.")

    for wrong in ({"host": "0.0.0.0"}, {"origin": "atlas.example.org"}, {"token": "short"}):
        with pytest.raises(BadInput, match="token|origin"):
            serve_app(fail, tmp_path, port=port, **wrong)
    assert not called
    with pytest.raises(BadInput, match="There is no model"):
        serve_app(fail, tmp_path, port=port)
    assert called == [port]
    bind("127.0.0.1", port).close()


def test_serving_says_where(tiny_atlas, tmp_path):
    with bind("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    code = f"from physalis.web import serve; serve({str(tiny_atlas.folder)!r}, port={port})"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert f"http://127.0.0.1:{port}/" in next(line for line in server.stderr if " is at http" in line)
            assert httpx.get(f"http://127.0.0.1:{port}/index.json").json()["model"] == tiny_atlas.summary().model
        finally:
            server.terminate()


def test_the_server_does_not_import_torch():
    code = "import sys, physalis.web; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_typescript_knows_the_records():
    written = interfaces("atlas")
    models = {n: m for n, m in vars(records).items() if isinstance(m, type) and issubclass(m, records.Record)}
    del models["Record"]
    for name, model in {**models, "Metric": histograms.Metric}.items():
        assert written[name] == fields(model), name


def test_lock_file_names_no_registry():
    assert "resolved" not in (ROOT / "frontend/package-lock.json").read_text()


def test_free_port_is_reused_after_close():
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()
    bind("127.0.0.1", port).close()


def test_notebooks_are_answered_by_the_kernel(tiny_atlas):
    pytest.importorskip("anywidget", reason="anywidget is not installed: pip install -e '.[notebook]'")
    from physalis.web.notebooks.widgets import show

    widget = show(tiny_atlas)
    assert widget.view == "summary" and widget.opens
    assert widget.records["striking"][0]["id"] == tiny_atlas.summary().striking[0]
    widget.path = "/features/3"
    assert widget.view == "feature" and widget.records["feature"] == tiny_atlas[3].model_dump(mode="json")
    widget.path = "/features?query=a&filter=n_fired:5..&limit=4"
    asked = tiny_atlas.list(query="a", filters={"n_fired": (5, None)}, limit=4)
    assert widget.view == "list" and widget.records["list"] == asked.model_dump(mode="json")
    widget.path = "/map?query=alpha"
    assert widget.view == "map" and widget.records["found"]["ids"]
    with pytest.raises(BadInput, match="no view '/elsewhere'"):
        widget.answer("/elsewhere")
    alone = show(tiny_atlas[3])
    assert alone.view == "feature" and not alone.opens
    with pytest.raises(BadInput, match="no view of 'int'"):
        show(3)
