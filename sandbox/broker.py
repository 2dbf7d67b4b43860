"""A RabbitMQ node of one's own, apart from any broker of the machine."""

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox import choice, newer_rabbitmq
from sandbox.broker_api import BrokerApi
from sandbox.children import Child
from sandbox.errors import SandboxError
from sandbox.ports import LOOPBACK, accepts_connections, free_ports
from sandbox.runs import Run, write_private

# Not /usr/sbin/rabbitmq-server: that one changes the user and may start the machine's own node.
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
_BOOT_SECONDS = 90.0
_LOOPBACK_DISTRIBUTION = "-kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a broker needs for TLS: the CA whose clients it lets in, its own certificate and key, all PEM."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Membership:
    """What makes a node one of a cluster: its name and all names, their secret, the port that knows them."""

    name: str
    all_names: tuple[str, ...]
    cookie: str
    names_port: int


class Broker:
    """The broker's process and its own name service (epmd). Ports and data outlive a restart.

    With `tls` it also listens at `tls_port`, to clients with a certificate whose common name may be their login.
    `host` is the address at which it listens. With `token_key`, the public key (PEM) of an identity provider, its
    tokens for `rabbitmq` are passwords too.
    """

    username = "sandbox"

    def __init__(
        self,
        run: Run,
        *,
        tls: TlsFiles | None = None,
        token_key: Path | None = None,
        member: Membership | None = None,
        password: str = "",
        host: str = LOOPBACK,
    ) -> None:
        """Prepares ports, a password and a data folder; starts nothing."""
        self._run = run
        self._member = member
        self._node = _node_name(member.name if member else "sandbox")
        self._folder = run.folder / (f"broker-{member.name}" if member else "broker")
        self._tls = tls
        self._token_key = token_key
        self.host = host
        self.password = password or secrets.token_urlsafe(18)
        self.port, self._api_port, self._distribution_port, self._names_port, self.tls_port = free_ports(5)
        self._names_port = member.names_port if member else self._names_port
        self.api = BrokerApi(f"{self.management_url}/api", self.username, self.password)
        self._names: Child | None = None
        self._child: Child | None = None

    @property
    def management_url(self) -> str:
        """The management web page; the login is `username` and `password`."""
        return f"http://{LOOPBACK}:{self._api_port}"

    @property
    def queue_arguments(self) -> dict[str, str]:
        """With what a system declares its queue here; in a cluster queues live on all nodes."""
        return {"x-queue-type": "quorum"} if self._member or choice.QUEUE_TYPE == "quorum" else {}

    @property
    def pid(self) -> int:
        """The pid of the broker's process."""
        return self._started().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._names is not None:
            self._names.kill()

    def start(self) -> None:
        """Starts the broker and returns when it takes connections. Only from the main thread."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Starts the processes and returns when the name service listens. Only from the main thread."""
        self._write_configuration()
        self._start_names()
        self._child = self._run.start("broker", _command("rabbitmq-server"), self._environment())

    def wait_ready(self) -> None:
        """Waits until the broker takes connections; raises SandboxError with the end of its log if not."""
        self._started().wait_until(self._takes_connections, seconds=_BOOT_SECONDS)

    def running(self) -> bool:
        """Says whether the process runs."""
        return self._child is not None and self._child.running()

    def stop(self) -> None:
        """Stops the broker in order: about 6 s, most of it for the management plugin."""
        self._started().stop()

    def kill(self) -> None:
        """Kills the broker as a power cut would; its data stay."""
        self._started().kill()

    def add_vhost(self, name: str) -> None:
        """Makes a vhost in which the sandbox's user may do everything: some 20 ms."""
        self.api.add_vhost(name)

    def delete_vhost(self, name: str) -> None:
        """Removes a vhost with all that is in it; its connections are closed."""
        self.api.delete_vhost(name)

    def ctl(self, *arguments: str) -> str:
        """Runs rabbitmqctl and returns what it prints. It boots a virtual machine first: 0.5 s and more."""
        command = _command("rabbitmqctl", "--quiet", "--node", self._node, *arguments)
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise SandboxError(f"rabbitmqctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Makes the broker block all that publish, in every vhost, while the block runs."""
        usual = self.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
        self.ctl("set_vm_memory_high_watermark", "0")
        try:
            yield
        finally:
            self.ctl("set_vm_memory_high_watermark", usual)

    @contextmanager
    def disk_alarm(self) -> Iterator[None]:
        """Does the same for want of disk space."""
        usual = self.ctl("eval", "rabbit_disk_monitor:get_disk_free_limit().").strip()
        self.ctl("set_disk_free_limit", "1000000GB")
        try:
            yield
        finally:
            self.ctl("set_disk_free_limit", usual)

    def _started(self) -> Child:
        if self._child is None:
            raise SandboxError("the broker was not started")
        return self._child

    def _takes_connections(self) -> bool:
        return accepts_connections(self.port, self.host) and self.api.answers()

    def _start_names(self) -> None:
        """Starts epmd in the foreground: left to itself the broker starts one that outlives it."""
        if accepts_connections(self._names_port):
            return
        command = ["epmd", "-port", str(self._names_port), "-address", LOOPBACK]
        self._names = self._run.start("epmd", command, self._environment())
        self._names.wait_until(lambda: accepts_connections(self._names_port), seconds=10)

    def _write_configuration(self) -> None:
        (self._folder / "home").mkdir(parents=True, exist_ok=True)
        if self._member:
            cookie = self._folder / "home/.erlang.cookie"
            cookie.unlink(missing_ok=True)
            write_private(cookie, self._member.cookie)
            cookie.chmod(0o400)
        plugins = [
            "rabbitmq_management",
            *(["rabbitmq_auth_mechanism_ssl"] if self._tls else []),
            *(["rabbitmq_auth_backend_oauth2"] if self._token_key else []),
        ]
        write_private(self._folder / "plugins", f"[{','.join(plugins)}].")
        write_private(self._folder / "rabbitmq.conf", self._configuration())

    def _configuration(self) -> str:
        # The default user takes the place of guest. Without the metrics collector the management plugin
        # costs the broker next to nothing, and queue totals are current instead of up to 5 s old.
        usual = (
            f"listeners.tcp.1 = {self.host}:{self.port}\n"
            f"management.tcp.ip = {LOOPBACK}\n"
            f"management.tcp.port = {self._api_port}\n"
            "management_agent.disable_metrics_collector = true\n"
            f"default_user = {self.username}\n"
            f"default_pass = {self.password}\n"
        )
        secured = self._tls_configuration(self._tls) if self._tls else ""
        tokens = self._token_configuration(self._token_key) if self._token_key else ""
        return usual + secured + tokens + (self._cluster_configuration(self._member) if self._member else "")

    def _cluster_configuration(self, member: Membership) -> str:
        names = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {_node_name(name)}\n"
            for number, name in enumerate(member.all_names, 1)
        )
        return "cluster_formation.peer_discovery_backend = classic_config\n" + names

    def _token_configuration(self, key: Path) -> str:
        return (
            "auth_backends.1 = internal\n"
            "auth_backends.2 = rabbit_auth_backend_oauth2\n"
            "auth_oauth2.resource_server_id = rabbitmq\n"
            "auth_oauth2.default_key = tests\n"
            f"auth_oauth2.signing_keys.tests = {key}\n"
        )

    def _tls_configuration(self, tls: TlsFiles) -> str:
        return (
            f"listeners.ssl.1 = {LOOPBACK}:{self.tls_port}\n"
            f"ssl_options.cacertfile = {tls.ca}\n"
            f"ssl_options.certfile = {tls.certificate}\n"
            f"ssl_options.keyfile = {tls.key}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = true\n"
            "ssl_cert_login_from = common_name\n"
            "auth_mechanisms.1 = PLAIN\n"
            "auth_mechanisms.2 = AMQPLAIN\n"
            "auth_mechanisms.3 = EXTERNAL\n"
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TMPDIR": tempfile.gettempdir(),
            "HOME": str(self._folder / "home"),  # holds the cookie that rabbitmqctl must share
            "RUNNING_UNDER_SYSTEMD": "1",  # the start script replaces itself, so the pid is the broker's
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_DISTRIBUTION,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_DISTRIBUTION,
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "ERL_EPMD_PORT": str(self._names_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
        }


def _node_name(name: str) -> str:
    return f"{name}@{LOOPBACK}"  # an address: some containers cannot resolve localhost


def _command(program: str, *arguments: str) -> list[str]:
    command = [str(_PROGRAMS / program), *arguments]
    return newer_rabbitmq.within(command) if choice.HAS_NEWER_RABBITMQ else command
