"""Hosts of our own: network namespaces on one switch, with ways to break them, gone with their block.

The one idea: a host is a name. `tgw-PID-START-x-h1` says which process made it, so that the next run can remove what a run left
that was killed; and what runs on a host is what the kernel says is in its namespace, whoever its parent may be by then.

The switch is a namespace too: this machine's own has one more interface, through which the tests reach the hosts, and its
firewall has no say between them. The hosts share files and processes with this machine, so a path is the same on each.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs
import psutil

from tools.environments import CannotBeHad
from tools.run_folder import locked

from .slow_cable import slow_cable

__all__ = ["Host", "Hosts", "open_hosts", "processes_in", "remove_what_the_dead_left"]

NAMESPACES = Path("/run/netns")
FILES = Path("/etc/netns")
"""What stands here in a folder of a namespace's name stands in /etc for what `ip netns exec` runs in it."""
LOCK = Path("/run")
"""Who makes or removes hosts has this folder to itself meanwhile."""
NAME = re.compile(r"tgw-(?P<pid>\d+)-(?P<start>\d+)-(?P<letter>[a-z])-(?P<host>\w+)")
KERNEL_ID = re.compile(r"--kernel-id (\S+)")
SWITCH = "switch"
CLIENT = 254
"""This machine's own number in the network of the hosts."""
KILL_PATIENCE = 30.0
"""How long processes may take to be gone when they were killed, in seconds."""

_letters = itertools.cycle("abcdefghijklmnopqrstuvwxyz")


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _started(pid: int) -> str | None:
    """Say when a process began, in the clock ticks of the system; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]


@attrs.frozen
class Host:
    """One host."""

    name: str
    namespace: str
    address: str
    switch: str = attrs.field(repr=False)
    """The namespace of the switch, where the other end of its cable is called as the host is."""
    folder: Path = attrs.field(repr=False)
    started: list[subprocess.Popen[bytes]] = attrs.field(factory=list, repr=False)

    def start(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None, *, inherits: bool = True
    ) -> subprocess.Popen[bytes]:
        """Run a program on it, in the background.

        Args:
            command: the program, and its arguments.
            log: takes what it writes, at its end.
            environment: its variables beside, or where it does not inherit instead of, this process's.
            inherits: whether it has this process's variables.
        """
        variables = {**(os.environ if inherits else {}), **(environment or {})}
        with log.open("ab") as file:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *map(str, command)], cwd=self.folder, env=variables,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self.started.append(process)
        return process

    def processes(self, part: str = "") -> dict[int, str]:
        """Return the processes that run on it, by their ids, whose command line has this part."""
        found: dict[int, str] = {}
        for pid in processes_in(self.namespace):
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                command = " ".join(process.cmdline())
                if part in command and process.status() != psutil.STATUS_ZOMBIE:
                    found[pid] = command
        return found

    def kernels(self) -> set[str]:
        """Return the ids of the kernels that run on it, or are about to."""
        return {found for command in self.processes("launch_ipykernel").values() for found in KERNEL_ID.findall(command)}

    def kill(self) -> None:
        """Kill all that runs on it, and wait until it is gone: as when its power fails, but for its cable."""
        for process in self.started:
            process.kill()  # it may be on its way into the namespace
        _kill_all(self.namespace)
        for process in self.started:
            process.wait()
        self.started.clear()

    def signal(self, part: str, signum: signal.Signals) -> None:
        """Send a signal to what runs on it and has this in its command line."""
        for pid in self.processes(part):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)

    def set_link(self, *, up: bool) -> None:
        """Pull its cable out of the switch, or put it in."""
        _ip("-n", self.switch, "link", "set", self.name, "up" if up else "down")

    @contextmanager
    def slow(self, *, delay: float, loss: float, seed: int = 1) -> Iterator[None]:
        """Have a bad cable for a block: each packet takes longer, and some are lost, in each direction.

        Args:
            delay: in seconds.
            loss: which part of the packets is lost, such as 0.05.
            seed: for the dice.
        """
        with slow_cable(self.switch, self.name, delay=delay, loss=loss, seed=seed):
            yield


@attrs.frozen
class Hosts(Mapping[str, Host]):
    """The hosts by their names, and this machine, through its own cable."""

    client: str
    """The address of this machine in their network."""
    switch: str
    folder: Path
    by_name: dict[str, Host] = attrs.field(repr=False)

    def __getitem__(self, name: str) -> Host:
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    @contextmanager
    def slow_client(self, *, delay: float, loss: float, seed: int = 1) -> Iterator[None]:
        """Have this machine's own cable be a bad one, as `Host.slow` has a host's."""
        with slow_cable(self.switch, "client", delay=delay, loss=loss, seed=seed):
            yield


@contextmanager
def open_hosts(names: Sequence[str]) -> Generator[Hosts]:
    """Have hosts on a network of their own. When the block ends, their processes, the network and their folder are gone.

    Args:
        names: what they are called; they know each other by these names.

    Raises:
        CannotBeHad: this process may not make them, or a program is missing; says what to do.
    """
    reason = why_not()
    if reason:
        raise CannotBeHad(reason)
    pid = os.getpid()
    letter = next(_letters)
    prefix = f"tgw-{pid}-{_started(pid)}-{letter}-"
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hosts-"))
        folder.chmod(0o755)  # sshd goes through it as somebody else
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(_remove, prefix)
        with locked(LOCK):
            remove_what_the_dead_left()
            hosts = _make(prefix, names, folder)
        stack.callback(_reap, hosts)
        yield hosts


def why_not() -> str:
    """Say why there can be no hosts here and what to do, or nothing."""
    if sys.platform != "linux":
        return "network namespaces are Linux's: run this in a container or a virtual machine with it, as root"
    if os.geteuid() != 0:
        return "network namespaces need root: run this as root, or in a container with the capabilities NET_ADMIN and SYS_ADMIN"
    for program, package in (("ip", "iproute2"), ("sshd", "openssh-server"), ("haproxy", "haproxy")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"{program} is missing: install Debian's package {package}"
    return ""


def _interface(prefix: str) -> str:
    """Return what this machine's own end of its cable is called; it has room for 15 characters."""
    _, pid, _, letter, _ = prefix.split("-")
    return f"tgw{pid}{letter}"


