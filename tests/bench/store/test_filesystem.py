"""A store is refused where a database breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from retable.bench.errors import StoreError
from retable.bench.store import filesystem
from retable.bench.store.store import Store


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.sshfs", "9p"])
def test_a_store_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shared = tmp_path / "home of all"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {str(shared).replace(' ', chr(92) + '040')} {kind} rw 0 0\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    with pytest.raises(StoreError, match=rf"network file system \({kind}\).*put the store on a disk of this machine"):
        Store(shared / "deep" / "store")
    assert not shared.exists()
    assert Store(shared / "store", create=False).records("tiny") == []  # reading what is there stays possible
    assert Store(tmp_path / "home").folder.is_dir()


def test_a_local_disk_mounted_below_a_shared_one_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/x / nfs rw 0 0\n/dev/b {tmp_path} xfs rw 0 0\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)
    assert filesystem.network(tmp_path / "store") == ""
    assert filesystem.network(Path("/elsewhere")) == "nfs"
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "none")
    assert filesystem.network(tmp_path) == ""
