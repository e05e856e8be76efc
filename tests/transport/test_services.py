import trio, pytest
from trio_gateway._transport.services import open_services
from trio_gateway._errors import GatewayInternalError

async def test_body_error():
    async def forever(): await trio.sleep_forever()
    with pytest.raises(ValueError) as i:
        async with open_services() as s:
            s.start_soon(forever, name="x")
            raise ValueError("a")
    assert i.value.__context__ is None
async def test_user_group():
    g = ExceptionGroup("u",[ValueError(), KeyError()])
    with pytest.raises(ExceptionGroup) as i:
        async with open_services() as s: raise g
    assert i.value is g
async def test_crash():
    async def bad(): raise KeyError("x")
    with pytest.raises(GatewayInternalError) as i:
        async with open_services() as s:
            s.start_soon(bad, name="x")
            await trio.sleep_forever()
    assert isinstance(i.value.__cause__, KeyError)
async def test_outer_cancel():
    with trio.CancelScope() as c:
        async with open_services() as s:
            c.cancel()
            await trio.sleep_forever()
    assert c.cancelled_caught
async def test_outer_cancel_and_value():
    with pytest.raises(ValueError):
      with trio.CancelScope() as c:
        async with open_services() as s:
            c.cancel()
            try: await trio.sleep_forever()
            finally: raise ValueError
async def test_kbi():
    with pytest.raises(KeyboardInterrupt):
        async with open_services() as s:
            raise KeyboardInterrupt
async def test_nested():
    with pytest.raises(ValueError):
        async with open_services() as s:
            async with open_services() as s2:
                s2.start_soon(trio.sleep_forever, name="x")
                raise ValueError
async def test_ok():
    async with open_services() as s:
        s.start_soon(trio.sleep_forever, name="x")
async def test_service_outlives_cancelled_body_until_its_goodbye_is_said():
    log = []
    async def echo(requests, answers):
        async for r in requests: await answers.send(r)
    a, b = trio.open_memory_channel(0); c, d = trio.open_memory_channel(0)
    with trio.CancelScope() as scope:
        async with open_services() as s:
            s.start_soon(echo, b, c, name="echo")
            try:
                scope.cancel()
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(5, shield=True):
                    await a.send("bye")
                    log.append(await d.receive())
    assert log == ["bye"]
