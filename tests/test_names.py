"""Sentences about wrong names."""

from pathlib import Path

import pytest

from icl_sim import names


def test_a_suggestion_says_what_is_allowed_and_the_nearest_of_it():
    assert names.suggestion("quikc", ["quick", "paper"]) == "allowed: quick, paper. Did you mean 'quick'?"
    assert names.suggestion("xyz", ["quick", "paper"]) == "allowed: quick, paper."
    assert names.suggestion("x", []) == "allowed: nothing."


def test_a_name_that_is_not_allowed_is_refused_with_what_it_names():
    assert names.require("training.schedule", "rsqrt", ("constant", "rsqrt")) is None
    with pytest.raises(
        ValueError, match=r"^training.schedule is 'rsqr'; allowed: constant, rsqrt. Did you mean 'rsqrt'\?$"
    ):
        names.require("training.schedule", "rsqr", ("constant", "rsqrt"))
    with pytest.raises(ValueError, match=r"^stem is None; allowed: paper\.$"):
        names.require("stem", None, ("paper",))


def test_a_path_of_nobody_is_refused():
    assert names.expanded("~/a b") == Path.home() / "a b" and names.expanded("a/~b") == Path("a/~b")
    with pytest.raises(ValueError, match=r"^~nosuchuser/x cannot be found: there is no user 'nosuchuser' here"):
        names.expanded("~nosuchuser/x")
