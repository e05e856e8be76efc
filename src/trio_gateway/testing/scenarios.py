"""What a gateway can do, as short conversations with it: they verify the fake, and tell what any server does.

The one idea: a scenario is an async function of a `Stage`, where it opens the gateway as a user would. It ends well, or it raises
`Absent` where a server lacks what servers may lack, or anything else where something is wrong. The same ones run against the fake
and against real servers, so where the fake differs it is wrong, or the difference has a name.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal, TypeAlias

import attrs
import trio

from .._errors import (
    AuthenticationError,
    ExecutionError,
    GatewayError,
    GatewayHTTPError,
    InvalidInputError,
    KernelCulledError,
    KernelNotFoundError,
    KernelRestartedError,
    KernelSpecNotFoundError,
)
from .._kernel.kernel import Kernel, Subshell
from .._outputs import Stream
from .._protocol.kernel_state import KernelState
from ._stage import Absent, Stage

__all__ = ["SCENARIOS", "Absent", "Finding", "Scenario", "Stage", "run_scenario", "run_scenarios"]

_NOBODY: Final = "00000000-0000-4000-8000-000000000000"


Play: TypeAlias = Callable[[Stage], Awaitable[None]]


@attrs.frozen
class Scenario:
    """A conversation with a gateway."""

    name: str
    """Its name."""
    about: str
    """What it shows, in a sentence."""
    play: Play
    """Plays it."""


SCENARIOS: Final[list[Scenario]] = []
"""All scenarios, in the order in which they build on each other."""


def _scenario(play: Play) -> Play:
    about = (play.__doc__ or "").strip().partition("\n")[0]  # nothing where Python leaves docstrings out (-OO)
    SCENARIOS.append(Scenario(play.__name__.replace("_", " "), about, play))
    return play


# The gateway ----------------------------------------------------------------------------------------------------------


@_scenario
async def version(stage: Stage) -> None:
    """It says its version at `/api`."""
    async with stage.open() as gateway, gateway.http_client() as client:
        answer = await client.get("api")
        if answer.status_code == 404:
            raise Absent("404")
        assert "version" in answer.json(), answer.text


@_scenario
async def wrong_token_is_refused(stage: Stage) -> None:
    """A wrong token is refused with 401 or 403."""
    if not stage.config.auth_token:
        raise Absent("no token is set")
    async with stage.open(auth_token="wrong") as gateway:  # noqa: S106
        try:
            await gateway.kernels.get(_NOBODY)
        except AuthenticationError:
            return
        except KernelNotFoundError:
            pass
        raise Absent("everyone is let in")


@_scenario
async def bearer_token(stage: Stage) -> None:
    """`Authorization: Bearer` is as good as `token`."""
    if not stage.config.auth_token:
        raise Absent("no token is set")
    async with stage.open(auth_scheme="Bearer") as gateway, gateway.http_client() as client:
        answer = await client.get(f"api/kernels/{_NOBODY}")
        if answer.status_code in {401, 403}:
            raise Absent(str(answer.status_code))
        assert answer.status_code in {200, 404}, answer.status_code


@_scenario
async def kernelspecs(stage: Stage) -> None:
    """It lists its kernelspecs."""
    async with stage.open() as gateway:
        try:
            found = await gateway.kernelspecs.list()
        except GatewayHTTPError as error:
            raise Absent(str(error.status_code)) from error
        assert found.kernelspecs


@_scenario
async def unknown_kernelspec(stage: Stage) -> None:
    """A kernelspec that it does not have is named in the error."""
    async with stage.open() as gateway:
        try:
            async with gateway.start_kernel("there-is-no-such-kernelspec"):
                pass
        except KernelSpecNotFoundError:
            return
        except GatewayHTTPError as error:
            raise Absent(f"{error.status_code}: {error.reason}") from error
        raise Absent("it starts one all the same")


@_scenario
async def starting_kernels(stage: Stage) -> None:
    """It starts kernels at `POST /api/kernels`, not only with a session."""
    async with stage.own_kernel():
        if stage.by_sessions_only:
            raise Absent("405: by POST /api/sessions only")


@_scenario
async def listing_kernels(stage: Stage) -> None:
    """It lists its kernels."""
    async with stage.open() as gateway, stage.start(gateway) as kernel:
        try:
            models = await gateway.kernels.list(complete=True)
        except AuthenticationError as error:
            raise Absent(str(error.status_code)) from error
        assert kernel.id in {model.id for model in models}


@_scenario
async def choosing_the_kernel_id(stage: Stage) -> None:
    """A client can choose its kernel's id, and may ask twice."""
    wanted = str(uuid.uuid4())  # those who play this at the same time have others
    async with stage.open() as gateway, gateway.http_client() as client:
        env = {"KERNEL_ID": wanted}
        if gateway.config.kernel_username is not None:
            env["KERNEL_USERNAME"] = gateway.config.kernel_username
        body = {"kernel_id": wanted, "env": env, **({"name": stage.kernel_name} if stage.kernel_name else {})}
        answer = await client.post("api/kernels", json=body)
        if answer.status_code == 405:
            raise Absent("405")
        assert answer.status_code in {200, 201}, f"{answer.status_code} {answer.text[:200]}"
        made = answer.json()["id"]
        try:
            if made != wanted:
                raise Absent("it chooses another")
            again = await client.post("api/kernels", json=body)
            if again.status_code >= 400:
                raise Absent(f"once; asked again it says {again.status_code}")
            assert again.json()["id"] == wanted
        finally:
            with trio.move_on_after(20, shield=True):
                await gateway.kernels.shutdown(made)


