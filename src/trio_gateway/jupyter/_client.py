"""jupyter_client's kernel client on a gateway.

The one idea: what jupyter_client builds on ZeroMQ sockets stands here on a `Link`: a channel sends and gets its dictionaries, and
everything above that, requests and replies, is jupyter_client's own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs
import trio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.client import KernelClient
from jupyter_client.jsonutil import extract_dates
from jupyter_core.utils import run_sync
from traitlets import Type

from .._errors import GatewayError
from .._portal.asyncio_side import take
from .._portal.calls import Block
from .._portal.messages import NOBODY
from .._portal.portal import Portal
from .._portal.prefetch import Reading
from .._protocol import contents
from .._protocol.messages import Message
from ._absent import WithoutSockets
from ._link import Link
from ._pairs import awaiting, blocking

if TYPE_CHECKING:
    from .._gateway.gateway import Gateway

__all__ = ["BlockingGatewayKernelClient", "GatewayKernelClient", "Place"]


ASK_AGAIN: Final = 1.0
"""How long a kernel may take to answer before it is asked again whether it is ready, in seconds."""


@attrs.frozen
class Place:
    """Where a kernel is reached."""

    portal: Portal
    """Where its gateway lives."""
    gateway: Gateway
    """The gateway, as it is in Trio."""
    kernel_id: str
    """The kernel."""


class ChannelsStopped(asyncio.CancelledError):
    """A message is not waited for any more: this side has stopped the channels, or shut the kernel down.

    A task that waits is cancelled, as by the `close()` of pyzmq's asyncio socket: tools such as nbclient leave such waits behind,
    and ask for no exception of theirs.
    """


class GatewayChannel:
    """One channel of a client: what jupyter_client's `ZMQSocketChannel` is on sockets.

    Args:
        client: the client.
        name: the channel's name.
    """

    socket = None

    def __init__(self, client: _ClientOnLink, name: str) -> None:
        self._client = client
        self._name = name
        self._running = False

    def start(self) -> None:
        """Open the channel, and the connection if it is the first."""
        self._client.connect()
        self._running = True

    def stop(self) -> None:
        """Close the channel."""
        self._running = False

    def close(self) -> None:
        """Close the channel."""
        self.stop()

    def is_alive(self) -> bool:
        """Say whether the channel is open."""
        return self._running

    def send(self, msg: Mapping[str, Any]) -> None:
        """Queue a message."""
        self._client.feed(self._name, msg)

    async def get_msg(self, timeout: float | None = None, block: bool = True) -> dict[str, Any]:
        """Wait for the next message.

        Args:
            timeout: how long, in seconds; None for as long as it takes.
            block: whether to wait at all.

        Raises:
            queue.Empty: none came in time.
            GatewayError: none will come: the kernel is gone, or its process was replaced.
            asyncio.CancelledError: while it was waited for, the channels were stopped or the kernel was shut down on this side.
            trio.ClosedResourceError: that was before.

        Cancellation: safe, no message is lost.
        """
        portal, link = self._client.linked()
        reading = link.readings[self._name]
        if not block or (timeout is not None and timeout <= 0):
            if not await self.msg_ready():
                raise Empty
            return as_dictionary(reading.pop())
        late = link.ended
        try:
            with anyio.move_on_after(timeout):
                message = as_dictionary(await take(portal, reading))
                if self._client.reads(link):
                    return message
                raise trio.ClosedResourceError("the channels are stopped")
        except (GatewayError, trio.ClosedResourceError) as error:
            if late or not link.ending:
                raise
            raise ChannelsStopped(str(error)) from None
        raise Empty

    async def get_msgs(self) -> list[dict[str, Any]]:
        """Get all messages that wait."""
        messages = []
        while await self.msg_ready():
            messages.append(await self.get_msg(timeout=1))
        return messages

    async def msg_ready(self) -> bool:
        """Say whether a message waits."""
        portal, reading = self._reading()
        if not reading:
            portal.run_sync(reading.collect)
        return bool(reading)

    def _reading(self) -> tuple[Portal, Reading[Message]]:
        portal, link = self._client.linked()
        return portal, link.readings[self._name]


class GatewayHeartbeat:
    """The client's fifth channel: jupyter_client's `HBChannel` on the library's evidence.

    Args:
        client: the client.
    """

    def __init__(self, client: _ClientOnLink) -> None:
        self._client = client
        self._running = False

    def start(self) -> None:
        """Listen."""
        self._running = True

    def stop(self) -> None:
        """Listen no more."""
        self._running = False

    def close(self) -> None:
        """Listen no more."""
        self.stop()

    def pause(self) -> None:
        """Do nothing: the connection's pings are not this channel's."""

    def unpause(self) -> None:
        """Do nothing."""

    def is_alive(self) -> bool:
        """Say whether it listens."""
        return self._running

    def is_beating(self) -> bool:
        """Say whether the kernel is there, the very one that the channels were opened to."""
        return self._client.beats()


class _ClientOnLink(WithoutSockets, KernelClient):
    """What the asynchronous and the blocking client share. Made by a manager's `client()`."""

    _find: Callable[[], Place] | None = None
    _linked: tuple[Portal, Link, Block] | None = None
    on_link: Callable[[Link], object] | None = None
    blocking_class: Any = Type("trio_gateway.jupyter.BlockingGatewayKernelClient", klass=object)
    kernel_id: str | None = None
    """The kernel that the channels were last started to."""

    def bind(self, find: Callable[[], Place], on_link: Callable[[Link], object]) -> None:
        """Say which kernel this is for. For the manager.

        Args:
            find: says it, whenever the channels are started: there need be none before.
            on_link: called with each connection.
        """
        self._find, self.on_link = find, on_link
        for name in ("shell", "iopub", "stdin", "control"):
            setattr(self, f"_{name}_channel", GatewayChannel(self, name))
        self._hb_channel = GatewayHeartbeat(self)

    def blocking_client(self) -> Any:
        """Make a client for the same kernel whose methods block, for a thread that may wait."""
        assert self._find is not None
        assert self.on_link is not None
        client = self.blocking_class(parent=self.parent, session=self.session.clone())
        client.bind(self._find, self.on_link)
        return client

    def connect(self) -> None:
        """Start connecting, unless there is a connection. For a channel."""
        if self._linked is not None:
            return
        assert self._find is not None
        place = self._find()
        link = Link()
        block = Block(place.portal, link.open(place.gateway, place.kernel_id), NOBODY)
        self.kernel_id = place.kernel_id
        self._linked = (place.portal, link, block)
        assert self.on_link is not None
        self.on_link(link)
        block.enter()

    def linked(self) -> tuple[Portal, Link]:
        """Give the connection. For a channel.

        Raises:
            RuntimeError: the channels were not started, or were stopped.
            ForkedProcessError: this process was forked off after that.
        """
        if self._linked is None:
            raise RuntimeError("the channels are not started: call start_channels()")
        self._linked[0].thread.check_process()
        return self._linked[0], self._linked[1]

    def reads(self, link: Link) -> bool:
        """Say whether this connection is the client's still. For a channel."""
        return self._linked is not None and self._linked[1] is link

    def feed(self, channel: str, message: Mapping[str, Any]) -> None:
        """Queue a message. For a channel."""
        portal, link = self.linked()
        portal.thread.post(link.feed, channel, message)

    def beats(self) -> bool:
        """Say whether the kernel is there. For the heartbeat."""
        return self._linked is not None and self._linked[0].run_sync(self._linked[1].beats)

    def stop_channels(self) -> None:
        """Stop all channels, and close the connection.

        A task that waits for a message is cancelled; a blocking client's method raises `trio.ClosedResourceError`.
        """
        for channel in (self.shell_channel, self.iopub_channel, self.stdin_channel, self.control_channel, self.hb_channel):
            channel.stop()
        if self._linked is not None:
            self._linked[1].ending = True
            self._linked[2].leave(NOBODY)
            self._linked = None

    async def _async_is_alive(self) -> bool:
        return self.beats() if self._linked is not None else bool(await awaiting(self.parent, "is_alive")())

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers, and forget what it published until then.

        Raises:
            RuntimeError: it did not within `timeout` seconds, or there is no kernel.
        """
        with anyio.move_on_after(timeout):
            while True:
                # Of a kernel that was just restarted, the first replies may be heard and what it publishes not yet.
                with anyio.move_on_after(ASK_AGAIN):
                    request = KernelClient.kernel_info(self)
                    reply = await self._async_recv_reply(request)
                    self._handle_kernel_info_reply(reply)
                    while True:
                        message = await self.iopub_channel.get_msg()
                        if message["parent_header"].get("msg_id") == request and _is_idle(message):
                            return
        raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")

    async def _async_execute_interactive(
        self,
        code: str,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: dict[str, Any] | None = None,
        allow_stdin: bool | None = None,
        stop_on_error: bool = True,
        timeout: float | None = None,
        output_hook: Callable[[dict[str, Any]], object] | None = None,
        stdin_hook: Callable[[dict[str, Any]], object] | None = None,
    ) -> dict[str, Any]:
        """As jupyter_client's, whose arguments these are.

        Raises:
            TimeoutError: it took longer than `timeout` seconds; the code runs on.
        """
        if allow_stdin is None:
            allow_stdin = self.allow_stdin
        if allow_stdin and not self.stdin_channel.is_alive():
            raise RuntimeError("stdin channel must be running to allow input")
        msg_id = KernelClient.execute(
            self,
            code,
            silent=silent,
            store_history=store_history,
            user_expressions=user_expressions,
            allow_stdin=allow_stdin,
            stop_on_error=stop_on_error,
        )
        ask = stdin_hook or self._stdin_hook_default
        show = output_hook or self._hook_of_ipython() or self._output_hook_default

        async def show_outputs() -> None:
            while True:
                message = await self.iopub_channel.get_msg()
                if message["parent_header"].get("msg_id") == msg_id:
                    show(message)
                    if _is_idle(message):
                        return

        async def answer() -> None:
            while True:
                answered = ask(await self.stdin_channel.get_msg())
                if inspect.isawaitable(answered):
                    await answered

        async def read() -> dict[str, Any]:
            await show_outputs()
            reply: dict[str, Any] = await self._async_recv_reply(msg_id)
            return reply

        if not allow_stdin:
            with anyio.fail_after(timeout):
                return await read()
        reading, answering = asyncio.ensure_future(read()), asyncio.ensure_future(answer())
        try:
            with anyio.fail_after(timeout):
                await asyncio.wait([reading, answering], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await answering  # which raises: its hook has failed, or nothing comes
                return await reading
        finally:
            for task in (reading, answering):
                task.cancel()
            await asyncio.gather(reading, answering, return_exceptions=True)  # noqa: ASYNC102 - they were cancelled

    def _hook_of_ipython(self) -> Callable[[dict[str, Any]], object] | None:
        """As jupyter_client does: inside a kernel, rich output is shown by that kernel."""
        if "IPython" not in sys.modules:
            return None
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None or not getattr(shell, "kernel", None):
            return None
        publisher = shell.display_pub
        return functools.partial(
            self._output_hook_kernel,
            publisher.session,
            publisher.pub_socket,
            publisher.parent_header,
        )


def _is_idle(message: Mapping[str, Any]) -> bool:
    return bool(message["msg_type"] == "status" and message["content"].get("execution_state") == "idle")


def as_dictionary(message: Message) -> dict[str, Any]:
    """Give a message as jupyter_client's session deserializes it, dates included.

    Its readers take its fields for granted: those that the kernel left out, or sent as another type, are what they should be.
    """
    header = {**message.own_header, "msg_id": message.msg_id, "msg_type": message.msg_type}
    return {
        "header": _with_dates(header),
        "msg_id": message.msg_id,
        "msg_type": message.msg_type,
        "parent_header": _with_dates(contents.parent_of(message)),
        "metadata": dict(contents.metadata_of(message)),
        "content": contents.look(message),
        "buffers": list(message.buffers),
    }


def _with_dates(header: Mapping[str, Any]) -> dict[str, Any]:
    try:
        dated: dict[str, Any] = extract_dates(dict(header))
    except (ValueError, OverflowError, RecursionError):  # what looks like a date and is none; what is nested deeply
        return dict(header)
    return dated


class GatewayKernelClient(_ClientOnLink, AsyncKernelClient):
    """A `jupyter_client.AsyncKernelClient` for a kernel on a gateway. Made by `GatewayKernelManager.client`.

    `is_alive()` and `hb_channel.is_beating()` are about the very process that the channels were opened to: if the gateway has
    replaced it because it died, what was in it is lost, and both say so.
    """

    is_alive: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ClientOnLink, "is_alive")
    wait_for_ready: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ClientOnLink, "wait_for_ready")
    execute_interactive: Callable[..., Coroutine[Any, Any, Any]] = awaiting(_ClientOnLink, "execute_interactive")


def _blocking(owner: type, name: str) -> Callable[..., Any]:
    """Make the method of a pair that blocks: where a task would be cancelled, a thread has an exception."""
    function = awaiting(owner, name)

    @functools.wraps(function)
    async def wait(*arguments: Any, **more: Any) -> Any:
        try:
            return await function(*arguments, **more)
        except ChannelsStopped as stopped:
            raise trio.ClosedResourceError(*stopped.args) from None

    blocking: Callable[..., Any] = run_sync(wait)
    return blocking


class BlockingGatewayKernelClient(_ClientOnLink, BlockingKernelClient):
    """A `jupyter_client.BlockingKernelClient` for a kernel on a gateway. Made by `BlockingGatewayKernelManager.client`.

    Else as `GatewayKernelClient`.
    """

    is_alive: Callable[..., Any] = blocking(_ClientOnLink, "is_alive")
    wait_for_ready: Callable[..., Any] = _blocking(_ClientOnLink, "wait_for_ready")
    execute_interactive: Callable[..., Any] = _blocking(_ClientOnLink, "execute_interactive")
    get_shell_msg: Callable[..., Any] = _blocking(KernelClient, "get_shell_msg")
    get_iopub_msg: Callable[..., Any] = _blocking(KernelClient, "get_iopub_msg")
    get_stdin_msg: Callable[..., Any] = _blocking(KernelClient, "get_stdin_msg")
    get_control_msg: Callable[..., Any] = _blocking(KernelClient, "get_control_msg")
    _recv_reply: Callable[..., Any] = _blocking(KernelClient, "recv_reply")
