"""Each public name of jupyter_client's managers, and of `jupyter_server.gateway`'s: it is there, and works, or says why it can't.

What the names are is read from the installed packages: a name that a new release adds fails here until it is thought about.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jupyter_client
import pytest
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.session import Session
from jupyter_core.utils import ensure_async
from jupyter_events import EventLogger
from jupyter_server.gateway import managers as reference
from tornado import web
from tornado.ioloop import IOLoop
from traitlets.config import LoggingConfigurable

from trio_gateway.jupyter import (
    BlockingGatewayKernelClient,
    BlockingGatewayKernelManager,
    GatewayKernelClient,
    GatewayKernelManager,
    NotOnAGatewayError,
    server,
)

if TYPE_CHECKING:
    from tools.face_tools import ListeningFake

Table = Mapping[str, Callable[[Any], Any]]


def names_of(*classes: type) -> set[str]:
    """Return the public names of classes, but for those of each thing that can be configured."""
    common = set(dir(LoggingConfigurable))
    return {name for owner in classes for name in dir(owner) if not name.startswith("_") and name not in common}


def is_(expected: object) -> Callable[[Any], Any]:
    """Expect a value of what bears the name: of an attribute, or of a method without arguments."""

    async def check(found: Any) -> None:
        value = await ensure_async(found()) if inspect.isroutine(found) else found
        assert isinstance(value, expected) if isinstance(expected, type) else value == expected, value

    return check


def same(expected: object) -> Callable[[Any], Any]:
    """Expect this very object."""

    async def check(found: Any) -> None:
        assert found is expected

    return check


def does(*arguments: Any, gives: object = None, **more: Any) -> Callable[[Any], Any]:
    """Expect what a method gives."""

    async def check(found: Any) -> None:
        value = await ensure_async(found(*arguments, **more))
        assert isinstance(value, gives) if isinstance(gives, type) else value == gives, value

    return check


def refuses(*arguments: Any) -> Callable[[Any], Any]:
    """Expect a typed error that says why."""

    async def check(found: Any) -> None:
        with pytest.raises(NotOnAGatewayError) as caught:
            await ensure_async(found(*arguments))
        assert caught.value.why in str(caught.value)
        assert isinstance(caught.value, NotImplementedError)

    return check


def nothing() -> None:
    """Be a callback."""


SOCKETS: Table = {f"connect_{channel}": refuses() for channel in ("shell", "iopub", "stdin", "control", "hb")}
PORTS: Table = {f"{channel}_port": is_(0) for channel in ("shell", "iopub", "stdin", "control", "hb")}

CONNECTION: Table = {
    **SOCKETS,
    **PORTS,
    "blocking_class": same(BlockingGatewayKernelClient),
    "blocking_client": is_(BlockingGatewayKernelClient),
    "cleanup_connection_file": is_(None),
    "cleanup_ipc_files": is_(None),
    "cleanup_random_ports": is_(None),
    "connection_file": is_(""),
    "curve_publickey": is_(None),
    "curve_secretkey": is_(None),
    "data_dir": is_(str),
    "get_connection_info": refuses(),
    "kernel_name": is_(str),
    "load_connection_file": refuses("kernel.json"),
    "load_connection_info": refuses({}),
    "ports": is_([0, 0, 0, 0, 0]),
    "session": is_(Session),
    "transport": is_("tcp"),
    "write_connection_file": refuses(),
}

MANAGER: Table = {
    **CONNECTION,
    "add_restart_callback": does(nothing),
    "autorestart": is_(True),
    "cache_ports": is_(False),
    "context": is_(object),
    "finish_shutdown": is_(None),
    "format_kernel_cmd": refuses(),
    "has_kernel": is_(True),
    "interrupt_kernel": is_(None),
    "ipykernel": is_(True),
    "is_alive": is_(True),
    "kernel_id": is_(str),
    "kernel_spec_manager": is_(KernelSpecManager),
    "owns_kernel": is_(True),
    "post_start_kernel": refuses(),
    "pre_start_kernel": refuses(),
    "provisioner": is_(None),
    "remove_restart_callback": does(nothing),
    "resolve_path": does("a.py"),
    "restart_kernel": does(now=True),
    "shutdown_wait_time": is_(float),
    "shutting_down": is_(False),
    "start_restarter": is_(None),
    "stop_restarter": is_(None),
    "transport_encryption": is_("disabled"),
    "update_env": does(env={"A": "b"}),
}
ELSEWHERE = {"client", "client_class", "client_factory", "ip", "kernel_spec", "ready", "signal_kernel"}
"""Those of each manager that take more than a line: `check_manager` has them."""
ENDS = {"cleanup_resources", "request_shutdown", "shutdown_kernel", "start_kernel"}
"""Those that begin or end a kernel: `check_life` has them."""

IN_A_SERVER: Table = {
    "core_event_schema_paths": is_(list),
    "event_logger": is_(EventLogger),
    "execution_state": is_(str),
    "extra_event_schema_paths": is_([]),
    "kernel": is_(dict),
    "last_activity": is_(datetime),
    "loop": is_(IOLoop),
    "reason": is_(""),
    "refresh_model": is_(dict),
    "restarter_class": is_(type),
}
"""Of a `ServerKernelManager`, and of the reference's; `emit` is what its events are told by."""


