"""The dashboard for Grafana: it asks only for what is there, in valid PromQL, and its panels lie side by side."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.conftest import names_in
from tests.monitoring.promtool import promtool

FILE = Path(__file__).resolve().parents[2] / "docs/monitoring/dashboard.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_only_for_names_that_are_exported(panel: dict[str, Any], exported: set[str]) -> None:
    asked = {name for target in panel["targets"] for name in names_in(target["expr"])}

    assert asked
    assert asked - exported == set()


def test_everything_that_is_exported_for_people_is_shown(exported: set[str]) -> None:
    shown = set().union(*(names_in(query) for query in QUERIES))
    plain = {
        name for name in exported if name.startswith("camunda_worker_") and not name.endswith(("_count", "_sum"))
    }

    assert plain - shown == {"camunda_worker_build_info"}


def test_the_queries_are_valid(tmp_path: Path) -> None:
    known = {"$__rate_interval": "1m", "$instance": ".*"}
    rules = []
    for number, query in enumerate(QUERIES):
        for variable, value in known.items():
            query = query.replace(variable, value)
        assert "$" not in query
        rules.append({"record": f"panel_{number}", "expr": query})
    file = tmp_path / "rules.json"  # which is YAML too
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"{len(QUERIES)} rules found" in promtool("check", "rules", file)


def test_no_two_panels_share_an_id_or_a_place() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    overlaps = [
        (one["title"], other["title"])
        for one, other in combinations(PANELS, 2)
        if _overlap(one["gridPos"], other["gridPos"])
    ]
    assert overlaps == []


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    return not (beside or below)


def test_the_source_of_the_data_is_chosen_in_grafana() -> None:
    sources = {part["datasource"]["uid"] for panel in PANELS for part in (panel, *panel["targets"])}

    assert sources == {"${datasource}"}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
