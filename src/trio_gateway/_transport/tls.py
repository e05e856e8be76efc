"""The one TLS context of a gateway, for HTTP and WebSocket alike.

Making it reads files, so it is made once and in a worker thread. A file that can't be used is named by its setting.
"""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from .._config import GatewayConfig
from .._errors import ConfigError, ConfigProblem
from .._threads import run_sync

__all__ = [
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_OF_ANOTHER_HOST",
    "CERTIFICATE_OF_THE_FUTURE",
    "build_ssl_context",
    "load_chain",
    "load_ssl_context",
]

# Codes of OpenSSL's X509_V_ERR_*, by what to do about them.
CERTIFICATE_OF_THE_FUTURE: Final = 9
CERTIFICATE_EXPIRED: Final = 10
CERTIFICATE_OF_ANOTHER_HOST: Final = frozenset({62, 63, 64})

logger = logging.getLogger("trio_gateway.http")


async def load_ssl_context(config: GatewayConfig) -> ssl.SSLContext | None:
    """Make the TLS context of a configuration, in a worker thread because it reads files.

    Returns:
        The context; None where neither URL of the configuration is one of TLS.

    Raises:
        ConfigError: a file of the configuration can't be used.

    Cancellation:
        Waits until the files are read.
    """
    if not (config.base_url.startswith("https:") or config.ws_base_url.startswith("wss:")):
        await trio.lowlevel.checkpoint()
        return None
    context = await run_sync(build_ssl_context, config)
    if not config.validate_cert:
        logger.warning(
            "certificates are not checked (validate_cert is off): everybody between here and the gateway can read the token"
        )
    return context


def build_ssl_context(config: GatewayConfig) -> ssl.SSLContext:
    """Make a TLS context. It blocks while it reads files.

    Raises:
        ConfigError: a file of the configuration can't be used.
    """
    problems: list[ConfigProblem] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not config.validate_cert:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ca_certs is None:
        _load_default_cas(context)
    # Also where nothing is checked: a setting that can't work raises in any case.
    if config.ca_certs is not None:
        problems += _load_cas(context, config)
    if config.client_cert is not None:
        problems += _load_client_cert(context, config)
    if problems:
        raise ConfigError(problems)
    # The one protocol that is spoken over it; a WebSocket begins as HTTP/1.1 too.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_default_cas(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    folder = ssl.get_default_verify_paths().capath
    if not context.cert_store_stats()["x509_ca"] and not (folder and _has_entries(Path(folder))):
        # A container without ca-certificates, perhaps with a Python that has a set of its own.
        with suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())


def _has_entries(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:  # named by SSL_CERT_DIR, and closed to this user
        return False


def _problem(config: GatewayConfig, field: str, expected: str) -> ConfigProblem:
    return ConfigProblem(field, repr(getattr(config, field)), expected, config.sources.get(field, "argument"))


def _load_cas(context: ssl.SSLContext, config: GatewayConfig) -> list[ConfigProblem]:
    assert config.ca_certs is not None
    path = Path(config.ca_certs)
    where = ""
    try:
        if path.is_dir():
            found = sorted(path.iterdir())
            # OpenSSL finds certificates in a folder only under names made by `c_rehash`, so they are read one by one too.
            context.load_verify_locations(capath=str(path))
            before = context.cert_store_stats()["x509"]
            for file in found:
                if file.suffix.lower() in {".pem", ".crt", ".cer"} and file.is_file():
                    where = f"{file.name}: "
                    context.load_verify_locations(cafile=str(file))
            hashed = any(len(file.name.partition(".")[0]) == 8 and file.suffix[1:].isdigit() for file in found)
            if context.cert_store_stats()["x509"] == before and not hashed:
                return [_problem(config, "ca_certs", "a folder with certificates in PEM, as files *.pem, *.crt or *.cer")]
        else:
            context.load_verify_locations(cafile=str(path))
    except (OSError, ValueError) as error:
        return [_problem(config, "ca_certs", f"a file or folder with certificates in PEM ({where}{_reason(error)})")]
    return []


class _EncryptedKey(Exception):
    pass


def _refuse_password() -> str:
    # Without this, OpenSSL asks for the password at the terminal.
    raise _EncryptedKey


def _load_client_cert(context: ssl.SSLContext, config: GatewayConfig) -> list[ConfigProblem]:
    assert config.client_cert is not None
    wrong = load_chain(context, ("client_cert", config.client_cert), ("client_key", config.client_key))
    return [] if wrong is None else [_problem(config, *wrong)]


def load_chain(context: ssl.SSLContext, certificate: tuple[str, str], key: tuple[str, str | None]) -> tuple[str, str] | None:
    """Have a context show a certificate. It blocks while it reads files.

    Args:
        context: the context.
        certificate: the name of its setting, and the file's path.
        key: likewise the private key; with None for a path it is in the certificate's file.

    Returns:
        Which setting is wrong, and what would be right; None where the certificate can be used.
    """
    cert_name, cert_path = certificate
    key_name, key_path = key
    if key_path is None:
        key_name = cert_name
    try:
        context.load_cert_chain(cert_path, key_path, password=_refuse_password)
    except _EncryptedKey:
        return key_name, "a private key without a password (openssl pkey takes it off)"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return key_name, f"the private key that belongs to the certificate in {cert_name}"
        # OpenSSL does not say which of the two files it was reading.
        if key_path is not None and _holds(cert_path, "CERTIFICATE"):
            return key_name, f"a file with a private key in PEM ({_reason(error)})"
        expected = "a file with a certificate in PEM" + ("" if key_path else " and its private key")
        return cert_name, f"{expected} ({_reason(error)})"
    except (OSError, ValueError) as error:
        field = key_name if key_path is not None and _holds(cert_path, "CERTIFICATE") else cert_name
        return field, f"a file in PEM that can be read ({_reason(error)})"
    return None


def _holds(path: str, kind: str) -> bool:
    try:
        return f"-----BEGIN {kind}-----".encode() in Path(path).read_bytes()
    except (OSError, ValueError):
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it is not PEM").replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