async def check_table(table: Table, of: Any) -> None:
    """Try each name of a table."""
    for name, check in table.items():
        try:
            await check(getattr(of, name))
        except Exception as error:
            error.add_note(f"name: {name}")
            raise


async def check_manager(manager: Any, kind: type[Any]) -> None:
    """Try what each manager has, with a kernel."""
    await check_table(MANAGER, manager)
    client = manager.client()
    assert isinstance(client, kind)
    assert isinstance(client, manager.client_factory)
    assert manager.client_class == f"trio_gateway.jupyter.{kind.__name__}"
    assert "ip" in manager.trait_names()  # to read it is to look at this machine's interfaces
    assert (manager.kernel_spec.name, manager.kernel_spec.language) == ("python3", "python")
    assert manager.ready.result() is None
    await ensure_async(manager.signal_kernel(signal.SIGINT))
    await refuses(signal.SIGKILL)(manager.signal_kernel)


async def check_life(manager: Any) -> None:
    """Try what ends a kernel, and what begins another."""
    for end in (manager.shutdown_kernel, manager.request_shutdown):
        assert manager.has_kernel
        await ensure_async(end())
        assert not manager.has_kernel
        assert not await ensure_async(manager.is_alive())
        await ensure_async(end())  # twice is fine
        await ensure_async(manager.start_kernel(kernel_name="python3"))
        assert await ensure_async(manager.is_alive())
    await ensure_async(manager.shutdown_kernel())
    await ensure_async(manager.cleanup_resources())
    assert manager.context.closed


@pytest.mark.parametrize(
    ("made", "kind"),
    [(GatewayKernelManager, GatewayKernelClient), (BlockingGatewayKernelManager, BlockingGatewayKernelClient)],
    ids=["async", "blocking"],
)
def test_a_manager_of_its_own(fake_gateway: ListeningFake, made: Any, kind: type[Any]) -> None:
    """All that an `AsyncKernelManager` has, and the same of the blocking one."""
    assert names_of(jupyter_client.AsyncKernelManager) == MANAGER.keys() | ELSEWHERE | ENDS

    async def use() -> None:
        manager = made(url=fake_gateway.url, auth_token=fake_gateway.token)
        try:
            assert manager.kernel_spec is None
            await ensure_async(manager.start_kernel())
            await check_manager(manager, kind)
            await check_life(manager)
        finally:
            await ensure_async(manager.shutdown_kernel())  # noqa: ASYNC102 - bounded in Trio

    if made is GatewayKernelManager:
        asyncio.run(use())
    else:
        run_without_a_loop(use())


def run_without_a_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits, as where blocking methods run an event loop of their own."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


@asynccontextmanager
async def opened(fake_gateway: ListeningFake) -> AsyncGenerator[server.GatewayMappingKernelManager]:
    """Make a server's mapping manager, without a server; end its kernels."""
    mapping = make_managers(fake_gateway)
    try:
        yield mapping
    finally:
        await mapping.shutdown_all()  # noqa: ASYNC102 - bounded in Trio


def make_managers(fake_gateway: ListeningFake) -> server.GatewayMappingKernelManager:
    """Make a server's managers, without a server."""
    return server.GatewayMappingKernelManager(url=fake_gateway.url, auth_token=fake_gateway.token)


def test_a_kernel_of_a_server(fake_gateway: ListeningFake) -> None:
    """All that the reference's `GatewayKernelManager` has."""
    assert names_of(reference.GatewayKernelManager) == MANAGER.keys() | IN_A_SERVER.keys() | ELSEWHERE | ENDS | {"emit"}

    async def use() -> None:
        async with opened(fake_gateway) as mapping:
            kernel = mapping.get_kernel(await mapping.start_kernel(kernel_name="python3"))
            await check_table(IN_A_SERVER, kernel)
            assert kernel.kernels_url == f"{fake_gateway.url}/api/kernels"
            assert kernel.kernel_url == f"{kernel.kernels_url}/{kernel.kernel_id}"
            await check_manager(kernel, GatewayKernelClient)
            try:
                await check_life(kernel)
            finally:
                await kernel.shutdown_kernel()  # noqa: ASYNC102 - bounded in Trio

    asyncio.run(use())


