"""Admission and AnswerBuffer: what does not fit is refused at once."""

import pytest

from frontend_api.errors import Saturated
from frontend_api.metrics import Metrics
from frontend_api.segmentation.admission import Admission, AnswerBuffer


async def test_no_more_than_the_limit_is_admitted_and_places_come_back():
    places = Admission("uploads", 1, Metrics())
    with places.admit(), pytest.raises(Saturated, match="1 uploads are in progress already"), places.admit():
        pass
    with places.admit():
        pass


def test_answers_are_refused_where_they_do_not_fit_beside_others():
    answers = AnswerBuffer(100, Metrics())
    with answers.admit(60), answers.admit(40), pytest.raises(Saturated, match="answers of 100 bytes"), answers.admit(1):
        pass
    with answers.admit(1000), pytest.raises(Saturated), answers.admit(1):
        pass
