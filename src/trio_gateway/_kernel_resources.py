"""What a kernel gets of a cluster: processors, memory, an image, a host; said in words, and sent as `KERNEL_*`.

The one idea: there is one way to ask a gateway for any of this, variables of the start request whose names and units each cluster
reads in its own way. So each wish is checked by its unit here, and the variables are made in one place.

Which variables there are was read in Enterprise Gateway 3.3 (`services/processproxies`, and its launchers and pod templates in
`etc/kernel-launchers`) and in gateway_provisioners 0.5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import attrs

from ._errors import InvalidInputError

__all__ = ["KernelResources"]

Quantity: TypeAlias = int | float | str
"""A number, or text with one of Kubernetes' units."""
_Validator: TypeAlias = Callable[[object, "attrs.Attribute[Any]", Any], None]

_BYTES: Final = {"": 1, **{f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)}} | {
    letter: 1000**power for power, letter in enumerate("kMGTPE", 1)
}
_AMOUNT: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?|\.\d{1,20})([A-Za-z]{0,2})", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL.pattern}(\.{_LABEL.pattern})*")
# A name, a registry with a port, tags and digests; what is no part of any of them would be one of a shell or of YAML.
_IMAGE: Final = re.compile(r"(?=.{1,512}\Z)[A-Za-z0-9][A-Za-z0-9._/:@+-]*")
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9:]([A-Za-z0-9._:%-]*[A-Za-z0-9])?")
_ID_LIMIT: Final = 2**32
_MOST: Final = 2**63
"""Kubernetes counts up to here. Python does not print numbers of thousands of digits."""


def _cpus(value: object) -> Decimal | None:
    """Return a number of processors; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        if not 0 < value < _MOST:
            return None
        text, unit = f"{Decimal(str(value)):f}", ""
    elif isinstance(value, str) and (found := _AMOUNT.fullmatch(value)) is not None:
        text, unit = found[1], found[2]
    else:
        return None
    if unit not in {"", "m"}:
        return None
    number = Decimal(text) / (1000 if unit else 1)
    # Kubernetes has no finer ones.
    return number if number > 0 and number * 1000 == int(number * 1000) else None


def _memory(value: object) -> Decimal | None:
    """Return a number of bytes; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value) if 0 < value < _MOST else None
    found = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if found is None or found[2] not in _BYTES:
        return None
    number = Decimal(found[1]) * _BYTES[found[2]]
    return number if number >= 1 else None


