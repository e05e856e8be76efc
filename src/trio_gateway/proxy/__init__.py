"""The proxy: notebook front ends reach the kernels behind a gateway through a Trio process.

    async with trio_gateway.open_gateway() as gateway:
        app = trio_gateway.proxy.create_app(gateway)
        await trio_gateway.proxy.serve(app, port=8889)

`create_app` makes an ASGI application for any server that runs on Trio; `serve` serves it by itself, and so does the command
`trio-gateway proxy`. Needs the extra `proxy`.
"""

from .._errors import missing_extra

try:
    from ._app import Proxy as Proxy
    from ._app import create_app as create_app
    from ._config import ProxyConfig as ProxyConfig
    from ._config import ProxySettings as ProxySettings
    from ._server import Listening as Listening
    from ._server import serve as serve
except ModuleNotFoundError as _missing:
    raise missing_extra(_missing, "trio_gateway.proxy", "proxy") from None

__all__ = [
    "Listening",
    "Proxy",
    "ProxyConfig",
    "ProxySettings",
    "create_app",
    "serve",
]
