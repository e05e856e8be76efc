"""Output is right: what comes out of `execute` and `stream` on a real kernel.

In both framings where a framing can make a difference, on both engines where the size or the number of messages can.
"""

from __future__ import annotations

import base64
import hashlib
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

import trio_gateway
from tools.gateway_tools import each_engine, each_framing
from trio_gateway import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    ExecutionError,
    ExecutionResult,
    Kernel,
    Message,
    Stream,
    UpdateDisplayData,
)

if TYPE_CHECKING:
    from tools.gateway_tools import Wire

pytestmark = pytest.mark.gateway


def validate(*results: ExecutionResult) -> list[dict[str, Any]]:
    """Check that a notebook may hold these outputs, as nbformat sees it; return them."""
    outputs = [output for result in results for output in result.to_nbformat()]
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.from_dict(output) for output in outputs])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    return json.loads(json.dumps(outputs))  # type: ignore[no-any-return]


def lost(result: ExecutionResult) -> int:
    """How many messages of an execution are missing, by its own account."""
    return sum(gap.count or 0 for gap in result.output_gaps if gap.kind == "lost")


# ------------------------------------------------------------------------------------------------------------ results


async def test_a_result(kernel: Kernel) -> None:
    result = await kernel.execute("6 * 7")
    (output,) = result.outputs
    assert isinstance(output, ExecuteResult)
    assert output.data == {"text/plain": "42"}
    assert output.execution_count == result.execution_count
    assert (result.status, result.text, result.error, result.output_gaps) == ("ok", "42", None, ())
    assert result.raise_for_error() is result
    assert result.reply["status"] == "ok"
    assert validate(result) == [
        {"output_type": "execute_result", "execution_count": result.execution_count, "data": {"text/plain": "42"}, "metadata": {}}
    ]


async def test_no_output(kernel: Kernel) -> None:
    result = await kernel.execute("x = 1")
    assert (result.status, result.outputs, result.text, result.output_gaps) == ("ok", (), "", ())
    assert validate(result) == []


async def test_an_error_with_its_traceback(kernel: Kernel) -> None:
    result = await kernel.execute("def divide():\n    return 1 / 0\nprint('before')\ndivide()\nprint('never')")
    stream, error = result.outputs
    assert stream == Stream("stdout", "before\n")
    assert isinstance(error, Error)
    assert (error.ename, error.evalue) == ("ZeroDivisionError", "division by zero")
    assert any("1" in line and "divide" in line for line in error.traceback)
    assert result.status == "error"
    assert result.error == error
    assert result.text == "before\n"
    with pytest.raises(ExecutionError, match=r"^ZeroDivisionError: division by zero$") as caught:
        result.raise_for_error()
    assert caught.value.traceback == error.traceback
    assert validate(result)[1]["output_type"] == "error"
    assert (await kernel.execute("'still here'")).text == "'still here'"


@pytest.mark.parametrize(
    ("code", "ename"),
    [("1 +", "SyntaxError"), ("raise SystemExit(3)", "SystemExit"), ("raise KeyboardInterrupt", "KeyboardInterrupt")],
)
async def test_other_errors(kernel: Kernel, code: str, ename: str) -> None:
    result = await kernel.execute(code)
    assert result.status == "error"
    assert result.error is not None
    assert result.error.ename == ename
    assert (await kernel.execute("1")).text == "1"


async def test_code_that_asks_for_input_fails_and_does_not_hang(kernel: Kernel) -> None:
    result = await kernel.execute("input('name? ')")
    assert result.error is not None
    assert result.error.ename == "StdinNotImplementedError"


# ------------------------------------------------------------------------------------------------------------ streams


async def test_stdout_and_stderr_interleave(kernel: Kernel) -> None:
    result = await kernel.execute(
        "import sys\nfor i in range(3):\n    print('out', i, flush=True)\n    print('err', i, file=sys.stderr, flush=True)"
    )
    wanted = [(name, f"{word} {i}\n") for i in range(3) for name, word in (("stdout", "out"), ("stderr", "err"))]
    assert [(output.name, output.text) for output in result.outputs if isinstance(output, Stream)] == wanted
    assert result.text == "".join(text for _, text in wanted)
    assert [output["output_type"] for output in validate(result)] == ["stream"] * 6


