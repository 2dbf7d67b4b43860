"""What is bent in pika stands on code that it keeps to itself: here it is as it was when it was read.

Where one of these fails, a new pika is under us: read what changed, see whether the bend in `bent_pika.py` is
right and still needed, then enter the new version and the new digest.
"""

import hashlib
import inspect
from typing import Any

import pika
import pytest
from pika import data
from pika.adapters.base_connection import BaseConnection
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.select_connection import SelectConnection
from pika.adapters.utils import io_services_utils
from pika.connection import Connection

from bridge.broker import headers
from bridge.broker.bent_pika import CHECKED_VERSIONS

TRANSPORT: Any = io_services_utils._AsyncTransportBase
BASE: Any = BaseConnection  # the stubs do not know what is private
SELECT: Any = SelectConnection
CONNECTION: Any = Connection
BLOCKING: Any = BlockingConnection
READ_CODE: dict[str, tuple[Any, str]] = {
    "how values in headers are read and written": (data, "8e81059008f55b05"),
    "how properties are read": (headers._decode_properties, "37d8cba32446445e"),
    "when a connection gets its transport": (BASE._proto_connection_made, "513e9b9b782358e5"),
    "how much a transport reads": (TRANSPORT._consume, "5d3fc19412a05efd"),
    "how bytes are handed to a transport": (BASE._adapter_emit_data, "57770a1b8a02455e"),
    "how many bytes a transport holds": (SELECT._get_write_buffer_size, "2e3297ec99e30523"),
    "how a connection is given up": (CONNECTION._terminate_stream, "9b35860018c378ca"),
    "what a blocking connection waits for": (BLOCKING._flush_output, "5fae7068efaeb287"),
}


def test_the_version_is_one_that_was_checked() -> None:
    assert pika.__version__ in CHECKED_VERSIONS


@pytest.mark.parametrize("what", READ_CODE)
def test_the_code_beneath_a_bend_is_as_it_was_read(what: str) -> None:
    code, digest = READ_CODE[what]

    assert hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16] == digest
