"""`trio-gateway conformance URL`: what a server of Jupyter's API does, scenario by scenario.

The one idea: the scenarios that verify the fake gateway of the test kit, pointed at any server; one line for each, as soon as
it is known.
"""

from __future__ import annotations

from typing import Final

import click

from .._config import GatewayConfig
from .._errors import GatewayHTTPError
from .._gateway.gateway import open_gateway
from ..testing.scenarios import SCENARIOS, Finding, Stage, run_scenarios
from .exits import ExitCode, printable
from .opening import configured_gateway
from .opening import open_gateway as open_any_gateway
from .options import Options
from .progress import open_progress
from .sinks import standard_output
from .supervision import run_command
from .wording import names_api_twice

__all__ = ["conformance"]

_WORDS: Final = {"yes": "yes", "no": "no", "failed": "FAILED"}
_COLOURS: Final = {"yes": "green", "no": "yellow", "failed": "red"}
_WIDTH: Final = max(len(scenario.name) for scenario in SCENARIOS)


def conformance(options: Options, address: str | None) -> int:
    """Play each scenario on the server, show each finding at once, and return `NO_GATEWAY` where something is wrong."""
    if address is not None:
        options.url = address

    async def command() -> int:
        if options.has_gateway and options.hub is None:
            return await _show(options, configured_gateway(options))
        async with open_any_gateway(options) as gateway:
            return await _show(options, gateway.config)

    return run_command(options, command)


async def _show(options: Options, config: GatewayConfig) -> int:
    stage = Stage(config, kernel_name=options.kernel, language=await _language(config, options.kernel))
    coloured = options.colour and standard_output().is_terminal

    findings: list[Finding] = []
    options.report["scenarios"] = []
    with open_progress(options, bar=True, lines=options.as_json) as progress:

        def begin() -> None:
            if len(findings) < len(SCENARIOS):
                progress.begin(len(findings) + 1, len(SCENARIOS), SCENARIOS[len(findings)].name)

        async def report(finding: Finding) -> None:
            findings.append(finding)
            if options.as_json:
                options.report["scenarios"] = [_as_dict(each) for each in findings]
            elif not options.quiet or finding.outcome == "failed":
                with progress.paused():
                    await standard_output().write(_line(finding, coloured=coloured))
            begin()

        begin()
        await run_scenarios(stage, report)
    return ExitCode.NO_GATEWAY if any(finding.outcome == "failed" for finding in findings) else ExitCode.OK


async def _language(config: GatewayConfig, name: str | None) -> str:
    """Return the language of the kernelspec; Python where the server does not tell.

    Raises:
        GatewayError: the gateway can't be reached, or refuses.
    """
    async with open_gateway(config) as gateway:
        try:
            specs = await gateway.kernelspecs.list()
        except GatewayHTTPError as error:
            if error.status_code in {401, 403} or names_api_twice(error):
                raise
            return "python"
    spec = specs.find(name or specs.default or "")
    return "python" if spec is None else spec.language.lower()


def _as_dict(finding: Finding) -> dict[str, object]:
    return {
        "name": finding.scenario.name,
        "about": finding.scenario.about,
        "outcome": finding.outcome,
        "detail": finding.detail,
        "seconds": round(finding.seconds, 3),
    }


def _line(finding: Finding, *, coloured: bool) -> str:
    word = f"{_WORDS[finding.outcome]:6}"
    if coloured:
        word = click.style(word, fg=_COLOURS[finding.outcome])
    said = finding.scenario.about if finding.outcome == "yes" else finding.detail
    return f"{word}  {finding.scenario.name:{_WIDTH}}  {printable(said)}".rstrip() + "\n"
