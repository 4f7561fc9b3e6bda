"""Every study of `configs/` plans at every scale, and every claim can be answered by some run of the paper's grid."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json
import math

import jax
import pandas as pd
import pytest

import icl_sim as icl
from configs.icl_iwl import claims, claims_omniglot, demo, omniglot, paper, published
from icl_sim.studies import claims as claims_module
from icl_sim.studies import codec, verdicts
from icl_sim.studies.claims import Difference, Range, Value
from icl_sim.studies.claims import check as distinct
from icl_sim.studies.plan import plan
from icl_sim.tasks import Omniglot

SYNTHETIC = (
    "noisy_inputs",
    "noisy_labels",
    "num_contexts",
    "num_low_freq",
    "num_relevant_contexts",
    "p_high",
    "p_relevant",
    "s0",
)
N = published.N


def study(config: str, words: str = ""):
    module = importlib.import_module(f"configs.icl_iwl.{config}")
    return codec.study_of(module.get_config(words))


@pytest.fixture
def no_images(monkeypatch):
    """Omniglot's folder is not looked for: planning reads no image."""
    monkeypatch.setattr(Omniglot, "check_structure", lambda self, num_classes: None)


def values(measure) -> tuple[Value, ...]:
    """The values that a measure reads."""
    if isinstance(measure, Value):
        return (measure,)
    return (measure.a, measure.b) if isinstance(measure, Difference) else (measure.value,)


def table(one) -> pd.DataFrame:
    """Results of the whole study at its last step, of all that its claims read."""
    asked = {(v.predictor, v.eval_set, v.metric) for c in one.claims for v in values(c.measure)}
    rows = [
        {
            "member": entry.id,
            "step": one.training.steps,
            "predictor": entry.predictor,
            "eval_set": eval_set,
            "metric": metric,
            "value": 0.5,
            **entry.point,
        }
        for entry in plan(one).entries
        for predictor, eval_set, metric in sorted(asked)
        if predictor == entry.predictor
    ]
    return pd.DataFrame(rows)


def answered(one) -> set[str]:
    """Ids of the claims for which a complete run has numbers, seeds and steps enough."""
    rows = table(one)
    if rows.empty:  # none of the study's predictors is in any claim
        return set()
    found = verdicts.evaluate(one.claims, rows, codec.jsonable(codec.encode(one)))
    needed = {c.id: c for c in one.claims}
    return {
        v.id
        for v in found
        if v.measured is not None and v.seeds >= needed[v.id].min_seeds and v.steps >= needed[v.id].min_steps
    }


# ------------------------------------------------------------------------------- plans


@pytest.mark.parametrize("config", SYNTHETIC)
def test_every_variant_plans(config):
    for scale, family in itertools.product(paper.SCALES, paper.FAMILIES):
        if family == "baselines" and config == "p_relevant":  # which sweeps what they are
            with pytest.raises(ValueError, match="'baselines' is no variant; allowed: paper, "):
                study(config, f"{scale},{family}")
            continue
        one = study(config, f"{scale},{family}")
        members = plan(dataclasses.replace(one, sweep=_corners(one.sweep))).entries
        assert {entry.predictor for entry in members} == set(one.predictors)
        if scale != "paper":
            assert one.training.steps == paper.SCALES[scale].steps
            assert {point["seed"] for point in one.sweep} == {0, 1, 2}


def _corners(sweep):
    """The points of a sweep at one seed and at the smallest and largest N, where a point can be impossible."""
    sizes = [point[N] for point in sweep]
    kept = [p for p in sweep if p["seed"] == 0 and p[N] in (min(sizes), max(sizes))]
    return dataclasses.replace(sweep, points=tuple(kept))


