"""Errors that are jupyter_client's and the library's at once, and the one for what a kernel on a gateway does not have."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel

from .._errors import GatewayError, KernelSpecNotFoundError

__all__ = ["NoSuchKernelError", "NotOnAGatewayError", "as_jupyter_client"]


class NoSuchKernelError(KernelSpecNotFoundError, NoSuchKernel):
    """The gateway has no kernelspec of this name: `KernelSpecNotFoundError` and jupyter_client's `NoSuchKernel` in one.

    Args:
        name: the name that was asked for.
        available: the names that the gateway has, where it tells them.
        method: HTTP method of the request.
        url: the request's URL.
        message: what the gateway said.
    """

    args: tuple[Any, ...]

    def __init__(
        self, name: str, *, available: Sequence[str] = (), method: str = "GET", url: str = "", message: str = ""
    ) -> None:
        # Not by super(): jupyter_client's class stands in between, and takes a name only.
        made = KernelSpecNotFoundError(name, available=available, method=method, url=url, message=message)
        self.args = made.args
        self.__dict__.update(made.__dict__)


class NotOnAGatewayError(GatewayError, NotImplementedError):
    """What was asked for is there for kernels on this machine only: ports, connection files, sockets, processes.

    Nothing was sent and nothing has changed.

    Args:
        name: what was asked for, as its caller wrote it.
        why: why a kernel on a gateway has none, and what to do.
    """

    name: str
    """What was asked for."""
    why: str
    """Why a kernel on a gateway has none, and what to do."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@contextmanager
def as_jupyter_client() -> Generator[None]:
    """Say what jupyter_client has an error for by an error that is both."""
    try:
        yield
    except NoSuchKernelError:
        raise
    except KernelSpecNotFoundError as error:
        both = NoSuchKernelError(error.name, available=error.available, method=error.method, url=error.url, message=error.message)
        raise both from error.__cause__