@_scenario
async def unknown_kernel(stage: Stage) -> None:
    """A kernel that it does not know is not found, wherever it is named."""
    async with stage.open() as gateway:

        async def attach(kernel_id: str) -> None:
            async with gateway.attach_kernel(kernel_id):
                pass

        found = []
        for ask in (gateway.kernels.get, gateway.kernels.interrupt, gateway.kernels.restart, attach):
            try:
                await ask(_NOBODY)
            except KernelNotFoundError:
                continue
            found.append(ask.__name__)
        if found:
            raise Absent(f"{', '.join(found)}: answered as if it were there")


@_scenario
async def sessions(stage: Stage) -> None:
    """It keeps sessions of documents, and gives and moves them."""
    async with stage.open(max_request_retries=0) as gateway, gateway.http_client() as client:
        document = f"scenario-{uuid.uuid4()}"  # Kernel Gateway answers 500 where a session of that path is there already
        body = {"path": f"{document}.ipynb", "name": "", "type": "notebook", "kernel": {"name": stage.kernel_name or "python3"}}
        made = await client.post("api/sessions", json=body)
        if made.status_code not in {200, 201}:
            raise Absent(f"POST: {made.status_code}")
        url = f"api/sessions/{made.json()['id']}"
        try:
            found = await client.get(url)
            moved = await client.patch(url, json={"path": f"{document}-moved.ipynb"})
            if found.status_code != 200 or moved.status_code != 200:
                raise Absent(f"GET: {found.status_code}, PATCH: {moved.status_code}")
            assert moved.json()["path"] == f"{document}-moved.ipynb"
        finally:
            with trio.move_on_after(20, shield=True):
                await client.delete(url)


# A kernel's life --------------------------------------------------------------------------------------------------------


@_scenario
async def start_and_shutdown(stage: Stage) -> None:
    """A kernel is there while its block lasts, and not afterwards."""
    async with stage.open() as gateway:
        async with stage.start(gateway) as kernel:
            assert (await gateway.kernels.get(kernel.id)).id == kernel.id
            await kernel.kernel_info()
        try:
            await gateway.kernels.get(kernel.id)
        except KernelNotFoundError:
            return
        raise AssertionError("it is there after its block")


@_scenario
async def restart(stage: Stage) -> None:
    """A restarted kernel has forgotten everything and can be used."""
    async with stage.kernel() as kernel:
        await kernel.execute(stage.say.set_x)
        assert "7" in (await kernel.execute(stage.say.get_x)).text
        await kernel.restart()
        assert "7" not in (await kernel.execute(stage.say.get_x)).text
        assert "42" in (await kernel.execute(stage.say.answer)).text


