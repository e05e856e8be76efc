"""What runs on the hosts: sshd, a Kernel Gateway or two Enterprise Gateways that start kernels over it, and a balancer.

What starts kernels on a host finds the host by its name, logs in by a key of this run, and runs the launcher of
gateway_provisioners, which speaks with either gateway. Nothing of this is set by a file of the machine's.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from servers.enterprise import enterprise_python

from .hosts import Host, Hosts
from .provisioners import SPEC, provisioners

__all__ = ["Balancer", "EnterpriseGateway", "KernelGateway", "accept_logins"]

PORT = 8888
BALANCER_PORT = 9000
LAUNCH_TIMEOUT = 120
"""How long a gateway gives a kernel to start, in seconds; this machine may be busy."""
PATIENCE = 180.0
"""How long a program may take to listen, or a state to come, in seconds."""
LOOK_AFTER = 0.1
"""How often to look, in seconds: they can't tell us."""


def wait_until(what: str, holds: Callable[[], object], log: Path | None = None, *, patience: float = PATIENCE) -> None:
    """Look until something holds; for so many seconds at most.

    Raises:
        AssertionError: it took too long; with the end of the log.
    """
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            told = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log is not None else ""
            raise AssertionError(f"not within {patience:g} s: {what}\n{told}")
        time.sleep(LOOK_AFTER)


def listens(host: Host, port: int) -> bool:
    """Whether something on a host takes connections, as seen from this machine."""
    with suppress(OSError), socket.create_connection((host.address, port), timeout=5):
        return True
    return False


