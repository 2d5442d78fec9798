"""The pattern of a buffer: one wrong byte is counted, and so is every misplaced one."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rank.memory.host import HostMemory
from bench.rank.memory.pattern import pattern

sizes = st.integers(1, 5000)
seeds = st.integers(0, 2**40)


def filled(nbytes: int, seed: int):
    buffer = HostMemory().allocate(nbytes)
    buffer.fill(seed)
    return buffer


def test_a_host_buffer_begins_at_a_page():
    assert all(HostMemory().allocate(n).address % 4096 == 0 for n in (1, 4095, 4096, 10_000))


@given(sizes, seeds, st.integers(0, 2**30), st.integers(1, 255))
def test_a_single_wrong_byte_anywhere_is_counted_once(nbytes, seed, place, change):
    buffer = filled(nbytes, seed)
    byte = ctypes.c_uint8.from_address(buffer.address + place % nbytes)
    byte.value ^= change
    assert buffer.count_wrong(seed) == 1


@given(sizes, seeds)
def test_a_poisoned_buffer_has_not_one_right_byte(nbytes, seed):
    buffer = filled(nbytes, seed)
    buffer.poison(seed)
    assert buffer.count_wrong(seed) == nbytes


@given(st.integers(16, 5000), seeds, st.integers(1, 2**30))
def test_bytes_that_arrive_at_any_wrong_offset_are_seen(nbytes, seed, shift):
    offset = shift % (nbytes - 1) + 1
    right = pattern(seed, nbytes)
    # Written too far on: the rest of the buffer is what it was poisoned with.
    buffer = HostMemory().allocate(nbytes)
    buffer.poison(seed)
    ctypes.memmove(buffer.address + offset, right.ctypes.data, nbytes - offset)
    assert buffer.count_wrong(seed) >= offset
    # Read from too far on, and wrapped around.
    rolled = np.roll(right, -offset)
    ctypes.memmove(buffer.address, rolled.ctypes.data, nbytes)
    assert buffer.count_wrong(seed) > 0


@pytest.mark.parametrize("used", [(1, 2), (2, 4), (3, 5)])
@pytest.mark.parametrize("nbytes", range(2, 16))
def test_of_few_bytes_one_of_both_verifications_sees_a_wrong_offset(nbytes, used):
    # Two bytes may be equal by chance: the seeds before and after sampling differ for that.
    for offset in range(1, nbytes):
        patterns = [pattern(seed, nbytes) for seed in used]
        assert any(not np.array_equal(np.roll(p, offset), p) for p in patterns)


@pytest.mark.parametrize("offset", [1, 2, 4, 8, 64, 512, 4096, 65_536, 2**20])
def test_of_a_large_buffer_nearly_every_misplaced_byte_is_seen(offset):
    right = pattern(1, 2**21)
    same = int(np.count_nonzero(right[offset:] == right[:-offset]))
    # One byte in 256 is equal by chance, and some more where strides line up.
    assert same < 0.02 * len(right)


@given(st.integers(64, 5000), seeds, seeds)
def test_the_pattern_of_another_seed_is_seen(nbytes, one, other):
    if (one - other) % 2**32:
        buffer = filled(nbytes, one)
        assert buffer.count_wrong(other) > 0


def test_a_message_that_ends_too_early_is_counted_to_the_byte():
    right = pattern(9, 1000)
    for arrived in (0, 1, 7, 8, 999):
        buffer = HostMemory().allocate(1000)
        buffer.poison(9)
        ctypes.memmove(buffer.address, right.ctypes.data, arrived)
        assert buffer.count_wrong(9) == 1000 - arrived
