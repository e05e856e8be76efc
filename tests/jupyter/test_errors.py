"""Errors that are jupyter_client's and the library's at once."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from jupyter_client.kernelspec import NoSuchKernel

import trio_gateway
from trio_gateway import KernelSpecNotFoundError
from trio_gateway.jupyter import NoSuchKernelError, NotOnAGatewayError
from trio_gateway.jupyter._errors import as_jupyter_client

from .manager_kit import Fake, Own, with_own


def test_an_unknown_kernelspec_is_both_errors(fake: Fake, kind: type[Any]) -> None:
    """jupyter_client's, and the library's with all it says."""

    async def use(own: Own) -> None:
        own.manager.kernel_name = "cobol"
        with pytest.raises(NoSuchKernel) as caught:
            await own.start_kernel()
        error: Any = caught.value
        assert isinstance(error, trio_gateway.KernelSpecNotFoundError)
        for one in (error, pickle.loads(pickle.dumps(error)), NoSuchKernelError("cobol", available=["python3"])):
            assert (one.name, one.available, one.status_code) == ("cobol", ("python3",), 404)
            assert "python3" in str(one)
        assert own.manager.ready.exception() is error

    with_own(fake, kind, use)


def test_an_error_of_the_librarys_becomes_both() -> None:
    cause = OSError("why")
    with pytest.raises(NoSuchKernelError) as caught, as_jupyter_client():
        raise KernelSpecNotFoundError("julia", available=["python3"], method="POST", url="http://h") from cause
    both = caught.value
    assert isinstance(both, NoSuchKernel)
    assert (both.name, both.available, both.method, both.url) == ("julia", ("python3",), "POST", "http://h")
    assert both.__cause__ is cause
    assert str(both) == str(KernelSpecNotFoundError("julia", available=["python3"], method="POST", url="http://h"))


def test_one_that_is_both_already_and_one_of_another_kind_come_out_as_they_are() -> None:
    both = NoSuchKernelError("julia")
    with pytest.raises(NoSuchKernelError) as caught, as_jupyter_client():
        raise both
    assert caught.value is both
    with pytest.raises(ZeroDivisionError), as_jupyter_client():
        raise ZeroDivisionError


def test_what_is_not_on_a_gateway_says_why_also_after_a_copy() -> None:
    error = NotOnAGatewayError("manager.shell_port", "a kernel on a gateway has no ports")
    assert isinstance(error, NotImplementedError)
    assert str(pickle.loads(pickle.dumps(error))) == "manager.shell_port: a kernel on a gateway has no ports"
