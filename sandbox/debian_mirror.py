"""Where this machine gets its Debian packages from."""

import shutil
import subprocess

from sandbox.errors import SandboxError


def mirror() -> str:
    """Returns where this machine gets its Debian packages from."""
    if shutil.which("apt-get") is None:
        raise SandboxError("Debian's packages are needed, and this is no Debian")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"], capture_output=True, text=True
    )
    sites = [site for site in listed.stdout.split() if site.endswith(("/debian", "/debian/"))]
    if not sites:
        raise SandboxError("apt knows no mirror of Debian's packages")
    return sites[0]
