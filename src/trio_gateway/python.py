"""Values in and out of a Python kernel, and functions called there, from a Trio program.

    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        await python.push(frame=frame, weights=array)
        total = await python.pull("frame['x'].sum()")
        score = await python.call(train, python.name("frame"), epochs=3)
        async with python.tools(lookup=lookup):  # code in the kernel calls functions here
            await kernel.execute("rows = lookup('rain')")

Functions that go by value, and values that go as pickles, need the extra `python`. This module re-exports names and holds nothing
else.
"""

from ._python.errors import FileAccessError as FileAccessError
from ._python.errors import RemoteError as RemoteError
from ._python.errors import TransferError as TransferError
from ._python.errors import ValueNotCarriedError as ValueNotCarriedError
from ._python.errors import ValueTooLargeError as ValueTooLargeError
from ._python.files import FileCopy as FileCopy
from ._python.link import OnOutput as OnOutput
from ._python.pools import CallResult as CallResult
from ._python.pools import CallResults as CallResults
from ._python.pools import PythonPool as PythonPool
from ._python.python import Name as Name
from ._python.python import Python as Python
from ._python.python import RemoteItems as RemoteItems
from ._python.python import Trust as Trust
from ._python.python import open_python as open_python
from ._python.transfer import OnProgress as OnProgress
from ._python.transfer import Progress as Progress

__all__ = [
    "CallResult",
    "CallResults",
    "FileAccessError",
    "FileCopy",
    "Name",
    "OnOutput",
    "OnProgress",
    "Progress",
    "Python",
    "PythonPool",
    "RemoteError",
    "RemoteItems",
    "TransferError",
    "Trust",
    "ValueNotCarriedError",
    "ValueTooLargeError",
    "open_python",
]
