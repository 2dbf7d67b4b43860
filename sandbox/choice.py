"""Which engine and broker the sandbox starts: the usual ones, or those that `./run matrix` names."""

import os
from pathlib import Path

ENGINES = Path(__file__).resolve().parent / "engines"

ENGINE = os.environ.get("SANDBOX_ENGINE", "camunda-7.24")  # a folder of ENGINES
IS_OLD = ENGINE in ("camunda-7.14", "camunda-7.18")  # and lacks something
TELLS_WHY = ENGINE != "camunda-7.14"  # a value that is too long is "an exception in the persistence layer" there
HAS_JSON = not ENGINE.startswith("operaton")  # whose Spin data format for it was not available
HAS_POSTGRES = os.environ.get("SANDBOX_DATABASE", "h2") == "postgresql"
HAS_NEWER_RABBITMQ = os.environ.get("SANDBOX_RABBITMQ", "installed") == "newer"
QUEUE_TYPE = os.environ.get("SANDBOX_QUEUE_TYPE", "classic")
