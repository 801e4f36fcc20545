"""Sums along a ring of real TCP connections, one thread per worker."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.training.workers import heartbeat
from headrace.components.training.workers.heartbeat import Heartbeat
from headrace.components.training.workers.rendezvous import Neighbours, Rendezvous
from headrace.components.training.workers.ring import Ring, ring_of


def rings_of(num_workers: int, **options) -> list[Ring]:
    """The workers' ends of a ring; their hearts do not beat."""
    pairs = [connection() for _ in range(num_workers)]
    beats = [socket.socketpair() for _ in range(num_workers)]
    rings = []
    for rank in range(num_workers):
        neighbours = Neighbours(pairs[rank][0], pairs[rank - 1][1], beats[rank][0], beats[rank - 1][1])
        for one in neighbours:
            one.setblocking(False)
        heartbeat = Heartbeat({+1: neighbours.beat_next, -1: neighbours.beat_previous})
        rings.append(Ring(neighbours, heartbeat, rank=rank, num_workers=num_workers, **options))
    return rings


def connection() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to_next = socket.create_connection(listener.getsockname())
        return to_next, listener.accept()[0]


def close(rings: list[Ring]) -> None:
    for ring in rings:
        for one in (ring._to_next, ring._from_previous, *ring._heartbeat._connections.values()):
            one.close()


def gathered(rings: list[Ring], rows: list[np.ndarray]) -> list[np.ndarray]:
    with ThreadPoolExecutor(len(rings)) as threads:
        futures = [threads.submit(ring.gather, one) for ring, one in zip(rings, rows, strict=True)]
        return [future.result(timeout=60) for future in futures]


def sums(rings: list[Ring], values: list[np.ndarray], **options) -> list[np.ndarray]:
    with ThreadPoolExecutor(len(rings)) as threads:
        futures = [threads.submit(ring.add, one, **options) for ring, one in zip(rings, values, strict=True)]
        return [future.result(timeout=60) for future in futures]


@settings(deadline=None, max_examples=30)
@given(num_workers=st.integers(2, 5), size=st.integers(0, 40), seed=st.integers(0, 1000))
def test_all_workers_have_the_same_bits_of_the_sum(num_workers, size, seed):
    generator = np.random.default_rng(seed)
    values = [generator.normal(size=size).astype(np.float32) for _ in range(num_workers)]
    rings = rings_of(num_workers)
    try:
        found = sums(rings, values)
    finally:
        close(rings)
    np.testing.assert_allclose(found[0], np.sum(values, axis=0, dtype=np.float64), rtol=1e-5, atol=1e-5)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_more_than_the_kernel_buffers_is_summed_several_times():
    generator = np.random.default_rng(0)
    values = [generator.normal(size=3_000_001).astype(np.float32) for _ in range(3)]
    rings = rings_of(3)
    try:
        for _ in range(3):
            found = sums(rings, values)
    finally:
        close(rings)
    np.testing.assert_allclose(found[2], values[0] + values[1] + values[2], rtol=1e-4, atol=1e-5)


def test_compression_rounds_alike_on_all_workers_and_leaves_exact_sums_alone():
    values = [np.array([1.0, 1 / 3, 1e-3, 20_001.0], np.float32) * rank for rank in (1, 2, 3)]
    rings = rings_of(3, compression="bfloat16")
    try:
        rounded, exact = sums(rings, values), sums(rings, values, exact=True)
    finally:
        close(rings)
    np.testing.assert_allclose(rounded[0], values[0] * 6, rtol=2e-2)
    assert not np.array_equal(rounded[0], exact[0])
    for other in rounded[1:]:
        np.testing.assert_array_equal(other, rounded[0])
    np.testing.assert_allclose(exact[1], values[0] * 6, rtol=1e-6)


def test_the_gradient_of_a_sum_is_that_of_all_workers_losses():
    """As batch normalization needs it: each loss depends on what all workers gave."""
    import tensorflow as tf

    rings = rings_of(2)

    def gradient(rank: int) -> list[float]:
        values = tf.constant([1.0, 2.0])
        with tf.GradientTape() as tape:
            tape.watch(values)
            loss = tf.reduce_sum(rings[rank].sum(values) * [10.0**rank, 3.0])
        return tape.gradient(loss, values).numpy().tolist()

    try:
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(gradient, range(2))) == [[11.0, 6.0]] * 2
    finally:
        close(rings)


