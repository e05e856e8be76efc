"""The variables of a user's shell."""

from __future__ import annotations

import os
import urllib.request

import pytest

from suite.environment import pytest_sessionstart


def test_a_shells_variables_are_taken_out_and_its_proxy_stays_for_others_than_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"FORCE_COLOR", "COLUMNS", "JUPYTER_GATEWAY_URL", "TRIO_GATEWAY_FILE", "PYTEST_ADDOPTS"}
    taken |= {"KG_AUTH_TOKEN", "EG_LIST_KERNELS"}  # a gateway that a test starts would have them too
    for name in taken:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("http_proxy", "http://proxy.test")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "example.test")
    monkeypatch.setenv("TRIO_GATEWAY_LONG", "1")
    pytest_sessionstart()
    assert not taken & {*os.environ}
    assert os.environ["TRIO_GATEWAY_LONG"] == "1", "it is the tests' own"
    assert os.environ["TERM"] != "dumb"
    assert os.environ["no_proxy"].startswith("example.test,")
    assert os.environ["NO_PROXY"].startswith("127.0.0.1,")
    assert urllib.request.getproxies()["http"] == "http://proxy.test"
    for host in ("127.0.0.1:8888", "localhost", "example.test"):
        assert urllib.request.proxy_bypass(host)
    assert not urllib.request.proxy_bypass("pypi.test")
