"""Examines one gateway step by step, from its settings to an answer of a kernel, and says what to do where a step fails.

The one idea: each step stands on those before it, so the first that fails names the cause; what stands on it is reported as
skipped. Nothing is printed here, and no secret gets into what is found.
"""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import attrs
import trio

from .._api import KernelApi, open_kernel_api
from .._config import GatewayConfig, unknown_variables
from .._errors import (
    AuthenticationError,
    ConfigError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
    TokenCommandError,
)
from .._events import GatewayEvent
from .._gateway.attaching import open_kernel
from .._gateway.kernelspecs import KernelSpecDirectory
from .._gateway.known_kernels import KnownKernels
from .._gateway.ownership import own_kernel
from .._gateway.restrictions import Restrictions
from .._gateway.searches import open_searches
from .._gateway.starting import StartRequest, new_kernel_id, start_environment
from .._kernel.poller import KernelWatch
from .._models import KernelModel, KernelSpecs
from .._protocol import codec, rest
from .._protocol.headers import Headers
from .._protocol.hub import says_not_running
from .._protocol.masking import Masker, OwnWordsMasker, one_line, secrets_of
from .._transport.addresses import SILENT_STATUS_CODES
from .._transport.connector import Connector, connect_tcp
from .._transport.http.client import HttpClient
from .._transport.probe import (
    Handshake,
    PlainAnswer,
    TLSFacts,
    ask_plainly,
    check_stream,
    resolve,
    shake_hands,
    speaks_tls,
    verification_failure,
)
from .._transport.tls import CERTIFICATE_EXPIRED, CERTIFICATE_OF_ANOTHER_HOST, CERTIFICATE_OF_THE_FUTURE
from .clocks import compare_clocks
from .findings import Check, Failed, Finding, Status
from .replicas import LOOKS, ReplicaQuestions

__all__ = ["STEPS", "examine", "stray_advice", "variables_of"]

STEPS: Final = (
    "settings",
    "name",
    "tcp",
    "tls",
    "http",
    "clock",
    "authentication",
    "kernelspecs",
    "kernel",
    "replicas",
    "websocket",
    "reply",
    "shutdown",
)
"""The names of all steps, in order."""

EXPIRY_WARNING: Final = 14 * 86400.0
"""A certificate that expires sooner than this is a warning, in seconds."""

_UPGRADES: Final = (
    "A proxy before the gateway may not pass WebSocket upgrades; in nginx that takes `proxy_http_version 1.1`, "
    "`proxy_set_header Upgrade $http_upgrade` and `proxy_set_header Connection upgrade`."
)
_PATH: Final = "Is {url} the gateway's whole URL, with the path that a proxy or `base_url` puts before /api?"
_SUSPICIOUS: Final = 5.0
"""A start whose connection ends after so many seconds has rather run into somebody's limit, in seconds."""
_LOOK_LIMIT: Final = 10.0
"""How long a look aside may take, which finds out why a step failed, in seconds."""

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


async def examine(
    config: GatewayConfig,
    *,
    report: Callable[[Check], Awaitable[object]],
    kernel: bool = True,
    kernel_name: str | None = None,
    connector: Connector | None = None,
    environ: Mapping[str, str],
    now: float,
) -> list[Check]:
    """Examine a gateway.

    Nothing is tried a second time, so what it says is what one attempt met; only to find replicas that differ it asks several
    times. A kernel that is started is shut down.

    Args:
        config: the gateway's settings.
        report: is given each check when it is done.
        kernel: whether a kernel is started and asked something.
        kernel_name: its kernelspec; None for the gateway's default.
        connector: opens byte streams in place of TCP; then no name is looked up.
        environ: this process's environment: `allowed_envs` go to the kernel, as they do at each start.
        now: the wall clock's time in seconds since the epoch, to judge certificates by.

    Returns:
        All checks, one for each of `STEPS`, in order. Where the gateway has several addresses, one called `"addresses"` stands
        behind that of the settings, and those after it are about the first address that answers.

    Cancellation: waits, shielded and at most for `cleanup_timeout`, until the kernel is shut down.
    """
    examination = _Examination(config, report, kernel_name, connector, environ, now)
    await examination.run(with_kernel=kernel)
    return examination.checks


