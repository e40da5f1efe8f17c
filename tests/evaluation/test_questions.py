from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.data.gaps import Gaps
from sgdsm.evaluation.questions import SCENARIOS, Cube, draw_questions
from sgdsm.evaluation.score import gap_lengths

DAYS = np.arange("2015-04-01", "2016-08-01", dtype="datetime64[D]").astype(int)


@pytest.fixture(scope="module")
def cube() -> Cube:
    """Swath-like gaps, 60 % seen, and a lake."""
    rng = np.random.default_rng(0)
    observed = rng.standard_normal((len(DAYS), 1, 24)) + np.zeros((len(DAYS), 16, 1)) < 0.25
    observed[:, 5:8, 10:13] = False
    return Cube(observed, DAYS, Gaps(), None)


@pytest.fixture(scope="module")
def questions(cube) -> dict:
    return draw_questions(cube, list(SCENARIOS), 0.1, 3)


def test_a_question_hides_its_share_and_shows_the_rest(cube, questions):
    assert list(questions) == list(SCENARIOS)
    for name, question in questions.items():
        assert list(question.hidden) == [name]
        hidden = question.all_hidden
        assert not (question.seen & hidden).any()
        assert ((question.seen | hidden) == cube.observed).all()
        assert (question.known == question.seen).all()
        if name != "season":
            assert hidden.sum() == pytest.approx(0.1 * cube.observed.sum(), rel=0.3), name


def test_scenarios_are_what_they_are_called(cube, questions):
    for days in (10, 30, 90):
        question = questions[f"long_{days}"]
        assert gap_lengths(question.seen)[question.all_hidden].min() >= days
    cells = questions["unseen_cells"]
    assert not (cells.all_hidden.any(0) & cells.seen.any(0)).any()
    assert cells.seen.any()
    quarter = (DAYS.astype("datetime64[D]").astype("datetime64[M]").astype(int) + 1) // 3
    season = questions["season"].all_hidden
    chosen = set()
    for row, column in np.argwhere(season.any(0)):
        (one,) = set(quarter[season[:, row, column]].tolist())
        chosen.add(one % 4)
        assert not questions["season"].seen[quarter == one, row, column].any()
    assert len(chosen) == 4
    # gaps of the cube are whole columns, the others are blobs
    blobs, swaths = (questions[name].all_hidden for name in ("unseen_masks", "swath"))
    assert (swaths[:, :1] == swaths[:, :5]).all()
    assert (blobs[:, :1] != blobs[:, :5]).any()


def test_the_seed_alone_draws_them(cube, questions):
    again = draw_questions(cube, ["unseen_masks", "swath"], 0.1, 3)
    for name, question in again.items():
        assert (question.all_hidden == questions[name].all_hidden).all()
    other = draw_questions(cube, ["swath"], 0.1, 4)
    assert (other["swath"].all_hidden != questions["swath"].all_hidden).any()


@pytest.mark.parametrize(
    ("scenarios", "days", "message"),
    [
        (["swaths"], 400, r"scenarios=\[swaths\]: expected some of swath, outage, season"),
        ([], 400, r"scenarios=\[\]: expected some of"),
        (["swath", "swath"], 400, "expected each once"),
        (["long_90"], 170, "scenarios=long_90: expected a record of at least 180 days, found 170"),
        (["season"], 170, "scenarios=season: expected a record with at least 4 seasons, found 2: leave it out"),
    ],
)
def test_what_cannot_be_asked_is_refused(cube, scenarios, days, message):
    short = cube._replace(observed=cube.observed[:days], days=cube.days[:days])
    with pytest.raises(ConfigError, match=message):
        draw_questions(short, scenarios, 0.1, 0)


def test_a_cube_without_gaps_has_no_swaths_to_ask_for(cube):
    complete = cube._replace(observed=np.ones((40, 8, 8), bool), days=DAYS[:40])
    with pytest.raises(ConfigError, match=r"scenarios=swath: hides none of 2560 .*gaps=amsr2"):
        draw_questions(complete, ["swath"], 0.1, 0)
