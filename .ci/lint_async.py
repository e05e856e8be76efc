"""Run flake8 with the one plugin that it is here for, flake8-async, in a fifth of its time: what is found is the same.

    python .ci/lint_async.py FILE...

flake8-async goes over each file several times, and each time makes the whole tree of the file anew, because a pass that mends
faults changes it. None does here. So the passes look at the tree as it is, several at once, and only at those parts in which one
of them looks for something; where everything stands in the file is worked out once, and only for a file in which a pass asks.
The checks that flake8 brings along are ruff's business, and don't run.

Before it begins it looks at a text full of faults in both ways, and ends with an error if they find different ones: a version of
flake8-async or libcst may be made otherwise.
"""

from __future__ import annotations

import ast
import sys
import typing
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import libcst
from flake8 import checker
from flake8.main.cli import main
from flake8.plugins import finder
from flake8_async import Plugin, runner
from libcst.metadata import MetadataWrapper, PositionProvider

Hooks = list[tuple[Any, Callable[..., Any]]]
"""Visitors, and what each does at some place."""

# ------------------------------------------------------------------------------------------------------- the tree of libcst


class Order(libcst.CSTTransformer):
    """Notes the order in which the attributes of a node are visited, and goes no further."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def on_visit(self, node: libcst.CSTNode) -> bool:
        del node
        return False

    def on_visit_attribute(self, node: libcst.CSTNode, attribute: str) -> None:
        del node
        self.names.append(attribute)


@cache
def kinds() -> list[type[libcst.CSTNode]]:
    """Return all classes of nodes."""
    found: dict[type[libcst.CSTNode], None] = {}
    waiting: list[type[libcst.CSTNode]] = [libcst.CSTNode]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            found[kind] = None
            waiting.append(kind)
    return list(found)


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes that a type is made of: of `Sequence[Name] | None` its `Name` and `None`."""
    if isinstance(hint, type) and not typing.get_args(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from classes_in(part)


@cache
def may_hold(kind: type[libcst.CSTNode]) -> dict[str, list[type[libcst.CSTNode]]]:
    """Return, for each attribute of a class of nodes, the classes of nodes that may stand there."""
    held = {}
    for name, hint in typing.get_type_hints(kind).items():
        classes = [each for each in classes_in(hint) if issubclass(each, libcst.CSTNode)]
        if classes:
            held[name] = [other for other in kinds() if issubclass(other, tuple(classes))]
    return held


ATTRIBUTES: dict[type, list[str]] = {}


def attributes_of(node: libcst.CSTNode) -> list[str]:
    """Return the attributes of a node that hold nodes, in the order in which they are visited."""
    names = ATTRIBUTES.get(type(node))
    if names is None:
        order = Order()
        node._visit_and_replace_children(order)  # noqa: SLF001 - there is no other way to ask for the order
        left_out = [name for name in may_hold(type(node)) if getattr(node, name, order) is None]  # another may have some there
        names = ATTRIBUTES[type(node)] = list(dict.fromkeys([*order.names, *left_out]))
    return names


@cache
def worth_a_look(visitors: frozenset[type]) -> frozenset[type]:
    """Return the classes of nodes in which one of these visitors looks for something, at any depth."""
    own = {
        name.split("_")[1]
        for visitor in visitors
        for name in dir(visitor)
        if name.startswith(("visit_", "leave_")) and getattr(visitor, name) is not getattr(libcst.CSTTransformer, name, None)
    }
    defined = {kind for kind in kinds() if kind.__name__ in own}
    while True:
        more = {kind for kind in kinds() if any(not defined.isdisjoint(held) for held in may_hold(kind).values())} - defined
        if not more:
            return frozenset(defined)
        defined |= more


class Walk:
    """A way through a tree for several visitors at once, which changes nothing: where one goes no further, the others may."""

    def __init__(self, visitors: Sequence[libcst.CSTTransformer]) -> None:
        self._visitors = visitors
        self._kinds = worth_a_look(frozenset(map(type, visitors)))
        self._outside: set[libcst.CSTTransformer] = set()
        self._plans: dict[type, tuple[Hooks, Hooks, list[tuple[str, Hooks, Hooks]]] | None] = {}

    def _hooks(self, name: str) -> Hooks:
        default = getattr(libcst.CSTTransformer, name, None)
        found = ((visitor, getattr(visitor, name, None)) for visitor in self._visitors)
        return [(visitor, hook) for visitor, hook in found if hook and getattr(hook, "__func__", hook) is not default]

    def _plan(self, node: libcst.CSTNode) -> tuple[Hooks, Hooks, list[tuple[str, Hooks, Hooks]]] | None:
        kind = type(node)
        if kind not in self._kinds:
            return None
        held = may_hold(kind)
        attributes = []
        for name in attributes_of(node):
            before = self._hooks(f"visit_{kind.__name__}_{name}")
            after = self._hooks(f"leave_{kind.__name__}_{name}")
            if before or after or not self._kinds.isdisjoint(held.get(name, ())):
                attributes.append((name, before, after))
        return self._hooks(f"visit_{kind.__name__}"), self._hooks(f"leave_{kind.__name__}"), attributes

    def through(self, node: libcst.CSTNode) -> None:
        """Go through a node and what is in it, in the order in which libcst does."""
        try:
            plan = self._plans[type(node)]
        except KeyError:
            plan = self._plans[type(node)] = self._plan(node)
        if plan is None:
            return
        visits, leaves, attributes = plan
        outside = self._outside
        turned_back = []
        for visitor, visit in visits:
            if visitor not in outside and visit(node) is False:
                outside.add(visitor)
                turned_back.append(visitor)
        if len(outside) < len(self._visitors):
            for name, before, after in attributes:
                for visitor, hook in before:
                    if visitor not in outside:
                        hook(node)
                value = getattr(node, name)
                if isinstance(value, libcst.CSTNode):
                    self.through(value)
                elif isinstance(value, (list, tuple)):
                    for each in value:
                        self.through(each)
                for visitor, hook in after:
                    if visitor not in outside:
                        hook(node)
        outside.difference_update(turned_back)
        for visitor, leave in leaves:
            if visitor not in outside:
                leave(node, node)


class Places(Mapping[Any, Any]):
    """Where each node stands in its file, worked out when it is asked for."""

    def __init__(self, wrapper: MetadataWrapper) -> None:
        self._wrapper = wrapper
        self._found: Mapping[Any, Any] | None = None

    def __getitem__(self, node: Any) -> Any:
        if self._found is None:
            self._found = PositionProvider()._gen(self._wrapper)  # noqa: SLF001 - MetadataWrapper goes over the file once more
        return self._found[node]

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def search(node: libcst.CSTNode, visitor: Any) -> None:
    """Show each node to a visitor that looks for some."""
    if visitor.on_visit(node):
        for name in attributes_of(node):
            value = getattr(node, name)
            if isinstance(value, libcst.CSTNode):
                search(value, visitor)
            elif isinstance(value, (list, tuple)):
                for each in value:
                    search(each, visitor)


def visit(self: libcst.CSTNode, visitor: Any) -> Any:
    """Stand for `CSTNode.visit`: what changes nothing gets no new tree, also where it visits a part by itself."""
    if (walk := getattr(visitor, "walk_alone", None)) is not None:
        walk.through(self)
    elif type(visitor).__name__ == "_FindAllVisitor":  # of libcst.matchers.findall()
        search(self, visitor)
    else:
        return LIBCST_VISIT(self, visitor)
    return self


def run(self: Any) -> Iterator[Any]:
    """Stand for `Flake8AsyncRunner_cst.run`."""
    places = Places(MetadataWrapper(self.module, unsafe_skip_copy=True))
    for visitor in (*self.utility_visitors, *self.visitors):
        visitor.metadata = {PositionProvider: places}
        visitor.walk_alone = Walk([visitor])
    Walk(self.utility_visitors).through(self.module)  # the others need what these have found in all of the file
    Walk(self.visitors).through(self.module)
    yield from self.state.problems
    if not self.options.disable_noqa:
        self.noqas = self.utility_visitors[-1].noqas


# ---------------------------------------------------------------------------------------------------------- the tree of ast


def visit_ast(self: Any, node: ast.AST) -> None:
    """Stand for `Flake8AsyncRunner.visit`: what the visitors do at a class of nodes is looked up once."""
    if "hooks" not in vars(self):
        self.hooks, self.outside, self.all = {}, set(), (*self.utility_visitors, *self.visitors)
    kind = type(node)
    hooks = self.hooks.get(kind)
    if hooks is None:
        name = f"visit_{kind.__name__}"
        found = ((visitor, getattr(visitor, name, None)) for visitor in self.all)
        default = getattr(ast.NodeVisitor, name, None)  # of a constant, for programs of Python 3.7
        hooks = [(visitor, hook) for visitor, hook in found if hook and getattr(hook, "__func__", hook) is not default]
        self.hooks[kind] = hooks
    alone = set()  # those that have gone through what is in the node by themselves
    for visitor, hook in hooks:
        if visitor not in self.outside:
            hook(node)
            if visitor.novisit:
                alone.add(visitor)
    self.outside |= alone
    for child in ast.iter_child_nodes(node):
        self.visit(child)
    for visitor in alone:
        visitor.novisit = False
    self.outside -= alone
    for visitor in self.all:
        if visitor.outer and visitor not in self.outside:
            visitor.set_state(visitor.outer.pop(node, {}))


# ------------------------------------------------------------------------------------------------------------- both together

FAULTS = """
import trio
import contextlib
from contextlib import asynccontextmanager
async def nothing(): pass
async def sometimes(a, b):
    if a and await b or (await a if b else a):
        await trio.sleep(0)
    return a
async def turns(items, timeout):
    for item in items:
        async with item as one, trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            nursery.start_soon(lambda: [item async for item in one])
        if item: continue
        await item
    else:
        return
    while True:
        if items: break
    while items:
        await trio.sleep(100000)
async def excepts(a):
    with trio.move_on_after(1): a()
    with trio.fail_after(2) as scope, open("x") as f:
        f.read()
        yield 1
    try:
        await a
    except* ValueError as e:
        raise e.exceptions[0]
    try:
        a()
    except BaseException:
        await trio.sleep(1)
    except (trio.Cancelled, OSError):
        return
    else:
        yield
    finally:
        await a
        with trio.CancelScope(shield=True): await a
        trio.sleep(3)
@asynccontextmanager
async def manager():
    async with trio.open_nursery() as nursery:
        yield nursery
async def always(a):
    while True:
        a()
async def within(a):
    with trio.move_on_after(1):
        if a: await a
    await a
async def handles(a):
    try: await a
    except ValueError: await trio.sleep(0)
    except: pass
async def jumps():
    while True:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            break
def plain():
    try: pass
    except trio.Cancelled: pass
    async def inside(self=lambda: (yield)):
        trio.run(nothing)
        def further():
            with trio.open_nursery() as n: n.start_soon(f)
        match self:
            case [x] if await x: return
            case _: await trio.lowlevel.checkpoint()
class Several:
    async def __aenter__(self): return self
    async def run(self, nursery, task_status=trio.TASK_STATUS_IGNORED):
        await nursery.start_soon(self.run)
        with contextlib.suppress(Exception):
            await self.run
        time.sleep(1); subprocess.run([]); open("x"); os.path.exists("x"); input(); httpx.Client(); urllib3.request("GET", "x")
        [x for x in range(3)]; {await y for y in range(3)}; (z async for z in self)
"""
"""What is forbidden, as far as it fits on a page."""


LIBCST_VISIT = libcst.CSTNode.visit
IN_PLACE: list[tuple[Any, str, Callable[..., Any]]] = [
    (libcst.CSTNode, "visit", visit),
    (runner.Flake8AsyncRunner_cst, "run", run),
    (runner.Flake8AsyncRunner, "visit", visit_ast),
]
"""What stands for what."""
OTHERS = {"mccabe", "pycodestyle", "pyflakes"}
"""Plugins that flake8 brings along."""


def find(faults: str) -> list[str]:
    """Return what flake8-async finds with all its rules, each with its place."""
    parser = ArgumentParser()
    Plugin.add_options(parser)
    Plugin.parse_options(parser.parse_args(["--enable=ASYNC", "--disable=ASYNC000", "--disable-noqa"]))
    return sorted(f"{each.line}:{each.col} {each.code} {each.args}" for each in Plugin.from_source(faults).run())


def hurry() -> None:
    """Put ours in their places, if the same is found with them."""
    wanted = find(FAULTS)
    for owner, name, function in IN_PLACE:
        setattr(owner, name, function)
    found = find(FAULTS)
    if found != wanted:
        differ = "\n".join(sorted(set(found) ^ set(wanted)))
        sys.exit(f"this flake8-async finds others than its visitors do here; mend .ci/lint_async.py:\n{differ}")
    every = finder.find_plugins
    finder.find_plugins = lambda *args: [each for each in every(*args) if each.package not in OTHERS]
    checker.FileChecker.process_tokens = lambda _: None  # for plugins that look at lines


if __name__ == "__main__":
    hurry()
    sys.exit(main())