async def test_texts_of_one_stream_are_merged_in_a_result_and_not_in_a_stream(kernel: Kernel) -> None:
    code = "for i in range(3):\n    print(i, end=' ', flush=True)"
    assert (await kernel.execute(code)).outputs == (Stream("stdout", "0 1 2 "),)
    async with kernel.stream(code) as outputs:
        seen = [output async for output in outputs]
    assert len(seen) > 1
    assert "".join(output.text for output in seen if isinstance(output, Stream)) == "0 1 2 "


async def test_carriage_returns_and_backspaces(kernel: Kernel) -> None:
    result = await kernel.execute(
        "for i in (1, 50, 100):\n    print(f'\\r{i} %', end='', flush=True)\nprint()\nprint('abc\\rX')\nprint('ab\\bc')"
    )
    assert result.text == "100 %\nXbc\nac\n"
    assert result.outputs == (Stream("stdout", "\r1 %\r50 %\r100 %\nabc\rX\nab\bc\n"),)


async def test_carriage_returns_over_both_streams(kernel: Kernel) -> None:
    """A terminal has one cursor."""
    result = await kernel.execute("import sys\nprint('12345', end='', flush=True)\nprint('\\rab', file=sys.stderr, flush=True)")
    assert result.text == "ab345\n"


async def test_outputs_come_while_the_code_runs(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)
    code = "print('one', end='', flush=True)\nanswer = wire('waiting')\nprint(answer)\nanswer"
    async with kernel.stream(code) as outputs:
        first = await anext(outputs)
        assert first == Stream("stdout", "one")
        with pytest.raises(RuntimeError, match="has not ended yet"):
            _ = outputs.result
        await (await wire.hears("waiting")).answer("two")
        rest = [output async for output in outputs]
        assert "".join(output.text for output in rest if isinstance(output, Stream)) == "two\n"
        assert isinstance(rest[-1], ExecuteResult)
        assert rest[-1].data["text/plain"] == "'two'"
        result = outputs.result
    assert (result.status, result.outputs, result.output_gaps) == ("ok", (), ())
    assert result.execution_count is not None


# -------------------------------------------------------------------------------------------------------- display data


async def test_displays_are_updated_by_their_id(kernel: Kernel) -> None:
    code = (
        "from IPython.display import display, update_display\n"
        "display('first', display_id='a')\n"
        "display('other', display_id='b')\n"
        "display('second', display_id='a')\n"
        "update_display('new', display_id='a')\n"
        "print('end', end='')\n"
    )
    result = await kernel.execute(code)
    shown = [(output.data["text/plain"], output.display_id) for output in result.outputs if isinstance(output, DisplayData)]
    assert shown == [("'new'", "a"), ("'other'", "b"), ("'new'", "a")]
    assert result.text == "'new'\n'other'\n'new'\nend"
    assert len(validate(result)) == 4

    async with kernel.stream(code) as outputs:
        seen = [output async for output in outputs]
    assert [type(output) for output in seen] == [DisplayData, DisplayData, DisplayData, UpdateDisplayData, Stream]
    assert isinstance(seen[3], UpdateDisplayData)
    assert (seen[3].display_id, seen[3].data["text/plain"]) == ("a", "'new'")


async def test_an_update_of_an_earlier_executions_display(kernel: Kernel) -> None:
    """A result holds what its own code displayed; the update of another's is for those who stream."""
    await kernel.execute("from IPython.display import display, update_display\nh = display('old', display_id=True)")
    assert (await kernel.execute("h.update('new')")).outputs == ()
    async with kernel.stream("h.update('newer')") as outputs:
        (update,) = [output async for output in outputs]
    assert isinstance(update, UpdateDisplayData)
    assert update.data["text/plain"] == "'newer'"


async def test_clear_output(kernel: Kernel) -> None:
    code = "from IPython.display import clear_output\nprint('old', flush=True)\nclear_output(wait={wait})\n{after}"
    assert (await kernel.execute(code.format(wait=True, after="print('new')"))).outputs == (Stream("stdout", "new\n"),)
    assert (await kernel.execute(code.format(wait=False, after="print('new')"))).outputs == (Stream("stdout", "new\n"),)
    assert (await kernel.execute(code.format(wait=False, after=""))).outputs == ()
    # Nothing came that the clearing could have waited for.
    assert (await kernel.execute(code.format(wait=True, after=""))).outputs == (Stream("stdout", "old\n"),)

    async with kernel.stream(code.format(wait=True, after="print('new')")) as outputs:
        seen = [output async for output in outputs]
    cleared = seen.index(ClearOutput(wait=True))
    # The kernel may send a line in two pieces: what it writes goes out by a timer of its own.
    before, after = (
        "".join(text.text for text in part if isinstance(text, Stream)) for part in (seen[:cleared], seen[cleared + 1 :])
    )
    assert (before, after) == ("old\n", "new\n")


