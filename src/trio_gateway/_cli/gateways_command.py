"""`trio-gateway gateways`: the gateways that have names in the user's file."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .._config import gateways_file, read_file, shown_url
from .exits import ExitCode
from .options import Options
from .supervision import run_command
from .tables import write_table

__all__ = ["gateways"]

_LOGINS = ("token_env", "token_file", "token_command", "http_user", "client_cert", "gateway_token_renewer_class")


def gateways(options: Options) -> int:
    """Read the file of gateways, and show each name with its address and where its secrets come from, but no secret."""

    async def command() -> int:
        path = gateways_file(os.environ)
        found = read_file(path) if path.exists() else {}
        rows = [(name, _url(table), _login(table)) for name, table in sorted(found.items())]
        if options.as_json:
            options.report["file"] = str(path)
            options.report["gateways"] = [{"name": name, "url": url, "login": login} for name, url, login in rows]
        elif rows:
            await write_table(("NAME", "URL", "LOGIN"), rows)
        if not rows:
            options.say(f"No gateway has a name: they would stand in {path}.")
        return ExitCode.OK

    return run_command(options, command)


def _url(table: Mapping[str, object]) -> str:
    url = table.get("url", "")
    urls = url if isinstance(url, list) else [url]
    return ",".join([shown_url(str(one)) for one in urls])


def _login(table: Mapping[str, object]) -> str:
    """Say by what the gateway lets one in: never what stands there, but where it is referred to."""
    found = []
    for key in _LOGINS:
        value = table.get(key)
        if key == "token_command" and value:
            found.append(key)
        elif isinstance(value, str) and value:
            found.append(f"{key} {value}" if key.startswith("token_") else key)
    return ", ".join(found)
