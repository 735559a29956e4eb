"""What is computed from the values of a row."""

import pytest
from tests.benchmarks.row import Result, Row, at_least, at_most, percentile

RATE = Row("appends", "events/s", target=at_least(0.5))
TIME = Row("delays", "ms", against="", target=at_most(5))


def test_figure_is_the_median_of_the_ratios_of_pairs_and_not_the_ratio_of_medians() -> None:
    result = Result(RATE, "", ours=[1.0, 20.0, 300.0], other=[10.0, 100.0, 400.0])

    assert result.figures == [0.1, 0.2, 0.75]
    assert result.figure == 0.2
    assert result.spread == (0.1, 0.75)


def test_figure_that_stands_for_itself_is_the_median_of_the_values() -> None:
    result = Result(TIME, "", ours=[3.0, 1.0, 9.0])

    assert (result.figure, result.spread) == (3.0, (1.0, 9.0))


def test_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    assert Result(TIME, "", ours=[4.0, 1.0, 2.0, 9.0]).figure == 3.0


def test_values_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        _ = Result(RATE, "", ours=[1.0, 2.0], other=[1.0]).figures


@pytest.mark.parametrize(
    ("row", "ours", "verdict"),
    [
        (RATE, 5.0, "met"),
        (RATE, 4.9, "missed"),
        (TIME, 5.0, "met"),
        (TIME, 5.1, "missed"),
        (Row("sizes", "MB", against=""), 1.0, ""),
    ],
)
def test_bound_itself_meets_a_target(row: Row, ours: float, verdict: str) -> None:
    assert Result(row, "", ours=[ours], other=[10.0]).verdict == verdict


def test_target_says_on_which_side_it_bounds() -> None:
    assert (str(at_least(0.55)), str(at_most(5))) == ("at least 0.55", "at most 5")


def test_value_is_a_rate_or_the_milliseconds_of_each() -> None:
    assert RATE.value(10, 0.5) == 20.0
    assert TIME.value(10, 0.5) == 50.0


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentile_is_a_value_that_occurred(share: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == value


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 0.99) == 7.0
