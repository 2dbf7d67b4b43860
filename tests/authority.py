"""A certificate authority of the tests."""

from pathlib import Path
from typing import Any

import trustme


class Authority:
    """A CA, and the files of the certificates that it gave out."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self._ca = trustme.CA()
        self.file = self.folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def give(self, *names: str, common_name: str | None = None, **options: Any) -> tuple[Path, Path]:
        """Return the files of a new certificate and of its key."""
        issued = self._ca.issue_cert(*names, common_name=common_name, **options)
        stem = f"{names[0]}-{len([*self.folder.iterdir()])}"
        certificate, key = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        for number, pem in enumerate(issued.cert_chain_pems):
            pem.write_to_path(certificate, append=number > 0)
        issued.private_key_pem.write_to_path(key)
        return certificate, key
