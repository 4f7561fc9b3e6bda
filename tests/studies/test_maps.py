"""Maps: cells with the values of the table, and the closest learner by its colour."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from icl_sim.studies import drawing, palette, resolution
from icl_sim.studies.figures import POSITION, STEP, Closest, Heat, Quantity
from tests.studies import regression_runs as regression

ERROR = Quantity("normalized_error", "default")
DEPTHS = (1, 2, 4, 8)


def test_a_map_over_positions_and_steps():
    rows = regression.table(predictors=("transformer",), ks=range(5))
    spec = resolution.resolve(Heat(name="h", title="H", quantities=(ERROR,), x=POSITION, y=STEP), rows)
    (mesh,) = drawing.draw(spec, rows).axes[0].collections
    wanted = [[regression.error("transformer", k, step, 1) for k in range(5)] for step in regression.STEPS[1:]]
    np.testing.assert_allclose(mesh.get_array(), wanted, atol=0.011)


def closest(rows, quantities=None, **changes):
    ranges = tuple(Quantity(f"spd_{name}/1-7", "default", name) for name in regression.LEARNERS)
    fields = {"name": "c", "title": "C", "quantities": quantities or ranges, "x": "predictors.transformer.depth"}
    spec = resolution.resolve(Closest(**fields | {"y": "task.noise"} | changes), rows)
    return drawing.draw(spec, rows).axes[0]


def test_the_closest_learner_is_named_alike_with_a_label_or_without():
    rows = regression.table(depths=DEPTHS, seeds=(0,), **{"task.noise": (0.0, 1.0)})

    def legend(*quantities):
        return [text.get_text() for text in closest(rows, quantities).get_legend().get_texts()]

    plain = [Quantity(f"spd_{name}/1-7", "default") for name in regression.LEARNERS]
    assert legend(*plain) == ["ols", "ridge", "knn"]
    assert legend(Quantity("spd_*/3", "default"), plain[0], plain[1], plain[2])[:1] == ["spd ols/3, default"]
    assert legend(plain[0], Quantity("spd_knn/1-7", "default", "neighbours")) == ["ols", "neighbours"]


def test_the_closest_learner_has_the_colour():
    """Of 1, 0.5 and 0 and a network at (depth - 1) / 7, with 0.02 for all: knn, knn, ridge, ols."""
    axes = closest(regression.table(depths=DEPTHS, seeds=(0,), **{"task.noise": (0.0, 1.0)}))
    (mesh,) = axes.collections
    pale = mesh.get_array()
    assert pale.shape == (2, 4, 3)
    paint = {name: matplotlib_rgb(color) for name, color in palette.colors([*regression.LEARNERS]).items()}
    for column, name in enumerate(("knn", "knn", "ridge", "ols")):
        np.testing.assert_allclose(pale[0, column], paint[name], atol=1e-12)  # the next is more than twice as far
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ols", "ridge", "knn"]
    texts = [float(text.get_text()) for text in axes.texts]
    wanted = [
        np.mean([regression.distance(name, k, 10000, depth) for k in range(1, 8)])
        for depth, name in zip(DEPTHS, ("knn", "knn", "ridge", "ols"), strict=True)
    ]
    np.testing.assert_allclose(texts, wanted * 2, rtol=0.05)


def test_cells_are_paler_where_the_next_is_as_near_and_blank_without_numbers():
    rows = regression.table(depths=DEPTHS, seeds=(0,), **{"task.noise": (0.0, 1.0)})
    ols = rows["metric"].str.startswith("spd_ols/")
    rows.loc[rows["metric"].str.startswith("spd_knn/"), "value"] = rows.loc[ols, "value"].to_numpy() * 1.25
    rows.loc[rows["metric"].str.startswith("spd_ridge/"), "value"] = 100.0
    rows.loc[(rows["task.noise"] == 1.0) & (rows["predictors.transformer.depth"] == 8), "value"] = math.nan
    axes = closest(rows)
    (mesh,) = axes.collections
    share = 0.35 + 0.65 * 2 * (1 - 1 / 1.25)
    wanted = share * np.array(matplotlib_rgb(palette.colors(["ols"])["ols"])) + 1 - share
    np.testing.assert_allclose(mesh.get_array()[0, 0], wanted, atol=1e-12)
    assert mesh.get_array()[1, 3].tolist() == [1, 1, 1] and len(axes.texts) == 7
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ols"]


def matplotlib_rgb(color):
    import matplotlib.colors

    return matplotlib.colors.to_rgb(color)
