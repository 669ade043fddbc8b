"""The stopwatch: rounds, warm-up, and when it stops. No test looks at how long anything took."""

import pytest

from meddet_d2.evaluation.timing import interleaved_seconds, noise_batch


def test_timed_calls_are_interleaved_in_rounds():
    order, now = [], [0.0]

    def network(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    calls = {"A": network("A", 1.0), "B": network("B", 2.0), "C": network("C", 3.0)}
    seconds = interleaved_seconds(calls, rounds=4, warmup=2, clock=lambda: now[0])
    assert "".join(order) == "ABC" * 6
    assert seconds == {"A": [1.0] * 4, "B": [2.0] * 4, "C": [3.0] * 4}, "without the warm-up"
    order.clear()
    primed = interleaved_seconds(calls, rounds=3, warmup=1, prime=True, clock=lambda: now[0])
    assert "".join(order) == "AABBCC" * 4 and primed == {"A": [1.0] * 3, "B": [2.0] * 3, "C": [3.0] * 3}


def test_it_stops_after_its_time_but_not_before_the_third_round():
    now = [0.0]

    def call():
        now[0] += 1.0

    def rounds(max_seconds):
        found = interleaved_seconds({"A": call}, rounds=9, warmup=5, max_seconds=max_seconds, clock=lambda: now[0])
        return len(found["A"])

    assert [rounds(limit) for limit in (0.0, 3.5, 100.0)] == [3, 4, 9], "the warm-up does not count"


def test_too_few_rounds_and_no_images_are_told():
    with pytest.raises(ValueError, match="3 rounds"):
        interleaved_seconds({"A": int}, rounds=2)
    for size, images in ((0, 1), (64, 0)):
        with pytest.raises(ValueError, match="at least one"):
            noise_batch(size, images)
