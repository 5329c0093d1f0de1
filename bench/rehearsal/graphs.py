"""A miniature of Planetoid's citation graphs: eight files, pickled as Python 2 did, with a node that the test index leaves out."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SEED = 20240709
CLASSES = {"cora": 7, "citeseer": 6, "pubmed": 3}
WORDS, LABELLED_A_CLASS, TEST = 24, 4, 30
KNOWN = 540
"""Nodes before the test part: the split has 500 to validate on."""


def planetoid(dataset: Any, root: Path) -> None:
    """`ind.<name>.{x,y,tx,ty,allx,ally,graph,test.index}`; neighbours mostly share the class, and words tell it."""
    import numpy as np

    classes, rng = CLASSES[dataset.name], np.random.default_rng(SEED)
    nodes = KNOWN + TEST
    labels = np.arange(nodes) % classes
    words = (rng.random((nodes, WORDS)) < 0.1).astype(np.float32)
    words[np.arange(nodes), labels] = 1
    hot = np.eye(classes, dtype=np.int32)[labels]
    missing = nodes - 2
    listed = rng.permutation([node for node in range(KNOWN, nodes) if node != missing])
    lists: dict[int, list[int]] = {}
    for node in range(nodes):
        lists[node] = [] if node == missing else [(node + classes * k) % KNOWN for k in (1, 2, 5)]
    labelled = LABELLED_A_CLASS * classes
    files = {
        "x": _rows(words[:labelled]),
        "y": _array(hot[:labelled]),
        "allx": _rows(words[:KNOWN]),
        "ally": _array(hot[:KNOWN]),
        "tx": _rows(words[listed]),
        "ty": _array(hot[listed]),
        "graph": _lists(lists),
        "test.index": "\n".join(map(str, listed)).encode(),
    }
    folder = root / dataset.root
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, content in files.items():
        (folder / f"ind.{dataset.name}.{suffix}").write_bytes(content)


def _whole(number: int) -> bytes:
    return b"J" + int(number).to_bytes(4, "little")


def _array(array: np.ndarray) -> bytes:
    """Protocol 2 of NumPy's array, its content as a string of bytes; written by hand, as today's pickle names other modules."""
    import numpy as np

    kind = array.dtype.str[1:].encode()
    opening = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
    shape = b"".join(map(_whole, array.shape)) + b"t"
    state = b"(K\x03U\x01<NNN" + 2 * _whole(2**32 - 1) + b"K\x00tb"
    type_ = b"cnumpy\ndtype\n(U" + bytes([len(kind)]) + kind + b"K\x00K\x01tR" + state
    content = np.ascontiguousarray(array).tobytes()
    return opening + shape + type_ + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb."


def _rows(array: np.ndarray) -> bytes:
    """The same of SciPy's compressed rows: the attributes of an object that is made without a call."""
    import numpy as np

    rows, columns = array.nonzero()
    starts = np.concatenate([[0], np.bincount(rows, minlength=len(array)).cumsum()])
    parts = {
        "data": array[rows, columns],
        "indices": columns.astype(np.int32),
        "indptr": starts.astype(np.int32),
    }
    body = b"".join(b"U" + bytes([len(name)]) + name.encode() + _array(part)[2:-1] for name, part in parts.items())
    shape = b"U\x06_shape(" + b"".join(map(_whole, array.shape)) + b"t"
    return b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81}(" + body + shape + b"ub."


def _lists(lists: dict[int, list[int]]) -> bytes:
    content = pickle.dumps(lists, protocol=2)
    return b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + content[content.index(b"(") :]


STAND_INS: Mapping[str, Callable[..., None]] = {"planetoid": planetoid}