def test_a_worker_that_ends_is_named_by_its_neighbours():
    rings = rings_of(3)
    close(rings[1:2])
    values = [np.ones(1_000_000, np.float32)] * 3
    errors: list[str] = []

    def add(rank: int) -> None:
        try:
            rings[rank].add(values[rank])
        except ConnectionError as error:
            errors.append(str(error))
            close([rings[rank]])  # as a process that ends does

    threads = [threading.Thread(target=add, args=(rank,)) for rank in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    close(rings)
    assert errors[0].startswith("lost worker 1"), "the first; then its neighbours end, too"


@pytest.mark.parametrize("compression", ["none", "bfloat16"])
def test_nothing_is_summed_to_nothing(compression):
    rings = rings_of(2, compression=compression)
    try:
        assert [one.shape for one in sums(rings, [np.empty(0, np.float32)] * 2)] == [(0,), (0,)]
    finally:
        close(rings)


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(0, 5), min_size=2, max_size=5),
    shape=st.sampled_from([(), (3,), (2, 0), (2, 3)]),
    dtype=st.sampled_from(["float64", "uint64", "float32", "int8", "bool"]),
)
def test_rows_of_all_workers_are_gathered_in_the_order_of_ranks_bit_for_bit(counts, shape, dtype):
    generator = np.random.default_rng(1)
    rows = [generator.integers(0, 255, (count, *shape)).astype(dtype) for count in counts]
    rings = rings_of(len(counts))
    try:
        for found in gathered(rings, rows):
            np.testing.assert_array_equal(found, np.concatenate(rows))
            assert found.dtype == np.dtype(dtype)
    finally:
        close(rings)


def test_rows_of_several_tensors_are_gathered_within_a_step_and_each_worker_knows_its_own():
    import tensorflow as tf

    rings = rings_of(3, compression="bfloat16")
    ids = [[2**52 + 1], [], [7, 8]]
    rows = [np.full((2 * rank, 2), 1 / 3 + rank, np.float32) for rank in range(3)]

    def gathered_by(rank: int) -> list[np.ndarray]:
        found, first_rows = rings[rank].gather_rows([tf.constant(ids[rank], tf.int64), tf.constant(rows[rank])])
        return [one.numpy() for one in (*found, first_rows)]

    try:
        with ThreadPoolExecutor(3) as threads:
            for (found_ids, found_rows, first_rows), first in zip(
                threads.map(gathered_by, range(3)), ([0, 0], [1, 0], [1, 2]), strict=True
            ):
                assert found_ids.tolist() == [2**52 + 1, 7, 8]
                np.testing.assert_array_equal(found_rows, np.concatenate(rows))
                assert first_rows.tolist() == first
    finally:
        close(rings)


def test_what_is_not_a_number_is_gathered_as_it_is():
    rings, rows = rings_of(2), [np.array([-0.0, np.nan, np.inf]), np.array([2.0**52 + 1])]
    try:
        for found in gathered(rings, rows):
            assert found.tobytes() == np.concatenate(rows).tobytes()
    finally:
        close(rings)


def test_a_neighbour_that_waits_for_a_late_one_is_not_lost(monkeypatch):
    """Workers 0 and 1 have met, and worker 1 waits for worker 2 for longer than a heart may stand still."""
    monkeypatch.setattr(heartbeat, "MAXIMUM_SILENT_BEATS", 1)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    addresses = [listener.getsockname() for listener in listeners]

    def work(rank: int) -> list[int]:
        if rank == 3:
            time.sleep(3.5)
        with ring_of(Rendezvous(rank, addresses, bytes(32), listeners[rank]), timeout_seconds=30) as own:
            return own.gather(np.array([rank])).tolist()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(work, range(4))) == [[0, 1, 2, 3]] * 4


def test_a_slow_neighbour_is_waited_for_and_a_silent_one_is_lost(monkeypatch):
    monkeypatch.setattr(heartbeat, "MAXIMUM_SILENT_BEATS", 2)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [listener.getsockname() for listener in listeners]
    is_found = threading.Event()

    def work(rank: int) -> str:
        with ring_of(Rendezvous(rank, addresses, bytes(32), listeners[rank]), timeout_seconds=30) as own:
            if rank == 1:
                time.sleep(4)
            own.gather(np.array([rank]))
            if rank == 1:
                own._heartbeat._is_over.set()  # as of a process that was stopped: its connections stay
                is_found.wait(timeout=20)
                return ""
            with pytest.raises(ConnectionError) as error:
                own.gather(np.array([rank]))
            is_found.set()
            return str(error.value)

    with ThreadPoolExecutor(2) as threads:
        assert next(iter(threads.map(work, range(2)))) == "lost worker 1: no heartbeat for 2 s"
