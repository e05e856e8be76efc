"""A gateway on each face, for one test: written as a Trio program, and carried over to the face call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portal.face_stage import open_loop_stage, open_thread_stage
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import Stage

__all__ = ["FACES", "each_face", "stage_on"]

FACES = ("trio", "asyncio", "blocking")

each_face = pytest.mark.parametrize("face", FACES)


@contextmanager
def stage_on(face: str, config: GatewayConfig) -> Iterator[Stage]:
    """Give what opens the gateway on a face."""
    if face == "trio":
        yield Stage(config)
    elif face == "asyncio":
        with open_loop_stage(asyncio.new_event_loop, config) as stage:
            yield stage
    else:
        with open_thread_stage(config) as stage:
            yield stage