@pytest.mark.parametrize("scale", omniglot.SCALES)
def test_every_variant_of_omniglot_plans(no_images, scale):
    for sweep, family in itertools.product(omniglot.SWEEPS, paper.FAMILIES):
        if family == "baselines" and sweep == "p_relevant":
            continue
        one = study("omniglot", f"{scale},{family},{sweep}")
        assert len(plan(dataclasses.replace(one, sweep=_corners(one.sweep))).entries) > 0
        assert one.training.warmup_steps == min(4000, one.training.steps // 10) > 0


def test_omniglot_shows_the_trained_drawing_unless_told_otherwise():
    assert not study("omniglot", "quick").task.held_out
    assert study("omniglot", "held_out,quick").task.held_out
    assert study("omniglot").task.inputs.size == 105
    assert study("omniglot").training.warmup_steps == 4000


def test_reference_omniglot_meets_a_rare_character_as_often_as_the_paper():
    full, small = study("omniglot"), study("omniglot", "reference")

    def per_character(one):
        rare = (1 - one.task.p_high) / one.task.num_low
        return one.training.steps * rare, *(point[N] * rare for point in one.sweep if point["seed"] == 0)

    assert per_character(small) == pytest.approx(per_character(full), rel=0.01)


def test_demo_plans():
    one = codec.study_of(demo.get_config())
    assert len(plan(one).entries) == 4 * 8 * 3
    with pytest.raises(ValueError, match="no variant"):
        demo.get_config("quick")


# ------------------------------------------------------------------------------- grids

GRIDS = {  # the table of sweeps of the released code: sizes N as exponents, the other axis, steps
    ("noisy_inputs", "transformer"): (range(6, 21, 2), (0.0, 0.02, 0.2, 0.4), 100_000),
    ("noisy_inputs", "gated"): (range(6, 21, 2), (0.0, 0.02, 0.2, 0.4), 100_000),
    ("p_high", "transformer"): ((6, 8, 10, 12, 14, 18, 20), (0.5, 0.9, 0.99), 50_000),
    ("p_high", "gated"): (range(6, 21, 2), (0.5, 0.9, 0.99), 50_000),
    ("p_relevant", "transformer"): ((6, 8, 10, 12, 14, 18, 20), (0.0, 0.1, 0.5, 0.9, 0.99, 1.0), 50_000),
    ("noisy_labels", "transformer"): (range(6, 15, 2), (0.001, 0.01, 0.1), 50_000),
    ("num_contexts", "transformer"): (range(6, 15, 2), (1, 2, 4, 8, 16), 50_000),
    ("num_contexts", "gated"): (range(6, 21, 2), (1, 2, 4, 8), 50_000),
    ("num_relevant_contexts", "transformer"): (range(6, 21, 2), (1, 2, 3, 4), 50_000),
    ("num_low_freq", "transformer"): (range(10, 21, 2), (5, 45, 95, 495), 1_000_000),
    ("num_low_freq", "gated"): (range(10, 21, 2), (5, 45, 95, 495), 1_000_000),
}


@pytest.mark.parametrize(("config", "family"), GRIDS)
def test_grids_are_the_papers(config, family):
    exponents, axis, steps = GRIDS[config, family]
    one = study(config, family)
    (name,) = set(one.sweep.names) - {N, "seed"}
    expected = set(itertools.product(axis, (2.0**k for k in exponents), range(5)))
    assert {(point[name], point[N], point["seed"]) for point in one.sweep} == expected
    assert one.training.steps == steps


def test_small_scales_keep_the_sizes_at_which_icl_comes_and_goes():
    assert _exponents("s0", "quick") == {6, 8, 10, 14, 18}
    assert _exponents("s0", "reference") == {6, 8, 10, 12, 16, 20}
    assert _exponents("num_low_freq", "quick") == {10, 14, 18}
    assert _exponents("num_contexts", "quick,gated") == {6, 8, 10, 14, 18}


def _exponents(config, words):
    return {round(math.log2(point[N])) for point in study(config, words).sweep}


def test_published_h_is_the_double_exponential():
    one = study("s0", "all")
    assert one.predictors["in_context"].double_exponential
    assert not one.predictors["in_context_sharp"].double_exponential
    for name in ("gated", "gated_two_phase"):
        assert one.predictors[name].in_context == one.predictors["in_context"]
    assert codec.study_of(demo.get_config()).predictors["in_context"].double_exponential


# ------------------------------------------------------------------------------- words


@pytest.mark.parametrize("config", (*SYNTHETIC, "omniglot"))
def test_a_wrong_word_is_a_sentence(config):
    with pytest.raises(ValueError, match=r"'quikc' is no variant; allowed: paper, .*Did you mean 'quick'\?"):
        study(config, "quikc")
    with pytest.raises(ValueError, match="'quick' and 'reference' both name a scale; give one of: paper"):
        study(config, "quick,reference")


def test_words_of_omniglot():
    with pytest.raises(ValueError, match="num_contexts.*Did you mean 'p_relevant'"):
        study("omniglot", "p_relevnt")
    with pytest.raises(ValueError, match="'p_high' and 'size' both name a sweep"):
        study("omniglot", "p_high,size")
    with pytest.raises(ValueError, match="'gated' and 'all' both name a family"):
        study("omniglot", "quick,gated,all")


# ------------------------------------------------------------------------------- claims


@pytest.mark.parametrize("config", SYNTHETIC)
def test_every_claim_is_answered_at_the_papers_scale(config):
    one = study(config, "transformer")
    found = answered(one) | answered(study(config, "gated"))
    assert {c.id for c in one.claims} - found == set()


def test_every_claim_about_omniglot_is_answered_at_the_papers_scale(no_images):
    one = study("omniglot", "size")
    assert {c.id for c in one.claims} - answered(one) == set()
    assert answered(study("omniglot", "size,held_out")) == set()
    assert answered(study("omniglot", "reference")) == {"omniglot.icl", "omniglot.iwl"}
    assert answered(study("omniglot", "quick")) == set()


def test_small_scales_claim_nothing():
    for scale in ("quick", "reference"):
        assert answered(study("s0", f"{scale},all")) == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("predictors.transformer.depth", 4),
        ("predictors.transformer.width", 32),
        ("training.batch_size", 64),
        ("training.learning_rate", 1e-3),
        ("training.schedule", "rsqrt"),
        ("training.warmup_steps", 100),
        ("task.relevant_law", "insert"),
        ("task.inputs.dim", 32),
    ],
)
def test_another_network_or_optimiser_answers_no_claim_about_the_transformer(name, value):
    one = study("s0", "alone")
    assert answered(one)
    config = codec.config_of(one)
    *path, last = name.split(".")
    inner = config
    for part in path:
        inner = inner[part]
    inner[last] = value
    if name == "training.schedule":
        config.training.warmup_steps = 1
    assert answered(codec.study_of(config)) == set()


