"""What can go wrong in the sandbox."""


class SandboxError(Exception):
    """A part of the sandbox could not be built, started or asked; the message says which and why."""