async def test_progress_with_clear_output_leaves_the_last_state(kernel: Kernel) -> None:
    result = await kernel.execute(
        "from IPython.display import clear_output, display\n"
        "for i in range(20):\n    clear_output(wait=True)\n    print(i, flush=True)\n    display(i)\n"
    )
    assert result.text == "19\n19"
    assert len(result.outputs) == 2


@each_framing
async def test_rich_bundles(kernel: Kernel) -> None:
    png = bytes(range(256))
    bundle = {
        "text/plain": "plain",
        "text/html": "<b>bold</b>",
        "text/latex": "$x^2$",
        "text/markdown": "# title",
        "image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "image/png": base64.b64encode(png).decode(),
        "application/json": {"a": [1, 2.5, None, True, "ü"], "b": {}},
        "application/vnd.example.v1+json": {"nested": {"deep": [[]]}},
    }
    metadata = {"image/png": {"width": 10}, "isolated": True}
    result = await kernel.execute(
        f"from IPython.display import display\ndisplay({bundle!r}, metadata={metadata!r}, raw=True)\n"
        f"class Rich:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n        return {bundle!r}, {metadata!r}\n"
        "Rich()"
    )
    displayed, last = result.outputs
    assert isinstance(displayed, DisplayData)
    assert isinstance(last, ExecuteResult)
    for output in (displayed, last):
        assert output.data == bundle
        assert output.metadata == metadata
        assert base64.b64decode(output.data["image/png"]) == png
    assert result.text == "plain\nplain"
    assert [output["data"] for output in validate(result)] == [bundle, bundle]


@each_framing
async def test_buffers_of_display_data(kernel: Kernel) -> None:
    """Binary buffers come through whole, in any number and of any length, an empty one too."""
    lengths = [0, 1, 3, 70_000]
    result = await kernel.execute(
        "kernel = get_ipython().kernel\n"
        "def send(kind, content, buffers):\n"
        "    kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent(), ident=b'x', buffers=buffers)\n"
        "content = {'data': {'text/plain': 'with buffers'}, 'metadata': {}, 'transient': {}}\n"
        f"send('display_data', content, [bytes(i % 256 for i in range(n)) for n in {lengths}])\n"
        "send('display_data', content, [])"
    )
    first, second = result.outputs
    assert isinstance(first, DisplayData)
    assert isinstance(second, DisplayData)
    assert [bytes(buffer) for buffer in first.buffers] == [bytes(i % 256 for i in range(n)) for n in lengths]
    assert second.buffers == ()
    assert first.data == {"text/plain": "with buffers"}
    validate(result)


@each_framing
async def test_messages_of_comms_are_no_output(kernel: Kernel) -> None:
    """Widgets' messages, with their binary buffers, go past an execution without disturbing it, to whoever reads the channel."""
    async with kernel.iopub.subscribe() as messages:
        result = await kernel.execute(
            "from comm import create_comm\n"
            "c = create_comm(target_name='nobody', data={'x': 1}, buffers=[b'\\0\\xff' * 1000, b''])\n"
            "print('a', flush=True)\n"
            "c.send({'y': 2}, buffers=[memoryview(b'abc')])\n"
            "c.close()\n"
            "print('b')"
        )
        assert (result.status, result.text, result.output_gaps) == ("ok", "a\nb\n", ())
        seen: list[Message] = []
        while not seen or seen[-1].header.msg_type != "comm_close":
            message = await messages.receive()
            if message.header.msg_type.startswith("comm_"):
                seen.append(message)
    assert [message.header.msg_type for message in seen] == ["comm_open", "comm_msg", "comm_close"]
    assert [[bytes(buffer) for buffer in message.buffers] for message in seen] == [[b"\0\xff" * 1000, b""], [b"abc"], []]
    assert [message.content["data"] for message in seen] == [{"x": 1}, {"y": 2}, {}]