@_scenario
async def death(stage: Stage) -> None:
    """A kernel whose process dies is started again, and a caller who waits learns of it."""
    if not stage.say.die:
        raise Absent("no code is known for it")
    async with stage.own_kernel() as kernel:  # it may stay dead
        with trio.move_on_after(60 * stage.patience) as scope:
            try:
                await kernel.execute(stage.say.die)
            except KernelRestartedError:
                assert "42" in (await kernel.execute(stage.say.answer)).text
                return
            except GatewayError as error:
                raise Absent(type(error).__name__) from error
        if scope.cancelled_caught:
            raise Absent("nobody learns of it within a minute")
        raise AssertionError("it lives")


@_scenario
async def shut_down_by_someone_else(stage: Stage) -> None:
    """A caller learns that someone else shut the kernel down, or hears what it says to the interrupt before that."""
    async with stage.open() as gateway, stage.start(gateway) as kernel, stage.open() as other:
        with trio.move_on_after(60 * stage.patience) as scope:
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with suppress(KernelCulledError):
                        result = await kernel.execute(stage.say.sleep)
                        assert result.status != "ok", "the code came to its end"
                    await kernel.wait_for(KernelState.CULLED)

                nursery.start_soon(wait)
                await trio.sleep(1)
                await other.kernels.shutdown(kernel.id)
        if scope.cancelled_caught:
            raise Absent("nobody learns of it within a minute")


@_scenario
async def interrupt(stage: Stage) -> None:
    """Cancelling an execution interrupts it, and the kernel goes on."""
    async with stage.kernel() as kernel:
        before = trio.current_time()
        with trio.move_on_after(1):
            await kernel.execute(stage.say.sleep)
        assert "42" in (await kernel.execute(stage.say.answer)).text
        assert trio.current_time() - before < 30  # half of what the code takes


# Code -------------------------------------------------------------------------------------------------------------------


@_scenario
async def execute(stage: Stage) -> None:
    """Code gives its value."""
    async with stage.kernel() as kernel:
        result = await kernel.execute(stage.say.answer)
        assert result.status == "ok"
        assert "42" in result.text
        assert result.output_gaps == ()


@_scenario
async def streams(stage: Stage) -> None:
    """What code prints comes on the stream where it was printed."""
    async with stage.kernel() as kernel:
        result = await kernel.execute(stage.say.both_streams)
        found = {output.name: output.text.strip() for output in result.outputs if isinstance(output, Stream)}
        if found.get("stderr") != "err":
            raise Absent("both on stdout")
        assert found == {"stdout": "out", "stderr": "err"}


@_scenario
async def errors(stage: Stage) -> None:
    """Code that fails says so, and the kernel goes on."""
    async with stage.kernel() as kernel:
        result = await kernel.execute(stage.say.fail)
        assert result.status == "error"
        try:
            result.raise_for_error()
        except ExecutionError:
            pass
        else:
            raise AssertionError("no error")
        assert "42" in (await kernel.execute(stage.say.answer)).text


@_scenario
async def silence(stage: Stage) -> None:
    """A silent execution publishes nothing."""
    async with stage.kernel() as kernel:
        result = await kernel.execute(stage.say.answer, silent=True)
        if result.outputs:
            raise Absent("it publishes all the same")


@_scenario
async def asking_for_input(stage: Stage) -> None:
    """Code can ask for input."""
    if not stage.say.ask:
        raise Absent("no code is known for it")
    async with stage.kernel() as kernel:
        with trio.fail_after(30 * stage.patience):
            result = await kernel.execute(stage.say.ask, stdin=lambda prompt, _password: prompt.strip() + " me")
        assert "name? me" in result.text, result


@_scenario
async def input_that_nobody_gives(stage: Stage) -> None:
    """Code that asks where nobody answers fails; it does not hang."""
    if not stage.say.ask:
        raise Absent("no code is known for it")
    async with stage.kernel() as kernel:
        with trio.fail_after(30 * stage.patience):
            assert (await kernel.execute(stage.say.ask)).status == "error"


@_scenario
async def a_large_message(stage: Stage) -> None:
    """Three million characters at once arrive, or a gap says that they are lost."""
    async with stage.kernel() as kernel:
        result = await kernel.execute(stage.say.large)
        if result.output_gaps:
            raise Absent(", ".join(gap.kind for gap in result.output_gaps))
        assert "x" * 1000 in result.text


