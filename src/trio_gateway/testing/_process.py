"""One kernel process of the fake: its queues, its counter of messages, and what it answers.

The one idea: it does what ipykernel does on its sockets. Requests on shell run one after the other, those for a subshell beside
them in an order of their own (JEP 91), and those on control beside all; each is framed by `busy` and `idle` on iopub; and
everything that is sent takes the next number, `{session}_{pid}_{number}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import trio

from .._protocol.messages import Buffer, Header, Message
from ._cell import Cell, CellError, CrashedError, Interrupted
from ._comm import FakeComm
from ._engines import Engine
from ._world import DATE

__all__ = ["KernelProcess", "Origin", "Owner"]


class Origin(Protocol):
    """Where a request came from, and its replies go."""

    def reply(self, message: Message) -> None:
        """Take a reply or a request for input."""
        ...


class Owner(Protocol):
    """The kernel that a process belongs to: what it has been made with, and what it hears of the process."""

    @property
    def answers_beside(self) -> bool:
        """Whether it answers `kernel_info_request` beside code that runs."""
        ...

    @property
    def control_at_work(self) -> bool:
        """Whether it answers on its control channel while code runs."""
        ...

    @property
    def has_subshells(self) -> bool:
        """Whether its processes offer subshells."""
        ...

    @property
    def stop_on_error_timeout(self) -> float:
        """How long after a failure its processes skip what they are asked to execute, in seconds."""
        ...

    def broadcast(self, message: Message) -> None:
        """Publish to all clients that are connected."""
        ...

    def note_state(self, state: str) -> None:
        """Take the state that the process publishes."""
        ...

    def note_execution(self, request: Message) -> None:
        """Count an execution."""
        ...

    def crashed(self, process: KernelProcess) -> None:
        """Take note that a process has ended by itself."""
        ...

    def debug(self, command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what the debugger answers; None if there is none, or it can't."""
        ...

    def comm_target(self, name: str) -> Callable[[FakeComm, Message], object] | None:
        """Return what opens comms of a target."""
        ...


