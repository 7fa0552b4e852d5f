"""Which file systems a memory-mapped store may lie on: LMDB needs locks and a page cache that all its users share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from tiffin.errors import StorageError

MOUNTS = Path("/proc/mounts")

#: File systems whose files other machines, or another cache on this one, may change.
NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
    }
    | {"ocfs2", "orangefs", "smb3", "smbfs"}
)
#: The same as programs outside the kernel offer them: ``fuse.<name>``.
NETWORK_FUSE: Final = frozenset(
    {
        "blobfuse",
        "blobfuse2",
        "ceph-fuse",
        "gcsfuse",
        "glusterfs",
        "goofys",
        "juicefs",
        "mountpoint-s3",
        "rclone",
        "s3fs",
    }
    | {"smbnetfs", "sshfs"}
)
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")


def refuse_network(path: str) -> None:
    """Raise StorageError where ``path`` lies on a network file system; silent where the system does not tell."""
    found = _mount_of(os.path.realpath(path))
    if found is not None and (found[1] in NETWORK or found[1].removeprefix("fuse.") in NETWORK_FUSE):
        raise StorageError(
            f"The online store {path} lies on {found[0]}, which is mounted by {found[1]}: an LMDB store there would be "
            "damaged.",
            hint="Put it on a local disk, or use a store that is a server.",
        )


def _mount_of(path: str) -> tuple[str, str] | None:
    """The mount point and type of the file system that holds a path."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    best: tuple[str, str] | None = None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), point)
        # Of mounts on one point the last is seen, so an equal length replaces.
        if (path + "/").startswith(point.rstrip("/") + "/") and (best is None or len(point) >= len(best[0])):
            best = point, kind
    return best
