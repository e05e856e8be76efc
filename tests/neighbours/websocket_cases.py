"""The Autobahn test suite against both client engines and the proxy's server side: `nox -s autobahn`.

The one idea: its cases are the field's word on what a WebSocket may and must do. They are Python 2; they come from the suite's
source distribution, are made to run on Python 3 in a folder of this session's, and stay out of this repository. A case that is
neither "OK" nor "INFORMATIONAL" has a row in docs/security.md with its reason, or is a fault of ours.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tarfile
import warnings
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h11
import trio

from trio_gateway._protocol.websocket import upgrade_request
from trio_gateway._transport.connector import connect_tcp
from trio_gateway._transport.websocket.engine import WebSocket, WebSocketClosed, WebSocketOptions
from trio_gateway._transport.websocket.opening import open_websocket
from trio_gateway.proxy._websocket import Pinger, ServerWebSocket

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "security.md"
SUITE = "autobahntestsuite==25.10.1"

ENGINES = ("fast", "trio-websocket")
PROXY = "proxy"
LARGEST = 64 * 1024 * 1024
AT_ONCE = 2
"""So many cases of one engine at a time: the suite's limits are a second for most cases."""
CASE_SECONDS = 300.0
"""A case that takes longer hangs."""
GOOD = {"OK", "INFORMATIONAL"}

# Making it run ---------------------------------------------------------------------------------------------------------------

FIXERS = (
    *(
        "basestring",
        "dict",
        "except",
        "exec",
        "filter",
        "has_key",
        "import",
        "long",
        "map",
        "ne",
        "numliterals",
        "print",
        "raise",
    ),
    *("repr", "tuple_params", "unicode", "xrange", "zip"),
)
CHANGES = [
    (r"(?m)^#.*coding[:=].*$", "#"),
    (r"import os, json, binascii, time", "from autobahntestsuite import latin as binascii\nimport os, json, time"),
    (r"\bimport binascii\b", "from autobahntestsuite import latin as binascii"),
    (r"from autobahn\.websocket\.utf8validator import", "from autobahntestsuite.latin import"),
    (r"from zope\.interface import implements|^   implements\(.*$", ""),
    (r"\(object, Case, \)", "(Case, )"),
    (r"len\(self\.payload\) / self", "len(self.payload) // self"),
]
LATIN = '''
"""What stands for bytes is text here, a character for each."""

import binascii

from autobahn.websocket import utf8validator


def b2a_hex(data):
    return binascii.b2a_hex(data.encode("latin-1") if isinstance(data, str) else data).decode("ascii")


class Utf8Validator(utf8validator.Utf8Validator):
    def validate(self, data):
        return super().validate(data.encode("latin-1") if isinstance(data, str) else data)
'''


def port(folder: Path) -> None:
    """Make the suite's package, which is Python 2, one that Python 3 runs.

    Its files are read a character for each byte: so each literal keeps the bytes that it had.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from lib2to3.refactor import RefactoringTool
    tool = RefactoringTool([f"lib2to3.fixes.fix_{name}" for name in FIXERS])
    for path in [*(folder / name for name in ("fuzzing.py", "caseset.py", "report.py")), *folder.glob("case/*.py")]:
        source = path.read_bytes().decode("latin-1").replace("\r\n", "\n").expandtabs(3) + "\n"
        for pattern, instead in CHANGES:
            source = re.sub(pattern, instead, source, flags=re.MULTILINE)
        path.write_text(str(tool.refactor_string(source, str(path))), "utf-8")
    (folder / "latin.py").write_text(LATIN)
    (folder / "__init__.py").write_text("from ._version import __version__\n\nversion = __version__\n")


def unpack(cache: Path) -> Path:
    """Get the suite, and return the folder to import it from."""
    place = cache / SUITE.replace("==", "-")
    if not (place / "autobahntestsuite" / "latin.py").exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation", "--dest", str(cache)]
        subprocess.run([*command, SUITE], check=True)
        with tarfile.open(cache / f"{place.name}.tar.gz") as file:
            file.extractall(cache, filter="data")
        port(place / "autobahntestsuite")
    return place


# Playing it ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def fuzzer(place: Path, role: str, url: str, *cases: str) -> AsyncGenerator[trio.abc.ReceiveStream]:
    """Run one of the suite's programs; give what it prints."""
    command = [sys.executable, "-W", "ignore", str(HERE / "websocket_fuzzing.py"), role, url, *cases]
    run = partial(trio.run_process, command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(place)}, check=False)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


async def lines_of(stream: trio.abc.ReceiveStream) -> AsyncGenerator[list[Any]]:
    """Give what a program prints in JSON, line by line."""
    rest = b""
    while data := await stream.receive_some():
        *lines, rest = (rest + bytes(data)).split(b"\n")
        for line in lines:
            if line.startswith(b"["):
                yield json.loads(line)


async def echo(websocket: WebSocket | ServerWebSocket) -> None:
    """Send each message back, until the connection ends."""
    try:
        while True:
            for message in await websocket.receive():
                await websocket.send([message] if isinstance(websocket, ServerWebSocket) else message)
    except WebSocketClosed:
        pass