class _Shell:
    """A place where code runs, one after the other: the main shell, or a subshell."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[tuple[Message, Origin]](math.inf)  # a ZeroMQ queue
        self.cell: Cell | None = None
        self.parent: Message | None = None
        self.deleted = False
        self.ended = trio.Event()
        self.skips_until = -math.inf


class KernelProcess:
    """A kernel's process, until it is killed or shut down.

    Args:
        owner: the kernel whose process it is.
        engine: runs code.
        session: the prefix of its messages' ids.
        pid: its process id.
    """

    def __init__(self, owner: Owner, engine: Engine, session: str, pid: int) -> None:
        self._owner = owner
        self._engine = engine
        self._session = session
        self._pid = pid
        self._counter = 0
        self._main = _Shell()
        self._shells: dict[str | None, _Shell] = {None: self._main}
        self._deleted: _Shell | None = None  # while what runs there comes to its end
        self._subshells_made = 0
        self._asked: dict[str, str] = {}
        self._control_send, self._control = trio.open_memory_channel[tuple[Message, Origin]](math.inf)
        self._running = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._crashed = False
        self._debugging = False
        self._history: list[str] = []
        self._execution_count = 0
        self._awake = trio.Event()
        self._awake.set()
        self.alive: bool = True
        self.parent: Message | None = None
        self.comms: dict[str, FakeComm] = {}

    # What it sends --------------------------------------------------------------------------------------------------

    def _make(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Message | None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> Message:
        header = Header(self._next_id(), msg_type, self._session, "kernel", DATE, "5.4")
        parent_header = {} if parent is None else parent.own_header
        return Message(channel, header, content, parent_header=parent_header, metadata=metadata, buffers=buffers)

    def _next_id(self) -> str:
        self._counter += 1
        return f"{self._session}_{self._pid}_{self._counter}"

    def skip_number(self) -> None:
        """Use up a number for a message that no client gets, such as a reply to the server itself."""
        self._counter += 1

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        parent: Message | None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Publish on iopub."""
        if self.alive:
            if msg_type == "status":
                self._owner.note_state(content["execution_state"])
            self._owner.broadcast(self._make("iopub", msg_type, content, parent, metadata, buffers))

    def _reply(self, request: Message, origin: Origin, content: Mapping[str, Any]) -> None:
        if self.alive:
            kind = request.msg_type.removesuffix("_request") + "_reply"
            origin.reply(self._make(request.channel, kind, content, request))

    def _ask(self, request: Message, origin: Origin, prompt: str, password: bool) -> None:
        """Ask for input where a request came from."""
        question = self._make("stdin", "input_request", {"prompt": prompt, "password": password}, request)
        self._asked[question.msg_id] = request.msg_id
        origin.reply(question)

    # What it takes --------------------------------------------------------------------------------------------------

    def take(self, message: Message, origin: Origin) -> None:
        """Take a message of a client's."""
        if not self.alive:
            return
        if message.channel == "shell":
            shell = self._shells.get(message.header.subshell_id) if self._owner.has_subshells else self._main
            if message.msg_type == "kernel_info_request" and self._owner.answers_beside and self._nursery is not None:
                self._nursery.start_soon(self._answer_beside, message, origin, name="fake.beside")
            elif shell is not None:
                shell.send.send_nowait((message, origin))
            elif self._nursery is not None:
                self._nursery.start_soon(self._refuse, message, origin, name="fake.refuse")
        elif message.channel == "control" and message.msg_type == "kernel_info_request" and not self._owner.control_at_work:
            self._main.send.send_nowait((message, origin))
        elif message.channel == "control":
            self._control_send.send_nowait((message, origin))
        elif message.channel == "stdin" and message.msg_type == "input_reply":
            wanted = self._asked.pop(message.parent_id, None)
            for shell in (*self._shells.values(), *([self._deleted] if self._deleted is not None else [])):
                if shell.cell is not None and wanted in (None, shell.cell.msg_id):
                    shell.cell.answer(str(message.content.get("value", "")))
                    break

    def interrupt(self) -> None:
        """Do what SIGINT does: interrupt the code that runs in the main shell; an idle kernel ignores it."""
        if self._main.cell is not None:
            self._main.cell.interrupt()

    def stall(self) -> None:
        """Stop, as SIGSTOP does."""
        if self._awake.is_set():
            self._awake = trio.Event()

    def resume(self) -> None:
        """Go on, as SIGCONT does."""
        self._awake.set()

    @property
    def subshells(self) -> list[str]:
        """The ids of the subshells that there are."""
        return [name for name in self._shells if name is not None]

    @property
    def stalled(self) -> bool:
        """Whether it is stopped."""
        return not self._awake.is_set()

    async def wait_awake(self) -> None:
        """Wait until it is not stopped."""
        await self._awake.wait()

    def end(self) -> None:
        """End it at once, without a word."""
        self.alive = False
        self._running.cancel()

    # Its life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Be there until `end`. A crash ends it too, and its kernel learns of it."""
        try:
            with self._running:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._serve_control, name="fake.control")
                    self.publish("status", {"execution_state": "starting"}, None)
                    await self._serve(self._main)
        finally:
            self.alive = False
            self._engine.close()
        if self._crashed:
            self._owner.crashed(self)

    async def _serve(self, shell: _Shell) -> None:
        try:
            async for message, origin in shell.receive:
                await self._awake.wait()
                self.parent = shell.parent = message
                self.publish("status", {"execution_state": "busy"}, message)
                if message.msg_type == "execute_request" and trio.current_time() < shell.skips_until:
                    self._skip(message, origin)
                elif message.msg_type == "execute_request":
                    await self._execute(message, origin, shell)
                else:
                    self._answer(message, origin)
                self.publish("status", {"execution_state": "idle"}, message)
        except CrashedError:
            self._crashed = True
            self.end()
        finally:
            shell.ended.set()

    async def _refuse(self, request: Message, origin: Origin) -> None:
        """Answer what is for a subshell that there is not."""
        await self._awake.wait()
        self.publish("status", {"execution_state": "busy"}, request)
        told = f"Unknown subshell_id {request.header.subshell_id!r}"
        self._reply(request, origin, {"status": "error", "ename": "UnknownSubshellError", "evalue": told, "traceback": []})
        self.publish("status", {"execution_state": "idle"}, request)

    async def _answer_beside(self, request: Message, origin: Origin) -> None:
        """Answer beside the code that runs."""
        await self._awake.wait()
        self.publish("status", {"execution_state": "busy"}, request)
        self._answer(request, origin)
        self.publish("status", {"execution_state": "idle"}, request)

    async def _serve_control(self) -> None:
        while True:
            message, origin = await self._control.receive()
            await self._awake.wait()
            self.publish("status", {"execution_state": "busy"}, message)
            kind = message.msg_type
            if kind == "interrupt_request":
                self.interrupt()
                self._reply(message, origin, {"status": "ok"})
            elif kind == "shutdown_request":
                restart = bool(message.content.get("restart"))
                self._reply(message, origin, {"status": "ok", "restart": restart})
                self.say_goodbye(restart=restart, request=message)
                self._owner.crashed(self)
                return
            elif kind == "debug_request":
                self._debug(message, origin)
            elif kind.endswith("_subshell_request") and self._owner.has_subshells:
                self._reply(message, origin, await self._manage_subshells(kind, message.content))
            else:
                self._answer(message, origin)
            self.publish("status", {"execution_state": "idle"}, message)

    def _debug(self, message: Message, origin: Origin) -> None:
        content = message.content
        command = str(content.get("command", ""))
        body = self._owner.debug(command, content.get("arguments") or {})
        if body is None and command == "debugInfo":
            body = {"isStarted": self._debugging, "breakpoints": [], "stoppedThreads": [], "richRendering": False}
        elif body is None and (command == "initialize" or (command in {"attach", "disconnect"} and self._debugging)):
            body = {}
        answer = {"type": "response", "request_seq": content.get("seq"), "command": command, "body": body or {}}
        if body is None:
            self._reply(message, origin, {**answer, "success": False, "message": f"the fake's debugger can't {command} now"})
            return
        self._reply(message, origin, {**answer, "success": True})
        if command in {"initialize", "disconnect"}:
            self._debugging = command == "initialize"
        elif command == "attach":
            self.publish("debug_event", {"type": "event", "event": "initialized", "seq": content.get("seq"), "body": {}}, message)

    async def _manage_subshells(self, kind: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        if kind == "create_subshell_request":
            self._subshells_made += 1
            made = f"{self._session}-subshell-{self._subshells_made}"
            shell = self._shells[made] = _Shell()
            assert self._nursery is not None
            self._nursery.start_soon(self._serve, shell, name="fake.subshell")
            return {"status": "ok", "subshell_id": made}
        if kind == "list_subshell_request":
            return {"status": "ok", "subshell_id": self.subshells}
        if kind == "delete_subshell_request":
            subshell_id = content.get("subshell_id")
            found = self._shells.pop(subshell_id, None) if isinstance(subshell_id, str) else None
            if found is None:
                return {"status": "error", "evalue": f"Unknown subshell_id {subshell_id!r}"}
            with suppress(trio.WouldBlock):
                while True:
                    found.receive.receive_nowait()  # what waits in its queue is lost
            found.send.close()
            # What runs there comes to its end first, and nothing else is answered on control. Its reply is lost: ipykernel 7
            # waits in the very thread that would pass it on.
            found.deleted = True
            self._deleted = found
            await found.ended.wait()
            self._deleted = None
            return {"status": "ok"}
        return {"status": "error", "evalue": f"Unrecognised message type {kind!r}"}

    def say_goodbye(self, *, restart: bool, request: Message | None = None) -> None:
        """Publish what a kernel that is shut down does: its farewell, and the end of what ran."""
        if self._main.cell is not None:
            error = CellError("KeyboardInterrupt")
            content = {"ename": error.ename, "evalue": error.evalue, "traceback": error.traceback}
            self.publish("error", content, self._main.parent)
        self.publish("shutdown_reply", {"status": "ok", "restart": restart}, request)
        self.publish("status", {"execution_state": "idle"}, request)

    def _answer(self, request: Message, origin: Origin) -> None:
        """Answer what needs no code to run."""
        content = request.content
        kind = request.msg_type
        code = str(content.get("code", ""))
        cursor = int(content.get("cursor_pos", len(code)))
        if kind == "kernel_info_request":
            self._reply(request, origin, self._info())
        elif kind == "complete_request":
            self._reply(request, origin, self._engine.complete(code, cursor))
        elif kind == "inspect_request":
            self._reply(request, origin, self._engine.inspect(code, cursor))
        elif kind == "is_complete_request":
            self._reply(request, origin, self._engine.is_complete(code))
        elif kind == "history_request":
            self._reply(request, origin, self._history_reply(content))
        elif kind == "comm_info_request":
            wanted = content.get("target_name")
            comms = {
                comm.comm_id: {"target_name": comm.target_name}
                for comm in self.comms.values()
                if wanted in (None, comm.target_name)
            }
            self._reply(request, origin, {"status": "ok", "comms": comms})
        elif kind.startswith("comm_"):
            self._take_comm(request)
        # An unknown request gets no reply, as in ipykernel.

    def _info(self) -> Mapping[str, Any]:
        return {
            "status": "ok",
            "protocol_version": "5.4",
            "implementation": "async" if self._owner.answers_beside else "trio_gateway.testing",
            "implementation_version": "1",
            "language_info": dict(self._engine.language_info),
            "banner": "A kernel of the fake gateway",
            "help_links": [],
            "supported_features": ["kernel subshells"] if self._owner.has_subshells else [],
        }

    def _history_reply(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        lines: list[tuple[int, int, Any]] = [
            (1, number, (code, None) if content.get("output") else code) for number, code in enumerate(self._history, 1)
        ]
        if content.get("hist_access_type") == "range":
            start, stop = int(content.get("start") or 0), content.get("stop")
            lines = [line for line in lines if line[1] >= start and (stop is None or line[1] < stop)]
        else:
            count = int(content.get("n") or 0)
            lines = lines[-count:] if count else []
        return {"status": "ok", "history": lines}

    def _take_comm(self, message: Message) -> None:
        content = message.content
        comm_id = str(content.get("comm_id"))
        if message.msg_type == "comm_open":
            target = str(content.get("target_name"))
            opened = self._owner.comm_target(target)
            if opened is None:
                self.publish("comm_close", {"comm_id": comm_id, "data": {}}, message)
                return
            comm = self.comms[comm_id] = FakeComm(self, comm_id, target, partial(self.comms.pop, comm_id, None))
            opened(comm, message)
        elif (known := self.comms.get(comm_id)) is not None:
            if message.msg_type == "comm_close":
                del self.comms[comm_id]
            else:
                known.on_message(known, message)

    # Code ---------------------------------------------------------------------------------------------------------

    async def _execute(self, request: Message, origin: Origin, shell: _Shell) -> None:
        content = request.content
        silent = bool(content.get("silent"))
        self._owner.note_execution(request)
        if not silent:
            self._execution_count += 1
        count = self._execution_count
        cell = Cell(self, request, count, silent=silent, ask=partial(self._ask, request, origin))
        if not silent:
            self.publish("execute_input", {"code": cell.code, "execution_count": count}, request)
        if content.get("store_history", True) and not silent:
            self._history.append(cell.code)
        failure: CellError | None = None
        shell.cell = cell
        try:
            await self._engine.run(cell)
        except CellError as error:
            failure = error
        except Interrupted:
            failure = CellError("KeyboardInterrupt", "", ["KeyboardInterrupt"])
        except CrashedError:
            raise
        except Exception as error:  # noqa: BLE001 - what a script raises is its cell's error
            failure = CellError(type(error).__name__, str(error))
        finally:
            shell.cell = None
        await self._awake.wait()
        if failure is not None:
            told = {"ename": failure.ename, "evalue": failure.evalue, "traceback": failure.traceback}
            if not silent:
                self.publish("error", told, request)
            self._reply_from(shell, request, origin, {"status": "error", "execution_count": count, "payload": [], **told})
            if content.get("stop_on_error", True):
                self._abort_queue(shell)
            return
        wanted = content.get("user_expressions") or {}
        values = {name: dict(self._engine.evaluate(str(expression))) for name, expression in wanted.items()}
        reply = {"status": "ok", "execution_count": count, "user_expressions": values, "payload": list(cell.payload)}
        self._reply_from(shell, request, origin, reply)

    def _reply_from(self, shell: _Shell, request: Message, origin: Origin, content: Mapping[str, Any]) -> None:
        if shell.deleted:
            self.skip_number()  # it is made, and lost
        else:
            self._reply(request, origin, content)

    def _skip(self, request: Message, origin: Origin) -> None:
        self._reply(request, origin, {"status": "aborted", "execution_count": self._execution_count})

    def _abort_queue(self, shell: _Shell) -> None:
        """Drop what waits to be executed there, and what comes for a while: it gets a reply that says so."""
        shell.skips_until = trio.current_time() + self._owner.stop_on_error_timeout
        kept: list[tuple[Message, Origin]] = []
        while True:
            try:
                message, origin = shell.receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            if message.msg_type != "execute_request":
                kept.append((message, origin))
                continue
            self.publish("status", {"execution_state": "busy"}, message)
            self._skip(message, origin)
            self.publish("status", {"execution_state": "idle"}, message)
        for item in kept:
            shell.send.send_nowait(item)
