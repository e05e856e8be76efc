"""Fuzz the two decoders of kernel messages with atheris: `nox -s fuzz`, which gives them five minutes.

Whatever comes, a frame is a message or a ProtocolError; and a message can be looked at, encoded in both framings, and read again.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trio_gateway._protocol"]):
    from trio_gateway._errors import ProtocolError
    from trio_gateway._protocol import codec

SEEDS = (
    b"\x00" + b'{"channel":"iopub","header":{"msg_id":"a","msg_type":"status"},"content":{"execution_state":"busy"}}',
    b"\x01" + b"\x00\x00\x00\x02\x00\x00\x00\x0c\x00\x00\x00\x32" + b'{"header":{"msg_id":"","msg_type":""}}' + b"\xff",
    b"\x02"
    + b"".join(number.to_bytes(8, "little") for number in (6, 56, 61, 90, 92, 94, 96))
    + b'shell{"msg_id":"a","msg_type":"b"}{}{}{}',
)


def decode(data: bytes) -> None:
    """Decode as the first byte says: text, legacy binary, or v1."""
    kind, frame = data[:1], data[1:]
    with suppress(ProtocolError):
        if kind == b"\x00":
            message = codec.decode(frame.decode("utf-8", "surrogateescape"), v1=False)
        else:
            message = codec.decode(frame, v1=kind == b"\x02")
        _ = (message.content, message.metadata, message.parent_header, message.parent_id, repr(message))
        again = codec.decode(codec.encode_v1(message), v1=True)
        assert again.content == message.content
        legacy = codec.decode(codec.encode_legacy(message), v1=False)
        assert [bytes(buffer) for buffer in legacy.buffers] == [bytes(buffer) for buffer in message.buffers]


def main() -> None:
    # The fuzzer begins with these: whole messages are hard to guess.
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS):
            decode(seed)
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], decode)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
