"""The figures of the chaos table, from courses that are known; the counts of lost and doubled events."""
from __future__ import annotations

from tests.chaos.course import Heard, Sample, back, backlog, noticed, slow, steady
from tests.chaos.truth import Account, Maker, Tally, judge, make, tally

RATE = 1000


def course(*pieces: tuple[float, float]) -> list[Sample]:
    """Samples, twenty a second, of pieces (seconds, events stored a second); RATE events are sent a second."""
    samples = [Sample(100.0, 0, 0)]
    for seconds, rate in pieces:
        for _ in range(round(seconds * 20)):
            _, sent, stored = samples[-1]
            samples.append(Sample(100 + len(samples) / 20, sent + RATE // 20, stored + round(rate / 20)))
    return samples


def test_a_course_without_a_dip() -> None:
    samples = course((10, RATE))
    assert not any(dip for _, dip in slow(samples, RATE))
    assert steady(samples, RATE)
    assert back(samples, RATE, 105.0) == 0.0 and backlog(samples, 105.0) == 0


def test_nothing_is_said_before_a_whole_window() -> None:
    assert slow(course((1.5, 0)), RATE) == [] and not steady(course((1.5, RATE)), RATE) and not steady([], RATE)


def test_an_outage_of_three_seconds() -> None:
    samples = course((5, RATE), (3, 0), (1, 4 * RATE), (6, RATE))
    found = back(samples, RATE, 105.0)
    assert found is not None and 3.4 < found < 3.6, "a window of two seconds is full again half a second later"
    assert backlog(samples, 105.0) == 3 * RATE
    assert steady(samples, RATE)


def test_the_last_of_several_dips_counts() -> None:
    found = back(course((5, RATE), (1, 0), (1, 2 * RATE), (5, RATE), (1, 0), (1, 2 * RATE), (5, RATE)), RATE, 105.0)
    assert found is not None and 8.0 < found < 10.0


def test_a_dip_that_goes_on() -> None:
    samples = course((5, RATE), (5, 0.9 * RATE))
    assert back(samples, RATE, 105.0) is None and not steady(samples, RATE)


def test_a_little_less_is_no_dip() -> None:
    assert back(course((5, RATE), (5, 0.96 * RATE)), RATE, 105.0) == 0.0


def test_it_is_not_steady_while_much_is_waiting() -> None:
    assert not steady(course((4, 0), (6, RATE)), RATE)


def test_the_first_line_after_the_stroke_counts() -> None:
    heard = [Heard(1.0, "a", "link lost node=b"), Heard(2.5, "a", "link up"), Heard(3.0, "a", "link lost node=b")]
    assert noticed(heard, r"link lost .*node=b\b", 2.0) == 1.0
    assert noticed(heard, r"link lost .*node=c\b", 2.0) is None


def test_losses_and_doubles_are_counted_for_each_key() -> None:
    truth = {"a 1": Account(5, 0, []), "a 2": Account(5, 0, []), "b 1": Account(7, 0, [])}
    found = {"a 1": Account(4, 0, []), "a 2": Account(6, 0, []), "a 3": Account(1, 0, [])}
    assert tally(found, truth, "a") == Tally(sent=10, stored=11, lost=1, doubled=2)
    assert tally(found, truth, "b") == Tally(sent=7, stored=0, lost=7, doubled=0)


def test_the_same_seed_makes_the_same_events() -> None:
    maker = Maker(5, 3)
    lines: list[list[tuple[bytes, bytes]]] = [[], [], []]
    for _ in range(500):
        partition, key, line = maker.make()
        lines[partition].append((key, line))
    made = make(5, 500, 3)
    assert made.lines == lines and judge(made.truth, maker.truth).right


def test_families_are_told_apart() -> None:
    maker = Maker(5, 3)
    for number in range(100):
        maker.make("warm" if number < 40 else "kill 1")
    assert [tally(maker.truth, maker.truth, family).sent for family in ("warm", "kill 1", "kill", "group")] == [
        40, 60, 0, 100]
