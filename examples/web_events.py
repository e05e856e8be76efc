"""Outputs as server-sent events, by FastAPI: `uvicorn web_events:app`, with JUPYTER_GATEWAY_URL set.

In a browser: `new EventSource("/run?code=...")`, with listeners for `output`, `error` and `done`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

import trio_gateway.anyio as trio_gateway


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, trio_gateway.Gateway]]:
    """Have one gateway open for as long as the application runs."""
    del app
    async with trio_gateway.open_gateway() as gateway:
        yield {"gateway": gateway}


app = FastAPI(lifespan=lifespan)


def event(name: str, data: object) -> str:
    """Write one event; JSON has no line breaks, which would end it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


@app.get("/run")
async def run(code: str, request: Request) -> StreamingResponse:  # noqa: ASYNC124 - else it is called in a thread
    """Run code in a kernel of its own. A visitor who goes away interrupts it, and its kernel is shut down."""
    gateway: trio_gateway.Gateway = request.state.gateway

    async def events() -> AsyncGenerator[str]:  # noqa: ASYNC900 - what FastAPI takes, and asyncio closes
        try:
            async with gateway.start_kernel() as kernel, kernel.stream(code) as outputs:
                async for output in outputs:
                    match output:
                        case trio_gateway.Stream(name=name, text=text):
                            yield event("output", {name: text})  # noqa: ASYNC119
                        case trio_gateway.DisplayData() | trio_gateway.ExecuteResult():
                            yield event("output", dict(output.data))  # noqa: ASYNC119
                        case trio_gateway.Error():
                            yield event("error", f"{output.ename}: {output.evalue}")  # noqa: ASYNC119
            yield event("done", outputs.result.status)
        except trio_gateway.GatewayError as error:  # no kernel could be started, or it died
            yield event("error", str(error))

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
