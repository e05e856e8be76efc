"""`trio-gateway conformance URL`: what a server of Jupyter's API does, scenario by scenario.

The one idea: the scenarios that verify the fake gateway of the test kit, pointed at any server; one line for each, as soon as
it is known.
"""

from __future__ import annotations

from typing import Final

import rich_click as click

from .._config import GatewayConfig
from .._errors import GatewayHTTPError
from .._gateway.gateway import open_gateway
from ..testing.scenarios import SCENARIOS, Finding, Stage, run_scenarios
from .exits import ExitCode, printable
from .opening import configured_gateway
from .opening import open_gateway as open_any_gateway
from .options import Options, common_options, kernel_option, pass_options
from .sinks import standard_output
from .supervision import run_command
from .tables import write_json

__all__ = ["conformance"]

_WORDS: Final = {"yes": "yes", "no": "no", "failed": "FAILED"}
_COLOURS: Final = {"yes": "green", "no": "yellow", "failed": "red"}
_WIDTH: Final = max(len(scenario.name) for scenario in SCENARIOS)


@click.command(epilog="Example: trio-gateway conformance http://127.0.0.1:8888 --kernel python3")
@click.argument("address", metavar="[URL]", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
@kernel_option
@common_options
@pass_options
def conformance(options: Options, address: str | None, as_json: bool) -> int:
    """Show what a server does: start, interrupt and restart kernels, replay after a cut, and 30 things more.

    It starts kernels, runs code in them, and shuts them down. `yes`: as it should be; `no`: the server lacks it, as servers may,
    and what it does instead; `FAILED`: something is wrong, and then the exit code is 3. Code is known for kernels in Python and
    bash. Without a URL, the gateway is the one of all commands.
    """
    if address is not None:
        options.url = address

    async def command() -> int:
        if options.has_gateway:
            return await _show(options, configured_gateway(options), as_json=as_json)
        async with open_any_gateway(options) as gateway:
            return await _show(options, gateway.config, as_json=as_json)

    return run_command(options, command)


async def _show(options: Options, config: GatewayConfig, *, as_json: bool) -> int:
    stage = Stage(config, kernel_name=options.kernel, language=await _language(config, options.kernel))
    coloured = options.colour and standard_output().is_terminal

    async def report(finding: Finding) -> None:
        if not as_json and (not options.quiet or finding.outcome == "failed"):
            await standard_output().write(_line(finding, coloured=coloured))

    findings = await run_scenarios(stage, report)
    if as_json:
        await write_json(
            {
                "ok": all(finding.outcome != "failed" for finding in findings),
                "scenarios": [
                    {
                        "name": finding.scenario.name,
                        "about": finding.scenario.about,
                        "outcome": finding.outcome,
                        "detail": finding.detail,
                        "seconds": round(finding.seconds, 3),
                    }
                    for finding in findings
                ],
            }
        )
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
            if error.status_code in {401, 403}:
                raise
            return "python"
    spec = specs.find(name or specs.default or "")
    return "python" if spec is None else spec.language.lower()


def _line(finding: Finding, *, coloured: bool) -> str:
    word = f"{_WORDS[finding.outcome]:6}"
    if coloured:
        word = click.style(word, fg=_COLOURS[finding.outcome])
    said = finding.scenario.about if finding.outcome == "yes" else finding.detail
    return f"{word}  {finding.scenario.name:{_WIDTH}}  {printable(said)}".rstrip() + "\n"