@_scenario
async def no_rate_limit(stage: Stage) -> None:
    """Six thousand lines at once arrive; where a server drops some, a gap counts them."""
    async with stage.kernel() as kernel:
        with trio.fail_after(100 * stage.patience):
            result = await kernel.execute(stage.say.many)
        lines = [line for line in result.text.splitlines() if line.isdecimal()]
        if result.output_gaps:
            raise Absent("not tried to the end" if len(lines) == 6000 else "it drops some, and says so")
        assert len(lines) == 6000


# Requests ---------------------------------------------------------------------------------------------------------------


def _request(
    name: str, ask: Callable[[Kernel], Awaitable[Mapping[str, Any]]], check: Callable[[Mapping[str, Any]], bool]
) -> None:
    async def play(stage: Stage) -> None:
        async with stage.kernel() as kernel:
            answer: Mapping[str, Any] | None = None
            with trio.move_on_after(15 * stage.patience):
                pause = 0.25
                while True:
                    answer = await ask(kernel)
                    if answer.get("status") == "error":
                        raise Absent(str(answer.get("evalue") or "an error"))
                    if check(answer):
                        return
                    if pause > 2 * stage.patience:
                        break
                    await trio.sleep(pause)  # IPython completes with what it has found in its time: at first, and busy, not all
                    pause *= 2
            if answer is not None:
                raise Absent("an answer without what was asked for")
            raise Absent("no answer")

    play.__name__ = name
    play.__doc__ = f"The kernel answers a `{name}_request`."
    _scenario(play)


_request(
    "complete", lambda kernel: kernel.complete("prin"), lambda answer: any("print" in str(each) for each in answer["matches"])
)
_request("inspect", lambda kernel: kernel.inspect("print"), lambda answer: bool(answer["found"]))
_request("is_complete", lambda kernel: kernel.is_complete("x"), lambda answer: answer["status"] == "complete")
_request("history", lambda kernel: kernel.history(), lambda answer: isinstance(answer["history"], Sequence))
_request("comm_info", lambda kernel: kernel.comm_info(), lambda answer: "comms" in answer)
_request("debug", lambda kernel: kernel.debug("debugInfo"), lambda answer: bool(answer.get("success", True)))


@_scenario
async def subshells(stage: Stage) -> None:
    """Code can run beside code in the same kernel (JEP 91)."""
    async with stage.kernel() as kernel, _subshell(kernel) as subshell:
        assert "42" in (await subshell.execute(stage.say.answer)).text


@asynccontextmanager
async def _subshell(kernel: Kernel) -> AsyncGenerator[Subshell]:
    try:
        async with kernel.subshell() as subshell:
            yield subshell
    except InvalidInputError as error:
        raise Absent("the kernel offers none") from error


@_scenario
async def subshells_at_a_time(stage: Stage) -> None:
    """Code in two subshells and in the main shell runs at the same time."""
    async with stage.kernel() as kernel, _subshell(kernel) as first, _subshell(kernel) as second:
        if not stage.say.go:
            raise Absent("no code is known for it")
        with trio.fail_after(60 * stage.patience):
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    if (await first.execute(stage.say.until_go)).status != "ok":
                        raise Absent("one after the other")

                nursery.start_soon(wait)
                assert "42" in (await kernel.execute(stage.say.answer)).text
                await second.execute(stage.say.go)


@_scenario
async def listing_subshells(stage: Stage) -> None:
    """The kernel says which subshells it has, until they are deleted."""
    async with stage.kernel() as kernel:

        async def ask(kind: str, **content: str) -> Mapping[str, Any]:
            async with kernel.control.subscribe() as messages:
                request = await kernel.control.send(kind, content)
                with trio.fail_after(30 * stage.patience):
                    while (message := await messages.receive()).parent_id != request.msg_id:
                        pass
                return message.content

        async with _subshell(kernel) as first, _subshell(kernel) as second:
            made = {first.id, second.id}
            if not made <= set((await ask("list_subshell_request"))["subshell_id"]):
                raise Absent("it does not list them")
        if made & set((await ask("list_subshell_request"))["subshell_id"]):
            raise Absent("it lists those that were deleted")
        if (await ask("delete_subshell_request", subshell_id=first.id))["status"] != "error":
            raise Absent("it deletes what it has not")