def _make(prefix: str, names: Sequence[str], folder: Path) -> Hosts:
    network = _free_network()
    switch = f"{prefix}{SWITCH}"
    addresses = {name: str(network[number]) for number, name in enumerate(names, 1)}
    lines = [
        f"# kept by {prefix} in {folder}",
        "127.0.0.1 localhost",
        *(f"{address} {name}" for name, address in addresses.items()),
    ]
    for name in names:
        own = FILES / f"{prefix}{name}"
        own.mkdir(parents=True)
        (own / "hosts").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (own / "resolv.conf").write_text("# nobody\n", encoding="utf-8")
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "name", "bridge", "type", "bridge")
    except RuntimeError as error:
        if not any(word in str(error) for word in ("not permitted", "not supported", "Unknown device type", "Read-only")):
            raise
        raise CannotBeHad(
            f"no network namespaces here ({error}): a container needs the capabilities NET_ADMIN and SYS_ADMIN"
        ) from error
    _ip("-n", switch, "link", "set", "bridge", "up")
    for name in names:
        namespace = f"{prefix}{name}"
        _ip("netns", "add", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", switch, "link", "set", name, "master", "bridge", "up")
        _ip("-n", namespace, "addr", "add", f"{addresses[name]}/{network.prefixlen}", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
    interface = _interface(prefix)
    _ip("-n", switch, "link", "add", "name", "client", "type", "veth", "peer", "name", interface, "netns", str(os.getpid()))
    _ip("-n", switch, "link", "set", "client", "master", "bridge", "up")
    _ip("addr", "add", f"{network[CLIENT]}/{network.prefixlen}", "dev", interface)
    _ip("link", "set", interface, "up")
    hosts = {name: Host(name, f"{prefix}{name}", address, switch, folder) for name, address in addresses.items()}
    return Hosts(str(network[CLIENT]), switch, folder, hosts)


def _free_network() -> ipaddress.IPv4Network:
    """Return a private network that no route of this machine leads to. The caller holds the lock until its address is there."""
    routes = [route["dst"] for route in json.loads(_ip("-4", "-json", "route", "show", "table", "all"))]
    taken = [ipaddress.ip_network(route, strict=False) for route in routes if route != "default"]
    for network in ipaddress.ip_network("10.96.0.0/11").subnets(new_prefix=24):
        if not any(network.overlaps(other) for other in taken if other.prefixlen):
            return network
    raise CannotBeHad("no network of 10.96.0.0/11 is free: each has a route; take one away (ip route)")


def processes_in(namespace: str) -> list[int]:
    """Return the ids of the processes that run in a namespace."""
    return [int(pid) for pid in _ip("netns", "pids", namespace).split()]


def _kill_all(namespace: str) -> None:
    end = time.monotonic() + KILL_PATIENCE
    while pids := processes_in(namespace):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            raise RuntimeError(f"processes {pids} in {namespace} can't be killed")
        time.sleep(0.02)


def _reap(hosts: Hosts) -> None:
    for host in hosts.values():
        host.kill()


def _remove(prefix: str) -> None:
    with locked(LOCK):
        _remove_namespaces(prefix)


def _remove_namespaces(prefix: str) -> None:
    """Remove the namespaces with this prefix, what runs in them, their cables and their files."""
    for path in sorted(NAMESPACES.glob(f"{prefix}*")):
        _kill_all(path.name)
    with suppress(RuntimeError):  # it was not made yet
        _ip("link", "del", _interface(prefix))
    for path in sorted(NAMESPACES.glob(f"{prefix}*")):
        _ip("netns", "del", path.name)
    for path in FILES.glob(f"{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        FILES.rmdir()


def remove_what_the_dead_left() -> list[str]:
    """Remove the hosts whose owner does not run any more; return their prefixes. The caller holds the lock."""
    dead: set[str] = set()
    for place in (NAMESPACES, FILES):
        for path in place.glob("tgw-*"):
            found = NAME.fullmatch(path.name)
            if found and _started(int(found["pid"])) != found["start"]:
                dead.add(path.name.removesuffix(found["host"]))
    for prefix in sorted(dead):
        for hosts in FILES.glob(f"{prefix}*/hosts"):
            folder = Path(hosts.read_text(encoding="utf-8").splitlines()[0].rpartition(" in ")[2])
            if folder.name.startswith("hosts-"):
                shutil.rmtree(folder, ignore_errors=True)
        _remove_namespaces(prefix)
    return sorted(dead)
