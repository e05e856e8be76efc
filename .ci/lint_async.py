"""Run flake8 in half the time: the passes of flake8-async over one file share what they need.

    python .ci/lint_async.py FILE...

flake8-async goes over each file seven times, and works out anew each time where everything stands in it, because a pass that
mends faults changes the file. None does here, so it is worked out once, and the passes that look for faults go over the file
together. What is found is the same. In a version of flake8-async that is made otherwise nothing is shared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import libcst
from flake8.main.cli import main
from flake8_async import runner


class Together(libcst.CSTTransformer):
    """Several visitors go over a file at once; where one does not go into a node, the others may."""

    def __init__(self, visitors: Sequence[libcst.CSTTransformer]) -> None:
        super().__init__()
        self._visitors = visitors
        self._outside: dict[libcst.CSTTransformer, libcst.CSTNode] = {}

    def on_visit(self, node: libcst.CSTNode) -> bool:
        for visitor in self._visitors:
            if visitor not in self._outside and not visitor.on_visit(node):
                self._outside[visitor] = node
        return len(self._outside) < len(self._visitors)

    def on_leave(self, original_node: Any, updated_node: Any) -> Any:
        for visitor in self._visitors:
            if self._outside.get(visitor, original_node) is original_node:
                self._outside.pop(visitor, None)
                visitor.on_leave(original_node, updated_node)
        return updated_node

    def on_visit_attribute(self, node: libcst.CSTNode, attribute: str) -> None:
        for visitor in self._visitors:
            if visitor not in self._outside:
                visitor.on_visit_attribute(node, attribute)

    def on_leave_attribute(self, original_node: libcst.CSTNode, attribute: str) -> None:
        for visitor in self._visitors:
            if visitor not in self._outside:
                visitor.on_leave_attribute(original_node, attribute)


def run(self: Any) -> Iterator[Any]:
    """Stand for `Flake8AsyncRunner_cst.run`."""
    wrapper = libcst.MetadataWrapper(self.module, unsafe_skip_copy=True)
    for visitor in self.utility_visitors:  # one after the other: each may need what those before it have found in all of the file
        wrapper.visit(visitor)
    with ExitStack() as stack:
        for visitor in self.visitors:
            stack.enter_context(visitor.resolve(wrapper))
        wrapper.module.visit(Together(self.visitors))
    yield from self.state.problems
    if not self.options.disable_noqa:
        self.noqas = self.utility_visitors[-1].noqas


if __name__ == "__main__":
    if hasattr(runner, "Flake8AsyncRunner_cst"):
        runner.Flake8AsyncRunner_cst.run = run
    sys.exit(main())