@pytest.mark.parametrize(
    ("predictor", "name", "value"),
    [("gated", "protocol", "two_phase"), ("in_context", "double_exponential", False)],
)
def test_another_protocol_or_temperature_answers_no_claim_about_the_gated_family(predictor, name, value):
    config = codec.config_of(study("num_contexts", "gated"))
    about = {c.id for c in claims.NUM_CONTEXTS_CLAIMS if values(c.measure)[0].predictor == predictor}
    assert about and about <= answered(codec.study_of(config))
    config.predictors[predictor][name] = value
    assert not about & answered(codec.study_of(config))


GROUPS = {
    **{name: group for name, group in vars(claims).items() if name.endswith("_CLAIMS")},
    "OMNIGLOT_CLAIMS": claims_omniglot.OMNIGLOT_CLAIMS,
}


@pytest.mark.parametrize("group", GROUPS)
def test_claims_are_sound(group):
    """They keep distinct ids, survive JSON, say what they are about, and ask for seeds and steps."""
    assert len(GROUPS) >= 9
    assert claims_module.from_json(json.loads(json.dumps(claims_module.to_json(GROUPS[group])))) == GROUPS[group]
    for one in distinct(GROUPS[group]):
        assert one.statement.endswith(".") and one.source
        assert one.min_seeds >= 3 and one.min_steps >= (5_000 if group == "OMNIGLOT_CLAIMS" else 50_000)
        assert group != "OMNIGLOT_CLAIMS" or "Omniglot, L = 2" in one.statement


