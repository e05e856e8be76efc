"""One machine for both roles: every rule of the handshake and of the end is tried on a client and on a server, from one list.

The other end is another implementation's (wsproto), of the other role; what it would never send is written by hand.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, Final

import h11
import pytest
import wsproto
import wsproto.events as wire
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection

from trio_gateway._protocol.frames import BINARY, CLOSE, PING, PONG, TEXT, CutMessage, frame_head, no_mask, small_frame, xor_mask
from trio_gateway._protocol.websocket import (
    Accepted,
    ClientHandshake,
    HungUp,
    Nonsense,
    Refused,
    Role,
    UpgradeRequest,
    WebSocketConnection,
    accept_bytes,
    refusal_bytes,
    upgrade_request,
)

CLIENT, SERVER = Role.CLIENT, Role.SERVER
LIMIT: Final = 1_000_000
KEY: Final = b"\x01\x80\xfe\x00"
NONCE: Final = b"0123456789abcdef"


@pytest.fixture(params=Role, ids=lambda role: role.value)
def role(request: pytest.FixtureRequest) -> Role:
    """Each role."""
    found: Role = request.param
    return found


def other(role: Role) -> Role:
    return SERVER if role is CLIENT else CLIENT


def numbers(count: int) -> bytes:
    """Stand in for chance: the same in each run, and no key is as the one before."""
    return bytes(itertools.islice(itertools.cycle(range(1, 252)), count))


def made(role: Role, limit: int = LIMIT) -> WebSocketConnection:
    """A machine behind its handshake."""
    connection = WebSocketConnection(role, limit, xor_mask, numbers)
    connection.open()
    return connection


def frame(role: Role, kind: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as the other end of a role sends it."""
    data = small_frame(kind, payload, KEY, xor_mask) if role is SERVER else small_frame(kind, payload, b"", no_mask)
    return data if fin else bytes([data[0] & 0x7F]) + data[1:]


class Pair:
    """A machine of ours, and its other end."""

    def __init__(self, role: Role, limit: int = LIMIT) -> None:
        self.ours = made(role, limit)
        kind = wsproto.ConnectionType.CLIENT if role is SERVER else wsproto.ConnectionType.SERVER
        self._theirs = Connection(kind)

    def hear(self, *events: wire.Event) -> list[bytes | str]:
        """Have the other end say something; return the messages that we find in it."""
        return self.ours.receive(b"".join([self._theirs.send(event) for event in events]))

    def say(self, *pieces: Any) -> list[wire.Event]:
        """Say something; return what the other end finds in it."""
        self._theirs.receive_data(b"".join(pieces))
        return list(self._theirs.events())

    def say_owed(self) -> list[wire.Event]:
        """Say what we owe."""
        owed = self.ours.take_owed()
        return [] if owed is None else self.say(owed)


# The handshake ------------------------------------------------------------------------------------------------------

BOTH = (CLIENT, SERVER)
HANDSHAKES: dict[str, tuple[Sequence[Role], dict[str, str | None], bool]] = {
    "as the RFC has it": (BOTH, {}, True),
    "in other letters": (BOTH, {"UPGRADE": "WebSocket", "Connection": "UPGRADE"}, True),
    "with another word": (BOTH, {"Connection": "keep-alive, Upgrade"}, True),
    "with another line of words before": (BOTH, {"Connection": "keep-alive\r\nConnection: Upgrade"}, True),
    "with another line of words behind": (BOTH, {"Connection": "Upgrade\r\nConnection: keep-alive"}, True),
    "with two lines of other words": (BOTH, {"Connection": "keep-alive\r\nConnection: close"}, False),
    "with blanks around the key": (BOTH, {"key": " {} "}, True),
    "with a header of somebody's": (BOTH, {"X-A": "\xe4"}, True),
    "without Upgrade": (BOTH, {"Upgrade": None}, False),
    "without Connection": (BOTH, {"Connection": None}, False),
    "to another protocol": (BOTH, {"Upgrade": "h2c"}, False),
    "to almost the protocol": (BOTH, {"Upgrade": "websocket2"}, False),
    "of a connection that ends": (BOTH, {"Connection": "close"}, False),
    "without the key": (BOTH, {"key": None}, False),
    "with a key that is none": (BOTH, {"key": "short"}, False),
    "with a key that is almost one": (BOTH, {"key": "{}A"}, False),
    "with nothing of HTTP": (BOTH, {"start": "nonsense"}, False),
    "of a version that there is not": (BOTH, {"start": "GET / HTTP/9.9"}, False),
    "with a header that is none": (BOTH, {"a b": "c"}, False),
    "with one of the subprotocols": (BOTH, {"Sec-WebSocket-Protocol": "b"}, True),
    "with a subprotocol that was not offered": ((CLIENT,), {"Sec-WebSocket-Protocol": "c"}, False),
    "with an extension that was not offered": ((CLIENT,), {"Sec-WebSocket-Extensions": "permessage-deflate"}, False),
    "with an extension that is none": ((CLIENT,), {"Sec-WebSocket-Extensions": " "}, True),
    "with an extension that nobody has to take": ((SERVER,), {"Sec-WebSocket-Extensions": "permessage-deflate"}, True),
    "of an older version": ((SERVER,), {"Sec-WebSocket-Version": "8"}, False),
    "of no version": ((SERVER,), {"Sec-WebSocket-Version": None}, False),
    "by POST": ((SERVER,), {"start": "POST /a?b=c HTTP/1.1"}, False),
    "in HTTP/1.0": ((SERVER,), {"start": "GET /a?b=c HTTP/1.0"}, False),
    "with a body": ((SERVER,), {"Content-Length": "5"}, False),
    "with a body of nothing": ((SERVER,), {"Content-Length": "0"}, True),
    "with a body in chunks": ((SERVER,), {"Transfer-Encoding": "chunked"}, False),
}


