"""The process in which one client runs one case once: `python -m benchmarks.child '{"client": …, "case": …}'`, for the harness.

It prints one line of JSON: the meter's result, `{"unsupported": why}` or `{"error": why}`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
import traceback
from typing import Any

from .cases import CASES
from .clients.base import UnsupportedError
from .clients.registry import CLIENTS
from .measure import Meter


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Run what the harness asked for; return what came of it."""
    if spec.get("cpu") is not None:
        os.sched_setaffinity(0, {spec["cpu"]})
    entry, case = CLIENTS[spec["client"]], CASES[spec["case"]]
    meter, body = Meter(), case.body
    assert body is not None  # the harness measures imports itself
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    logging.disable(logging.WARNING)
    client = entry.make(spec["url"], spec["token"], spec["options"])

    client.closing = case.closes

    async def main() -> None:
        async with client.open():
            await body(client, meter, **spec["params"])

    client.run(main)
    return {**meter.result(), "params": spec["params"]}


def main() -> None:
    """Run it, and tell."""
    started = time.perf_counter()
    try:
        result = run(json.loads(sys.argv[1]))
    except UnsupportedError as error:
        result = {"unsupported": str(error)}
    except BaseException as error:  # noqa: ASYNC103, BLE001 - the harness tells it
        traceback.print_exc()
        result = {"error": "".join(traceback.format_exception_only(error)).strip()}
    result["process_seconds"] = time.perf_counter() - started
    print(json.dumps(result), flush=True)
    # A peer whose threads do not end must not hold up the others.
    os._exit(0)


if __name__ == "__main__":
    main()
