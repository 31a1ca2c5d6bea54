"""Whether a role gets on: stalled only while there is work, and no longer than nothing moves."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drtc.observe.pulse import RATE_SECONDS, Pulse

TIMEOUT = 5.0


def test_work_without_an_answer_is_stalled_after_the_timeout() -> None:
    pulse = Pulse(TIMEOUT)
    pulse.look(100.0, busy=True)
    pulse.look(105.0, busy=True)
    assert not pulse.stalled and pulse.idle == 5.0
    pulse.look(105.5, busy=True)
    assert pulse.stalled and pulse.idle == 5.5


def test_an_answer_ends_it_even_one_of_no_events() -> None:
    pulse = Pulse(TIMEOUT)
    pulse.look(0.0, busy=True)
    pulse.look(9.0, busy=True)
    assert pulse.stalled
    pulse.moved(0)
    pulse.look(9.5, busy=True)
    assert not pulse.stalled and pulse.idle == 0.0


def test_who_has_nothing_to_do_is_never_stalled_and_its_time_begins_with_the_work() -> None:
    pulse = Pulse(TIMEOUT)
    for now in range(100):
        pulse.look(float(now), busy=False)
        assert not pulse.stalled
    pulse.look(100.0, busy=True)
    pulse.look(104.0, busy=True)
    assert not pulse.stalled
    pulse.look(104.5, busy=True)
    assert pulse.stalled, "the last look without work was at 99 s"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    pulse = Pulse(TIMEOUT)
    for now in range(60):
        pulse.look(float(now), busy=True)
        pulse.moved(1000 if now < 30 else 10)
    pulse.look(60.0, busy=True)
    assert pulse.rate == 10.0 and pulse.events == 30 * 1010
    for now in range(61, 61 + 2 * int(RATE_SECONDS)):
        pulse.look(float(now), busy=False)
    assert pulse.rate == 0.0


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans(), st.integers(0, 3)), max_size=60))
def test_stalled_means_that_nothing_moved_for_so_long(beats: list[tuple[float, bool, int]]) -> None:
    """Against the definition: at each of the looks of the last TIMEOUT seconds there was work, and no answer."""
    pulse = Pulse(TIMEOUT)
    now, since, events = 0.0, None, 0
    for step, busy, answers in beats:
        now += step
        for number in range(answers):
            pulse.moved(number)
            events += number
        pulse.look(now, busy)
        if since is None or answers or not busy:
            since = now
        assert pulse.stalled == (now - since > TIMEOUT)
        assert pulse.events == events and pulse.rate >= 0