async def play_client(url: str, engine: str, case: str, limit: trio.CapacityLimiter) -> None:
    """Have the fuzzing server play a case with one of our engines."""
    options = WebSocketOptions(max_message_size=LARGEST, connect_timeout=20, handshake_timeout=20, engine=engine)
    url = f"{url}/runCase?casetuple={case}&agent={engine}"
    opening = partial(open_websocket, connector=connect_tcp, ssl_context=None, headers=(), subprotocols=(), options=options)
    async with limit:
        with trio.move_on_after(CASE_SECONDS) as scope:
            async with opening(url) as websocket:
                await echo(websocket)
    if scope.cancelled_caught:
        print(f"{engine}: {case} hangs")


async def serve_proxys_side(stream: trio.SocketStream, pinger: Pinger) -> None:
    """Send messages back over the proxy's side of a WebSocket."""
    http = h11.Connection(h11.SERVER)
    while (request := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some()))
    assert isinstance(request, h11.Request)
    upgrade = upgrade_request(request, http.trailing_data[0])
    assert upgrade is not None
    websocket = ServerWebSocket(stream, upgrade, max_message_size=LARGEST, pinger=pinger)
    await websocket.accept(None)
    await echo(websocket)
    await websocket.close(1000, "", 2.0)
    await stream.aclose()


Outcomes = dict[tuple[str, str], tuple[str, str, str]]
"""By agent and case: its behavior, how it closed, and why."""


async def play(place: Path, outcomes: Outcomes, known: set[tuple[str, str]]) -> None:
    """Play all cases with all of ours; those that went wrong once more, alone, since limits are short."""

    def note(line: Sequence[str]) -> str:
        _, agent, case, behavior, closing, why = line
        outcomes[agent, case] = (behavior, closing, why)
        print(f"\r{len(outcomes)} cases", end="", flush=True)
        return case

    async def client(engine: str) -> None:
        async with fuzzer(place, "server", "ws://127.0.0.1:0") as printed:
            lines = lines_of(printed)
            port, cases = 0, list[str]()
            async for line in lines:
                if line[0] == "listening":
                    _, port, cases = line
                    break
            limit = trio.CapacityLimiter(AT_ONCE)
            wanted = set(cases)
            async with trio.open_nursery() as nursery:
                for case in cases:
                    nursery.start_soon(play_client, f"ws://127.0.0.1:{port}", engine, case, limit)
                while wanted and (line := await anext(lines)):
                    if line[0] == "case":
                        wanted.discard(note(line))
            for case in cases:
                if is_fine(outcomes, engine, case, known):
                    continue
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(play_client, f"ws://127.0.0.1:{port}", engine, case, limit)
                    while (line := await anext(lines))[0] != "case":
                        pass
                note(line)

    async def server() -> None:
        async with trio.open_nursery() as nursery:
            pinger = Pinger(nursery, 1000)
            nursery.start_soon(pinger.run)
            listeners: list[trio.SocketListener] = await nursery.start(
                partial(trio.serve_tcp, partial(serve_proxys_side, pinger=pinger), 0, host="127.0.0.1")
            )
            url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            again: list[str] = []
            for cases in ([], again):
                if cases is again:
                    again += [case for name, case in outcomes if name == PROXY and not is_fine(outcomes, PROXY, case, known)]
                    if not again:
                        break
                async with fuzzer(place, "client", url, *cases) as printed:
                    async for line in lines_of(printed):
                        if line[0] == "case":
                            note(line)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(server)
        for engine in ENGINES:
            nursery.start_soon(client, engine)
    print()


def is_fine(outcomes: Outcomes, agent: str, case: str, known: set[tuple[str, str]]) -> bool:
    """Say whether a case went as it should, or as the page says."""
    behavior, closing, _ = outcomes[agent, case]
    return closing in GOOD and (behavior in GOOD or (behavior == "NON-STRICT" and (agent, case) in known))


def documented() -> set[tuple[str, str]]:
    """Return the cases that have a row on the page, with whose they are."""
    section = PAGE.read_text("utf-8").partition("## WebSocket conformance\n")[2].partition("\n## ")[0]
    found: set[tuple[str, str]] = set()
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and re.match(r"\d", cells[0]):
            found |= {(agent.strip(), case.strip()) for case in cells[0].split(",") for agent in cells[1].split(",")}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, required=True, help="a folder for the suite")
    cache: Path = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    outcomes: Outcomes = {}
    known = documented()
    trio.run(play, unpack(cache), outcomes, known)
    wrong = 0
    for agent in (*ENGINES, PROXY):
        mine = {case: outcome for (name, case), outcome in outcomes.items() if name == agent}
        print(f"{agent}: {dict(Counter(behavior for behavior, _, _ in mine.values()))}")
        for case, (behavior, closing, why) in mine.items():
            fine = is_fine(outcomes, agent, case, known)
            wrong += not fine
            if not fine or behavior not in GOOD:
                print(f"  {'documented' if fine else 'WRONG'}: {case} {behavior}, closing {closing}: {why}")
    print(f"{len(outcomes)} cases, {wrong} wrong")
    return 1 if wrong or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
