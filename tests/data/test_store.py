"""LMDB stores: three key styles, landmarks in every form, growth, interruption, forks."""

from __future__ import annotations

import json
import multiprocessing

import lmdb
import numpy as np
import pytest

from benchmark.data import store as store_module
from benchmark.data.source import ByteSource
from benchmark.data.store import Store, StoreWriter, decode_landmarks, encode_npy
from benchmark.errors import DataError

KEY = "FaceForensics++/original_sequences/youtube/c23/frames/000/000.png"
STYLES = {
    "ours": KEY,
    "Windows": KEY.replace("/", "\\"),
    "mixed Linux": KEY.replace("/", "\\", 1),
    "dot": f"./datasets/{KEY}",
    "rgb": f"./datasets/rgb/{KEY}",
}


def foreign_store(path, values):
    path.mkdir(parents=True)
    environment = lmdb.open(str(path), map_size=1 << 22)
    with environment.begin(write=True) as txn:
        for key, value in values.items():
            txn.put(key.encode(), value)
    environment.close()
    return Store(path)


@pytest.mark.parametrize("style", STYLES)
def test_every_key_style_reads_by_the_canonical_key(tmp_path, style):
    other = STYLES[style].replace("000.png", "001.png")
    store = foreign_store(tmp_path / "FaceForensics++_lmdb", {STYLES[style]: b"first", other: b"second"})
    assert store.get(KEY) == b"first"
    assert store.get(KEY.replace("000.png", "001.png")) == b"second"
    assert KEY in store
    assert KEY.replace("000.png", "002.png") not in store
    assert len(store) == 2


def test_missing_key_shows_the_stores_own_style(tmp_path):
    store = foreign_store(tmp_path / "s_lmdb", {STYLES["Windows"]: b"x"})
    with pytest.raises(DataError) as error:
        store.get("FaceForensics++/nothing.png")
    assert str(error.value) == (
        f"{tmp_path / 's_lmdb'}: no entry for 'FaceForensics++/nothing.png'. "
        f"Keys there look like '{STYLES['Windows']}'."
    )


def test_no_store_and_broken_store(tmp_path):
    with pytest.raises(DataError, match=r"No LMDB store at .*none \(data\.mdb is missing\)"):
        Store(tmp_path / "none")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "data.mdb").write_bytes(b"not an lmdb file" * 1000)
    with pytest.raises(DataError, match="not a readable LMDB store"):
        Store(tmp_path / "broken").get("a")


# ------------------------------------------------------------------ writing


def test_round_trip_with_facts(tmp_path):
    path = tmp_path / "D_lmdb"
    with StoreWriter(path, meta={"settings": {"size": 3}}) as writer:
        writer.put("D/ä 脸.png", b"\x00\xff")
        writer.put("D/gone.png", b"1")
        writer.remove("D/gone.png")
        writer.remove("D/never there.png")
    store = Store(path)
    assert list(store.keys()) == ["D/ä 脸.png"]
    assert store.get("D/ä 脸.png") == b"\x00\xff"
    assert json.loads((path / "meta.json").read_text()) == {
        "count": 1, "key_style": "slash", "settings": {"size": 3}, "version": 1,
    }  # fmt: skip
    assert not path.with_name("D_lmdb.partial").exists()


def test_the_map_grows_when_it_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_INITIAL_MAP", 1 << 16)
    values = {f"D/{i:03d}": bytes([i]) * 20_000 for i in range(60)}
    with StoreWriter(tmp_path / "D_lmdb", commit_every=16) as writer:
        for key, value in values.items():
            writer.put(key, value)
    store = Store(tmp_path / "D_lmdb")
    assert {key: store.get(key) for key in store.keys()} == values  # noqa: SIM118


def test_interrupted_writer_leaves_nothing_visible_and_can_go_on(tmp_path):
    path = tmp_path / "D_lmdb"

    def write_half() -> None:
        with StoreWriter(path) as writer:
            writer.put("D/1", b"one")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert not path.exists()
    with pytest.raises(DataError, match="No store or folder holds 'D'"):
        ByteSource([tmp_path]).read("D/1")
    with StoreWriter(path, resume=True) as writer:
        assert writer.get("D/1") == b"one"
        assert writer.get("D/2") is None
        writer.put("D/2", b"two")
    assert [Store(path).get(f"D/{i}") for i in (1, 2)] == [b"one", b"two"]


def test_without_resume_a_leftover_is_dropped(tmp_path):
    path = tmp_path / "D_lmdb"
    writer = StoreWriter(path)
    writer.put("D/old", b"old")
    writer.abort()
    with StoreWriter(path) as writer:
        writer.put("D/new", b"new")
    assert list(Store(path).keys()) == ["D/new"]


def test_a_replaced_store_is_seen_by_readers(tmp_path):
    path = tmp_path / "D_lmdb"
    for value in (b"old", b"new"):
        with StoreWriter(path) as writer:
            writer.put("D/1", value)
        assert Store(path).get("D/1") == value


