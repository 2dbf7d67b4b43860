"""The examples in other languages are at the same engine, broker and worker as the system tests."""

from tests.system.conftest import channel, deploy, start_worker

__all__ = ["channel", "deploy", "start_worker"]