def accept_logins(hosts: Hosts, names: Sequence[str]) -> None:
    """Let these hosts be logged in to, by those whose home is the folder `home`; when this returns, they listen."""
    folder = hosts.folder
    home, keys = folder / "home", folder / "keys"
    for place in (home / ".ssh", keys, folder / "tmp"):
        place.mkdir(parents=True, mode=0o700)
    for key in (keys / "host", home / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    authorized = keys / "authorized"
    authorized.write_bytes((home / ".ssh" / "id_ed25519.pub").read_bytes())
    kind, key, *_ = (keys / "host.pub").read_text(encoding="utf-8").split()
    known = [f"{hosts[name].address} {kind} {key}\n{name} {kind} {key}\n" for name in names]
    (home / ".ssh" / "known_hosts").write_text("".join(known), encoding="utf-8")
    # What a login finds in its environment: no place of the machine's own, and the mark by which a run knows its processes.
    kept = {name: os.environ[name] for name in ("TRIO_GATEWAY_TEST_RUN", "IPYTHONDIR") if name in os.environ}
    variables = {"TMPDIR": folder / "tmp", "JUPYTER_RUNTIME_DIR": folder / "tmp", "JUPYTER_DATA_DIR": folder / "tmp", **kept}
    options = {
        "HostKey": keys / "host",
        "AuthorizedKeysFile": authorized,
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
        "SetEnv": " ".join(f"{name}={value}" for name, value in variables.items()),
    }
    given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    for name in names:
        # It wants a folder of root's that may not be there, and each host one of its own.
        own_run = ["sh", "-c", 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"', "sh"]
        sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-o", f"ListenAddress={hosts[name].address}", *given]
        hosts[name].start([*own_run, *sshd], folder / f"sshd-{name}.log")
    for name in names:
        wait_until(f"sshd on {name}", lambda name=name: listens(hosts[name], 22), folder / f"sshd-{name}.log")  # type: ignore[misc]


def _places(folder: Path, programs: Path) -> dict[str, str]:
    """Return the variables that a gateway inherits nothing beside."""
    return {
        "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "TMPDIR": str(folder / "tmp"),
        "JUPYTER_PATH": str(folder / "jupyter"),
        **{name: value for name, value in os.environ.items() if name in {"TRIO_GATEWAY_TEST_RUN", "IPYTHONDIR"}},
    }


@attrs.define
class _Gateway:
    """A gateway on a host."""

    host: Host
    kernel_hosts: Sequence[Host]
    folder: Path
    token: str = attrs.field(factory=lambda: secrets.token_hex(16), repr=False)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host.address}:{PORT}"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.host.name}.log"

    def start(self) -> None:
        """Run it; when this returns, it listens."""
        self.begin()
        self.wait()

    def begin(self, *options: str) -> None:
        """Run it.

        Raises:
            CannotBeHad: its environment can't be made.
        """
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until it listens."""
        wait_until(f"a gateway on {self.host.name}", lambda: listens(self.host, PORT), self.log)

    def _run(self, command: Sequence[str | Path], environment: dict[str, str]) -> None:
        runtime = {
            "JUPYTER_RUNTIME_DIR": str(self.folder / f"run-{self.host.name}"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
        }
        self.host.start(command, self.log, {**environment, **runtime}, inherits=False)


@attrs.define
class KernelGateway(_Gateway):
    """A Kernel Gateway whose kernels gateway_provisioners starts on other hosts."""

    def begin(self, *options: str) -> None:
        """Run it, with more options on its command line."""
        environment = provisioners()
        spec = json.loads((environment / SPEC / "kernel.json").read_text(encoding="utf-8"))
        spec["argv"][0] = str(environment / "bin" / "python")
        config = spec["metadata"]["kernel_provisioner"]["config"]
        config |= {"remote_hosts": [host.name for host in self.kernel_hosts], "launch_timeout": LAUNCH_TIMEOUT}
        folder = self.folder / "jupyter" / "kernels" / SPEC.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        variables = {
            "GP_REMOTE_USER": "root",
            "GP_SOCKET_TIMEOUT": "0.1",  # its own 10 ms take a busy host for a dead one; it waits for so long in its event loop
            "GP_RESPONSE_IP": self.host.address,
            "GP_KERNEL_LOG_DIR": str(self.folder),
            "KG_AUTH_TOKEN": self.token,
            "KG_LIST_KERNELS": "True",
        }
        own = {"ip": self.host.address, "port": PORT, "port_retries": 0, "allow_root": True, "default_kernel_name": SPEC.name}
        given = [f"--KernelGatewayApp.{name}={value}" for name, value in own.items()]
        programs = environment / "bin"
        command = [programs / "python", "-W", "ignore", "-m", "kernel_gateway", *given, *options]
        self._run(command, {**_places(self.folder, programs), **variables})


@attrs.define
class EnterpriseGateway(_Gateway):
    """One of several Enterprise Gateways that share their kernels by files, as its replicas do."""

    NAME = "python_ssh"

    def begin(self, *options: str) -> None:
        """Run it, with more options on its command line."""
        python = enterprise_python()
        launcher = provisioners() / SPEC / "scripts" / "launch_ipykernel.py"
        names = ("kernel-id", "response-address", "public-key", "port-range")
        given = [part for name in names for part in (f"--{name}", f"{{{name.replace('-', '_')}}}")]
        proxy = "enterprise_gateway.services.processproxies.distributed.DistributedProcessProxy"
        spec = {
            "display_name": "Python over SSH",
            "language": "python",
            "interrupt_mode": "signal",
            "metadata": {"process_proxy": {"class_name": proxy}},
            "argv": [str(python), str(launcher), *given, "--spark-context-initialization-mode", "none", "--cluster-type", "none"],
        }
        folder = self.folder / "jupyter" / "kernels" / self.NAME
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        variables = {
            "EG_AUTH_TOKEN": self.token,
            "EG_LIST_KERNELS": "True",
            "EG_PORT_RETRIES": "0",
            "EG_REMOTE_HOSTS": ",".join(host.name for host in self.kernel_hosts),
            "EG_REMOTE_USER": "root",
            "EG_RESPONSE_IP": self.host.address,
            "EG_KERNEL_LOG_DIR": str(self.folder),
            "EG_AVAILABILITY_MODE": "replication",
            "EG_PERSISTENCE_ROOT": str(self.folder / "shared"),
            "EG_KERNEL_LAUNCH_TIMEOUT": str(LAUNCH_TIMEOUT),
            "EG_SOCKET_TIMEOUT": "0.1",  # its own 5 ms take a busy host for a dead one, and then a shutdown ends no process
            "EG_DEFAULT_KERNEL_NAME": self.NAME,
        }
        command = [
            python.parent / "jupyter-enterprisegateway",
            f"--ip={self.host.address}",
            f"--port={PORT}",
            "--log-level=DEBUG",
            *options,
        ]
        self._run(command, {**_places(self.folder, python.parent), **variables})

    def end(self) -> None:
        """End it as a cluster's manager does, and wait until it is gone."""
        self.host.signal("enterprisegateway", signal.SIGTERM)
        wait_until(f"the end of the gateway on {self.host.name}", lambda: not self.host.processes("enterprisegateway"), self.log)


CONFIGURATION = """
global
  stats socket {socket} level admin
defaults
  mode http
  timeout connect 2s
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
  timeout check 10s
frontend door
  bind {address}:{port}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk
  http-check send meth GET uri /api hdr Authorization "token {token}"
  cookie REPLICA insert indirect nocache
  default-server inter 1s fall 3 rise 1 on-marked-down shutdown-sessions
"""


@attrs.define
class Balancer:
    """haproxy before gateways: a client stays with one of them by a cookie, and goes on with another one when it is down."""

    host: Host
    gateways: Sequence[_Gateway]
    folder: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.host.address}:{BALANCER_PORT}"

    @property
    def token(self) -> str:
        """What its gateways want to be shown."""
        return self.gateways[0].token

    def start(self) -> None:
        """Run it; when this returns, it listens, and knows each of its gateways to be up."""
        configuration, log = self.folder / "haproxy.cfg", self.folder / "haproxy.log"
        servers = "".join(
            f"  server {gateway.host.name} {gateway.host.address}:{PORT} check cookie {gateway.host.name}\n"
            for gateway in self.gateways
        )
        text = CONFIGURATION.format(
            socket=self.folder / "haproxy", address=self.host.address, port=BALANCER_PORT, token=self.token
        )  # fmt: skip
        configuration.write_text(text + servers, encoding="utf-8")
        self.host.start(["/usr/sbin/haproxy", "-f", configuration, "-db"], log)
        admin = self.folder / "haproxy"
        wait_until("haproxy", lambda: admin.is_socket() and listens(self.host, BALANCER_PORT), log)
        self.wait_for({gateway.host.name: "UP" for gateway in self.gateways})

    def _say(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.folder / "haproxy"))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(65_536), b"")).decode()

    def _rows(self) -> list[list[str]]:
        """Return the lines of its statistics that are about its gateways (haproxy's management guide, 9.1)."""
        rows = (line.split(",") for line in self._say("show stat").splitlines())
        return [row for row in rows if row[0] == "gateways"]

    def states(self) -> dict[str, str]:
        """Say what it takes each of its gateways for: UP, DOWN, DRAIN, or one on the way."""
        return {row[1]: row[17] for row in self._rows() if row[1] != "BACKEND"}

    def sessions(self, name: str) -> int:
        """Return how many connections lead to one of its gateways."""
        return next(int(row[4]) for row in self._rows() if row[1] == name)

    def set_state(self, name: str, state: str) -> None:
        """Have it send nothing new to one of its gateways (drain), or take it back (ready)."""
        self._say(f"set server gateways/{name} state {state}")

    def wait_for(self, states: dict[str, str]) -> None:
        """Wait until it takes its gateways for this."""
        wait_until(f"{states} at the balancer", lambda: self.states() == states, self.folder / "haproxy.log")
