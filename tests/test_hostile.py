"""Bad input and bad luck: `hostile_cases.py` has the cases, `python -m tests.hostile` prints the table."""

import pytest

from tests import hostile, hostile_cases, misfortunes


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return misfortunes.make_place(tmp_path_factory.mktemp("hostile") / "place")


@pytest.mark.parametrize("case", hostile_cases.CASES, ids=lambda case: f"{case.item}: {case.name}")
def test_the_answer_is_one_message_and_nothing_is_lost(case, place, tmp_path):
    found = hostile.answer(case, place, tmp_path / "place")
    assert not hostile.problems(case, found), found.text


def test_a_case_that_is_answered_wrongly_is_seen(place, tmp_path):
    wrong = hostile_cases.Case(1, "nothing is wrong with it", f"{hostile_cases.PREDICT} net.tflite photo.jpg", "never")
    found = hostile.answer(wrong, place, tmp_path / "place")
    assert hostile.problems(wrong, found) == [
        "ended with 0, not 2",
        "does not say 'never'",
        "changed photo-overlay.jpg",
    ]
