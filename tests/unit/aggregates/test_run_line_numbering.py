"""Whether the lines of a swarm follow one another."""

import pytest

from backstory_aggregates.run_lines import RunLineGapError
from backstory_aggregates.run_lines._numbering import Numbering


def follow(numbering: Numbering, *ns: int, swarm: str = "s") -> None:
    for n in ns:
        numbering.accept(line=n, swarm=swarm, n=n)


def test_numbers_count_up_in_each_swarm() -> None:
    numbering = Numbering()

    follow(numbering, 1, 2)
    follow(numbering, 1, swarm="other")
    follow(numbering, 3)


@pytest.mark.parametrize(("ns", "expected"), [((2,), 1), ((1, 3), 2), ((1, 1), 2), ((1, 2, 1), 3)])
def test_number_that_does_not_follow_is_refused(ns: tuple[int, ...], expected: int) -> None:
    with pytest.raises(RunLineGapError) as caught:
        follow(Numbering(), *ns)

    error = caught.value
    assert (error.swarm, error.expected_n, error.found_n) == ("s", expected, ns[-1])


def test_unread_line_explains_one_missing_number_in_whichever_swarm() -> None:
    numbering = Numbering()
    follow(numbering, 1)
    follow(numbering, 1, swarm="other")
    numbering.pass_unread()

    follow(numbering, 3, swarm="other")

    with pytest.raises(RunLineGapError):
        follow(numbering, 3)


def test_two_unread_lines_explain_a_gap_of_two() -> None:
    numbering = Numbering()
    numbering.pass_unread()
    numbering.pass_unread()

    follow(numbering, 3, 4)

    with pytest.raises(RunLineGapError):
        follow(numbering, 6)


def test_refused_number_leaves_the_count_where_it_was() -> None:
    numbering = Numbering()
    numbering.pass_unread()

    with pytest.raises(RunLineGapError):
        follow(numbering, 3)
    follow(numbering, 1, 2)

    assert numbering.unread_count == 1


def test_swarm_goes_on_where_it_is_told_to() -> None:
    numbering = Numbering()

    numbering.begin("s", expected_n=41)

    assert numbering.knows("s")
    follow(numbering, 41, 42)
