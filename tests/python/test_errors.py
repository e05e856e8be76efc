"""The errors of values and calls: their words, their fields, and that they can be copied."""

from __future__ import annotations

import copy
import pickle

import pytest

from trio_gateway import GatewayError
from trio_gateway.python import FileAccessError, RemoteError, TransferError, ValueNotCarriedError, ValueTooLargeError

SAMPLES = [
    (
        ValueNotCarriedError("frame['when'][3]", "it is a lock"),
        "frame['when'][3]: it is a lock",
        {"place": "frame['when'][3]", "reason": "it is a lock"},
    ),
    (
        TransferError("weights", 5, 9, "the line went"),
        "weights: 5 of 9 bytes came through, then the line went",
        {"what": "weights", "done": 5, "total": 9, "reason": "the line went"},
    ),
    (TransferError("an item", 0, 0, "it is closed"), "an item: it is closed", {"done": 0, "total": 0}),
    (
        ValueTooLargeError("frame", 10, 9),
        "frame: it has 10 bytes, and max_bytes allows 9",
        {"what": "frame", "size": 10, "max_bytes": 9},
    ),
    (
        FileAccessError("a.csv", "kernel", "full", "No space left on device"),
        "a.csv in the kernel: No space left on device",
        {"path": "a.csv", "side": "kernel", "kind": "full", "reason": "No space left on device"},
    ),
    (FileAccessError("a.csv", "here", "busy", "x"), "a.csv here: x", {"side": "here"}),
    (
        RemoteError("app.Wrong", "so", ["a\n", "b\n"], ["n"]),
        "app.Wrong: so",
        {"type_name": "app.Wrong", "text": "so", "traceback": ("a\n", "b\n"), "notes": ("n",)},
    ),
    (RemoteError("KeyboardInterrupt", ""), "KeyboardInterrupt", {"traceback": (), "notes": ()}),
]


@pytest.mark.parametrize(("error", "text", "fields"), SAMPLES)
def test_words_and_fields(error: GatewayError, text: str, fields: dict[str, object]) -> None:
    assert str(error) == text
    for again in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert fields.items() <= vars(again).items()
        assert str(again) == text
