"""The broker as the settings name it: where it is, how we log in, and in one sentence why it cannot be reached."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pika import SSLOptions
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException, AMQPConnectorStackTimeout
from pika.connection import Connection, ConnectionParameters
from pika.credentials import ExternalCredentials, PlainCredentials
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from bridge import certificates
from bridge.broker.addresses import Address, Addresses
from bridge.broker.bent_pika import DeadlineConnection, LineConnection, bend
from bridge.broker.logins import Logins
from bridge.broker.renewal import Tokens
from bridge.broker.rights import ACCESS_REFUSED, Act, missing_right
from bridge.broker.tls import Tls, end_of_peer, speaks_tls
from bridge.broker.topology import Topology
from bridge.certificates import end_in_file
from bridge.errors import LoginRefused, RightMissing, Unavailable
from bridge.texts import Said

CONNECT_TIMEOUT_SECONDS = 5
HANDSHAKE_SECONDS = 6  # on a slow line too; an attempt that began in a partition hears nothing after its end
# What pika raises where a broker is unavailable; a handshake that takes too long is no AMQPError.
CONNECTION_ERRORS = (AMQPError, AMQPConnectorException, OSError)
CUT_OFF = (ConnectionResetError, IncompatibleProtocolError, StreamLostError)
# Who says this was reached: another address would say the same.
REFUSED_LOGINS = (ProbableAuthenticationError, ProbableAccessDeniedError)
AUTHENTICATED_USER = re.compile(r"user_id property set to '.*' but authenticated user was '(?P<name>.+?)'")

Blocking = TypeVar("Blocking", bound=BlockingConnection)


class Identity:
    """The name that the broker knows us by; a certificate or a token may give us another than the settings.

    Nothing asks for it over AMQP: the broker tells it where it refuses a message whose `user_id` is another.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def learn(self, words: str) -> None:
        """Take the name from the broker's words, if they hold it."""
        if match := AUTHENTICATED_USER.search(words):
            self.name = match["name"]


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is and who we are there; `read_password` is asked anew for every connection.

    `more_hosts`: other nodes of the same cluster. `tls` None: without. `has_certificate_login`: our certificate is
    the login, in place of user name and password. `tokens`: where the passwords come from, if they end.
    `password_place`: where a person corrects the password.
    """

    host: str
    port: int
    virtual_host: str
    username: str
    read_password: Callable[[], str]
    heartbeat_seconds: int = 30
    more_hosts: tuple[tuple[str, int], ...] = ()
    tls: Tls | None = None
    has_certificate_login: bool = False
    tokens: Tokens | None = None
    password_place: str = "RABBITMQ_PASSWORD"  # noqa: S105  # where it stands, not what it is
    addresses: Addresses = field(init=False, compare=False)
    _identity: Identity = field(init=False, compare=False)
    _logins: Logins = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "addresses", Addresses([(self.host, self.port), *self.more_hosts]))
        object.__setattr__(self, "_identity", Identity(self.username))
        object.__setattr__(self, "_logins", Logins())

    @property
    def user_id(self) -> str:
        """What the broker calls us, as far as we know: it takes a message only with that name as its `user_id`."""
        return self._identity.name

    @property
    def place(self) -> str:
        """Where it is, for people: the address that worked last, else all hosts."""
        return str(self.addresses.good or self.addresses)

    @property
    def server_name(self) -> str:
        """The name that its certificate has to hold."""
        host = self.addresses.tried.host if self.addresses.tried else self.host
        return (self.tls and self.tls.server_name) or host

    def parameters(self, connection_name: str, address: Address | None = None) -> ConnectionParameters:
        """Return pika's parameters for a connection that the broker's tools show as `connection_name`.

        Without an `address` it is the one that worked last. Every connection begins here, and with it what is bent
        in pika. Raises Unavailable where a certificate's file cannot be used.
        """
        bend()
        address = address or self.addresses.good or Address(self.host, self.host, self.port)
        return ConnectionParameters(
            host=address.number,
            port=address.port,
            virtual_host=self.virtual_host,
            credentials=ExternalCredentials() if self.has_certificate_login else self._password_login(),
            heartbeat=self.heartbeat_seconds,
            socket_timeout=CONNECT_TIMEOUT_SECONDS,
            stack_timeout=HANDSHAKE_SECONDS,
            client_properties={"connection_name": connection_name},
            ssl_options=self._ssl_options(address),
        )

    def _password_login(self) -> PlainCredentials:
        return PlainCredentials(self.username, self.read_password())

    def _ssl_options(self, address: Address) -> SSLOptions | None:
        if self.tls is None:
            return None
        return SSLOptions(self.tls.context(), self.tls.server_name or address.host)

    def connect(
        self, connection_name: str, kind: type[Blocking], *, blocked_seconds: float | None = None
    ) -> Blocking:
        """Return a blocking connection to the first address that answers, which is remembered. Raises Unavailable.

        `blocked_seconds`: how long a call waits while the broker blocks us; None for as long as it lasts.
        """
        with self._logins.attempt():
            return self._connect(connection_name, kind, blocked_seconds)

    def _connect(self, connection_name: str, kind: type[Blocking], blocked_seconds: float | None) -> Blocking:
        trouble = Unavailable(Said("RabbitMQ at {place} has no address", place=str(self.addresses)))
        for address in self.addresses.each():
            self.addresses.tried = address
            parameters = self.parameters(connection_name, address)
            parameters.blocked_connection_timeout = blocked_seconds
            try:
                connection = kind(parameters)
            except CONNECTION_ERRORS as error:
                if _is_refusal(error, REFUSED_LOGINS):
                    raise self.trouble(error) from error
                self.addresses.note_bad(address)
                trouble = self._trouble_at(address, error)
                continue
            self.addresses.note_good(address)
            return connection
        raise trouble

    def open(
        self,
        connection_name: str,
        *,
        on_open: Callable[[LineConnection], object],
        on_lost: Callable[[Connection, BaseException | str], object],
    ) -> LineConnection:
        """Begin to connect; exactly one of the callbacks tells how that went, and `on_lost` when it ends later."""
        return LineConnection(
            self.parameters(connection_name),
            on_open_callback=on_open,
            on_open_error_callback=on_lost,
            on_close_callback=on_lost,
        )

    def declare(self, topology: Topology, *, name: str) -> None:
        """Declare the topology. Raises SettingsError for what differs, WrongQueue for queues, and Unavailable."""
        connection = self.connect(f"{name} topology", DeadlineConnection)
        try:
            topology.declare_over(connection)
        except CONNECTION_ERRORS as error:
            raise self.trouble(error) from error

    def trouble(self, error: BaseException, act: Act | None = None) -> Unavailable:
        """Return the library's error as ours: one sentence that says what to look at.

        `act`: what the broker may have refused to a login that it took.
        """
        if act and isinstance(error, ChannelClosedByBroker) and error.reply_code == ACCESS_REFUSED:
            if self.tokens and self.tokens.known() is None:
                ended = Said("RabbitMQ at {place}: our token has ended and is not renewed yet", place=self.place)
                return Unavailable(ended)
            return RightMissing(missing_right(error.reply_text, act))
        self._identity.learn(str(error))
        if _is_refusal(error, ProbableAuthenticationError) or "ACCESS_REFUSED - Login" in str(error):
            if self.tokens:
                self.tokens.forget()
            hint = self._login_settings()
            return LoginRefused(Said("RabbitMQ at {place} refuses the login: {hint}", place=self.place, hint=hint))
        if _is_refusal(error, ProbableAccessDeniedError) or "NOT_ALLOWED" in str(error):
            refused = Said(
                "RabbitMQ at {place} refuses RABBITMQ_VIRTUAL_HOST {vhost!r}: "
                "it does not exist or {user!r} may not use it",
                place=self.place,
                vhost=self.virtual_host,
                user=self.username,
            )
            return LoginRefused(refused)
        inner = _innermost(error)
        if self.tls and (reason := self.tls.reason(inner, self.server_name)):
            return Unavailable(Said("RabbitMQ at {place} {reason}", place=self.place, reason=reason))
        if isinstance(error, REFUSED_LOGINS):
            ended = Said(
                "RabbitMQ at {place} ended the connection while we logged in, and said nothing of the login",
                place=self.place,
            )
            return Unavailable(ended)
        away = Said(
            "RabbitMQ at {place} (RABBITMQ_HOST, RABBITMQ_PORT) cannot be reached or went away: {reason}",
            place=self.place,
            reason=_text(inner),
        )
        return Unavailable(away)

    def note_certificates(self, connection: LineConnection | DeadlineConnection) -> None:
        """Note when the broker's certificate ends, and ours, where the connection is secured."""
        if self.tls is not None:
            certificates.note("broker", f"of RabbitMQ at {self.place}", end_of_peer(connection.socket))
            certificates.note("broker_client", "in RABBITMQ_CLIENT_CERT_FILE", end_in_file(self.tls.cert_file))

    def _trouble_at(self, address: Address, error: BaseException) -> Unavailable:
        """Return why no connection came about; a plain one that is cut off at once may have met TLS."""
        is_cut_off = isinstance(_innermost(error), CUT_OFF) and not self.addresses.has_worked
        if self.tls is None and is_cut_off and speaks_tls(address.number, address.port):
            speaks = Said(
                "RabbitMQ at {place} speaks TLS there: set RABBITMQ_TLS=true, or RABBITMQ_PORT to its plain port",
                place=str(address),
            )
            return Unavailable(speaks)
        return self.trouble(error)

    def _login_settings(self) -> str:
        if self.tokens:
            return Said(
                "check what RABBITMQ_OAUTH_SCOPE and RABBITMQ_OAUTH_AUDIENCE ask for, and the broker's keys"
            )
        if self.has_certificate_login:
            return Said("check the user that RABBITMQ_CLIENT_CERT_FILE names, and RABBITMQ_AUTH=external")
        return Said(
            "check RABBITMQ_USERNAME {user!r} and {password}", user=self.username, password=self.password_place
        )


def _is_refusal(error: BaseException, kind: type[AMQPError] | tuple[type[AMQPError], ...]) -> bool:
    """Whether the broker refused us: pika says so also where the connection just ended, and quotes that."""
    return isinstance(error, kind) and "StreamLostError" not in str(error)


def _innermost(error: BaseException) -> BaseException:
    """Return the error below pika's wrappers, which often have no text of their own."""
    while isinstance(error, AMQPConnectionError) and error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    inner = getattr(error, "exception", None)
    return _innermost(inner) if isinstance(inner, BaseException) else error


def _text(error: BaseException) -> str:
    if isinstance(error, AMQPConnectorStackTimeout):  # its own text is an address as Python writes it
        return Said("took the connection and did not answer within {seconds} s", seconds=HANDSHAKE_SECONDS)
    return str(error) or repr(error)