def test_the_same_content_in_two_stores_of_one_process(tmp_path):
    for name in ("A", "B"):
        with StoreWriter(tmp_path / f"{name}_lmdb") as writer:
            writer.put(f"{name}/1", name.encode())
    first, second = Store(tmp_path / "A_lmdb"), Store(tmp_path / "B_lmdb")
    assert (first.get("A/1"), second.get("B/1"), first.get("A/1")) == (b"A", b"B", b"A")


def read_in_child(store, key, queue):
    queue.put(store.get(key))


def test_a_store_in_use_survives_a_fork(tmp_path):
    """Data-loader workers are forked after the parent has read."""
    with StoreWriter(tmp_path / "D_lmdb") as writer:
        writer.put("D/1", b"value")
    store = Store(tmp_path / "D_lmdb")
    assert store.get("D/1") == b"value"
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=read_in_child, args=(store, "D/1", queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert [queue.get(timeout=20) for _ in children] == [b"value", b"value"]
    for child in children:
        child.join(20)
        assert child.exitcode == 0
    assert store.get("D/1") == b"value"


# ------------------------------------------------------------------ landmarks


POINTS = np.stack([np.arange(81) * 4 - 20, 300 - np.arange(81) * 3], axis=1)  # from below 0 to above 256


@pytest.mark.parametrize(
    "value",
    [
        POINTS.astype("<i4").tobytes(),
        POINTS.astype("<i8").tobytes(),
        encode_npy(POINTS),
        encode_npy(POINTS.astype(np.float64)),
    ],
    ids=["648 bytes", "1296 bytes", "npy int64", "npy float64"],
)
def test_landmarks_in_every_form_keep_negative_coordinates(value):
    points = decode_landmarks(value, "k")
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)
    assert points.min() < 0
    assert points.max() > 256


def test_landmarks_of_another_size_name_key_and_size():
    with pytest.raises(DataError, match=r"Landmarks 'D/a\.npy' have 544 bytes; expected an \.npy file, 648 or 1296"):
        decode_landmarks(b"\0" * 544, "D/a.npy")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (encode_npy(POINTS)[:-3], r"Landmarks 'k': damaged \.npy file"),
        (b"\x93NUMPY\x01\x00", r"Landmarks 'k': damaged \.npy file"),
        (encode_npy(np.zeros((81, 3))), r"Landmarks 'k' have shape \(81, 3\); expected \(points, 2\)"),
        (encode_npy(np.zeros(4)), r"Landmarks 'k' have shape \(4,\)"),
    ],
)
def test_damaged_landmark_files(value, message):
    with pytest.raises(DataError, match=message):
        decode_landmarks(value, "k")


def test_pickled_landmarks_are_never_unpickled():
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.array([[Bomb(), 1]], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        decode_landmarks(buffer.getvalue(), "k")
    assert Bomb.fired == []


class Bomb:
    fired: list[str] = []

    def __reduce__(self):
        return (Bomb.fired.append, ("bang",))


# ------------------------------------------------------------------ where bytes are


@pytest.mark.parametrize("place", ["D_lmdb", "lmdb/D_lmdb"])
def test_stores_are_found_where_deepfakebench_puts_them(tmp_path, place):
    with StoreWriter(tmp_path / place) as writer:
        writer.put("D/a/1.png", b"in the store")
    source = ByteSource([tmp_path / "elsewhere", tmp_path])
    assert source.read("D/a/1.png") == b"in the store"
    assert source.has("D/a/1.png")
    assert not source.has("D/a/2.png")
    assert not source.has("E/1.png")


@pytest.mark.parametrize("middle", ["", "rgb", "datasets/rgb", "datasets"])
def test_plain_files_are_found_where_deepfakebench_puts_them(tmp_path, middle):
    path = tmp_path / middle / "D" / "a" / "1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a file")
    source = ByteSource([tmp_path])
    assert source.read("D/a/1.png") == b"a file"
    with pytest.raises(DataError, match=r"Cannot read .*2\.png: No such file or directory"):
        source.read("D/a/2.png")


def test_a_store_wins_over_loose_files(tmp_path):
    (tmp_path / "D").mkdir()
    (tmp_path / "D" / "1.png").write_bytes(b"file")
    with StoreWriter(tmp_path / "D_lmdb") as writer:
        writer.put("D/1.png", b"store")
    assert ByteSource([tmp_path]).read("D/1.png") == b"store"


def test_nowhere_says_where_was_looked(tmp_path):
    with pytest.raises(DataError) as error:
        ByteSource([tmp_path]).read("D/1.png")
    assert str(error.value).startswith(
        f"No store or folder holds 'D' (looked for {tmp_path / 'D_lmdb'}, {tmp_path / 'lmdb/D_lmdb'}, "
    )
    assert "python -m benchmark prepare" in str(error.value)
