"""TLS and mutual TLS: what the INI file says becomes two contexts, and what OpenSSL says becomes a sentence."""
from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import ConfigError, WireError

if TYPE_CHECKING:
    from ..config import Config

SHUTDOWN_SECONDS = 2.0  # how long a closing side waits for the other to say that it has closed as well

#: what an SSLError's reason means to whom it is told
_REASONS = {
    "HTTP_REQUEST": "it speaks HTTP, not TLS",
    "WRONG_VERSION_NUMBER": "it does not speak TLS: set [cluster] tls_certificate, tls_key and tls_ca there too",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS that is new enough: 1.2 is the oldest that is taken",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it takes none of our versions of TLS: 1.2 is the oldest that we speak",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate: set [cluster] tls_certificate and tls_key there",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of ours: set [cluster] tls_certificate and tls_key",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it ended the handshake; perhaps it wants a certificate of ours: "
                                     "see [cluster] tls_certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not know who signed our certificate: see [cluster] tls_ca there",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it says that our certificate has expired: renew [cluster] tls_certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not take our certificate: see [cluster] tls_certificate, and its log",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not take our certificate: see [cluster] tls_certificate, and its log",
}
#: the same for OpenSSL's verify codes (X509_V_ERR_...)
_VERDICTS = {
    9: "its certificate is not valid yet: see the clocks",
    10: "its certificate has expired: renew it",
    18: "its certificate is self-signed: have it signed by [cluster] tls_ca",
    19: "its certificate is signed by an authority that is not in [cluster] tls_ca",
    20: "its certificate is signed by an authority that is not in [cluster] tls_ca",
    21: "its certificate is signed by an authority that is not in [cluster] tls_ca",
}
_MISNAMED = (62, 64)  # hostname, IP address


@dataclass(frozen=True)
class Tls:
    """How one role speaks TLS. ``names``: what a peer's certificate has to bear, whichever way it is connected;
    empty: a listener's certificate is for the host that was called, a caller's for anybody."""

    listening: ssl.SSLContext | None  # None: there is no certificate to show
    calling: ssl.SSLContext
    names: frozenset[str]
    mutual: bool  # callers have to show a certificate

    def check(self, certificate: dict[str, Any] | None) -> None:
        """Whether a verified certificate (``ssl.SSLSocket.getpeercert``) bears one of our names.

        Raises:
            WireError: it does not.
        """
        if self.names and not self.names & names_of(certificate or {}):
            raise WireError(f"its certificate is for {_listed(names_of(certificate or {}))} and not for "
                            f"{_listed(self.names)}: see [cluster] tls_names")


def open_tls(config: Config) -> Tls | None:
    """What ``[cluster]`` says of TLS, its files read; None where it says nothing.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    cluster = config.cluster
    if not (cluster.tls_certificate or cluster.tls_ca):
        return None
    files = {key: config.base / getattr(cluster, key) for key in ("tls_certificate", "tls_key", "tls_ca")
             if getattr(cluster, key)}
    for key, path in files.items():
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{config.path}: [cluster] {key}: {path}: {error.strerror}") from error
    names = frozenset(map(_plain, cluster.tls_names))
    calling = _context(config.path, ssl.PROTOCOL_TLS_CLIENT, files)
    calling.check_hostname = not names  # several names, or none of a host's, are what Tls.check is for
    listening = _context(config.path, ssl.PROTOCOL_TLS_SERVER, files) if "tls_certificate" in files else None
    return Tls(listening, calling, names, "tls_ca" in files)


def _context(ini: Path, side: int, files: dict[str, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # or a caller could ask for handshakes without end
    listens = side == ssl.PROTOCOL_TLS_SERVER
    if listens:
        context.num_tickets = 0  # connections are long: nobody comes back with one
    if "tls_ca" in files:
        try:
            context.load_verify_locations(files["tls_ca"])
        except ssl.SSLError as error:
            raise ConfigError(f"{ini}: [cluster] tls_ca: {files['tls_ca']} holds no certificates in PEM") from error
        context.verify_mode = ssl.CERT_REQUIRED
    elif not listens:
        context.load_default_certs()
    if "tls_certificate" in files:
        _show(context, ini, files["tls_certificate"], files["tls_key"])
    return context


def _show(context: ssl.SSLContext, ini: Path, certificate: Path, key: Path) -> None:
    """Loads what we show of ourselves."""
    def locked() -> NoReturn:  # without it OpenSSL asks at the terminal
        raise ConfigError(f"{ini}: [cluster] tls_key: {key} is encrypted: give the key without a passphrase, readable "
                          "for its owner only")

    try:
        context.load_cert_chain(certificate, key, password=locked)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{ini}: [cluster] tls_key: {key} is not the key of {certificate}") from error
        raise ConfigError(f"{ini}: [cluster] tls_certificate, tls_key: {certificate} and {key} must hold a certificate "
                          "(with its chain) and its key in PEM") from error


def names_of(certificate: dict[str, Any]) -> frozenset[str]:
    """The DNS names and addresses that a certificate is for."""
    return frozenset(_plain(name) for kind, name in certificate.get("subjectAltName", ())
                     if kind in ("DNS", "IP Address"))


def explain(error: BaseException) -> str:
    """What has become of a connection, for the log of this side; "its" is the peer's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _MISNAMED:
            return ("its certificate is not for the host that was called: "
                    f"{error.verify_message.rstrip('.')}; see [cluster] tls_names")
        return _VERDICTS.get(error.verify_code, f"its certificate is refused: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        return _REASONS.get(reason, f"TLS failed: {reason.lower().replace('_', ' ') or error}")
    return str(error) or type(error).__name__


def _plain(name: str) -> str:
    """One spelling for each name and address."""
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name.strip().rstrip(".").lower()


def _listed(names: frozenset[str]) -> str:
    shown = sorted(names)[:3]
    return (" or ".join(shown) + (" ..." if len(names) > 3 else "")) or "no name"