def _check_cpus(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and _cpus(value) is None:
        raise InvalidInputError(attribute.name, value, 'a number of processors, such as 2, 0.5 or "500m", no finer than 0.001')


def _check_memory(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and _memory(value) is None:
        expected = 'a number of bytes, or text with a unit, such as "512Mi", "4Gi" or "2G" ("m" is a thousandth of a byte)'
        raise InvalidInputError(attribute.name, value, expected)


def _whole(least: int, below: int, expected: str) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not least <= value < below):
            raise InvalidInputError(attribute.name, value, expected)

    return check


def _form(pattern: re.Pattern[str], expected: str) -> _Validator:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is not None and (not isinstance(value, str) or pattern.fullmatch(value) is None):
            raise InvalidInputError(attribute.name, value, expected)

    return check


def _check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
        raise InvalidInputError(attribute.name, value, "one line of text (str)")


def _list_of_objects(*names: str) -> _Validator:
    """Make a validator for what Kubernetes has as a list of objects, each with these texts."""

    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None:
            return
        field = attribute.name
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            raise InvalidInputError(field, type(value).__name__, "a list of mappings, as a pod's description has them")
        for index, entry in enumerate(cast("Sequence[object]", value)):
            given = cast("Mapping[object, object]", entry) if isinstance(entry, Mapping) else {}
            for name in names:
                if not isinstance(given.get(name), str) or not given[name]:
                    raise InvalidInputError(f"{field}[{index}]", entry, f"a mapping with {' and '.join(names)}, as in a pod")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise InvalidInputError(field, value, "what JSON has: texts, numbers, lists and mappings") from None

    return check


_NAMESPACE: Final = 'a name of Kubernetes: at most 63 small letters, digits and "-"'
_MEMORY_MIB: Final = "a whole number of mebibytes, 1 or more"


def _as(*variables: str) -> dict[str, tuple[str, ...]]:
    """Say as which variables a field is sent."""
    return {"variables": variables}


@attrs.frozen(kw_only=True)
class KernelResources:
    """What a kernel gets of a cluster: for `start_kernel(resources=...)`, and whatever else starts kernels.

    Each field becomes a variable `KERNEL_*` of the start request. What is done with it is the gateway's choice: which kind of
    cluster reads which is in the documentation, "Clusters". What none of it reads is without effect, as Jupyter's gateways ignore
    variables that they do not know; a Kernel Gateway without provisioners only hands them to the kernel.

    Raises:
        InvalidInputError: a value can't be used; its field is named.
    """

    cpu: Quantity | None = attrs.field(default=None, metadata=_as("KERNEL_CPUS"), validator=_check_cpus)
    """How many processors are set aside: a number, or text such as `"500m"` (half a one), as Kubernetes has it."""
    cpu_limit: Quantity | None = attrs.field(default=None, metadata=_as("KERNEL_CPUS_LIMIT"), validator=_check_cpus)
    """How many processors it can use at most."""
    memory: int | str | None = attrs.field(default=None, metadata=_as("KERNEL_MEMORY"), validator=_check_memory)
    """How much memory is set aside: a number of bytes, or text such as `"4Gi"` (gibibytes) or `"4G"` (10⁹ bytes)."""
    memory_limit: int | str | None = attrs.field(default=None, metadata=_as("KERNEL_MEMORY_LIMIT"), validator=_check_memory)
    """How much memory it can use at most; Kubernetes ends what uses more."""
    gpus: int | None = attrs.field(
        default=None, metadata=_as("KERNEL_GPUS", "KERNEL_GPUS_LIMIT"), validator=_whole(0, _MOST, "a whole number of GPUs")
    )
    """How many GPUs (`nvidia.com/gpu`) it gets. Sent as the limit too: Kubernetes takes no other pair."""
    image: str | None = attrs.field(
        default=None,
        metadata=_as("KERNEL_IMAGE"),
        validator=_form(_IMAGE, 'an image\'s name, such as "registry.example/team/kernel:1"'),
    )
    """The container's image."""
    executor_image: str | None = attrs.field(
        default=None, metadata=_as("KERNEL_EXECUTOR_IMAGE"), validator=_form(_IMAGE, "an image's name, as for image")
    )
    """The image of Spark's executors."""
    namespace: str | None = attrs.field(default=None, metadata=_as("KERNEL_NAMESPACE"), validator=_form(_LABEL, _NAMESPACE))
    """The namespace of Kubernetes, which must exist. It wants `service_account` too, unless its default one will do."""
    service_account: str | None = attrs.field(
        default=None,
        metadata=_as("KERNEL_SERVICE_ACCOUNT_NAME"),
        validator=_form(_SUBDOMAIN, 'a name of Kubernetes: small letters, digits, "-" and "."'),
    )
    """The service account that the pod runs as."""
    pod_name: str | None = attrs.field(default=None, metadata=_as("KERNEL_POD_NAME"), validator=_check_text)
    """The pod's name, which the gateway makes fit for Kubernetes. Enterprise Gateway fills in `{{ kernel_id }}` and others."""
    uid: int | None = attrs.field(
        default=None, metadata=_as("KERNEL_UID"), validator=_whole(0, _ID_LIMIT, "a user's number, 0 to 4294967295")
    )
    """The number of the user that the container runs as. Gateways forbid 0 unless they are told otherwise."""
    gid: int | None = attrs.field(
        default=None, metadata=_as("KERNEL_GID"), validator=_whole(0, _ID_LIMIT, "a group's number, 0 to 4294967295")
    )
    """The number of its group. Gateways forbid 0 unless they are told otherwise."""
    volumes: Sequence[Mapping[str, Any]] | None = attrs.field(
        default=None, metadata=_as("KERNEL_VOLUMES"), validator=_list_of_objects("name")
    )
    """Volumes as a pod's description has them, each with its `name`; sent as JSON."""
    volume_mounts: Sequence[Mapping[str, Any]] | None = attrs.field(
        default=None, metadata=_as("KERNEL_VOLUME_MOUNTS"), validator=_list_of_objects("name", "mountPath")
    )
    """Where they are mounted, each with its `name` and `mountPath`; sent as JSON."""
    remote_host: str | None = attrs.field(
        default=None, metadata=_as("KERNEL_REMOTE_HOST"), validator=_form(_HOST, "a host's name or address, without a port")
    )
    """The host to run on, where a gateway starts kernels over SSH, in place of the next one of its list."""
    queue: str | None = attrs.field(default=None, metadata=_as("KERNEL_QUEUE"), validator=_check_text)
    """YARN's queue, whose room is waited for. Read only together with `node_label`."""
    node_label: str | None = attrs.field(default=None, metadata=_as("KERNEL_NODE_LABEL"), validator=_check_text)
    """YARN's node label, which is a partition of the queue. Read only together with `queue`."""
    driver_memory: int | None = attrs.field(
        default=None, metadata=_as("KERNEL_DRIVER_MEMORY"), validator=_whole(1, _MOST, _MEMORY_MIB)
    )
    """How much memory Spark's driver will ask YARN for, in MiB: compared with what a node has, and not set."""
    executor_memory: int | None = attrs.field(
        default=None, metadata=_as("KERNEL_EXECUTOR_MEMORY"), validator=_whole(1, _MOST, _MEMORY_MIB)
    )
    """The same for each of Spark's executors, in MiB. Read only together with `driver_memory`."""
    extra_spark_opts: str | None = attrs.field(default=None, metadata=_as("KERNEL_EXTRA_SPARK_OPTS"), validator=_check_text)
    """More options for `spark-submit`, such as `"--conf spark.executor.cores=2"`."""
    spark_config_map: str | None = attrs.field(
        default=None,
        metadata=_as("KERNEL_SPARKAPP_CONFIG_MAP"),
        validator=_form(_SUBDOMAIN, 'a name of Kubernetes: small letters, digits, "-" and "."'),
    )
    """The name of a ConfigMap for Spark's operator."""

    def __attrs_post_init__(self) -> None:
        pairs = [("cpu", self.cpu, self.cpu_limit, _cpus), ("memory", self.memory, self.memory_limit, _memory)]
        for field, wanted, limit, read in pairs:
            least, most = read(wanted), read(limit)
            if least is not None and most is not None and least > most:
                raise InvalidInputError(f"{field}_limit", limit, f"at least {field}, which is {wanted!r}")

    def variables(self) -> dict[str, str]:
        """Return the variables that a start is sent, by name."""
        return {variable: value for variable, _, value in self.entries()}

    def entries(self) -> Iterator[tuple[str, str, str]]:
        """Give each variable, the field that it comes from, and its value. For the library's own modules."""
        for field in attrs.fields(KernelResources):
            value = getattr(self, field.name)
            if value is not None:
                for variable in field.metadata["variables"]:
                    yield variable, field.name, _as_text(value)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        # Kubernetes knows no 1e-05, and no more than thousandths are in it.
        return f"{Decimal(str(value)):f}"
    return json.dumps(value, separators=(",", ":"))
