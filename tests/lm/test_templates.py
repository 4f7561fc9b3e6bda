from __future__ import annotations

import pytest

from icl_sim.lm import datasets, templates
from icl_sim.lm.rows import Row

FILM = Row({"text": "a {text} of \\braces} {premise}"}, 1)
CLAIM = Row({"premise": "It rains.", "hypothesis": "it is wet"}, 2)

FACT, STORY, GRADED = Row({"text": "plain"}, 0), Row({"text": "plain"}, 3), Row({"text": "plain"}, 4)
TOPICS = "Classify the news articles into the categories of World, Sports, Business, and Technology. "


@pytest.mark.parametrize(
    ("data", "style", "row", "written"),
    [
        ("sst2", "code", FILM, "Sentence: a {text} of \\braces} {premise} Label: Positive"),
        ("sst2", "paper", FILM, "Sentence: a {text} of \\braces} {premise}\nLabel: Positive"),
        ("sst2", "natural", FILM, "Review: a {text} of \\braces} {premise}\nSentiment: positive"),
        ("mr", "code", FILM, "Review: a {text} of \\braces} {premise} Sentiment: Positive"),
        ("mr", "paper", FILM, "Review: a {text} of \\braces} {premise}\nSentiment: Positive"),
        ("sst5", "code", GRADED, "Sentence: plain Label: great"),
        ("sst5", "paper", GRADED, "Sentence: plain\nLabel: great"),
        ("subj", "code", FACT, "Input: plain Type: objective"),
        ("subj", "paper", FACT, "Input: plain\nType: objective"),
        ("agnews", "code", STORY, TOPICS + "Article: plain Answer: Technology"),
        ("agnews", "paper", STORY, TOPICS + "News: plain\nType: Technology"),
        ("cb", "code", CLAIM, "It rains. Question: it is wet. True, False, or Neither? Answer: Neither"),
        ("cb", "paper", CLAIM, "It rains. Question: it is wet True, False, or Neither?\nAnswer: Neither"),
    ],
)
def test_demonstrations(data, style, row, written):
    assert templates.template(data, style).demonstration(row) == written


@pytest.mark.parametrize("style", templates.STYLES)
@pytest.mark.parametrize("data", datasets.DATA_SETS)
def test_every_data_set_has_a_word_per_label_and_uses_all_its_fields(data, style):
    found, made = datasets.data_set(data), templates.template(data, style)
    assert len(made.words) == found.num_labels == len(set(made.words))
    row = Row({name: f"<{name}>" for name in found.fields}, 0)
    assert all(f"<{name}>" in made.prompt(row) for name in found.fields)
    assert ("\n" in made.text) == (style != "code")


def test_unknown_styles_name_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'natural'"):
        templates.template("sst2", "naturl")
