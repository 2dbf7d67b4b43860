"""TLS to RabbitMQ: whom we trust, who we are, and in plain words what went wrong."""

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import certifi

from bridge.certificates import end_in, end_in_file
from bridge.errors import Unavailable
from bridge.texts import Said

PROBE_SECONDS = 3.0
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
# What OpenSSL says where the other side does not want us; in TLS 1.3 it may just end the connection.
REFUSALS = ("ALERT", "SSLEOFError", "EOF occurred in violation of protocol", "certificate required")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a connection is secured. The files are read anew for each, so that what was renewed needs no restart.

    `ca_file`: PEM, None for the system's store or, where there is none, certifi's. `cert_file`, `key_file`: our
    own certificate; the key may be in the same file. `server_name`: what the broker's certificate must name, where
    that is not the host.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is secured with. Raises Unavailable for a file that cannot be used."""
        context = ssl.create_default_context()
        if self.ca_file is None and not context.get_ca_certs():
            context.load_verify_locations(certifi.where())
        try:
            if self.ca_file is not None:
                context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an ssl.SSLError is one too
            text = Said("RABBITMQ_CA_FILE {file} cannot be used: {error}", file=self.ca_file, error=str(error))
            raise Unavailable(text) from error
        try:
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            text = Said(
                "RABBITMQ_CLIENT_CERT_FILE, RABBITMQ_CLIENT_KEY_FILE: {file} cannot be used: {error}",
                file=self.cert_file,
                error=str(error),
            )
            raise Unavailable(text) from error
        return context

    def reason(self, error: BaseException, host: str) -> str:
        """Return in plain words why no connection came about; empty where TLS is not the reason.

        A broker that refuses our certificate says so after the handshake, so that pika's error only quotes it.
        """
        if isinstance(error, ssl.SSLCertVerificationError):
            return _distrust(error, host)
        text = str(error)
        if any(words in text for words in NO_TLS):
            return Said("speaks no TLS there: set RABBITMQ_TLS=false, or RABBITMQ_PORT to its TLS port")
        if not any(words in text for words in REFUSALS):
            disagree = Said("cannot agree with us on TLS: {error}", error=text)
            return disagree if isinstance(error, ssl.SSLError) else ""
        if self.cert_file is None:
            return Said("wants a certificate of ours: set RABBITMQ_CLIENT_CERT_FILE and RABBITMQ_CLIENT_KEY_FILE")
        ends = end_in_file(self.cert_file)
        if ends is not None and ends < datetime.now(UTC):
            return Said(
                "refuses our certificate, RABBITMQ_CLIENT_CERT_FILE: it has expired, {moment:%Y-%m-%d %H:%M} UTC",
                moment=ends,
            )
        return Said("refuses our certificate, RABBITMQ_CLIENT_CERT_FILE: is it of a CA that the broker trusts?")


def end_of_peer(socket_of_peer: object) -> datetime | None:
    """Return when the certificate of the other side ends; None without TLS."""
    if not isinstance(socket_of_peer, ssl.SSLSocket):
        return None
    return end_in((socket_of_peer.getpeercert() or {}).get("notAfter"))


def _distrust(error: ssl.SSLCertVerificationError, host: str) -> str:
    words = error.verify_message
    if "expired" in words:
        return Said("has a certificate that has expired (or our clock is wrong): {words}", words=words)
    if "ostname mismatch" in words or "IP address mismatch" in words:
        return Said(
            "has a certificate for another name than {host!r}: set RABBITMQ_TLS_SERVER_NAME to one of its names",
            host=host,
        )
    return Said(
        "has a certificate of a CA that we do not trust: set RABBITMQ_CA_FILE to that CA's certificate ({words})",
        words=words,
    )


def speaks_tls(address: str, port: int) -> bool:
    """Whether whoever listens there answers a TLS handshake; only to say so, nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), PROBE_SECONDS) as plain,
            context.wrap_socket(plain),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error)  # it answers in TLS that it does not want us
    except OSError:
        return False
