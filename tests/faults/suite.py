"""Runs faults one after the other and collects their figures."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.broker import TlsFiles
from sandbox.errors import SandboxError
from sandbox.sandbox import Sandbox
from tests.authority import Authority
from tests.faults.figures import Figures
from tests.faults.registry import Fault
from tests.faults.scene import KEPT_NOTHING, Kept, Late, Scale, Scene


def run_fault(
    sandbox: Sandbox, fault: Fault, scale: Scale, seed: int, *, sabotage: str = "", kept: Kept = KEPT_NOTHING
) -> Figures:
    """Let one fault happen and return what it showed; what goes wrong on the way is a problem in the figures."""
    figures = Figures(fault.number, fault.name, seed)
    begun = time.monotonic()
    scale = replace(scale, lease_ms=fault.lease_ms or scale.lease_ms)
    with (
        _stage_of(fault, sandbox) as stage,
        Scene(stage, scale, figures, sabotage=sabotage, kept=kept) as scene,
    ):
        try:
            fault.run(scene)
        except (Late, SandboxError) as error:
            figures.problems.append(f"{type(error).__name__}: {error}")
            scene.finish(1.0)
    figures.seconds = time.monotonic() - begun
    return figures


@contextmanager
def _stage_of(fault: Fault, usual: Sandbox) -> Iterator[Sandbox]:
    if not (fault.auth or fault.clustered):
        yield usual
        return
    with (
        TemporaryDirectory(prefix="camunda-faults-") as folder,
        Sandbox(
            auth=fault.auth, clustered=fault.clustered, tls=_tls_files(Path(folder)) if fault.tls else None
        ) as own,
    ):
        yield own


def _tls_files(folder: Path) -> TlsFiles:
    """Return one certificate for the nodes and for who comes to them."""
    authority = Authority(folder, "ca")
    return TlsFiles(authority.file, *authority.give("localhost"))
