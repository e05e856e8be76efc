"""A web application whose requests each have a kernel of their own: `uvicorn web_pool:app`, with JUPYTER_GATEWAY_URL set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

import trio_gateway.anyio as trio_gateway

SECONDS = 10.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, trio_gateway.KernelPool]]:
    """Have a pool open for as long as the application runs; at its end, those who have a kernel finish first."""
    del app
    async with trio_gateway.open_gateway() as gateway:
        async with gateway.open_pool("python3", size=4, warm=2, init="import statistics", max_age=3600) as pool:
            yield {"pool": pool}
            await pool.drain()


app = FastAPI(lifespan=lifespan)


@app.post("/mean")
async def mean(numbers: list[float], request: Request) -> float:
    """Compute in a kernel that nobody has used before; one that takes too long is interrupted, and gone."""
    pool: trio_gateway.KernelPool = request.state.pool
    try:
        async with asyncio.timeout(SECONDS):
            result = await pool.run(f"statistics.fmean({numbers!r})")
    except trio_gateway.GatewayError as error:  # no kernel could be started, or it died
        raise HTTPException(503, str(error)) from error
    except TimeoutError:
        raise HTTPException(504, f"not computed in {SECONDS:g} s") from None
    if result.error is not None:
        raise HTTPException(422, f"{result.error.ename}: {result.error.evalue}")
    return float(result.text or "nan")


@app.get("/pool")
async def look(request: Request) -> dict[str, int]:  # noqa: ASYNC124 - else it is called in a thread
    """Say how the pool is, for a monitor."""
    statistics = request.state.pool.statistics()
    return {name: getattr(statistics, name) for name in ("ready", "leased", "starting", "waiting", "lost")}