# The rows as they were read off the plots, over N = 2^6, 2^8, ..., 2^20, once more: what claims hold must be these.
READ_OFF = {
    "S0.icl_high": ".31 .40 .90 .99 1 1 1 1",
    "S0.icl_low": ".58 .28 .40 .66 .87 .96 .96 .95",
    "S0.iwl_high": ".86 .71 .24 .05 .02 .02 .02 .02",
    "S0.iwl_low": ".91 .96 .69 .38 .14 .05 .04 .04",
    "S0.ibd_low": ".23 .05 .02 0 0 0 0 0",
    "noise=.02.icl_high": ".90 1 1 1 1 1 1 1",
    "noise=.02.icl_low": ".78 .89 .98 1 1 1 1 1",
    "noise=0.icl_low": ".81 .89 .98 1 1 1 1 1",
    "S0.iw.iwl_high": ".18 .07 .03 0 0 0 0 0",
    "S0.iw.iwl_low": ".70 .49 .11 .07 .03 0 0 0",
    "L=4.rel=4.icl_high": ".12 .34 .79 .95 .99 1 1 1",
    "L=4.rel=4.icl_low": ".26 .12 .12 .34 .74 .93 .96 .96",
    "L=4.rel=2.icl_high": ".87 .93 .97 1 1 1 1 1",
    "L=4.rel=2.icl_low": ".76 .62 .62 .79 .93 .97 .97 .97",
    "L=4.rel=2.ic.icl_low": ".66 .45 .27 .18 .18 .29 .33 .33",
    "gate.relevant-high": ".06 .22 .83 .97 .99 1 1 1",
    "gate.relevant-low": ".10 .09 .07 .08 .07 .08 .22 .29",
    "gate.irrelevant-low": ".09 .16 .47 .69 .84 .95 .99 .99",
    "gate.noise=0.relevant-low": ".15 .18 .29 .74 .99 1 1 1",
}


@pytest.mark.parametrize("head", READ_OFF)
def test_published_rows_are_what_was_read_off(head):
    known = {c.id: c for c in claims.NOISE_CLAIMS + claims.NUM_RELEVANT_CLAIMS}
    for size, text in zip(published.SIZES, READ_OFF[head].split(), strict=True):
        one = known[f"{head}.N={size}"]
        number = float(text)
        assert one.published == number and values(one.measure)[0].where[N] == size
        wide = 0.05 if number <= 0.05 or number >= 0.95 else 0.15
        assert (one.condition.low, one.condition.high) == pytest.approx((number - wide, number + wide))


def test_a_claim_about_all_sizes_needs_the_first_and_the_last():
    whole = study("s0", "alone")
    about = {"4a.transformer.low", "4b.ibd.low", "2a"}
    assert about <= answered(whole)
    for sizes in ((64.0, 1024.0, 4096.0), (256.0, 1024.0, 2.0**20)):
        thinned = dataclasses.replace(whole, sweep=icl.product({N: sizes, "seed": range(3)}))
        assert not {"4a.transformer.low", "2a"} & answered(thinned)


def test_published_rows_are_complete():
    rows: dict[str, set[str]] = {}
    for one in claims.NOISE_CLAIMS + claims.NUM_RELEVANT_CLAIMS:
        head, found, size = one.id.rpartition(".N=")
        if found:
            rows.setdefault(head, set()).add(size)
    single = rows.pop("noise=.4.iw")  # two numbers were published of this one
    assert single == {"1024", "262144"}
    assert len(rows) > 20
    for head, sizes in rows.items():
        assert sizes == {str(2**k) for k in range(6, 21, 2)}, head
    with pytest.raises(ValueError):
        published.row("short", "icl_error_low", (0.5,) * 7)


def test_no_claim_that_icl_grows_with_p_relevant_holds_for_a_flat_curve():
    flat = [c for c in claims.P_RELEVANT_CLAIMS if c.id.startswith("5d")]
    assert flat and all(isinstance(c.measure, Difference) and c.condition == Range(low=0.1) for c in flat)


def test_planning_touches_no_device():
    """Configs are read before the devices are chosen."""
    assert not [leaf for leaf in jax.tree.leaves(study("s0").task) if isinstance(leaf, jax.Array)]
