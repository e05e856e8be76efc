"""Code on a warm kernel, its outputs as server-sent events, by FastAPI: `uvicorn web_events:app`, with JUPYTER_GATEWAY_URL set.

At a terminal: `curl -N localhost:8000/run -H 'Content-Type: application/json' -d '{"code": "print(6 * 7)"}'`.

In a browser use `fetch`, and read `answer.body`. An `EventSource` is not for this: it only gets, and when the events have ended
it asks again, so the code would run once more, and again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, Request
from fastapi.responses import StreamingResponse

import trio_gateway.anyio as trio_gateway


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, trio_gateway.KernelPool]]:
    """Have kernels ready for as long as the application runs."""
    del app
    async with trio_gateway.open_gateway() as gateway, gateway.open_pool(size=4, warm=1) as pool:
        yield {"pool": pool}


app = FastAPI(lifespan=lifespan)


def event(name: str, data: object) -> str:
    """Write one event; JSON has no line breaks, which would end it."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


@app.post("/run")
async def run(code: Annotated[str, Body(embed=True)], request: Request) -> StreamingResponse:  # noqa: ASYNC124 - else it is called in a thread
    """Run code in a kernel of its own. A visitor who goes away interrupts it, and its kernel is shut down."""
    pool: trio_gateway.KernelPool = request.state.pool

    async def events() -> AsyncGenerator[str]:  # noqa: ASYNC900 - what FastAPI takes, and asyncio closes
        try:
            async with pool.kernel() as kernel, kernel.stream(code) as outputs:
                async for output in outputs:
                    match output:
                        case trio_gateway.Stream(name=name, text=text):
                            yield event("output", {name: text})  # noqa: ASYNC119
                        case trio_gateway.DisplayData() | trio_gateway.ExecuteResult():
                            yield event("output", dict(output.data))  # noqa: ASYNC119
                        case trio_gateway.Error():
                            yield event("failed", f"{output.ename}: {output.evalue}")  # noqa: ASYNC119
            yield event("done", outputs.result.status)
        except trio_gateway.GatewayError as error:  # no kernel could be started, or it died
            yield event("failed", str(error))

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