class _Examination:
    """One run through the steps; each step's method gives what it found or raises why it failed."""

    def __init__(
        self,
        config: GatewayConfig,
        report: Callable[[Check], Awaitable[object]],
        kernel_name: str | None,
        connector: Connector | None,
        environ: Mapping[str, str],
        now: float,
    ) -> None:
        self.checks: list[Check] = []
        self._config: GatewayConfig = config.replace(max_request_retries=0, gateway_retry_max=0)
        self._sources = config.sources
        self._variables = variables_of(config)
        self._report = report
        self._kernel_name = kernel_name
        self._connector = connector
        self._environ = environ
        self._now = now
        self._addresses = config.addresses
        self._epoch = now - trio.current_time()
        self._start_seconds = 0.0
        self._dated: tuple[str | None, float, float] | None = None
        self._place(self._config)
        self._logs_in = bool(config.auth_token or config.token_command or config.http_user is not None or config.headers)
        # What the gateway says is masked where it comes in; this is for what else a check may say, before there is a client.
        self._mask = OwnWordsMasker([config.auth_token, config.http_pwd or "", *secrets_of(config.auth_headers())])
        self._refusal: AuthenticationError | None = None
        self._no_token: GatewayError | None = None
        self._specs: KernelSpecs | GatewayError | None = None
        self._why_skipped = ""

    def _place(self, config: GatewayConfig) -> None:
        """Examine the first address of a configuration."""
        self._config = config
        parts = urlsplit(config.base_url)
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)

    # ------------------------------------------------------------------------------------------------------- the order

    async def run(self, *, with_kernel: bool) -> None:
        """Take all steps; those that are left after a failure are skipped."""
        opened: list[KernelApi] = []
        async with AsyncExitStack() as stack:

            async def settings() -> Finding:
                # Reads the certificates' files and makes the token renewer; nothing is sent.
                opened.append(await stack.enter_async_context(self._open(self._config)))
                return self._settings()

            if await self._needed_step("settings", settings):
                if len(self._config.addresses) > 1:
                    await self._step("addresses", self._look_at_addresses)
                    opened.append(await stack.enter_async_context(self._open(self._config)))
                await self._reach(opened[-1], with_kernel=with_kernel)
        told = {check.name for check in self.checks}
        for name in STEPS:
            if name not in told:
                await self._tell(Check(name, "skipped", self._why_skipped))

    def _open(self, config: GatewayConfig) -> AbstractAsyncContextManager[KernelApi]:
        return open_kernel_api(config, connector=self._connector or connect_tcp, emit=self._note)

    async def _reach(self, api: KernelApi, *, with_kernel: bool) -> None:
        needed: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
            ("name", self._resolve),
            ("tcp", self._connect),
            ("tls", partial(self._secure_connect, api.http)),
            ("http", partial(self._ask_version, api)),
            ("clock", partial(self._compare_clocks, api.http)),
            ("authentication", partial(self._authenticate, api)),
        ]
        for name, look in needed:
            if not await self._needed_step(name, look):
                return
        await self._needed_step("kernelspecs", self._judge_kernelspecs)
        # A list that can't be had is no reason not to try.
        known = not isinstance(self.checks[-1].error, KernelSpecNotFoundError)
        if with_kernel and known and await self._with_kernel(api):
            return
        if not with_kernel:
            self._why_skipped = "not asked for"
        if not (with_kernel and known):
            await self._tell(Check("kernel", "skipped", self._why_skipped))
        # What can be said without a kernel.
        await self._step("replicas", partial(self._compare_replicas, api, None))
        await self._step("websocket", partial(self._shake_hands, api.http, None))

    async def _with_kernel(self, api: KernelApi) -> bool:
        """Take the steps that need a kernel. Returns whether there was one."""
        started = trio.current_time()
        there = False
        try:
            request = await Restrictions(api).fit(self._start_request())
            searching = open_searches(api)
            async with searching as searches, own_kernel(api, request, searches=searches) as model:
                there = True
                detail = f"{model.name or 'the default kernel'} started as {model.id}"
                await self._tell(Check("kernel", "ok", detail, seconds=trio.current_time() - started))
                steps: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [
                    ("replicas", partial(self._compare_replicas, api, model)),
                    ("websocket", partial(self._shake_hands, api.http, model)),
                    ("reply", partial(self._ask_kernel, api, model)),
                ]
                can_go_on = True
                for name, look in steps:
                    if can_go_on:
                        can_go_on = await self._needed_step(name, look)
                    else:
                        await self._tell(Check(name, "skipped", self._why_skipped))
                started = trio.current_time()
                ended = self._status_of("replicas") != "failed" or await self._end_anywhere(api, model.id)
        except GatewayError as error:
            name, advice = ("shutdown", self._advice(error)) if there else ("kernel", self._kernel_advice(error))
            await self._fail(name, error, advice, started)
            self._why_skipped = f"not checked, since {name} failed"
        else:
            seconds = trio.current_time() - started
            if ended:
                await self._tell(Check("shutdown", "ok", "the kernel is shut down", seconds=seconds))
            else:
                detail = f"the kernel {model.id} may be left: each replica that was asked to shut it down did not know it"
                await self._tell(Check("shutdown", "warning", detail, "Shut it down at the replica itself.", seconds))
        return there

    def _status_of(self, name: str) -> Status:
        return next(check.status for check in self.checks if check.name == name)

    async def _end_anywhere(self, api: KernelApi, kernel_id: str) -> bool:
        """Shut a kernel down that not all replicas know, by asking until one does. Returns whether one did."""
        for _ in range(LOOKS):
            try:
                await api.shutdown(kernel_id)
            except KernelNotFoundError:
                await trio.lowlevel.checkpoint()
            else:
                return True
        return False

    async def _needed_step(self, name: str, look: Callable[[], Awaitable[Finding]]) -> bool:
        """Take a step that those after it stand on. Returns whether they can be taken."""
        if await self._step(name, look):
            return True
        self._why_skipped = f"not checked, since {name} failed"
        return False

    async def _step(self, name: str, look: Callable[[], Awaitable[Finding]]) -> bool:
        """Take a step and tell how it went. Returns whether it did not fail."""
        started = trio.current_time()
        try:
            found = await look()
        except Failed as failed:
            await self._fail(name, failed.error, failed.advice, started)
            return False
        except GatewayError as error:
            await self._fail(name, error, self._advice(error), started)
            return False
        await self._tell(Check(name, found.status, found.detail, found.advice, trio.current_time() - started))
        return found.status != "failed"

    async def _fail(self, name: str, error: GatewayError, advice: str, started: float) -> None:
        await self._tell(Check(name, "failed", str(error), advice, trio.current_time() - started, error))

    async def _tell(self, check: Check) -> None:
        check = attrs.evolve(check, detail=self._mask(check.detail))
        self.checks.append(check)
        await self._report(check)

    # ------------------------------------------------------------------------------------------------------- the steps

    def _settings(self) -> Finding:
        ignored = self._config.ignored_variables
        strays = unknown_variables(self._environ)
        if strays:
            return Finding(
                f"{', '.join(strays)}: no setting has this variable, so nothing reads it",
                "warning",
                " ".join(stray_advice(self._environ))
                + (f" {', '.join(ignored)}: for another gateway than url, and not used." if ignored else ""),
            )
        if ignored:
            return Finding(
                f"{', '.join(ignored)}: not used, because the environment is about another gateway than url",
                "warning",
                "Give as arguments, or as options, what is meant for this gateway.",
            )
        return Finding("the settings, and the files and classes that they name, can be used")

    async def _look_at_addresses(self) -> Finding:
        """Ask each address whether it answers, and go on with the first that does, or else with the first of all."""
        each = [_at(self._config, index) for index in range(len(self._config.addresses))]
        silent: dict[int, str] = {}

        async def ask(index: int) -> None:
            async with self._open(each[index]) as api:
                try:
                    await api.http.request("GET", "/api")
                except GatewayHTTPError as error:
                    if error.status_code in SILENT_STATUS_CODES:
                        silent[index] = str(error)
                    await trio.lowlevel.checkpoint()
                except GatewayError as error:
                    silent[index] = str(error)
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for index in range(len(each)):
                nursery.start_soon(ask, index)
        chosen = next((index for index in range(len(each)) if index not in silent), 0)
        self._place(each[chosen])
        detail = "; ".join(f"{one.base_url}: {silent.get(index, 'answers')}" for index, one in enumerate(each))
        if not silent:
            return Finding(f"{detail}; what follows is about the first")
        if len(silent) == len(each):
            advice = f"No address answers, so no request can go on. What follows is about the first, {self._config.base_url}."
            return Finding(detail, "failed", advice)
        advice = (
            f"What follows is about {self._config.base_url}. Requests go on at the next address, but each program may wait for "
            f"one that is down first: start it, or take it out of {self._origin('url')}."
        )
        return Finding(detail, "warning", advice)

    async def _resolve(self) -> Finding:
        await trio.lowlevel.checkpoint()
        if self._connector is not None:
            return Finding("not looked up: a connector takes the place of TCP", "skipped")
        if _address(self._host) is not None:
            return Finding(f"{self._host} is an address")
        try:
            found = await resolve(self._host, self._port, self._config.connect_timeout)
        except GatewayConnectionError as error:
            advice = f"Is the host in {self._origin('url')} right, and known on this machine (DNS, /etc/hosts, VPN)?"
            raise Failed(error, advice + self._proxies()) from None
        return Finding(f"{self._host} is {', '.join(found)}")

    async def _connect(self) -> Finding:
        try:
            await check_stream(self._connector or connect_tcp, self._host, self._port, self._config.connect_timeout)
        except GatewayTimeoutError as error:
            advice = f"Nobody answers, as behind a firewall: is {self._origin('url')} right, and may this machine go there?"
            raise Failed(error, advice + self._proxies()) from None
        except GatewayConnectionError as error:
            advice = f"Is the gateway running there, and is the port in {self._origin('url')} right?"
            raise Failed(error, advice + self._proxies()) from None
        return Finding(f"connected to {self._host}, port {self._port}")

    def _proxies(self) -> str:
        found = [name for name in self._environ if name.lower() in _PROXIES and self._environ[name]]
        return f" The proxy of {found[0]} is not used: this library connects directly." if found else ""

    async def _secure_connect(self, http: HttpClient) -> Finding:
        await trio.lowlevel.checkpoint()
        if not self._secure:
            address = _address(self._host)
            if self._logs_in and not (self._host == "localhost" or (address is not None and address.is_loopback)):
                advice = "Use an https:// URL where the gateway, or a proxy before it, offers one."
                return Finding("not used: everybody on the way can read what logs in", "warning", advice)
            return Finding("not used: the URL is http://", "skipped")
        connector = self._connector or connect_tcp
        limit = self._config.connect_timeout
        refused: GatewayConnectionError | None = None
        facts: TLSFacts | None = None
        try:
            facts = await check_stream(connector, self._host, self._port, limit, ssl_context=http.ssl_context)
        except GatewayConnectionError as error:
            refused = error
        if refused is not None:
            if verification_failure(refused) is None and await self._speaks_plainly(connector):
                refused = self._plain_error()
            raise Failed(refused, self._tls_advice(refused))
        version = "TLS" if facts is None else facts.version
        if facts is None or facts.expires is None:
            advice = f"Set {self._variable('validate_cert')} to yes, and the gateway's CA in {self._variable('ca_certs')}."
            return Finding(f"{version}, but nobody knows with whom: validate_cert is off", "warning", advice)
        left = facts.expires - self._now
        detail = f"{version}; the certificate is accepted and expires in {left / 86400:.0f} days"
        if left < EXPIRY_WARNING:
            return Finding(detail, "warning", "Renew the server's certificate.")
        return Finding(detail)

    async def _speaks_plainly(self, connector: Connector) -> bool:
        answer = await ask_plainly(connector, self._host, self._port, self._path("/api"), _LOOK_LIMIT)
        return answer is not None and answer.status_code != 400  # which is how a server of TLS answers a request in plain text

    def _plain_error(self) -> GatewayConnectionError:
        return GatewayConnectionError(f"{self._host}:{self._port} does not speak TLS: it answers in plain HTTP")

    def _path(self, path: str) -> str:
        return urlsplit(self._config.base_url).path.rstrip("/") + path

    async def _speaks_tls(self) -> bool:
        """Whether a server that http:// was asked of wants TLS."""
        await trio.lowlevel.checkpoint()
        if self._secure:
            return False
        return await speaks_tls(self._connector or connect_tcp, self._host, self._port, _LOOK_LIMIT)

    async def _ask_aside(self, http: HttpClient, path: str) -> PlainAnswer | None:
        context = http.ssl_context if self._secure else None
        return await ask_plainly(self._connector or connect_tcp, self._host, self._port, path, _LOOK_LIMIT, ssl_context=context)

    async def _redirect_advice(self, http: HttpClient) -> str:
        """Say what to do about a server that redirects everybody to another place."""
        answer = await self._ask_aside(http, self._path("/api"))
        location = "" if answer is None else answer.headers.get("location", "")
        try:
            target = urlsplit(location)
            host, port = target.hostname or "", target.port
        except ValueError:
            return _PATH.format(url=self._origin("url"))
        if target.scheme == "https" and not self._secure and host in {"", self._host}:
            there = f"https://{target.hostname or self._host}{f':{port}' if port else ''}{self._path('')}"
            return f"This server wants TLS: write {one_line(there, 200)} in {self._origin('url')}."
        if host and host != self._host:
            return (
                f"It sends on to {one_line(host, 200)}: is the gateway there, or does a login page stand before it? "
                f"Give the address at which the gateway itself answers in {self._origin('url')}."
            )
        return f"{_PATH.format(url=self._origin('url'))} What it sends on to may be a login page."

    async def _path_advice(self, http: HttpClient) -> str:
        """Say what to do where nothing of Jupyter is at the URL's path: look for it nearer to the root."""
        await trio.lowlevel.checkpoint()
        path = self._path("")
        while path:
            path = path.rpartition("/")[0]
            answer = await self._ask_aside(http, f"{path}/api")
            if answer is not None and _is_jupyter(answer):
                scheme = "https" if self._secure else "http"
                host = f"[{self._host}]" if ":" in self._host else self._host
                return f"It answers at {scheme}://{host}:{self._port}{path}: write that in {self._origin('url')}."
        return _PATH.format(url=self._origin("url"))

    def _tls_advice(self, error: GatewayConnectionError) -> str:
        refused = verification_failure(error)
        if refused is None:
            if "does not speak TLS" in str(error):
                return f"Write http:// in {self._origin('url')}, or the port on which TLS is spoken."
            return (
                "Is that a TLS port? A server that wants a client's certificate gets it from "
                f"{self._variable('client_cert')} and {self._variable('client_key')}."
            )
        if refused.verify_code == CERTIFICATE_EXPIRED:
            return "Renew the server's certificate; or else this machine's clock is wrong."
        if refused.verify_code == CERTIFICATE_OF_THE_FUTURE:
            return "The certificate is of the future: is this machine's clock right?"
        if refused.verify_code in CERTIFICATE_OF_ANOTHER_HOST:
            return f"Use a host in {self._origin('url')} that the certificate is for, or a certificate that is for this host."
        trusted = "" if self._config.ca_certs is None else f" What {self._origin('ca_certs')} holds is not that CA."
        return (
            f"Give the CA that signed it (of a self-signed one, itself) as a file in {self._variable('ca_certs')}.{trusted} "
            f"For a trial only, {self._variable('validate_cert')}=no accepts any certificate."
        )

    async def _ask_version(self, api: KernelApi) -> Finding:
        await trio.lowlevel.checkpoint()
        refused: GatewayHTTPError | ProtocolError | GatewayConnectionError | None = None
        body: object = None
        try:
            before = self._epoch + trio.current_time()
            response = await api.http.request("GET", "/api")
            self._dated = response.headers.get("Date"), before, self._epoch + trio.current_time()
            body = response.json()
        except AuthenticationError as error:
            self._refusal = error
            return Finding(f"answers in HTTP, with {error.status_code}")
        except HubServerNotRunningError as error:
            raise Failed(error, _start_server(error)) from None
        except (TokenCommandError, GatewayTimeoutError) as error:
            if isinstance(error, GatewayTimeoutError) and error.setting != "token_command_timeout":
                raise
            self._no_token = error
            return Finding("not asked, for want of a token", "skipped")
        except (GatewayHTTPError, ProtocolError, GatewayConnectionError) as error:
            refused = error
        if refused is not None:
            return await self._why_no_version(api, refused)
        if not isinstance(body, dict) or not isinstance(body.get("version"), str):
            return Finding("answers in JSON, but without a version", "warning", _PATH.format(url=self._origin("url")))
        version = one_line(body["version"], 60)
        gateway = body.get("gateway_version")
        if isinstance(gateway, str):
            return Finding(f"Enterprise Gateway {one_line(gateway, 60)} on Jupyter server {version}")
        if body.get("proxy") == rest.PROXY:
            return Finding(f"the proxy of trio_gateway {version}, which passes on what another gateway has")
        return Finding(f"Jupyter server {version}")

    def _note(self, event: GatewayEvent) -> None:
        if event.kind == "request" and event.method == "POST":
            self._start_seconds = event.seconds

    async def _compare_clocks(self, http: HttpClient) -> Finding:
        await trio.lowlevel.checkpoint()
        if self._dated is None:
            before = self._epoch + trio.current_time()
            answer = await self._ask_aside(http, self._path("/api"))
            self._dated = None if answer is None else answer.headers.get("Date"), before, self._epoch + trio.current_time()
        date, before, after = self._dated
        return compare_clocks(date, before=before, after=after)

    async def _compare_replicas(self, api: KernelApi, model: KernelModel | None) -> Finding:
        others = [url for url in self._addresses if url != self._config.base_url]
        asked = ReplicaQuestions(
            api.http, self._connector or connect_tcp, others=others, accept_variable=self._variable("accept_cookies")
        )
        return await asked.compare(None if model is None else model.id)

    def _https_advice(self) -> str:
        return f"That port speaks TLS: write https:// in {self._origin('url')}."

    async def _why_no_version(self, api: KernelApi, error: GatewayHTTPError | ProtocolError | GatewayConnectionError) -> Finding:
        """Find out why /api is no answer; where only the version is missing, go on."""
        await trio.lowlevel.checkpoint()
        status = error.status_code if isinstance(error, GatewayHTTPError) else 0
        if status in {0, 400} and await self._speaks_tls():
            raise Failed(error, f"That port speaks TLS: write https:// in {self._origin('url')}.")
        if status in _REDIRECTS:
            raise Failed(error, await self._redirect_advice(api.http))
        if isinstance(error, ProtocolError):
            raise Failed(error, f"{await self._path_advice(api.http)} What answers may be a login page or another service.")
        if status != 404:
            raise error
        try:
            self._specs = await api.kernelspecs(user=self._config.kernel_username)
        except AuthenticationError as refusal:
            self._refusal = refusal
        except (GatewayHTTPError, ProtocolError) as no_list:
            self._specs = no_list
        if isinstance(self._specs, ProtocolError) or (
            isinstance(self._specs, GatewayHTTPError) and self._specs.status_code == 404
        ):
            raise Failed(error, await self._path_advice(api.http))
        return Finding(str(error), "warning", _PATH.format(url=self._origin("url")))

    async def _authenticate(self, api: KernelApi) -> Finding:
        """Ask for the kernelspecs: some servers tell their version to anybody."""
        await trio.lowlevel.checkpoint()
        if self._no_token is not None:
            raise Failed(self._no_token, self._advice(self._no_token))
        if self._refusal is not None:
            raise Failed(self._refusal, self._login_advice(self._refusal))
        if self._specs is None:
            try:
                self._specs = await api.kernelspecs(user=self._config.kernel_username)
            except AuthenticationError as error:
                raise Failed(error, self._login_advice(error)) from None
            except (GatewayHTTPError, ProtocolError) as error:
                self._specs = error
        if isinstance(self._specs, GatewayHTTPError) and self._specs.status_code >= 500:
            return Finding(f"not refused, but the server answers {self._specs.status_code}", "warning", self._advice(self._specs))
        if isinstance(self._specs, GatewayError):
            # A 404 is given before anybody looks at who asks.
            return Finding("not known: the list of kernelspecs, which is asked for, is not there", "skipped")
        return Finding("not refused" if self._logs_in else "nothing to log in with is set, and none is asked for")

    def _login_advice(self, error: AuthenticationError) -> str:
        token, scheme = self._variable("auth_token"), self._variable("auth_scheme")
        if not self._logs_in:
            ignored = f" ({', '.join(self._config.ignored_variables)} is set, for another gateway.)"
            return (
                f"Set the gateway's token in {token}; or a user in {self._variable('http_user')} and "
                f"{self._variable('http_pwd')}." + (ignored if self._config.ignored_variables else "")
            )
        given = [name for name in ("auth_token", "token_command", "http_user", "headers") if self._sources[name] != "default"]
        origins = " and ".join([self._origin(name) for name in given]) or "what the token renewer gives"
        if error.status_code == 401:
            return (
                f"The gateway does not know {origins}: is it this gateway's, and does it go into the header it wants "
                f"({self._variable('auth_header_key')}, {scheme})?"
            )
        return (
            f"The gateway knows who asks and forbids it, or does not know {origins} (a Jupyter server answers 403 to both): "
            f"check {token}; and whether {self._variable('kernel_username')} is the name of a user it lets in."
        )

    async def _judge_kernelspecs(self) -> Finding:
        await trio.lowlevel.checkpoint()
        specs = self._specs
        if isinstance(specs, GatewayHTTPError) and specs.status_code in {404, 405, 501}:
            advice = f"Kernels start all the same where their names are known. Is {self._origin('kernelspecs_endpoint')} right?"
            return Finding(f"the server has no list: {specs}", "warning", advice)
        if isinstance(specs, GatewayError):
            raise specs
        assert specs is not None
        names = sorted(specs.kernelspecs)
        if not names:
            return Finding("the list is empty", "warning", "Install a kernel on the gateway's machine, such as ipykernel.")
        shown = [f"{one_line(name, 100)} (default)" if name == specs.default else one_line(name, 100) for name in names[:100]]
        detail = ", ".join(shown) + (f", and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
        if self._kernel_name is not None and specs.find(self._kernel_name) is None:
            raise Failed(KernelSpecNotFoundError(self._kernel_name, available=names), "Name one of those it has.")
        if specs.default not in specs.kernelspecs:
            detail += f"; the default, {one_line(specs.default or 'none', 100)}, is none of them"
            return Finding(detail, "warning", "Name the kernel at each start, or set a default in the gateway's configuration.")
        return Finding(detail)

    def _start_request(self) -> StartRequest:
        config, kernel_id = self._config, new_kernel_id()
        env = start_environment(config, kernel_id, None, self._environ, launch_timeout=None, cwd=None)
        return StartRequest(kernel_id, self._kernel_name, env, None, config.request_timeout_for())

    def _kernel_advice(self, error: GatewayError) -> str:
        if isinstance(error, AuthenticationError):
            return (
                "The gateway lets us in but starts no kernel: a limit of kernels, or this user may not start this one "
                f"({self._variable('kernel_username')}). Its log says which."
            )
        limit, seconds = self._config.request_timeout_for(), self._start_seconds
        given_up = isinstance(error, GatewayHTTPError) and error.status_code == 504
        if given_up or (isinstance(error, GatewayConnectionError) and error.sent and seconds >= _SUSPICIOUS):
            # What stands before a gateway has a limit of its own for answers, which nobody can be asked about.
            return (
                f"A balancer or proxy before the gateway seems to have given the start up after {seconds:.0f} s, and it may take "
                f"{limit:.0f} s here: raise its own limit above that (haproxy: `timeout server`; nginx: `proxy_read_timeout`; "
                "others: how long a backend may take to answer), or find in the gateway's log why kernels start slowly."
            )
        if isinstance(error, GatewayHTTPError) and error.status_code in {502, 503}:
            return self._advice(error)
        if isinstance(error, GatewayHTTPError) and error.status_code >= 500:
            return "The kernel does not start on the gateway's side; the gateway's log has the reason."
        if isinstance(error, GatewayTimeoutError) and error.setting == "launch_timeout":
            return f"The gateway's log says what the kernel waits for. {self._advice(error)}"
        return self._advice(error)

    async def _shake_hands(self, http: HttpClient, model: KernelModel | None) -> Finding:
        kernel_id = new_kernel_id() if model is None else model.id
        url = self._config.websocket_url(rest.channels_path(self._config.kernels_endpoint, kernel_id, uuid.uuid4().hex))
        headers = await http.handshake_headers(url)  # renews the token
        try:
            answer = await shake_hands(http, url, headers, codec.V1_SUBPROTOCOL)
        except GatewayTimeoutError as error:
            if error.setting != "handshake_timeout":
                raise
            advice = (
                f"A gateway answers when its kernel does: is that one alive, or does a proxy hold the upgrade back? {_UPGRADES}"
            )
            raise Failed(error, advice) from None
        except GatewayConnectionError as error:
            # All of HTTP went well, so this is about another address, or about the upgrade.
            advice = _UPGRADES if self._config.ws_url is None else f"Is {self._origin('ws_url')} right?"
            raise Failed(error, advice) from None
        if answer.status_code == 101:
            framing = "the framing v1" if answer.subprotocol == codec.V1_SUBPROTOCOL else "the older framing"
            return Finding(f"connected, with {framing}")
        if answer.status_code == 404 and model is None:
            # Gateways say so before they look at the upgrade, hence also where a proxy has taken that away.
            return Finding("the handshake is let in, as far as one without a kernel shows (404 to one that does not exist)")
        raise self._rejection(answer, url.partition("?")[0], http.mask)

    def _rejection(self, answer: Handshake, url: str, mask: Masker) -> Failed:
        status = answer.status_code
        headers = Headers(answer.headers.items())
        if says_not_running("GET", urlsplit(url).path, status, headers, answer.body):
            stopped = HubServerNotRunningError(status, rest.reason_phrase(status), url=url)
            return Failed(stopped, _start_server(stopped))
        reason, message = rest.parse_error(status, headers, answer.body, mask=mask)
        if status in {401, 403}:
            advice = (
                "HTTP is let in and the handshake is not: a proxy may take the credentials away, or the gateway wants an Origin."
            )
            return Failed(AuthenticationError(status, reason, message, url=url), advice)
        advice = _UPGRADES if self._config.ws_url is None else f"Is {self._origin('ws_url')} right? {_UPGRADES}"
        return Failed(GatewayHTTPError(status, reason, message, url=url), advice)

    async def _ask_kernel(self, api: KernelApi, model: KernelModel) -> Finding:
        limit = self._config.request_timeout
        watch = KernelWatch(api, self._config.ping_interval)
        interrupt_mode = partial(KernelSpecDirectory(api, self._config).interrupt_mode, model.name)
        with trio.move_on_after(limit):
            async with open_kernel(api, watch, KnownKernels(), model.id, model.name, interrupt_mode=interrupt_mode) as kernel:
                info = await kernel.kernel_info()
            words = [str(info.get(name, "")) for name in ("implementation", "implementation_version")]
            protocol = one_line(str(info.get("protocol_version", "unknown")), 20)
            name = one_line(" ".join(words), 80)
            return Finding(f"{name or 'the kernel'} answers, in version {protocol} of the protocol")
        error = GatewayTimeoutError("the kernel's answer", limit, "request_timeout")
        raise Failed(error, "The connection is there and the kernel is silent: the gateway's log may say why.")

    # ------------------------------------------------------------------------------------------------------- the words

    def _variable(self, name: str) -> str:
        return self._variables.get(name, name)

    def _origin(self, name: str) -> str:
        """A setting, and where its value came from."""
        source = self._sources[name]
        return name if source in {"argument", "default"} else f"{name} (from {source})"

    def _advice(self, error: GatewayError) -> str:
        match error:
            case ConfigError():
                return "Correct what is named."
            case HubServerNotRunningError():
                return _start_server(error)
            case TokenCommandError():
                return "Run the command by hand to see what it says. Here it has no terminal and no standard input: it can't ask."
            case GatewayTimeoutError():
                return f"If the gateway is only slow, raise {self._variable(error.setting)}, in seconds."
            case GatewayHTTPError(status_code=502 | 503 | 504):
                return (
                    "A proxy answers, and the gateway behind it does not: is that one running? A balancer takes it for down if "
                    "it refuses the health check: that needs the gateway's token, and patience for seconds while kernels start."
                )
            case GatewayHTTPError(status_code=code) if code >= 500:
                return "That is an error of the gateway; its log has the reason."
            case GatewayHTTPError() | ProtocolError():
                return _PATH.format(url=self._origin("url"))
            case GatewayConnectionError() if self._secure:
                return (
                    "The server, or a proxy before it, closes the connection. One that wants a client's certificate gets it from "
                    f"{self._variable('client_cert')} and {self._variable('client_key')}."
                )
            case GatewayConnectionError():
                return "The server, or a proxy before it, closes the connection: does it speak TLS there (https://)?"
            case _:
                return ""


def _start_server(error: HubServerNotRunningError) -> str:
    where = f"in the hub's page, {error.page}" if error.page else "in the hub's page"
    return f"Start the server {where}; in a program, open_hub() starts one and waits for it. The token is not what is wrong."


def _at(config: GatewayConfig, index: int) -> GatewayConfig:
    """A configuration's own for one of its addresses."""
    ws_url = None if config.ws_url is None else config.ws_addresses[index]
    # User and password are given again: what stood in a URL goes away with it.
    return config.replace(url=config.addresses[index], ws_url=ws_url, http_user=config.http_user, http_pwd=config.http_pwd)


def variables_of(config: GatewayConfig) -> dict[str, str]:
    """Return each setting's environment variable, where it has one."""
    return {row.name: row.variable for row in config.describe() if row.variable is not None}


def stray_advice(environ: Mapping[str, str]) -> list[str]:
    """Say of each variable that looks like a setting's and is none what to do about it.

    Args:
        environ: the environment; its values are not looked at.
    """
    return [
        f"{name}: is {' or '.join(near)} meant?" if near else f"Take {name} away, or correct its name."
        for name, near in unknown_variables(environ).items()
    ]


def _is_jupyter(answer: PlainAnswer) -> bool:
    """Whether this is how a Jupyter server answers /api: with its version, or with a refusal in JSON where that needs a login."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, dict):
        return False
    return isinstance(body.get("version"), str) if answer.status_code == 200 else answer.status_code in {401, 403}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