def test_the_mapping_manager(fake_gateway: ListeningFake, tmp_path: Path) -> None:
    """All that the reference's `GatewayMappingKernelManager` has."""

    async def use(mapping: server.GatewayMappingKernelManager) -> None:
        kernel_id = await mapping.start_kernel(kernel_name="python3")
        by_id: Table = {
            **{name: refuses(kernel_id) for name in (*SOCKETS, "get_connection_info")},
            "add_restart_callback": does(kernel_id, nothing),
            "cull_kernel_if_idle": does(kernel_id),
            "finish_shutdown": does(kernel_id),
            "get_buffer": does(kernel_id, "key"),
            "get_kernel": does(kernel_id, gives=server.GatewayKernel),
            "interrupt_kernel": does(kernel_id),
            "is_alive": does(kernel_id, gives=True),
            "kernel_model": does(kernel_id, gives=dict),
            "notify_connect": does(kernel_id),
            "notify_disconnect": does(kernel_id),
            "ports_changed": does(kernel_id, gives=False),
            "remove_restart_callback": does(kernel_id, nothing),
            "restart_kernel": does(kernel_id, now=True),
            "signal_kernel": does(kernel_id, signal.SIGINT),
            "start_buffering": does(kernel_id, "key", {}),
            "start_watching_activity": does(kernel_id),
            "stop_buffering": does(kernel_id),
            "stop_watching_activity": does(kernel_id),
            "update_env": does(kernel_id=kernel_id, env={}),
        }
        whole: Table = {
            "cull_kernels": is_(None),
            "cwd_for_path": does("", gives=str(tmp_path)),
            "initialize_culler": is_(None),
            "list_kernel_ids": is_([kernel_id]),
            "list_kernels": is_(list),
            "new_kernel_id": is_(str),
            "pre_start_kernel": does("python3", {}, gives=tuple),
            "track_message_type": does("execute_request", gives=True),
            "kernel_manager_class": is_("trio_gateway.jupyter.server.GatewayKernel"),
            "kernel_manager_factory": does(gives=server.GatewayKernel),
            "shared_context": is_(False),
            "last_kernel_activity": is_(datetime),
            "default_kernel_name": is_("python3"),
            "kernel_spec_manager": is_(None),
        }
        settings = {
            "allow_tracebacks", "allowed_message_types", "buffer_offline_messages", "connection_dir", "context", "cull_busy",
            "cull_connected", "cull_idle_timeout", "cull_interval", "cull_interval_default", "external_connection_dir",
            "kernel_argv", "kernel_info_timeout", "root_dir", "traceback_replacement_message", "transport_encryption",
            "untracked_message_types", "use_pending_kernels",
        }  # fmt: skip
        mapping.root_dir = str(tmp_path)
        await check_table(by_id, mapping)
        await check_table(whole, mapping)
        for name in settings:
            assert hasattr(mapping, name)
        last = {"shutdown_kernel", "request_shutdown", "cleanup_resources", "remove_kernel", "shutdown_all", "start_kernel"}
        assert names_of(reference.GatewayMappingKernelManager) == by_id.keys() | whole.keys() | settings | last
        assert mapping.kernels_url == f"{fake_gateway.url}/api/kernels"

        await mapping.request_shutdown(kernel_id)
        assert mapping.list_kernel_ids() == []
        with pytest.raises(web.HTTPError):
            mapping.get_kernel(kernel_id)
        kernel_id = await mapping.start_kernel(kernel_name="python3")
        await mapping.cleanup_resources(kernel_id)
        await mapping.shutdown_kernel(kernel_id)
        assert mapping.remove_kernel(kernel_id) is None
        mapping.context.destroy()

    async def main() -> None:
        async with opened(fake_gateway) as mapping:
            await use(mapping)

    asyncio.run(main())


def test_the_other_managers_of_a_server_have_what_the_reference_has() -> None:
    """Of the kernelspecs, of the sessions, of a browser's connection."""
    for name in ("GatewayKernelSpecManager", "GatewaySessionManager"):
        assert names_of(getattr(reference, name)) - set(dir(getattr(server, name))) == set()


def test_the_clients(fake_gateway: ListeningFake) -> None:
    """All that an `AsyncKernelClient` has; and what the reference's client has beside it, its kernel's id."""
    manager = GatewayKernelManager(url=fake_gateway.url, auth_token=fake_gateway.token)
    blocking = BlockingGatewayKernelManager(url=fake_gateway.url, auth_token=fake_gateway.token)
    for client in (manager.client(), blocking.client()):
        assert names_of(AsyncKernelClient, reference.GatewayKernelClient) - set(dir(client)) == set()
        assert client.kernel_id is None
        run_without_a_loop(check_table(CONNECTION, client))
