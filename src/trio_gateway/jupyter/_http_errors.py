"""What went wrong with the gateway, in Jupyter Server's words: HTTP statuses."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from jupyter_client.kernelspec import NoSuchKernel
from tornado import web

from .._errors import (
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

__all__ = ["NoSuchKernelHTTPError", "as_http"]


@contextmanager
def as_http() -> Generator[None]:
    """Say what went wrong with the gateway in the server's words: HTTP statuses."""
    try:
        yield
    except KernelSpecNotFoundError as error:
        raise NoSuchKernelHTTPError(error.name, str(error)) from error
    except KernelNotFoundError as error:
        raise web.HTTPError(404, str(error)) from error
    except InvalidInputError as error:
        raise web.HTTPError(400, str(error)) from error
    except GatewayTimeoutError as error:
        raise web.HTTPError(504, str(error)) from error
    except GatewayConnectionError as error:
        raise web.HTTPError(503, str(error)) from error
    except HubServerNotRunningError as error:
        raise web.HTTPError(503, str(error)) from error
    except GatewayHTTPError as error:
        raise web.HTTPError(error.status_code, str(error)) from error
    except (ProtocolError, TokenCommandError) as error:
        raise web.HTTPError(502, str(error)) from error
    except GatewayError as error:
        raise web.HTTPError(500, str(error)) from error


class NoSuchKernelHTTPError(web.HTTPError, NoSuchKernel):
    """404, for a kernelspec that the gateway does not have: Jupyter Server looks for jupyter_client's error too."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(404, message)
        self.name = name
