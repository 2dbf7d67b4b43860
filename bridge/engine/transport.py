"""How the engine is reached: whom we trust, who we are, and through which proxy."""

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from os import fsencode
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import certifi
import pycurl

from bridge import certificates
from bridge.engine.tokens import Token
from bridge.texts import Said

NO_PROXY = "none"
CUT_OFF = (pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR)
SYSTEM_STORES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
)


@dataclass(frozen=True, slots=True)
class Transport:
    """What a connection to the engine needs besides its URL. curl reads the files anew for each.

    `ca_file`: PEM, None for the system's store or, where there is none, certifi's. `cert_file`, `key_file`: our
    own certificate. `headers`: lines to send with each request. `token`: the bearer token, if any.
    `proxy`: None for the one that the environment names, as curl reads it, but never for loopback; or `none`, or
    a URL.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    headers: tuple[str, ...] = ()
    token: Token | None = None
    proxy: str | None = None

    def prepare(self, handle: pycurl.Curl, url: str) -> None:
        """Set the options of a new handle for this URL."""
        handle.setopt(pycurl.CAINFO, fsencode(self.ca_file or system_store()))  # as text they must be ASCII
        handle.setopt(pycurl.OPT_CERTINFO, True)
        if self.cert_file:
            handle.setopt(pycurl.SSLCERT, fsencode(self.cert_file))
        if self.key_file:
            handle.setopt(pycurl.SSLKEY, fsencode(self.key_file))
        if self.proxy == NO_PROXY or (self.proxy is None and is_loopback(url)):
            handle.setopt(pycurl.PROXY, "")  # curl obeys http_proxy for 127.0.0.1 too, and would show it the login
        elif self.proxy:
            handle.setopt(pycurl.PROXY, self.proxy)

    def note_certificates(self, handle: pycurl.Curl, url: str) -> None:
        """Note when the certificates of the connection end that this handle has just made."""
        chain = handle.getinfo(pycurl.INFO_CERTINFO)
        fields = dict(field for field in chain[0] if len(field) == 2) if chain else {}
        certificates.note("engine", f"of the engine at {url}", certificates.end_in(fields.get("Expire date")))
        ours = certificates.end_in_file(self.cert_file) if self.cert_file else None
        certificates.note("engine_client", "in CAMUNDA_CLIENT_CERT_FILE", ours)

    def proxy_before(self, url: str) -> str:
        """Return the proxy that leads to a URL, without a login in it; empty where none does."""
        if self.proxy == NO_PROXY or (self.proxy is None and is_loopback(url)):
            return ""
        parts = urlsplit(url)
        named = getproxies_environment()
        if self.proxy is None and proxy_bypass(parts.netloc):
            return ""
        found = self.proxy or named.get(parts.scheme) or named.get("all") or ""
        return found.rpartition("@")[2] if "@" in found else found

    def header_lines(self) -> list[str]:
        """Return the header lines of a request, the token's among them. Raises Unavailable where there is none."""
        token = self.token() if self.token else ""
        return [*self.headers, *([f"Authorization: Bearer {token}"] if token else [])]


def system_store() -> str:
    """Return the file with the CAs that the system trusts, certifi's where there is none."""
    known = (ssl.get_default_verify_paths().cafile, *SYSTEM_STORES)
    return next((path for path in known if path and Path(path).is_file()), certifi.where())


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def reason_of(code: int, text: str, url: str) -> str:
    """Return curl's error in plain words that name the setting; its own text where it needs no more."""
    is_tls = url.startswith("https:")
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return _distrust(text, url)
    if code == pycurl.E_SSL_CACERT_BADFILE:
        return Said("CAMUNDA_CA_FILE cannot be used: {text}", text=text)
    if code == pycurl.E_SSL_CERTPROBLEM:
        return Said("CAMUNDA_CLIENT_CERT_FILE or CAMUNDA_CLIENT_KEY_FILE cannot be used: {text}", text=text)
    if code == pycurl.E_COULDNT_RESOLVE_PROXY or "proxy" in text.lower():
        return Said("the proxy (CAMUNDA_PROXY, http_proxy, https_proxy) does not lead there: {text}", text=text)
    if "certificate required" in text or "alert handshake failure" in text or "bad certificate" in text:
        return Said("it wants a certificate of ours, CAMUNDA_CLIENT_CERT_FILE: {text}", text=text)
    if code == pycurl.E_SSL_CONNECT_ERROR and is_tls:
        return Said("it speaks no TLS there, or none that we know; is it http:// ? {text}", text=text)
    if code in CUT_OFF and is_tls:
        return Said("{text}; it may want a certificate of ours, CAMUNDA_CLIENT_CERT_FILE", text=text)
    if code in CUT_OFF:
        return Said("{text}; if it speaks TLS there, the URL begins with https://", text=text)
    return text


def _distrust(text: str, url: str) -> str:
    if "expired" in text:
        return Said("its certificate has expired, or our clock is wrong: {text}", text=text)
    if "subject name" in text or "does not match" in text or "mismatch" in text:
        host = urlsplit(url).hostname
        return Said("its certificate is for another name than {host!r}: {text}", host=host, text=text)
    return Said(
        "its certificate is of a CA that we do not trust, set CAMUNDA_CA_FILE to that CA's file: {text}", text=text
    )
