"""What Chan et al. 2025 found on Omniglot, as data; see `published` for how numbers become claims."""

from __future__ import annotations

from configs.icl_iwl.published import (
    L_REL,
    NOISE,
    NUM_HIGH,
    NUM_LOW,
    P_HIGH,
    P_REL,
    PAPER,
    L,
    N,
    bound,
    claim,
    row,
    value,
)
from icl_sim.studies.claims import Trend, above

TASK = "Omniglot, L = 2"
# The setting, whatever the size of images and network: for statements about the order of things.
SETTING = {
    "task.inputs.kind": "omniglot",
    "task.held_out": False,
    "task.relevant_law": "insert",
    L: 2,
    L_REL: 0,
    P_HIGH: 0.9,
    P_REL: 0.9,
    NOISE: 0.1,
    "task.label_noise": 0.0,
    NUM_HIGH: 20,
}
# All that the published numbers depend on, but for the predictor, see `_of`.
PUBLISHED = {
    **SETTING,
    NUM_LOW: 1603,
    "task.inputs.size": 105,
    "training.batch_size": 32,
    "training.learning_rate": 3e-4,
    "training.adam_epsilon": 1e-8,
    "training.schedule": "rsqrt",
    "training.warmup_steps": 4000,
}
ENCODER = {
    "stem": "paper",
    "stem_width": 64,
    "widths": (12, 32, 32, 64),
    "strides": (1, 2, 2, 2),
    "blocks": 2,
}
SIZES = (10**4, 10**5, 10**6)
NOTEBOOK = f"{PAPER}, notebook of 26 September 2024, 3 seeds"


def _of(predictor: str) -> dict:
    """What makes a claim about the published setup, for this predictor."""
    encoder = {f"predictors.{predictor}.encoder.{name}": setting for name, setting in ENCODER.items()}
    return {"predictor": predictor, "given": PUBLISHED | encoder, "source": NOTEBOOK, "task": TASK}


_ROWS = (
    ("transformer", "icl_error_low", (0.51, 0.69, 0.98)),
    ("transformer", "icl_error_high", (1, 1, 1)),
    ("transformer", "iwl_error_low", (0.93, 0.54, 0.07)),
    ("ic_baseline", "icl_error_high", (1, 1, 1)),
    ("ic_baseline", "icl_error_low", (0.33, 0.32, 0.44)),
    ("ic_baseline", "iwl_error_low", (1, 0.97, 0.94)),
    ("iw_baseline", "iwl_error_low", (0.09, 0.01, 0.01)),
)
OMNIGLOT_CLAIMS = (
    *(
        c
        for predictor, metric, published in _ROWS
        for c in row(f"omniglot.{predictor}.{metric}", metric, published, sizes=SIZES, **_of(predictor))
    ),
    bound(
        "omniglot.transformer.iwl_error_high",
        "≤ .03",
        "iwl_error_high",
        at_most=0.08,
        sizes=SIZES,
        **_of("transformer"),
    ),
    claim(
        "omniglot.icl",
        f"{TASK}: rare characters lose ICL with N: their ICL error rises at every step of N.",
        Trend(value("icl_error_low", given=SETTING), N),
        above(0),
        "rises",
        NOTEBOOK,
        min_steps=5_000,
    ),
    claim(
        "omniglot.iwl",
        f"{TASK}: rare characters move into the weights with N: their IWL error falls at every step of N.",
        Trend(value("iwl_error_low", given=SETTING), N, rising=False),
        above(0),
        "falls",
        NOTEBOOK,
        min_steps=5_000,
    ),
)