@each_framing
async def test_buffers_to_the_kernel(kernel: Kernel) -> None:
    """Binary buffers arrive whole, in any number and of any length."""
    lengths = [0, 1, 3, 70_000]
    await kernel.execute(
        "got = []\n"
        "def opened(comm, message):\n"
        "    got.append([bytes(buffer) for buffer in message['buffers']])\n"
        "get_ipython().kernel.comm_manager.register_target('here', opened)"
    )
    await kernel.shell.send(
        "comm_open",
        {"comm_id": "c" * 32, "target_name": "here", "data": {}},
        buffers=[bytes(i % 256 for i in range(length)) for length in lengths],
    )
    result = await kernel.execute(f"got == [[bytes(i % 256 for i in range(n)) for n in {lengths}]]")
    assert result.text == "True"


# --------------------------------------------------------------------------------------------------------------- text

# One character of each plane that has any, and one that no plane will ever have assigned, and awkward ones.
PLANES = "".join(chr(plane * 0x10000 + offset) for plane in range(17) for offset in (0x61, 0x20AC, 0x1F5FF - 0x10000, 0xFFFD))
AWKWARD = "e\u0301 \u202eabc\u202c \u200d\ufeff\u2028\u2029\x85\x1b[31m\x7f\x01 👩‍👩‍👧‍👦 \\u0041 \\x00 '\" %s {}"


@each_framing
@pytest.mark.parametrize("text", [PLANES, AWKWARD], ids=["planes", "awkward"])
async def test_unicode_of_every_plane(kernel: Kernel, text: str) -> None:
    """As code, as output on both streams, as a result, as a dictionary's keys, in errors and in expressions."""
    result = await kernel.execute(
        f"import sys\ntext = {text!r}\nraw = '''{PLANES}'''\n"
        "print(text, flush=True)\nprint(text, file=sys.stderr, flush=True)\n"
        "from IPython.display import display\ndisplay({'text/plain': text, 'application/json': {text: text}}, raw=True)\n"
        "raise ValueError(text)",
        user_expressions={text: "text"},
    )
    stdout, stderr, shown, error = result.outputs
    assert stdout == Stream("stdout", f"{text}\n")
    assert stderr == Stream("stderr", f"{text}\n")
    assert isinstance(shown, DisplayData)
    assert shown.data == {"text/plain": text, "application/json": {text: text}}
    assert isinstance(error, Error)
    assert error.evalue == text
    validate(result)
    checked = await kernel.execute("raw", user_expressions={text: "text"})
    assert checked.text == repr(PLANES)
    assert checked.reply["user_expressions"][text]["data"]["text/plain"] == repr(text)


@each_framing
async def test_nul_and_control_characters_in_output(kernel: Kernel) -> None:
    result = await kernel.execute("print(''.join(map(chr, range(32))) + chr(127), end='')")
    assert result.outputs == (Stream("stdout", "".join(map(chr, range(32))) + "\x7f"),)


@each_framing
async def test_lone_surrogates_in_output_do_no_harm(kernel: Kernel) -> None:
    """JSON can say them though UTF-8 can't. (To `print` one may break ipykernel's output thread for good.)"""
    result = await kernel.execute(
        "kernel = get_ipython().kernel\n"
        'content = b\'{"name": "stdout", "text": "a\\\\ud800b"}\'\n'
        "kernel.session.send(kernel.iopub_socket, 'stream', content, parent=kernel.get_parent(), ident=b'x')\n"
        "print('afterwards')"
    )
    assert result.status == "ok"
    assert "afterwards\n" in result.text
    assert len(result.outputs) == 1 or lost(result) == 1
    assert (await kernel.execute("2")).text == "2"


# --------------------------------------------------------------------------------------------------------------- sizes


@each_engine
@each_framing
@pytest.mark.full
async def test_20_mb_of_text(kernel: Kernel) -> None:
    """One text that no message limit of any library's defaults would let through."""
    result = await kernel.execute(
        "import hashlib, random\n"
        "text = random.Random(1).randbytes(10_000_000).hex()\n"
        "print(text)\n"
        "hashlib.sha256(text.encode()).hexdigest()"
    )
    text, last = result.outputs
    assert isinstance(text, Stream)
    assert isinstance(last, ExecuteResult)
    assert len(text.text) == 20_000_001
    assert repr(hashlib.sha256(text.text[:-1].encode()).hexdigest()) == last.data["text/plain"]
    assert result.output_gaps == ()


