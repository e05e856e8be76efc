"""Whether one gateway answers, or replicas of one that differ: behind a balancer, or at several addresses.

The one idea: each question is asked several times over connections of their own, so that a balancer that spreads requests sends
them to different replicas, and once at each other address. Answers of one gateway agree. Nothing here knows a balancer: what it
does is seen by the answers, and by a cookie that it hands out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, cast
from urllib.parse import urlsplit

import attrs

from .._gateway.starting import new_kernel_id
from .._protocol import rest
from .._protocol.masking import one_line
from .._transport.connector import Connector
from .._transport.http.client import HttpClient
from .._transport.probe import ask_plainly
from .findings import Finding, Status

__all__ = ["LOOKS", "Look", "ReplicaQuestions", "judge_replicas"]

LOOKS: Final = 6
"""How often each question is asked: of two replicas that are chosen by chance both answer, 31 times of 32."""

_LOOK_LIMIT: Final = 10.0
"""How long one look may take, in seconds."""
_SERVERS_OWN: Final = ("username-", "_xsrf")
"""How the names of a Jupyter server's own cookies begin: who is logged in, and what guards its forms."""
_SHARING: Final = "Enterprise Gateway: EG_AVAILABILITY_MODE=replication and one EG_PERSISTENCE_ROOT for all"


@attrs.frozen
class Look:
    """How one question was answered once."""

    address: str
    """Which address was asked."""
    status_code: int
    """The answer's status; 0 where there was none."""
    says: tuple[str, ...] = ()
    """What of it can be compared."""
    cookies: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    """The cookies that it set: names and values. The question had none."""


@attrs.frozen
class _Problem:
    detail: str
    advice: str
    status: Status = "warning"


class ReplicaQuestions:
    """Asks a gateway several times what one gateway answers alike.

    Args:
        http: the client of the address that is examined.
        connector: opens byte streams.
        others: the gateway's other addresses.
        accept_variable: what the setting `accept_cookies` is called.
    """

    def __init__(self, http: HttpClient, connector: Connector, *, others: Sequence[str], accept_variable: str) -> None:
        self._http = http
        self._connector = connector
        self._others = others
        self._accept_variable = accept_variable

    async def compare(self, kernel_id: str | None) -> Finding:
        """Say whether all answers are those of one gateway.

        Args:
            kernel_id: a kernel that runs; None where there is none.

        Cancellation: closes its connections.
        """
        config = self._http.config
        probed = config.websocket_url(rest.channels_path(config.kernels_endpoint, new_kernel_id()))
        ours = await self._http.handshake_headers(probed)  # renews the token
        # As a client that comes for the first time, whom a balancer sends anywhere.
        fresh = [(name, value) for name, value in ours if name.lower() != "cookie"]
        fresh += [(name, value) for name, value in config.headers.items() if name.lower() == "cookie"]
        # One question after the other: two in turn could each meet one of two replicas.
        versions = await self._ask("/api", fresh, _read_version)
        kernelspecs = await self._ask(rest.kernelspecs_path(config.kernelspecs_endpoint), fresh, _read_kernelspecs)
        kernel: list[Look] = []
        if kernel_id is not None:
            kernel = await self._ask(rest.kernel_path(config.kernels_endpoint, kernel_id), ours, _read_nothing)
        return judge_replicas(
            versions,
            kernelspecs,
            kernel,
            here=config.base_url,
            accepts_cookies=config.accept_cookies,
            accept_variable=self._accept_variable,
        )

    async def _ask(self, path: str, headers: list[tuple[str, str]], read: Callable[[bytes], tuple[str, ...]]) -> list[Look]:
        here = self._http.config.base_url
        return [await self._look(url, path, headers, read) for url in [here] * LOOKS + [*self._others]]

    async def _look(self, url: str, path: str, headers: list[tuple[str, str]], read: Callable[[bytes], tuple[str, ...]]) -> Look:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        answer = await ask_plainly(
            self._connector,
            parts.hostname or "",
            parts.port or (443 if secure else 80),
            parts.path.rstrip("/") + path,
            _LOOK_LIMIT,
            ssl_context=self._http.ssl_context if secure else None,
            headers=headers,
        )
        if answer is None:
            return Look(url, 0)
        set_cookies = [text.partition(";")[0].partition("=") for text in answer.headers.get_list("Set-Cookie")]
        cookies = tuple((name.strip(), value.strip()) for name, _, value in set_cookies)
        return Look(url, answer.status_code, read(answer.body) if answer.status_code == 200 else (), cookies)


def _read_version(body: bytes) -> tuple[str, ...]:
    found = _load(body)
    return tuple(one_line(str(found[name]), 60) for name in ("version", "gateway_version") if name in found)


def _read_kernelspecs(body: bytes) -> tuple[str, ...]:
    specs: object = _load(body).get("kernelspecs")
    if not isinstance(specs, Mapping):
        return ()
    return tuple(sorted(one_line(name, 100) for name in cast("Mapping[str, object]", specs)))


def _read_nothing(body: bytes) -> tuple[str, ...]:
    del body
    return ()


