"""An identity provider of the tests: gives tokens that a broker or a gateway can check, and fails when told to."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT_ID, SECRET = "bridge-client", "provider-secret"
RIGHTS = [f"rabbitmq.{act}:*/*/*" for act in ("configure", "write", "read")]  # the third star: topics


class IdentityProvider:
    """Issues tokens of `seconds`; every `fails_each`-th request is answered with 503, where that is set."""

    def __init__(self, folder: Path, *, seconds: int) -> None:
        self.seconds = seconds
        self.fails_each = 0
        self.requests = self.issued = 0
        self.tokens: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public_key = folder / "token-key.pem"
        self.public_key.write_bytes(
            self._key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, reply = provider.reply_to(form)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer while the block runs."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            self._server.shutdown()
            self._server.server_close()

    def reply_to(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return what a request for a token gets."""
        self.requests += 1
        if form.get("client_id") != [CLIENT_ID] or form.get("client_secret") != [SECRET]:
            return 401, {"error": "invalid_client"}
        if self.fails_each and self.requests % self.fails_each == 0:
            return 503, {"error": "temporarily_unavailable"}
        self.issued += 1
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.seconds}

    def token(self, **claims: Any) -> str:
        """Return a signed token that ends after `seconds`."""
        now = int(time.time())
        usual = {
            "aud": ["rabbitmq"],
            "scope": RIGHTS,
            "client_id": CLIENT_ID,
            "iat": now,
            "exp": now + self.seconds,
            "jti": str(self.requests),
        }
        parts = ({"alg": "RS256", "typ": "JWT", "kid": "tests"}, usual | claims)
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        self.tokens.append(f"{signed}.{_encoded(signature)}")
        return self.tokens[-1]

    def is_good(self, token: str) -> bool:
        """Whether a token was given out here and has not ended."""
        claims = token.split(".")[1]
        ends = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"]
        return token in self.tokens and time.time() < ends


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
