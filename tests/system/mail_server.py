"""A mail server of the tests: takes mails on a thread, refuses whom it is told to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from socketserver import StreamRequestHandler, ThreadingTCPServer

UNKNOWN, BUSY = "nobody@example.com", "busy@example.com"


class MailServer(ThreadingTCPServer):
    """Keeps the mails that it took; `UNKNOWN` it refuses for good, `BUSY` the first time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.mails: list[EmailMessage] = []
        self.busy = True

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def verdict(self, line: str) -> str:
        """Answers one RCPT line as RFC 5321 says."""
        if UNKNOWN in line:
            return "550 no such user"
        if BUSY in line and self.busy:
            self.busy = False
            return "450 mailbox busy"
        return "250 ok"


class _Conversation(StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 tests")
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                self._take()
            elif verb == "RCPT":
                self._say(self.server.verdict(line))
            else:
                self._say("221 bye" if verb == "QUIT" else "250 ok")

    def _take(self) -> None:
        self._say("354 go on")
        lines = list(iter(self.rfile.readline, b".\r\n"))
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.server.mails.append(mail)
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