def _load(body: bytes) -> Mapping[str, Any]:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def judge_replicas(
    versions: Sequence[Look],
    kernelspecs: Sequence[Look],
    kernel: Sequence[Look],
    *,
    here: str,
    accepts_cookies: bool,
    accept_variable: str,
) -> Finding:
    """Say whether all answers are those of one gateway.

    Args:
        versions: looks at /api.
        kernelspecs: looks at the list of kernelspecs.
        kernel: looks at a kernel that runs, with the cookies that the library sends; none where none runs.
        here: the address that is examined; looks at others are compared with those.
        accepts_cookies: the setting `accept_cookies`.
        accept_variable: what it is called.
    """
    sticky = _balancer_cookie([look for look in (*versions, *kernelspecs) if look.address == here])
    problems = [
        *_sometimes_refused([*versions, *kernelspecs], here),
        *_differing("versions", versions, "Bring all replicas to one version."),
        *_differing("kernelspecs", kernelspecs, "Give all replicas the same kernelspecs."),
        *_unknown(kernel, here, None if accepts_cookies or sticky is None else (sticky[0], accept_variable)),
    ]
    if sticky is not None and not accepts_cookies and not any(problem.status == "failed" for problem in problems):
        detail = (
            f"a balancer keeps a client at one of its {sticky[1]} replicas by the cookie {sticky[0]}, which it is not sent back"
        )
        problems.append(_Problem(detail, f"Set {accept_variable}=yes, so that a kernel's requests meet at one replica."))
    if problems:
        status: Status = "failed" if any(problem.status == "failed" for problem in problems) else "warning"
        return Finding(
            "; ".join(problem.detail for problem in problems),
            status,
            " ".join(dict.fromkeys(problem.advice for problem in problems)),
        )
    asked = len(versions) + len(kernelspecs) + len(kernel)
    by = "" if sticky is None else f"; {sticky[1]} replicas by the cookie {sticky[0]}, which is sent back"
    return Finding(f"{asked} answers, each over a connection of its own, agree{by}")


def _balancer_cookie(looks: Iterable[Look]) -> tuple[str, int] | None:
    """Return the cookie by which a balancer knows its replicas again, and how many there are; None where none is seen.

    Such a cookie has a value for each replica, and a value comes again after another one did. A session's cookie has a new value
    in each answer, and one that the time is written into has a new value each second: what either had once never comes again.

    Args:
        looks: the answers of one address, in the order in which they came.
    """
    values: dict[str, list[str]] = {}
    for look in looks:
        for name, value in look.cookies:
            if not name.startswith(_SERVERS_OWN):
                values.setdefault(name, []).append(value)
    for name, found in values.items():
        runs = [value for value, _ in groupby(found)]
        count = len(set(runs))
        if count < len(runs):
            return one_line(name, 60), count
    return None


def _sometimes_refused(looks: Collection[Look], here: str) -> list[_Problem]:
    """Find answers that only some got: of a balancer that has a replica in it which is away or not well."""
    ours = [look for look in looks if look.address == here]
    bad = [look for look in ours if not look.status_code or look.status_code >= 500]
    if not bad or len(bad) == len(ours):
        return []
    words = sorted({str(look.status_code) if look.status_code else "nothing" for look in bad})
    detail = f"{len(bad)} of {len(ours)} requests were answered with {' or '.join(words)}, the others well"
    advice = "A replica behind the balancer is away or not well, and still given requests: look at the balancer's list of them."
    return [_Problem(detail, advice)]


def _differing(what: str, looks: Iterable[Look], advice: str) -> list[_Problem]:
    said = list(dict.fromkeys(look.says for look in looks if look.status_code == 200))
    if len(said) < 2:
        return []
    shared = set(said[0]).intersection(*said[1:])
    ways = sorted(", ".join(entry for entry in one if entry not in shared) or "nothing more" for one in said)
    return [_Problem(f"{what} differ between answers: {one_line(' / '.join(ways), 300)}", advice)]


def _unknown(looks: Sequence[Look], here: str, cookie: tuple[str, str] | None) -> list[_Problem]:
    """Find a kernel that some replicas know and others do not."""
    ours = [look for look in looks if look.address == here]
    known = [look for look in ours if look.status_code == 200]
    if not known:
        return []  # gone, or not to be asked about: the steps that use it say so
    problems: list[_Problem] = []
    lost = [look for look in ours if look.status_code == 404]
    if lost:
        if cookie is not None:
            name, setting = cookie
            advice = f"A balancer keeps a client at one replica by the cookie {name}, and is not sent it: set {setting}=yes."
        else:
            advice = (
                "A balancer spreads one client's requests over replicas that don't know each other's kernels: have it keep a "
                "client at one (haproxy: `cookie NAME insert`; nginx: `sticky` or `ip_hash`), or have them share their kernels "
                f"({_SHARING})."
            )
        detail = f"of {len(ours)} requests for the kernel that was started {len(lost)} were answered that there is no such kernel"
        problems.append(_Problem(detail, advice, "failed"))
    for look in looks:
        if look.address != here and look.status_code == 404:
            advice = f"Addresses of one gateway share their kernels ({_SHARING}); for several gateways there is `open_fleet()`."
            problems.append(_Problem(f"{look.address} does not know the kernel that was started at {here}", advice, "failed"))
    return problems
