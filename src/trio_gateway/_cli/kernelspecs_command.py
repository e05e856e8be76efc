"""`trio-gateway kernelspecs`: which kernels a gateway can start."""

from __future__ import annotations

import attrs

from .._models import KernelSpecs
from .exits import ExitCode
from .opening import open_gateway
from .options import Options
from .supervision import run_command
from .tables import write_table

__all__ = ["kernelspecs"]


def kernelspecs(options: Options) -> int:
    """Ask the gateway for its kernelspecs, and show them by name."""

    async def command() -> int:
        async with open_gateway(options) as gateway:
            specs = await gateway.kernelspecs.list()
        if options.as_json:
            options.report |= _as_dict(specs)
        else:
            rows = [
                (name, spec.display_name, spec.language, "*" if name == specs.default else "")
                for name, spec in sorted(specs.kernelspecs.items())
            ]
            await write_table(("NAME", "TITLE", "LANGUAGE", "DEFAULT"), rows)
        return ExitCode.OK

    return run_command(options, command)


def _as_dict(specs: KernelSpecs) -> dict[str, object]:
    return {
        "default": specs.default,
        "kernelspecs": {name: {**attrs.asdict(spec), "argv": list(spec.argv)} for name, spec in specs.kernelspecs.items()},
    }
