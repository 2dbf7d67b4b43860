"""What the demo plays: the sample systems, and instances of which is known how they should end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice


@dataclass(frozen=True)
class System:
    """A sample system: its queue is `<name>.queue`, its program a module of sandbox.systems."""

    name: str
    topic: str
    module: str


@dataclass(frozen=True)
class Sample:
    """An instance to start, and the id of the one end event at which it should arrive."""

    process: str
    end: str = "done"
    variables: Mapping[str, object] = field(default_factory=dict)


SYSTEMS = (
    System("bitrix24", "bitrix_create_task", "bitrix24"),
    System("openproject", "op_create_project", "openproject"),
    System("1c", "1c_sync_data", "one_c"),
    System("python-services", "send_email", "python_services"),
    System("default", "legacy_archive", "default"),
)

_SAMPLES = (
    Sample("bitrix24_task", variables={"title": "Call back"}),
    Sample("openproject_project", variables={"title": "New office"}),
    Sample("one_c_sync", variables={"fails_first": True}),
    Sample("email", variables={"recipient": "anna@example.com"}),
    Sample("legacy_archive"),
    Sample("order_approval", "refused", {"customer_blocked": True}),
    Sample("project_launch", variables={"title": "Shop", "recipient": "boris@example.com"}),
    Sample("customer_onboarding", variables={"title": "Welcome"}),
    Sample("order_approval", "approved"),
    Sample("one_c_sync"),
)


def samples(count: int) -> list[Sample]:
    """Returns `count` instances to start, all kinds in turn."""
    return list(islice(cycle(_SAMPLES), count))
