"""`trio-gateway doctor`: which settings count and where they come from, and how far one gets with them.

The one idea: one line for each step, as soon as it is known, and below the first that fails what to do about it.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import click

from .._config import GatewayConfig, SettingRow
from .._doctor.examine import STEPS, examine, stray_advice
from .._doctor.findings import Check
from .._errors import ConfigError, GatewayConnectionError, GatewayTimeoutError
from .exits import ExitCode, exit_code_of, printable
from .opening import configured_gateway, configured_hub, configured_server, open_gateway
from .options import Options
from .sinks import standard_output
from .supervision import run_command
from .tables import write_json, write_table
from .wording import more_about

__all__ = ["doctor"]

_WORDS: Final = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}
_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}
_WIDTH: Final = max(map(len, STEPS))


def doctor(options: Options, show_all: bool, no_kernel: bool) -> int:
    """Take each step on the way to a kernel, show what came of it, and return the exit code of the first error."""

    async def command() -> int:
        try:
            async with _gateway_settings(options) as config:
                code = await _examine(options, config, show_all=show_all, with_kernel=not no_kernel, as_json=options.as_json)
        except ConfigError as error:
            code = await _refuse(error, as_json=options.as_json)
        options.reported = True
        return code

    return run_command(options, command)


@asynccontextmanager
async def _gateway_settings(options: Options) -> AsyncGenerator[GatewayConfig]:
    """Give the settings of the gateway that is configured, or those of a local one that lives as long as the block."""
    options.check_gateway()
    if options.hub is not None:
        try:
            config = await configured_server(options)
        except (GatewayConnectionError, GatewayTimeoutError):
            # How far one gets on the way to the hub is what the steps say.
            config = configured_hub(options)
        yield config
    elif options.has_gateway:
        yield configured_gateway(options)
    else:
        async with open_gateway(options) as gateway:
            yield gateway.config


async def _examine(options: Options, config: GatewayConfig, *, show_all: bool, with_kernel: bool, as_json: bool) -> int:
    rows = config.describe()
    if not as_json and not options.quiet:
        shown = [row for row in rows if show_all or row.source != "default"]
        await write_table(("SETTING", "VALUE", "FROM"), [(row.name, row.value, _origin(options, row)) for row in shown])
        await standard_output().write("\n")
    coloured = options.colour and standard_output().is_terminal

    async def report(check: Check) -> None:
        if not as_json and (not options.quiet or check.status in {"warning", "failed"}):
            await standard_output().write(_line(check, coloured=coloured))

    checks = await examine(
        config,
        report=report,
        kernel=with_kernel,
        kernel_name=options.kernel,
        environ=os.environ,
        now=time.time(),  # noqa: TID251 - certificates speak of dates
    )
    if as_json:
        await write_json(_as_dict([_setting(options, row) for row in rows], [], checks))
    failed = next((check for check in checks if check.status == "failed"), None)
    if failed is None:
        return ExitCode.OK
    return ExitCode.NO_GATEWAY if failed.error is None else exit_code_of(failed.error)


async def _refuse(error: ConfigError, *, as_json: bool) -> int:
    """Tell which settings are wrong; nothing can be checked with them."""
    problems = [
        {"name": problem.field, "value": problem.value, "source": problem.source, "expected": problem.expected}
        for problem in error.problems
    ]
    checks = [
        Check("settings", "failed", str(error), " ".join(["Correct what is named.", *stray_advice(os.environ)])),
        *[Check(name, "skipped", "not checked, since settings failed") for name in STEPS[1:]],
    ]
    if as_json:
        await write_json(_as_dict([], problems, checks))
    else:
        await standard_output().write(_line(checks[0], coloured=False))
    return ExitCode.BAD_INPUT


def _origin(options: Options, row: SettingRow) -> str:
    """Where a setting came from, in the words of the command line."""
    if row.source != "argument":
        return row.source
    if not options.has_gateway:
        return "the local gateway"
    return "--token-file" if row.name == "auth_token" else "--url" if options.hub is None else "--hub"


def _line(check: Check, *, coloured: bool) -> str:
    word = f"{_WORDS[check.status]:7}"
    if coloured:
        word = click.style(word, fg=_COLOURS[check.status])
    indent = " " * (9 + _WIDTH + 2)
    seconds = f" ({check.seconds:.2f} s)" if check.status in {"ok", "failed"} and check.seconds >= 0.005 else ""
    first, *more = [printable(line) for line in check.detail.splitlines() or [""]]
    lines = [f"{word}  {check.name:{_WIDTH}}  {first}{'' if more else seconds}", *[f"{indent}{line}" for line in more]]
    if check.advice:
        lines.append(f"{indent}-> {printable(check.advice)}")
    lines += [f"{indent}   {more}" for more in more_about(check.error)]
    return "\n".join(lines) + "\n"


def _setting(options: Options, row: SettingRow) -> dict[str, object]:
    return {
        "name": row.name,
        "value": row.value,
        "source": _origin(options, row),
        "variable": row.variable,
        "default": row.default,
    }


def _as_dict(
    settings: Sequence[dict[str, object]], problems: Sequence[dict[str, str | None]], checks: Sequence[Check]
) -> dict[str, object]:
    return {
        "ok": all(check.status != "failed" for check in checks),
        "settings": list(settings),
        "problems": list(problems),
        "checks": [
            {
                "name": check.name,
                "status": check.status,
                "detail": check.detail,
                "advice": check.advice,
                "seconds": round(check.seconds, 6),
            }
            for check in checks
        ],
    }
