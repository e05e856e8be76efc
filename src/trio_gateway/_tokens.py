"""What gives the gateway's token when it is about to be used: the interface for programs, and the renewer that does nothing.

Only the interface lives here. Who asks a renewer, how often and for how long is the HTTP layer's business.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable
from typing import Any

__all__ = ["NoOpTokenRenewer", "TokenRenewer"]


class TokenRenewer(abc.ABC):
    """Gives a valid token before each request, and once more when the gateway refused one.

    Give an instance as the setting `token_renewer`, or name the class in `gateway_token_renewer_class`. A named class is made
    without arguments. A renewer written for `jupyter_server` works as it is: its `get_token` has the same arguments.
    """

    @abc.abstractmethod
    def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str | Awaitable[str]:
        """Give the token to use now. Write it as `def` or as `async def`.

        Args:
            auth_header_key: the header that will carry the token.
            auth_scheme: what stands before the token in that header, or None.
            auth_token: the token in use, `""` where there is none yet.
            **kwargs: reserved; accept and ignore what you do not know.

        Returns:
            The token, `auth_token` itself where it is still good.

        Cancellation:
            An `async def` runs in the task of a request, so it is cancelled with it. A `def` runs in a worker thread, so it may
            block; when the request is cancelled, nobody waits for it.
        """
        raise NotImplementedError


class NoOpTokenRenewer(TokenRenewer):
    """Keeps the token that the configuration has; the default."""

    def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        """Give back `auth_token`."""
        del auth_header_key, auth_scheme, kwargs
        return auth_token
