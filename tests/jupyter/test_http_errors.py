"""What went wrong with the gateway, as Jupyter Server's HTTP errors."""

from __future__ import annotations

import pytest
from jupyter_client.kernelspec import NoSuchKernel
from tornado import web

from trio_gateway import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
    TokenCommandError,
)
from trio_gateway.jupyter._http_errors import as_http

from .manager_kit import App, Fake, with_app


def test_an_unknown_kernelspec_is_an_error_that_a_server_understands(fake: Fake) -> None:
    """`NoSuchKernel`, which the sessions' handler answers, and an HTTPError, which the kernels' handler does."""

    async def use(app: App) -> None:
        create = app.session_manager.create_session
        for start in (app.kernel_manager.start_kernel, lambda **name: create(path="a", name="a", type="notebook", **name)):
            with pytest.raises(NoSuchKernel) as caught:
                await start(kernel_name="cobol")
            assert isinstance(caught.value, web.HTTPError)
            assert (caught.value.status_code, caught.value.name) == (404, "cobol")
        with pytest.raises(NoSuchKernel):
            await app.kernel_spec_manager.get_kernel_spec("cobol")
        assert (await app.kernel_spec_manager.list_kernel_specs())["default"] == "python3"

    with_app(fake, use)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KernelSpecNotFoundError("julia", available=["python3"]), 404),
        (KernelNotFoundError("abc", url="http://h"), 404),
        (InvalidInputError("name", 5, "a text"), 400),
        (GatewayTimeoutError("request", 42, "request_timeout"), 504),
        (TokenCommandError("vault", "ended with status 2"), 502),
        (GatewayConnectionError("refused"), 503),
        (GatewayHTTPError(409, "Conflict", url="http://h"), 409),
        (HubServerNotRunningError(302, "Found", url="http://h/user/a/api"), 503),
        (AuthenticationError(403, "Forbidden", url="http://h"), 403),
        (ProtocolError("nonsense"), 502),
        (GatewayError("a new kind"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_error_has_a_status_and_keeps_its_words(error: GatewayError, status: int) -> None:
    with pytest.raises(web.HTTPError) as caught, as_http():
        raise error
    assert caught.value.status_code == status
    assert caught.value.log_message == str(error)
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, NoSuchKernel) == isinstance(error, KernelSpecNotFoundError)


def test_what_is_no_error_of_the_gateways_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), as_http():
        raise ZeroDivisionError
