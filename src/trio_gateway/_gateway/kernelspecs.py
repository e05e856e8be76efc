"""`gateway.kernelspecs`: which kernels a gateway can start, and the files that come with them.

The one idea: names are looked up before a start, because gateways answer an unknown one with a server error; and a gateway
that lists nothing is no reason to refuse a start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs
import trio

from .._api import KernelApi
from .._config import GatewayConfig
from .._errors import GatewayError, GatewayHTTPError, InvalidInputError, KernelSpecNotFoundError, ProtocolError
from .._limits import points_to_limits
from .._models import KernelSpec, KernelSpecResource, KernelSpecs, find_name, find_started
from .._protocol.resources import ResourceCache, media_type, relocate, resource_file, time_to_live

__all__ = ["KernelSpecDirectory"]

_logger = logging.getLogger("trio_gateway.kernels")


@points_to_limits
class KernelSpecDirectory:
    """The kernelspecs of a gateway. Reached as `gateway.kernelspecs`.

    Where the setting `kernel_username` is set, the gateway is asked for what that user may start.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError and AuthenticationError as its
    requests do. Cancelling one is safe.
    """

    def __init__(self, api: KernelApi, config: GatewayConfig) -> None:
        self._api = api
        self._user = config.kernel_username
        self._prefix = urlsplit(config.http_url("/" + config.kernelspecs_resource_endpoint.strip("/"))).path
        self._known: frozenset[str] = frozenset()
        self._listed: Mapping[str, KernelSpec] = {}
        self._asking = trio.Lock()
        self._answers = 0
        self._interrupt_modes: dict[str, str] = {}
        self._cache = ResourceCache()

    async def list(self) -> KernelSpecs:
        """Return all kernelspecs and the name of the default one.

        The paths of their `resources` are paths on the gateway as it is reached from here, whatever it believes to be reached by.
        """
        specs = await self._api.kernelspecs(user=self._user)
        self._known = frozenset(specs.kernelspecs)
        self._interrupt_modes = {name: spec.interrupt_mode for name, spec in specs.kernelspecs.items()}
        self._listed = {name: relocate(spec, self._prefix) for name, spec in specs.kernelspecs.items()}
        return attrs.evolve(specs, kernelspecs=self._listed)

    def last_listed(self, name: str) -> KernelSpec | None:
        """Return a kernelspec as it was when they were last listed; from any thread. For jupyter_client's managers."""
        listed = self._listed
        found = find_name(name, listed)
        return None if found is None else listed[found]

    async def find_listed(self, name: str | None) -> KernelSpec | None:
        """Return a kernelspec as it was when they were last listed; they are listed where that tells nothing. For notebooks.

        Args:
            name: its name; None for the gateway's default.

        Returns:
            None where the gateway has none of this name, or does not tell which is its default.

        Raises:
            GatewayError: as for each request to the gateway.

        Cancellation: safe.
        """
        found = None if name is None else self.last_listed(name)
        await trio.lowlevel.checkpoint()
        if found is not None:
            return found
        listed = await self.list()
        wanted = name or listed.default
        return None if wanted is None else listed.find(wanted)

    async def get(self, name: str) -> KernelSpec:
        """Return one kernelspec, as `list` has it.

        Args:
            name: its name; gateways compare it without case.

        Raises:
            InvalidInputError: the name can't be one.
            KernelSpecNotFoundError: the gateway has none of this name.
        """
        return relocate(await self._api.kernelspec(name, user=self._user), self._prefix)

    async def interrupt_mode(self, name: str) -> str:
        """Return how kernels of a kernelspec are interrupted: `"signal"`, the default, or `"message"`. Raises nothing.

        Args:
            name: the kernelspec's name, which the gateway is asked about once.
        """
        known = find_name(name, self._interrupt_modes)
        if known is not None:
            await trio.lowlevel.checkpoint()
            return self._interrupt_modes[known]
        mode = "signal"
        try:
            mode = (await self.get(name)).interrupt_mode
        except (KernelSpecNotFoundError, InvalidInputError):
            await trio.lowlevel.checkpoint()  # it has none, or tells of none: no need to ask again
        except GatewayError as error:
            _logger.debug("kernelspec_unknown", extra={"gateway.kernel_name": name, "gateway.reason": repr(error)})
            await trio.lowlevel.checkpoint()
            return mode
        self._interrupt_modes[name] = mode
        return mode

    async def default_name(self) -> str | None:
        """Return the name of the kernelspec that is started when none is named; None where the gateway does not tell."""
        return (await self.list()).default

    async def resource(self, name: str, path: str) -> KernelSpecResource:
        """Return a file of a kernelspec, such as its logo.

        Files are kept for as long as the gateway's `Cache-Control` says; after that they are fetched again only if they have
        changed. At most 64 files and 8 MiB are kept.

        Args:
            name: the kernelspec.
            path: the file's path in the kernelspec's folder, such as `"logo-64x64.png"`; or one of the values of
                `KernelSpec.resources`.

        Raises:
            InvalidInputError: the name or path can't be used, as with `..` in it; nothing was sent.
            GatewayHTTPError: with the status 404 where the gateway has no such kernelspec or file.
        """
        if not isinstance(path, str):
            raise InvalidInputError("path", path, "a file's path in the kernelspec's folder")
        file = resource_file(name, path)
        key = (name, file)
        kept, good = self._cache.get(key, trio.current_time())
        if kept is not None and good:
            await trio.lowlevel.checkpoint()
            return kept
        try:
            response = await self._api.resource(name, file, etag=None if kept is None else kept.etag)
        except GatewayHTTPError as error:
            if error.status_code in {404, 410}:
                self._cache.drop(key)
            raise
        if response.status_code == 304:
            if kept is None:
                raise ProtocolError("the gateway's answer is 304 Not Modified, but it was not asked whether anything was")
            resource = kept
        else:
            kind = media_type(response.headers.get("Content-Type"), file)
            resource = KernelSpecResource(content=response.content, media_type=kind, etag=response.headers.get("ETag") or None)
        self._cache.put(key, resource, now=trio.current_time(), ttl=time_to_live(response.headers))
        return resource

    async def check(self, name: str) -> str:
        """See that the gateway has a kernelspec of this name, if it tells; asks only about names not seen before.

        Names are compared without case, and `python` is another name for `python3`, as gateways have it. Those who want to know
        at the same time ask together, once.

        Args:
            name: the name.

        Returns:
            The name as the gateway spells it; where it does not tell, as it was given.

        Raises:
            KernelSpecNotFoundError: it has none; the error lists those it has.
        """
        found = find_name(name, self._known)  # whether `python` is `python3`, only what the gateway has today can tell
        if found is not None:
            await trio.lowlevel.checkpoint()
            return found
        answered = self._answers
        async with self._asking:
            if self._answers == answered:  # nobody else asked while we waited
                try:
                    await self.list()
                except (GatewayHTTPError, ProtocolError):
                    # Not every server of this API lists kernelspecs: the start will tell.
                    self._known = frozenset()
                    await trio.lowlevel.checkpoint()
                self._answers += 1
        found = find_started(name, self._known)
        if self._known and found is None:
            raise KernelSpecNotFoundError(name, available=tuple(sorted(self._known)))
        return found or name