def proof_of(nonce: bytes) -> str:
    key = base64.b64encode(nonce)
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def head(role: Role, changes: dict[str, str | None]) -> bytes:
    """The head that the other end of a role sends, with some changes."""
    changes = dict(changes)
    if role is SERVER:
        lines: dict[str, str | None] = {"Host": "x", "Sec-WebSocket-Version": "13"}
        start, name, key = "GET /a?b=c HTTP/1.1", "Sec-WebSocket-Key", base64.b64encode(NONCE).decode()
    else:
        lines = {}
        start, name, key = "HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept", proof_of(NONCE)
    start = changes.pop("start", None) or start
    told = changes.pop("key", "{}")
    lines |= {"Upgrade": "websocket", "Connection": "Upgrade", name: None if told is None else told.format(key)}
    for changed, value in changes.items():
        for known in [known for known in lines if known.lower() == changed.lower()]:
            del lines[known]
        lines[changed] = value
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{start}\r\n{text}\r\n".encode("latin-1")


def parse_upgrade(data: bytes) -> UpgradeRequest | None:
    """Parse what a client sends as a server does that has h11 for its requests."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(data)
    try:
        request = http.next_event()
    except h11.RemoteProtocolError:
        return None
    return upgrade_request(request, http.trailing_data[0]) if isinstance(request, h11.Request) else None


def shaken(role: Role, data: bytes) -> Accepted | UpgradeRequest | None:
    """Give a head, and what comes behind it, to one side; return what it makes of it, None where it is no handshake."""
    if role is SERVER:
        return parse_upgrade(data)
    handshake = ClientHandshake(NONCE, ["a", "b"])
    assert handshake.request("x", "/", ()) is not None
    answer = handshake.receive(data)
    assert isinstance(answer, (Accepted, Nonsense))
    return answer if isinstance(answer, Accepted) else None


@pytest.mark.parametrize(
    ("role", "changes", "right"),
    [
        pytest.param(role, changes, right, id=f"{name}, as a {role.value}")
        for name, (roles, changes, right) in HANDSHAKES.items()
        for role in roles
    ],
)
def test_handshakes(role: Role, changes: dict[str, str | None], right: bool) -> None:
    found = shaken(role, head(role, changes) + b"behind it")
    assert (found is not None) == right
    assert found is None or found.rest == b"behind it"


@pytest.mark.parametrize(
    "name", ["Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {base64.b64encode(NONCE).decode()}"]
)
def test_what_decides_may_be_there_once(name: str) -> None:
    data = head(SERVER, {})
    assert shaken(SERVER, data) is not None
    assert shaken(SERVER, data[:-2] + name.encode() + b"\r\n\r\n") is None


def test_each_side_understands_the_others_handshake(role: Role) -> None:
    """The one under test is the client or the server; the other one is wsproto."""
    if role is SERVER:
        client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        asked = client.send(wire.Request(host="h", target="/a?b=c", subprotocols=["a", "b"]))
        request = parse_upgrade(asked)
        assert request is not None
        assert (request.target, request.subprotocols, request.rest) == (b"/a?b=c", ["a", "b"], b"")
        assert dict(request.headers)[b"host"] == b"h"
        client.receive_data(accept_bytes(request.key, "b", [(b"Set-Cookie", b"c=d")]))
        (event,) = client.events()
        assert isinstance(event, wire.AcceptConnection)
        assert (event.subprotocol, event.extra_headers) == ("b", [(b"set-cookie", b"c=d")])
        return
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    handshake = ClientHandshake(NONCE, ["a", "b"])
    asked_of = handshake.request("h:80", "/a?b=c", [("X-A", "\xe4")])
    assert asked_of is not None
    server.receive_data(bytes(asked_of))
    (event,) = server.events()
    assert isinstance(event, wire.Request)
    assert (event.host, event.target, event.subprotocols, event.extensions) == ("h:80", "/a?b=c", ["a", "b"], [])
    assert (b"x-a", b"\xe4") in list(event.extra_headers)
    answer = handshake.receive(server.send(wire.AcceptConnection(subprotocol="b", extra_headers=[(b"Set-Cookie", b"c=d")])))
    assert isinstance(answer, Accepted)
    assert answer.subprotocol == "b"
    assert ("set-cookie", "c=d") in answer.headers


def test_our_two_sides_agree() -> None:
    handshake = ClientHandshake(NONCE, ["a"])
    asked = handshake.request("h", "/", ())
    assert asked is not None
    request = parse_upgrade(bytes(asked))
    assert request is not None
    answer = handshake.receive(accept_bytes(request.key, None) + b"first")
    assert isinstance(answer, Accepted)
    assert (answer.subprotocol, answer.rest) == (None, b"first")


def test_a_handshake_in_pieces(role: Role) -> None:
    """A server is given whole heads, and says of each piece that it is none yet."""
    data = head(role, {})
    if role is SERVER:
        assert [parse_upgrade(data[:size]) for size in range(len(data))] == [None] * len(data)
        return
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    answers = [handshake.receive(data[at : at + 1]) for at in range(len(data))]
    assert answers[:-1] == [None] * (len(data) - 1)
    assert isinstance(answers[-1], Accepted)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_refusal_is_understood_by_the_other_side(size: int) -> None:
    data = refusal_bytes(404, [(b"x-reason", b"gone")], b'{"message": "no such kernel"}')
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    answers = [handshake.receive(data[at : at + size]) for at in range(0, len(data), size)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    answer = answers[-1]
    assert isinstance(answer, Refused)
    assert (answer.status_code, answer.body) == (404, b'{"message": "no such kernel"}')
    assert {("x-reason", "gone"), ("connection", "close")} <= set(answer.headers)


@pytest.mark.parametrize(
    ("framing", "body", "kept"),
    [
        (b"Content-Length: 100000\r\n", b"x" * 100_000, 64 * 1024),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", 4),
        (b"", b"until the end", 13),
        (b"Content-Length: 5\r\n", b"hello and more", 5),
    ],
)
def test_refusals(framing: bytes, body: bytes, kept: int) -> None:
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    answer = handshake.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Later\r\n" + framing + b"\r\n" + body)
    if answer is None:
        answer = handshake.receive(b"")
    assert isinstance(answer, Refused)
    assert (answer.status_code, len(answer.body)) == (503, kept)


@pytest.mark.parametrize("came", [b"", b"HTTP/1.1 101", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_server_that_hangs_up(came: bytes) -> None:
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    assert not came or handshake.receive(came) is None
    assert handshake.receive(b"") == HungUp()


def test_a_refusal_that_breaks_off_is_no_answer() -> None:
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    assert handshake.receive(b"HTTP/1.1 404 Gone\r\nContent-Length: 5\r\n\r\nab") is None
    assert isinstance(handshake.receive(b""), Nonsense)


def test_what_comes_is_bounded_before_it_is_whole() -> None:
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    assert handshake.receive(b"HTTP/1.1 101 X\r\nA: " + b"a" * 50_000) is None
    assert isinstance(handshake.receive(b"a" * 60_000), Nonsense)


@pytest.mark.parametrize("header", [("a b", "c"), ("a", "b\r\nc")])
def test_a_header_that_cannot_be_sent_is_not(header: tuple[str, str]) -> None:
    """G8: nothing shows it."""
    assert ClientHandshake(NONCE, ()).request("x", "/", [header]) is None


def test_what_a_client_asks_byte_for_byte() -> None:
    """In the letters of RFC 6455: some servers compare them as they stand."""
    nonce = base64.b64encode(NONCE)
    plain = b"GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + nonce
    asked = ClientHandshake(NONCE, ()).request("h:80", "/a?b=c", [("X-A", "\xe4")])
    assert bytes(asked or b"") == plain + b"\r\nSec-WebSocket-Version: 13\r\nX-A: \xe4\r\n\r\n"
    asked = ClientHandshake(NONCE, ["a", "b"]).request("h:80", "/a?b=c", ())
    assert bytes(asked or b"") == plain + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\n\r\n"


def test_what_a_server_answers_byte_for_byte() -> None:
    """In the letters of RFC 6455: some clients compare them as they stand."""
    proof = proof_of(NONCE).encode()
    plain = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + proof
    assert accept_bytes(base64.b64encode(NONCE), None) == plain + b"\r\n\r\n"
    answer = accept_bytes(base64.b64encode(NONCE), "\xe4", [(b"A", b"b")])
    assert answer == plain + b"\r\nSec-WebSocket-Protocol: \xe4\r\nA: b\r\n\r\n"
    refusal = refusal_bytes(418, [(b"X-A", b"b")], b"no")
    assert refusal == b"HTTP/1.1 418 \r\nX-A: b\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Upgrade": None}, "its answer upgrades to something else"),
        ({"Connection": "close"}, "its answer upgrades to something else"),
        ({"key": None}, "its answer is not to our request"),
        ({"key": "x"}, "its answer is not to our request"),
        ({"Sec-WebSocket-Extensions": "x"}, "it uses an extension that was not offered"),
        ({"Sec-WebSocket-Protocol": "c"}, "it chose the subprotocol 'c', which was not offered"),
        ({"start": "nonsense"}, "illegal status line"),  # h11's words
    ],
)
def test_what_is_wrong_with_an_answer_is_said(changes: dict[str, str | None], reason: str) -> None:
    handshake = ClientHandshake(NONCE, ["a", "b"])
    handshake.request("x", "/", ())
    answer = handshake.receive(head(CLIENT, changes))
    assert isinstance(answer, Nonsense)
    assert reason == answer.reason or ("start" in changes and reason in answer.reason)


@pytest.mark.parametrize("words", ["keep-alive, Upgrade", "Upgrade,keep-alive", "close,  upgrade ,x"])
def test_words_of_a_connection_are_parted_by_commas(role: Role, words: str) -> None:
    assert shaken(role, head(role, {"Connection": words})) is not None
    assert shaken(role, head(role, {"Connection": words.replace(",", " ")})) is None


def test_what_is_offered_in_several_lines_is_one_list() -> None:
    lines = b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: \xe4\r\n\r\n"
    request = parse_upgrade(head(SERVER, {})[:-2] + lines)
    assert request is not None
    assert request.subprotocols == ["a", "b", "\xe4"]


def test_the_headers_of_an_answer_are_latin_1() -> None:
    answer = shaken(CLIENT, head(CLIENT, {"X-A": "\xe4"}))
    assert isinstance(answer, Accepted)
    assert answer.headers[-1] == ("x-a", "\xe4")


def test_of_a_refusal_in_pieces_so_much_is_kept_as_of_one_in_one_piece() -> None:
    handshake = ClientHandshake(NONCE, ())
    handshake.request("x", "/", ())
    assert handshake.receive(b"HTTP/1.1 500 X\r\nContent-Length: 100000\r\n\r\n" + b"a" * 65_535) is None
    answer = handshake.receive(b"bc")
    assert isinstance(answer, Refused)
    assert answer.body == b"a" * 65_535 + b"b"


def test_nothing_of_a_handshake_shows_itself() -> None:
    """G8"""
    answer = shaken(CLIENT, head(CLIENT, {"X-A": "hidden"}) + b"hidden")
    asked = shaken(SERVER, head(SERVER, {"Authorization": "hidden"}) + b"hidden")
    assert "hidden" not in repr([answer, asked, Refused(1, [("a", "hidden")], b"hidden"), Nonsense("hidden")])
    request = ClientHandshake(NONCE, ()).request("x", "/", [("Authorization", "hidden")])
    assert request is not None
    assert "hidden" not in repr(request)
    assert b"hidden" in bytes(request)


# Messages -----------------------------------------------------------------------------------------------------------


def whole(events: Sequence[wire.Event]) -> list[bytes | str]:
    """Put messages together that the other end found."""
    messages: list[bytes | str] = []
    pieces: list[Any] = []
    for event in events:
        assert isinstance(event, wire.Message)
        pieces.append(event.data if isinstance(event.data, str) else bytes(event.data))
        if event.message_finished:
            messages.append(type(pieces[0])().join(pieces))
            pieces = []
    assert pieces == []
    return messages


SIZES = [0, 1, 125, 126, 32_767, 32_768, 65_535, 65_536, 262_143, 262_144, 262_145, 700_001]


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_every_size_both_ways(role: Role, size: int) -> None:
    data = bytes(index * 31 % 251 for index in range(size))
    pair = Pair(role)
    assert whole(pair.say(*pair.ours.send([data, "ä" * size, data[:3]]))) == [data, "ä" * size, data[:3]]
    assert pair.hear(wire.BytesMessage(data), wire.TextMessage("z" * size)) == [data, "z" * size]
    assert pair.ours.closed is None


@pytest.mark.parametrize("sizes", [(1, 2, 3), (0,), (), (0, 7, 0), (65_535, 3, 2), (100_001, 1, 262_145, 2, 262_143)])
def test_a_message_in_parts(role: Role, sizes: tuple[int, ...]) -> None:
    parts = [bytes((index * 31 + size) % 251 for index in range(size)) for size in sizes]
    views = [memoryview(part) if index % 2 else part for index, part in enumerate(parts)]
    pair = Pair(role)
    assert whole(pair.say(*pair.ours.send([views]))) == [b"".join(parts)]


def test_small_messages_go_together_and_large_ones_without_a_copy(role: Role) -> None:
    large = b"x" * 600_000
    pieces = list(made(role).send([b"a" * 1000] * 300 + [large, b"b"]))
    if role is SERVER:
        assert any(piece is large for piece in pieces)
        assert len(pieces) == 4  # some of the small ones, the others and the large one's head, the large one, the last
    else:
        assert len(pieces) == 6  # it is masked piece by piece
        assert max(map(len, pieces)) <= 300_000


def test_where_messages_are_parted(role: Role) -> None:
    """A payload of 32 KiB is not copied; small ones are joined until they are 256 KiB, and never more than those."""
    connection = made(role)
    nearly = [b"a" * 1024] * 255 + [b"a" * 1023]
    assert len(list(connection.send([*nearly, b"a"]))) == 1
    assert [len(piece) > 262_144 for piece in connection.send([*nearly, b"a", b"b"])] == [True, False]
    assert len(list(connection.send([*nearly, b"", b""]))) == 1
    whole_round = [b"a" * 16_384] * 16
    assert len(list(connection.send(whole_round))) == 1
    assert len(list(connection.send(whole_round * 2))) == 2
    assert len(list(connection.send([*whole_round, b"a" * 32_768, *whole_round]))) == 4
    assert len(list(connection.send([b"a" * 32_767]))) == 1
    assert len(list(connection.send([b"a" * 32_768]))) == 2


def test_a_server_masks_nothing_and_draws_nothing() -> None:
    def never(*_: Any) -> bytes:
        raise AssertionError("a server masks nothing")

    connection = WebSocketConnection(SERVER, LIMIT, never, never)
    connection.open()
    connection.close(1000, "")
    sent = b"".join(map(bytes, connection.send([b"a", "b", [b"c", b"d"]]))) + connection.pong() + (connection.take_owed() or b"")
    assert sent == b"\x82\x01a\x81\x01b\x82\x02cd\x8a\x00\x88\x02\x03\xe8"


def test_a_connection_that_has_begun_has_no_news(role: Role) -> None:
    connection = WebSocketConnection(role, LIMIT, xor_mask, numbers)
    assert (connection.heard_goodbye, connection.news, connection.said_goodbye) == (False, False, False)
    assert (connection.closed, connection.owes, connection.may_send) == (None, False, True)


def test_a_large_message_is_masked_when_it_is_sent_and_not_before() -> None:
    masked: list[int] = []

    def mask(data: Any, key: bytes) -> bytes:
        masked.append(len(data))
        return xor_mask(data, key)

    connection = WebSocketConnection(CLIENT, LIMIT, mask, numbers)
    pieces = iter(connection.send([b"x" * 600_000]))
    assert len(next(pieces)) == len(frame_head(BINARY, 600_000, KEY))
    assert masked == []
    next(pieces)
    assert masked == [262_144]


def test_a_client_masks_each_frame_with_a_key_of_its_own_and_a_server_masks_nothing(role: Role) -> None:
    drawn: list[int] = []

    def draw(count: int) -> bytes:
        drawn.append(count)
        return bytes(range(count))

    connection = WebSocketConnection(role, LIMIT, xor_mask, draw)
    frames = [b"".join(map(bytes, connection.send([b"\0\0\0\0"]))) for _ in range(40)]
    if role is SERVER:
        assert set(frames) == {b"\x82\x04\0\0\0\0"}
        assert drawn == []
    else:
        assert {(data[:2], data[2:6] == data[6:]) for data in frames} == {(b"\x82\x84", True)}
        assert len({data[2:6] for data in frames[:32]}) == 32
        assert drawn == [128, 128]


@given(
    st.sampled_from(Role),
    st.lists(st.binary(max_size=300) | st.text(max_size=100) | st.integers(32_760, 70_000).map(bytes), max_size=6),
    st.integers(1, 400),
)
def test_our_two_ends_understand_each_other(role: Role, messages: list[bytes | str], size: int) -> None:
    sender, receiver = made(role), made(other(role))
    data = b"".join(map(bytes, sender.send(messages)))
    found: list[bytes | str] = []
    for start in range(0, len(data), size):
        found += receiver.receive(data[start : start + size])
    assert found == messages
    assert receiver.closed is None


@given(st.sampled_from(Role), st.lists(st.binary(min_size=1, max_size=100), max_size=5))
def test_whatever_comes_raises_nothing_and_ends_the_connection_at_most(role: Role, pieces: list[bytes]) -> None:
    connection = made(role, 500)
    for piece in pieces:
        for message in connection.receive(piece):
            assert len(message) <= 500
    connection.close(1000, "")
    assert connection.take_owed() is not None
    assert connection.receive(b"") == []
    assert connection.closed is not None


def test_of_a_message_that_is_too_large_a_client_keeps_the_beginning_and_a_server_ends(role: Role) -> None:
    pair = Pair(role, 1000)
    found = pair.hear(wire.BytesMessage(b"x" * 1000), wire.BytesMessage(b"y" * 20_000), wire.TextMessage("z"))
    if role is CLIENT:
        assert found == [b"x" * 1000, b"y" * 16_384, "z"]
        assert isinstance(found[1], CutMessage)
        assert (pair.ours.cut, pair.ours.closed) == (1, None)
    else:
        assert found == [b"x" * 1000]
        assert pair.ours.closed == (1009, "a message of 20000 bytes")


# Pings --------------------------------------------------------------------------------------------------------------


def test_pings_are_answered_in_order(role: Role) -> None:
    pair = Pair(role)
    assert pair.hear(wire.BytesMessage(b"nothing else")) == [b"nothing else"]
    assert not pair.ours.news
    assert pair.hear(wire.Ping(b"1"), wire.BytesMessage(b"m"), wire.Ping(b"2")) == [b"m"]
    assert pair.ours.news
    assert pair.ours.owes
    assert pair.say_owed() == [wire.Pong(b"1"), wire.Pong(b"2")]
    assert not pair.ours.owes
    assert pair.say_owed() == []
    pair.hear(wire.Ping(b"3"))
    assert pair.say_owed() == [wire.Pong(b"3")]


def test_of_very_many_pings_the_last_is_answered_for_all(role: Role) -> None:
    """Who pings and reads nothing takes no more of our memory than some kilobytes."""
    pair = Pair(role)
    payloads = [b"%d" % number for number in range(200)]
    pair.hear(*map(wire.Ping, payloads))
    assert pair.say_owed() == [wire.Pong(payload) for payload in payloads[192:]]
    pair.hear(*map(wire.Ping, payloads[:64]))
    assert pair.say_owed() == [wire.Pong(payload) for payload in payloads[:64]]


def test_pings_are_answered_before_the_next_message(role: Role) -> None:
    pair = Pair(role)
    pair.hear(wire.Ping(b"1"), wire.Ping(b"2"))
    assert pair.say(*pair.ours.send([b"m"])) == [wire.Pong(b"1"), wire.Pong(b"2"), wire.BytesMessage(b"m")]
    assert not pair.ours.owes


def test_before_the_handshake_is_answered_nothing_is_said(role: Role) -> None:
    """What came with the request is understood all the same, and answered afterwards."""
    connection = WebSocketConnection(role, LIMIT, xor_mask, numbers)
    assert connection.receive(frame(role, PING, b"early") + frame(role, BINARY, b"m")) == [b"m"]
    assert not connection.owes
    assert connection.take_owed() is None
    connection.open()
    assert connection.owes
    assert made(other(role)).receive(connection.take_owed() or b"") == []


def test_a_pong_says_which_pings_were_answered(role: Role) -> None:
    pair = Pair(role)
    sent = [pair.ours.ping(payload) for payload in (b"a", b"b", b"c", b"d")]
    assert pair.say(*sent) == [wire.Ping(payload) for payload in (b"a", b"b", b"c", b"d")]
    pair.ours.forget_ping(b"b")
    pair.ours.forget_ping(b"never sent")
    pair.hear(wire.Pong(b"another one's"))
    assert pair.ours.take_answered() == ()
    pair.hear(wire.Pong(b"c"), wire.BytesMessage(b"m"), wire.Pong(b"d"))
    assert pair.ours.take_answered() == [b"a", b"c", b"d"]
    pair.hear(wire.Pong(b"c"))
    assert pair.ours.take_answered() == ()
    assert pair.ours.closed is None


def test_a_pong_says_nothing_of_the_pings_behind_its_own(role: Role) -> None:
    pair = Pair(role)
    pair.say(*[pair.ours.ping(payload) for payload in (b"a", b"b", b"c")])
    for payload in (b"a", b"b", b"c"):
        pair.hear(wire.Pong(payload))
        assert pair.ours.take_answered() == [payload]


def test_an_end_is_an_answer_to_all_pings(role: Role) -> None:
    connection = made(role)
    connection.ping(b"a")
    connection.receive(b"")
    assert connection.take_answered() == [b"a"]


def test_a_ping_that_nobody_waits_for_is_owed_unless_something_is(role: Role) -> None:
    pair = Pair(role)
    pair.ours.owe_ping()
    assert pair.say_owed() == [wire.Ping(b"")]
    pair.hear(wire.Ping(b"theirs"))
    pair.ours.owe_ping()
    assert pair.say_owed() == [wire.Pong(b"theirs")]
    pair.ours.close(1000, "")
    pair.say_owed()
    pair.ours.owe_ping()
    assert not pair.ours.owes


def test_a_pong_that_nobody_asked_for(role: Role) -> None:
    pair = Pair(role)
    assert pair.say(pair.ours.pong()) == [wire.Pong(b"")]


# Ends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (1009, "too big"), (3000, "x" * 123), (4321, "ä")]
)
def test_the_peers_goodbye_is_answered_with_its_code(role: Role, code: int, reason: str) -> None:
    pair = Pair(role)
    assert pair.hear(wire.Ping(b"before"), wire.BytesMessage(b"last"), wire.CloseConnection(code, reason)) == [b"last"]
    assert pair.ours.closed == (code, reason)
    assert pair.ours.heard_goodbye
    assert pair.ours.said_goodbye
    assert not pair.ours.may_send
    assert pair.say_owed() == [wire.CloseConnection(code, "")]
    assert not pair.ours.owes


def test_a_goodbye_without_a_code(role: Role) -> None:
    connection = made(role)
    connection.receive(frame(role, CLOSE))
    assert connection.closed == (1005, "")
    assert made(other(role)).receive(connection.take_owed() or b"") == []


def test_our_goodbye_is_answered(role: Role) -> None:
    pair = Pair(role)
    pair.hear(wire.Ping(b"before"))
    pair.ours.close(1001, "later")
    assert pair.ours.said_goodbye
    assert not pair.ours.may_send
    assert pair.ours.closed is None
    (said,) = pair.say_owed()
    assert said == wire.CloseConnection(1001, "later")
    pair.ours.close(1000, "again")
    assert not pair.ours.owes
    assert isinstance(said, wire.CloseConnection)
    assert pair.hear(said.response()) == []
    assert pair.ours.closed == (1001, "later")
    assert pair.ours.heard_goodbye
    assert not pair.ours.owes


def test_what_comes_after_our_goodbye_is_given_and_no_ping_is_answered(role: Role) -> None:
    pair = Pair(role)
    pair.ours.close(1000, "")
    pair.ours.take_owed()
    assert pair.hear(wire.Ping(b"x"), wire.BytesMessage(b"on its way")) == [b"on its way"]
    assert not pair.ours.owes


def test_both_say_goodbye_at_once(role: Role) -> None:
    pair = Pair(role)
    pair.ours.close(1001, "ours")
    pair.hear(wire.CloseConnection(1000, "theirs"))
    assert pair.ours.closed == (1000, "theirs")
    assert pair.say_owed() == [wire.CloseConnection(1001, "ours")]


def test_nothing_is_taken_after_the_goodbye(role: Role) -> None:
    connection = made(role)
    data = frame(role, CLOSE, b"\x03\xe8") + frame(role, BINARY, b"x") + frame(role, PING) + frame(role, CLOSE, b"\x03\xe9")
    assert connection.receive(data) == []
    assert connection.receive(data) == []
    assert connection.closed == (1000, "")


@pytest.mark.parametrize("part", [0, 1, -1])
def test_a_stream_that_ends_without_a_goodbye(role: Role, part: int) -> None:
    """G3; ours is said all the same, for the other end may have closed its half alone."""
    connection = made(role)
    assert connection.receive(frame(role, BINARY, b"m") + frame(role, BINARY, b"not whole")[:part]) == [b"m"]
    assert connection.receive(b"") == []
    assert connection.closed == (1006, "")
    assert not connection.heard_goodbye
    assert not connection.may_send
    connection.close(1000, "")
    assert connection.owes


@pytest.mark.parametrize(
    ("kind", "payload", "fin", "code", "reason"),
    [
        (3, b"x", True, 1002, "a frame is of the unknown kind 3"),
        (11, b"", True, 1002, "a frame is of the unknown kind 11"),
        (0, b"x", True, 1002, "a fragment continues nothing"),
        (0x40 | BINARY, b"x", True, 1002, "a frame has a bit set that means nothing here"),
        (PING, b"x", False, 1002, "a control frame is fragmented or too long"),
        (TEXT, b"\xff", True, 1007, "a text message is not UTF-8"),
        (CLOSE, b"\x03", True, 1002, "a close frame has the code 3"),
        (CLOSE, b"\x03\xed", True, 1002, "a close frame has the code 1005"),
        (CLOSE, b"\x03\xe8\xff", True, 1007, "a text message is not UTF-8"),
    ],
)
def test_what_is_no_conversation_is_told_by_its_code(
    role: Role, kind: int, payload: bytes, fin: bool, code: int, reason: str
) -> None:
    pair = Pair(role)
    data = (
        frame(role, PING, b"p") + frame(role, BINARY, b"good") + frame(role, kind, payload, fin=fin) + frame(role, BINARY, b"bad")
    )
    assert pair.ours.receive(data) == [b"good"]
    assert pair.ours.closed == (code, reason)
    assert not pair.ours.heard_goodbye
    assert pair.say_owed() == [wire.CloseConnection(code, reason)]
    assert pair.ours.receive(frame(role, CLOSE, b"\x03\xe8")) == []
    assert pair.ours.closed == (code, reason)
    assert not pair.ours.owes


@pytest.mark.parametrize("kind", [BINARY, PING, PONG, CLOSE])
def test_only_a_client_masks(role: Role, kind: int) -> None:
    connection = made(role)
    connection.receive(frame(other(role), kind, b"\x03\xe8"))
    assert connection.closed == (1002, "a client's frame is not masked" if role is SERVER else "a server's frame is masked")


def test_fragments_are_joined_and_too_many_are_refused(role: Role) -> None:
    connection = made(role)
    started = frame(role, TEXT, b"a", fin=False)
    assert connection.receive(started + frame(role, PING, b"p") + frame(role, 0, b"b")) == ["ab"]
    connection.receive(started + frame(role, 0, b"", fin=False) * 1_000)
    assert connection.closed == (1008, "a message in 1001 fragments with 1 bytes in all")


@pytest.mark.parametrize(("code", "reason", "said"), [(1005, "", None), (1006, "x", None), (1011, "y" * 200, "y" * 123)])
def test_a_goodbye_that_can_not_be_said_so_is_said_otherwise(role: Role, code: int, reason: str, said: str | None) -> None:
    pair = Pair(role)
    pair.ours.close(code, reason)
    (event,) = pair.say_owed()
    assert isinstance(event, wire.CloseConnection)
    assert (event.code, event.reason) == ((code, said) if said else (1005, ""))