# Connections ------------------------------------------------------------------------------------------------------------


@_scenario
async def two_clients(stage: Stage) -> None:
    """What one client runs, another hears."""
    async with stage.kernel() as kernel, stage.open() as gateway:
        async with gateway.attach_kernel(kernel.id) as other, other.iopub.subscribe() as messages:
            # A gateway may answer the handshake before it listens to the kernel for this client, and lose what comes until then
            # (jupyter_server 2.21: 20 to 65 ms, `nudge`). It takes no request before: a client that was answered is heard.
            await other.kernel_info()
            await kernel.execute(stage.say.answer)
            with trio.move_on_after(15 * stage.patience):
                async for message in messages:
                    if message.parent_session == kernel.session_id and message.msg_type != "status":
                        return
            raise Absent("it hears nothing")


@_scenario
async def numbered_messages(stage: Stage) -> None:
    """The kernel numbers its messages, so what is lost can be counted."""
    async with stage.kernel() as kernel, kernel.iopub.subscribe() as messages:
        await kernel.execute(stage.say.answer)
        async for message in messages:
            if message.msg_type == "execute_input":
                numbered = re.fullmatch(r".+_\d+", message.msg_id) and message.msg_id.startswith(message.header.session)
                if not numbered:
                    raise Absent(f"such as {message.msg_id}")
                return


@_scenario
async def replay(stage: Stage) -> None:
    """After a cut, the same session hears what it has missed; a gap says what was lost."""
    async with stage.own_kernel(gateway_retry_interval=0.2) as kernel:
        with trio.fail_after(60 * stage.patience):
            async with kernel.stream(stage.say.lines) as outputs:
                text = ""
                try:
                    async for output in outputs:
                        assert isinstance(output, Stream)
                        text += output.text
                        if output.text.endswith("\n") and text.count("\n") == 3:  # a line may come in pieces
                            stage.cut()
                except GatewayError as error:
                    raise Absent(type(error).__name__) from error
                whole = text.split() == [str(number) for number in range(10)]
                assert whole or outputs.result.output_gaps, f"lost in silence: {text!r}"
                if not whole and text.count("\n") < 8:
                    raise Absent(f"{10 - text.count(chr(10))} of 10 lines are lost, and a gap says so")


# Running them -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Finding:
    """What a scenario found."""

    scenario: Scenario
    """The scenario."""
    outcome: Literal["yes", "no", "failed"]
    """`"yes"`: as it should be; `"no"`: the server lacks it; `"failed"`: something is wrong."""
    detail: str = ""
    """What it does instead, or what is wrong."""
    seconds: float = 0.0
    """How long it took."""


async def run_scenario(scenario: Scenario, stage: Stage, *, limit: float = 120.0) -> Finding:
    """Play a scenario and say how it ended. Raises nothing.

    Args:
        scenario: the scenario.
        stage: where it plays.
        limit: how long it may take, in seconds.
    """
    began = trio.current_time()

    def found(outcome: Literal["yes", "no", "failed"], detail: str = "") -> Finding:
        return Finding(scenario, outcome, detail, trio.current_time() - began)

    if not __debug__:  # type: ignore[unreachable, unused-ignore]
        return found("failed", "Python leaves out what a scenario checks: run it without -O and PYTHONOPTIMIZE")
    try:
        with trio.move_on_after(limit) as scope:
            await scenario.play(stage)
    except Absent as absent:
        return found("no", str(absent))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        return found("no", str(error)) if isinstance(error, Absent) else found("failed", f"{type(error).__name__}: {error}")
    return found("failed", f"no end after {limit:g} s") if scope.cancelled_caught else found("yes")


async def run_scenarios(stage: Stage, report: Callable[[Finding], Awaitable[object]] | None = None) -> list[Finding]:
    """Play all scenarios, one after the other.

    Args:
        stage: where they play.
        report: called with each finding, as soon as it is there.
    """
    findings = []
    async with stage.sharing():
        for scenario in SCENARIOS:
            finding = await run_scenario(scenario, stage)
            findings.append(finding)
            if report is not None:
                await report(finding)
    return findings
