"""Laws of inputs: their distribution functions."""

import math

import numpy as np
import pytest
from scipy import stats

from icl_sim.tasks.regression import MixedLaw, Normal, Regression, Uniform

ALPHA = 1e-5
KNOWN = [
    (Normal(), stats.norm(0, 1).cdf),
    (Normal(scale=2.5, shift=-1.0), stats.norm(-1, 2.5).cdf),
    (Uniform(), stats.uniform(-0.5, 1).cdf),
    (Uniform(half_width=5.0, shift=1.0), stats.uniform(-4, 10).cdf),
    (
        MixedLaw(a=Normal(scale=0.1), b=MixedLaw(a=Uniform(shift=3.0), b=Normal(), share=0.25), share=0.4),
        lambda x: (
            0.4 * stats.norm(0, 0.1).cdf(x) + 0.15 * stats.uniform(2.5, 1).cdf(x) + 0.45 * stats.norm(0, 1).cdf(x)
        ),
    ),
]


@pytest.mark.parametrize("law, distribution", KNOWN)
def test_coordinates_have_their_law_and_are_independent(key, law, distribution, sample):
    task = Regression(inputs=law, dim=2, context_length=7)
    x_BSX = np.asarray(sample(task, key, 1024).inputs, np.float64)
    assert stats.kstest(x_BSX.reshape(-1), distribution).pvalue > ALPHA
    of_slots_and_coordinates = np.corrcoef(x_BSX.reshape(1024, -1).T)
    assert np.abs(of_slots_and_coordinates - np.eye(16)).max() < 5 / math.sqrt(1024)


def test_a_mixed_law_chooses_for_every_coordinate(key):
    law = MixedLaw(a=Uniform(half_width=0.0), b=Uniform(half_width=0.0, shift=1.0), share=0.5)
    patterns, counts = np.unique(np.asarray(law.draw(key, (4096, 3))), axis=0, return_counts=True)
    assert len(patterns) == 8
    assert stats.chisquare(counts).pvalue > ALPHA


@pytest.mark.parametrize(
    "law, words",
    [
        (Normal(scale=-1.0), r"task\.inputs\.scale is -1\.0; it must be at least 0"),
        (Normal(shift=math.nan), r"task\.inputs\.shift is nan; it must be finite"),
        (Uniform(half_width=math.inf), r"task\.inputs\.half_width is inf; it must be at least 0 and finite"),
        (MixedLaw(share=1.5), r"task\.inputs\.share is 1\.5; a probability must be"),
        (MixedLaw(b=MixedLaw(a=Normal(scale=-2.0))), r"task\.inputs\.b\.a\.scale is -2\.0"),
    ],
)
def test_refuses_with_a_sentence(law, words):
    with pytest.raises(ValueError, match=words):
        Regression(inputs=law).check()
