"""Test programs that use trio_gateway: a whole gateway inside the test process, in virtual time, that breaks on command.

This module re-exports the kit's names and holds nothing else.
"""

from ._cell import Ask as Ask
from ._cell import Cell as Cell
from ._cell import CellError as CellError
from ._cell import Crash as Crash
from ._cell import Interrupted as Interrupted
from ._cell import Script as Script
from ._cell import Sleep as Sleep
from ._comm import FakeComm as FakeComm
from ._conversation import Conversation as Conversation
from ._faults import Chaos as Chaos
from ._faults import Fault as Fault
from ._faults import Faults as Faults
from ._fleet import FakeFleet as FakeFleet
from ._gateway import FakeGateway as FakeGateway
from ._http import FakeRequest as FakeRequest
from ._hub import FakeHub as FakeHub
from ._hub import FakeHubServer as FakeHubServer
from ._hub import FakeHubToken as FakeHubToken
from ._kernel import FakeKernel as FakeKernel
from ._specs import FakeKernelSpec as FakeKernelSpec
from ._state import FakeSession as FakeSession

__all__ = [
    "Ask",
    "Cell",
    "CellError",
    "Chaos",
    "Conversation",
    "Crash",
    "FakeComm",
    "FakeFleet",
    "FakeGateway",
    "FakeHub",
    "FakeHubServer",
    "FakeHubToken",
    "FakeKernel",
    "FakeKernelSpec",
    "FakeRequest",
    "FakeSession",
    "Fault",
    "Faults",
    "Interrupted",
    "Script",
    "Sleep",
]
