"""What a fetch asks of the engine for each topic."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from bridge.contract import encode_json
from bridge.routing import NO_TENANT, Subscription


@lru_cache(maxsize=32)  # poll after poll asks for the same topics
def encoded_topics(
    subscriptions: tuple[Subscription, ...], tenant_ids: tuple[str, ...]
) -> tuple[bytes, Mapping[str, int]]:
    """Return the topics as JSON, and for how long the tasks of each are locked, in milliseconds.

    Serialised objects stay text: only the process's own code knows their classes.
    """
    common = {"deserializeValues": False, "includeExtensionProperties": True}
    topics = encode_json([topic_request(one, tenant_ids) | common for one in subscriptions])
    return topics, {one.topic: one.lock_ms for one in subscriptions}


def topic_request(subscription: Subscription, tenant_ids: tuple[str, ...]) -> dict[str, Any]:
    """Return what is asked for of a topic. `tenant_ids`: those that count where its system names none."""
    selection = subscription.selection
    tenants = tenant_ids if selection.tenants is None else selection.tenants
    optional = {
        "variables": selection.variables,
        "localVariables": selection.local_variables_only or None,
        "processDefinitionKeyIn": selection.process_keys or None,
        "processDefinitionVersionTag": selection.version_tag,
        "businessKey": selection.business_key,
        "withoutTenantId": True if tenants == (NO_TENANT,) else None,
        "tenantIdIn": tenants if tenants and tenants != (NO_TENANT,) else None,
    }
    wanted = {"topicName": subscription.topic, "lockDuration": subscription.lock_ms}
    return wanted | {name: value for name, value in optional.items() if value is not None}
