"""Filesystem: whether a folder lies on a disk of this machine. SQLite's locks and shared memory do not reach further."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
NETWORK = {
    *(
        "9p",
        "afs",
        "beegfs",
        "beegfs_nodev",
        "ceph",
        "cifs",
        "coda",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
    ),
    *("ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs"),
    *("fuse.ceph", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.sshfs"),
}
"""As Linux calls them."""


def network(folder: Path) -> str:
    """The type of the network file system that a folder lies on, or would lie on; empty for a local one, and where nobody tells."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
        path = folder.resolve()
    except (OSError, ValueError, RuntimeError):
        return ""
    kind, depth = "", -1
    for line in lines:
        _, point, name, *_ = [*line.split(" "), "", "", ""]
        mount = Path(point.encode("latin-1", "replace").decode("unicode_escape"))  # a blank is written \040
        if (mount == path or mount in path.parents) and len(mount.parts) >= depth:
            kind, depth = name, len(mount.parts)
    return kind if kind in NETWORK else ""
