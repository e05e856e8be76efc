"""The token in use, and the one place that asks for a new one.

Whatever a renewer does, a request goes on: what it raises, or that it hangs, is logged, and the old token is used. A command that
gives no token fails the request: it is asked only where there is no token that is good. Concurrent requests share one question.
No token is ever logged.
"""

from __future__ import annotations

import inspect
import logging
import re
from typing import Final

import trio

from ..._config import GatewayConfig, header_value_problem
from ..._errors import GatewayError, fresh
from ..._protocol.masking import secrets_of
from ..._secret import Secret
from ..._tokens import NoOpTokenRenewer, TokenRenewer
from .token_command import run_token_command

__all__ = ["Credentials"]

logger = logging.getLogger("trio_gateway.http")

_LOGS_IN: Final = re.compile(r"auth|cookie|credential|key|pass|pwd|secret|sess|sig|token", re.IGNORECASE)


class Credentials:
    """What logs in at one gateway.

    Args:
        config: the settings.
        renewer: gives a new token.

    Raises:
        ConfigError: there is no such program as `token_command` names.
    """

    def __init__(self, config: GatewayConfig, renewer: TokenRenewer) -> None:
        self._config = config
        self._renewer = renewer
        self._command = config.find_token_command()
        # A subclass that gives tokens is no no-op.
        self.renews = self._command is not None or type(renewer).get_token is not NoOpTokenRenewer.get_token
        self.token: str = Secret.of(config.auth_token or "")
        self._old_tokens: set[str] = set()
        self._secrets: tuple[str, ...] = ()  # gathered when asked for, anew for each token
        self._lock = trio.Lock()
        self._questions = 0
        self._failure: GatewayError | None = None  # what the answer to the last question was in place of a token
        # One thread: a renewer that hangs for ever must not cost another one with each request.
        self._thread = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<Credentials {'with' if self.token else 'without'} a token>"

    def secrets(self) -> tuple[str, ...]:
        """Return everything that must not be shown, but for what `other_headers` returns."""
        if not self._secrets:  # each answer is searched for them
            headers = self._config.headers.items()
            self._secrets = (
                self.token,
                *self._old_tokens,
                self._config.http_pwd or "",
                *secrets_of(self._config.auth_headers(self.token)),
                *secrets_of((name, value) for name, value in headers if _LOGS_IN.search(name)),
            )
        return self._secrets

    def other_headers(self) -> tuple[str, ...]:
        """Return what must not be shown of headers whose names don't say that they log in: who knows what they hold?"""
        if not self._config.headers:
            return ()
        return tuple(secrets_of((name, value) for name, value in self._config.headers.items() if not _LOGS_IN.search(name)))

    async def ask(self, used: str | None = None) -> bool:
        """Ask for the token to use now, or wait for the answer to a question that has begun since.

        A renewer is asked each time; a command only where there is no token yet, or the one there is was refused.

        Args:
            used: a token that the gateway has just refused; if there is another one already, nobody is asked.

        Returns:
            Whether the token is now another one than it was, or than `used`.

        Raises:
            TokenCommandError: the command gave no token.
            GatewayTimeoutError: it took longer than `token_command_timeout`.

        Cancellation:
            Safe. A plain function that is running in a thread ends by itself later; a command is ended.
        """
        before = self.token if used is None else used
        if not self.renews or (self._command is not None and used is None and self.token):
            await trio.lowlevel.checkpoint()
            return False
        questions = self._questions
        async with self._lock:
            if self._questions == questions and (used is None or self.token == used):
                await self._ask_now()
            failure = self._failure
        if failure is not None and self.token == before:
            raise fresh(failure)
        return self.token != before

    async def _ask_now(self) -> None:
        if self._command is not None:
            await self._run_now(self._command)
            return
        limit = self._config.request_timeout
        problem = f"no answer within {limit:g} s (request_timeout)"
        token: object = None
        with trio.move_on_after(limit):
            token, problem = await self._call()
        # A question that was cancelled is not counted: the tasks that wait for its answer ask again.
        self._questions += 1
        if isinstance(token, str) and token and not header_value_problem(token):
            self._take(token)
        else:
            logger.warning("token_renewal_failed: %s; the old token is used", problem)

    async def _run_now(self, command: tuple[str, ...]) -> None:
        failure: GatewayError | None = None
        try:
            self._take(await run_token_command(command, self._config.token_command_timeout, self.secrets))
        except GatewayError as error:
            failure = error
        self._failure = failure
        self._questions += 1

    def _take(self, token: str) -> None:
        if token != self.token:
            self._remember(self.token)
            self.token = Secret.of(token)
            self._secrets = ()

    def _remember(self, token: str) -> None:
        # Only to mask them: a few are enough, since the gateway has long forgotten the others.
        if len(self._old_tokens) >= 16:
            self._old_tokens.pop()
        self._old_tokens.add(token)

    async def _call(self) -> tuple[object, str]:
        """Ask, and give what came and what is wrong with it if it is no token."""
        get_token, config = self._renewer.get_token, self._config
        arguments = (config.auth_header_key, config.auth_scheme, self.token)
        found: object = None
        try:
            if inspect.iscoroutinefunction(get_token):
                found = await get_token(*arguments)
            elif not self._thread.available_tokens:
                await trio.lowlevel.checkpoint()
                return None, "the renewer still hangs since an earlier request"
            else:
                # In a list, because Trio takes a coroutine that comes out of a thread for a mistake.
                boxed = await trio.to_thread.run_sync(
                    lambda: [get_token(*arguments)], abandon_on_cancel=True, limiter=self._thread
                )
                found = await boxed[0] if inspect.isawaitable(boxed[0]) else boxed[0]
        except Exception as error:  # noqa: BLE001 - a user's code; the request may well succeed with the token there is
            await trio.lowlevel.checkpoint()
            # Its text may hold the token.
            return None, f"the renewer raised {type(error).__name__}"
        return found, "the renewer gave no text that can stand in a header"
