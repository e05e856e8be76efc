"""A WebSocket that runs what its visitor sends: `uvicorn web_socket:app`, with JUPYTER_GATEWAY_URL set.

Each visitor has a kernel. It is interrupted and shut down when the visitor leaves, in the middle of code too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

import trio_gateway.anyio as trio_gateway


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, trio_gateway.Gateway]]:
    """Have one gateway open for as long as the application runs."""
    del app
    async with trio_gateway.open_gateway() as gateway:
        yield {"gateway": gateway}


app = FastAPI(lifespan=lifespan)


async def answer(socket: WebSocket, kernel: trio_gateway.Kernel, codes: asyncio.Queue[str]) -> None:
    """Run one code after the other, and send what comes of it as it comes."""
    while True:
        async with kernel.stream(await codes.get()) as outputs:
            async for output in outputs:
                if isinstance(output, trio_gateway.Stream):
                    await socket.send_json({"text": output.text})
        await socket.send_json({"status": outputs.result.status})


@app.websocket("/kernel")
async def serve(socket: WebSocket) -> None:
    """Take code and answer it; what is read shows that the visitor is still there."""
    await socket.accept()
    gateway: trio_gateway.Gateway = socket.state.gateway
    codes: asyncio.Queue[str] = asyncio.Queue(8)
    async with gateway.start_kernel() as kernel:
        answers = asyncio.create_task(answer(socket, kernel, codes))
        try:
            while True:
                await codes.put(await socket.receive_text())
        except WebSocketDisconnect:
            pass
        finally:
            answers.cancel()  # interrupts what runs, and is waited for before the kernel's block ends
            await asyncio.gather(answers, return_exceptions=True)