@each_engine
@each_framing
@pytest.mark.full
async def test_20_mb_in_one_message(kernel: Kernel) -> None:
    result = await kernel.execute(
        "from IPython.display import display\ndisplay({'text/plain': '', 'text/html': 'ü' * 10_000_000}, raw=True)"
    )
    (shown,) = result.outputs
    assert isinstance(shown, DisplayData)
    assert shown.data["text/html"] == "ü" * 10_000_000


@each_engine
@each_framing
@pytest.mark.full
async def test_20_mb_of_request(kernel: Kernel) -> None:
    """More than a message may have by tornado's own limit. (As code it would take the kernel half a minute to look at.)"""
    result = await kernel.execute("", user_expressions={"length": f"len({'ab' * 10_000_000!r})"})
    assert result.reply["user_expressions"]["length"]["data"]["text/plain"] == "20000000"


FLOOD = "import sys\nfor i in range({lines}):\n    sys.stdout.write(f'{{i}}\\n')\n    sys.stdout.flush()"


def check_flood(numbers: list[int], lines: int, result: ExecutionResult) -> None:
    """Every line is there, once and in order, or is among those that the result counts as lost."""
    assert all(before < after for before, after in pairwise(numbers))
    assert lines - len(numbers) == lost(result)


@pytest.mark.full
async def test_20_000_small_outputs(kernel: Kernel) -> None:
    result = await kernel.execute(FLOOD.format(lines=20_000))
    assert result.status == "ok"
    check_flood([int(line) for line in result.text.split()], 20_000, result)


@pytest.mark.full
@pytest.mark.parametrize("engine", ["trio-websocket"], indirect=True)
@pytest.mark.parametrize("kernel", ["legacy"], indirect=True)
async def test_20_000_small_outputs_as_a_stream(kernel: Kernel) -> None:
    async with kernel.stream(FLOOD.format(lines=20_000)) as outputs:
        seen = [output async for output in outputs]
        result = outputs.result
    texts = [output.text for output in seen if isinstance(output, Stream)]
    assert len(texts) == len(seen)
    check_flood([int(line) for text in texts for line in text.split()], 20_000, result)


@pytest.mark.full
async def test_a_rate_limited_flood_says_what_is_missing() -> None:
    """The gateway drops what exceeds its limits: the result says so, and its count is what is missing."""
    from trio_gateway._local.process import run_local_gateway

    limits = ["limit_rate=True", "iopub_msg_rate_limit=100"]
    async with (
        run_local_gateway(extra_args=[f"--ZMQChannelsWebsocketConnection.{limit}" for limit in limits]) as process,
        trio_gateway.open_gateway(process.url, auth_token=process.token) as gateway,
        gateway.start_kernel("python3") as kernel,
    ):
        result = await kernel.execute(FLOOD.format(lines=5_000))
        numbers = [int(line) for line in result.text.split()]
        assert 0 < len(numbers) < 5_000
        assert "rate_limited" in {gap.kind for gap in result.output_gaps}
        check_flood(numbers, 5_000, result)
        whole = await kernel.execute("'afterwards'")
        assert (whole.text, whole.output_gaps) == ("'afterwards'", ())


# ------------------------------------------------------------------------------------------------- what execute is asked


async def test_user_expressions(kernel: Kernel) -> None:
    result = await kernel.execute("x = 6", user_expressions={"good": "x * 7", "bad": "1 / 0"})
    good, bad = (result.reply["user_expressions"][name] for name in ("good", "bad"))
    assert (good["status"], good["data"]["text/plain"]) == ("ok", "42")
    assert (bad["status"], bad["ename"]) == ("error", "ZeroDivisionError")
    assert result.status == "ok"


async def test_store_history(kernel: Kernel) -> None:
    before = await kernel.execute("'kept'")
    await kernel.execute("'not kept'", store_history=False)
    after = await kernel.execute("list(get_ipython().history_manager.input_hist_raw)[-2:]")
    assert after.text == "[\"'kept'\", 'list(get_ipython().history_manager.input_hist_raw)[-2:]']"
    assert before.execution_count is not None
    assert after.execution_count == before.execution_count + 1
