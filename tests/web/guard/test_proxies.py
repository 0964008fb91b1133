"""Proxies: which are named, and how."""

import pytest

from physalis.errors import BadInput
from physalis.web.guard.proxies import read_proxies


def test_a_proxy_is_named_by_its_address():
    found = read_proxies(["127.0.0.1", "10.0.0.0/8", "::1"])
    assert list(map(str, found)) == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]
    for wrong in ("", "localhost", "*", "127.0.0.1:80", "10.0.0.1/8", "x" * 500):
        with pytest.raises(BadInput, match="named by its address"):
            read_proxies([wrong])


def test_a_proxy_can_be_named_to_every_command_that_serves(physalis, tiny_atlas, tmp_path):
    for command in (
        ["serve", tiny_atlas.folder], ["watch", tmp_path / "run"], ["compare", "serve", tmp_path],
        ["lab", "serve", tmp_path], ["demo", "--out", tmp_path / "demo"],
    ):  # fmt: skip
        code, _, said = physalis(*command, "--proxy", "somewhere", "--proxy", "127.0.0.1", "--port", "0")
        assert code == 2 and "received 'somewhere'" in said, command
