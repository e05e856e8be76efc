"""The Autobahn test suite's fuzzing server and client, as `websocket_cases.py` makes them run on Python 3: with Twisted.

The one idea: inside its cases text stands for bytes, a character for each, as Python 2 had it; here is the border to a WebSocket
library that knows the difference. It prints a line of JSON for each case: ["case", agent, case, behavior, behaviorClose, result].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import txaio

txaio.use_twisted()

from autobahn.twisted.websocket import connectWS, listenWS  # noqa: E402 - the framework is chosen first
from autobahntestsuite import fuzzing  # noqa: E402
from autobahntestsuite.case import Case, Cases  # noqa: E402
from twisted.internet import reactor  # noqa: E402

NOT_SPOKEN = ["12.*", "13.*"]
"""Compression is an extension, of which we speak none."""


def raw(data: Any) -> Any:
    """Make bytes of text."""
    return data.encode("latin-1") if isinstance(data, str) else data


def text(data: Any) -> Any:
    """Make text of bytes, also within lists."""
    if isinstance(data, (list, tuple)):
        return [text(item) for item in data]
    return data.decode("latin-1") if isinstance(data, (bytes, bytearray)) else data


Case.compare = lambda self, one, other: text(one) == text(other)


class Border:
    """Makes bytes of what a case sends, and text of what comes for it."""

    runCase: Any
    sendPong: Callable[[bytes], None]
    rxFrameStats: dict[int, int]
    txFrameStats: dict[int, int]

    def sendFrame(self, opcode: int, payload: Any = b"", **options: Any) -> None:
        payload = raw(payload)
        length = options.pop("payload_len", None)
        if length is not None:
            payload = (payload * (length // len(payload) + 1))[:length]
        super().sendFrame(opcode, payload, **options)

    def sendMessage(self, payload: Any, *args: Any, **options: Any) -> None:
        super().sendMessage(raw(payload), *args, **options)

    def sendMessageFrameData(self, payload: Any, *args: Any, **options: Any) -> Any:
        return super().sendMessageFrameData(raw(payload), *args, **options)

    def sendCloseFrame(self, code: Any = None, reasonUtf8: Any = None, **options: Any) -> None:
        super().sendCloseFrame(code=code, reasonUtf8=raw(reasonUtf8), **options)

    def onMessage(self, payload: bytes, binary: bool) -> None:
        super().onMessage(text(payload), binary)

    def onPing(self, payload: bytes) -> None:
        if self.runCase:
            self.runCase.onPing(text(payload))
        self.sendPong(payload)

    def onPong(self, payload: bytes) -> None:
        super().onPong(text(payload))

    # No log of the wire is made; a case looks at how many frames there were.

    def logRxOctets(self, data: bytes) -> None:
        pass

    def logTxOctets(self, data: bytes, sync: bool) -> None:
        pass

    def logRxFrame(self, header: Any, payload: Any) -> None:
        self.rxFrameStats[header.opcode] = self.rxFrameStats.get(header.opcode, 0) + 1

    def logTxFrame(self, header: Any, *rest: Any) -> None:
        self.txFrameStats[header.opcode] = self.txFrameStats.get(header.opcode, 0) + 1


class Results:
    """Prints what came of each case, in place of reports."""

    def logCase(self, result: dict[str, Any]) -> None:
        named = ("agent", "id", "behavior", "behaviorClose", "result")
        print(json.dumps(["case", *(result[name] for name in named)]), flush=True)

    def createReports(self, *args: Any, **options: Any) -> None:
        pass


class ServerProtocol(Border, fuzzing.FuzzingServerProtocol):
    pass


class ServerFactory(Results, fuzzing.FuzzingServerFactory):
    protocol = ServerProtocol


class ClientProtocol(Border, fuzzing.FuzzingClientProtocol):
    pass


class ClientFactory(Results, fuzzing.FuzzingClientFactory):
    def buildProtocol(self, address: Any) -> ClientProtocol:
        protocol = ClientProtocol()
        protocol.factory = self
        protocol.caseAgent, protocol.case = self.agent, self.currentCaseIndex
        protocol.Case = Cases[self.currentCaseIndex - 1]
        protocol.runCase = protocol.Case(protocol)
        return protocol


def main(role: str, url: str, *cases: str) -> None:
    """Fuzz each client that connects to `url`, or the server that listens there, with some cases or with all."""
    common = {"cases": list(cases) or ["*"], "exclude-cases": NOT_SPOKEN, "outdir": "."}
    if role == "server":
        factory = ServerFactory({"url": url, **common})
        port = listenWS(factory)
        print(json.dumps(["listening", port.getHost().port, factory.specCases]), flush=True)
    else:
        fuzzing.connectWS = lambda factory, **_: connectWS(factory)  # without a context for TLS
        ClientFactory({"servers": [{"agent": "proxy", "url": url}], **common})
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
