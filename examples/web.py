"""A web application on asyncio that runs code in kernels: `uvicorn web:app`, with JUPYTER_GATEWAY_URL set."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import trio_gateway.anyio as trio_gateway


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, trio_gateway.Kernel]]:
    """Have one gateway open, and one kernel, for as long as the application runs."""
    del app
    async with trio_gateway.open_gateway() as gateway, gateway.start_kernel() as kernel:
        yield {"kernel": kernel}


app = FastAPI(lifespan=lifespan)


@app.get("/square/{number}")
async def square(number: int, request: Request) -> str | None:
    """Let the kernel work; executions of one kernel run one after the other."""
    kernel: trio_gateway.Kernel = request.state.kernel
    return (await kernel.execute(f"{number} ** 2")).text


@app.get("/count/{number}")
async def count(number: int, request: Request) -> StreamingResponse:  # noqa: ASYNC124 - else it is called in a thread
    """Pass on what is printed as it comes. A visitor who goes away interrupts the kernel."""
    kernel: trio_gateway.Kernel = request.state.kernel

    async def text() -> AsyncGenerator[str]:  # noqa: ASYNC900 - what FastAPI takes, and asyncio closes
        async with kernel.stream(f"import time\nfor i in range({number}): print(i, flush=True); time.sleep(0.01)") as outputs:
            async for output in outputs:
                if isinstance(output, trio_gateway.Stream):
                    yield output.text  # noqa: ASYNC119

    return StreamingResponse(text(), media_type="text/plain")
