"""The worker with the work of each of its threads counted: python -m bench.profiled_worker FOLDER."""

import sys
import threading
import time
from cProfile import Profile
from pathlib import Path

from main import main


def profile_threads(folder: Path) -> None:
    """Lets every thread that begins from now on leave a profile of its CPU time in the folder when it ends."""
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        profile = Profile(time.thread_time)  # waiting counts nothing
        try:
            profile.runcall(run, thread)
        finally:
            part = folder / f"{thread.name}.part"  # the process may end before a thread of a library does
            profile.dump_stats(part)
            part.rename(part.with_suffix(".prof"))

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    profile_threads(Path(sys.argv[1]))
    sys.exit(main([]))
