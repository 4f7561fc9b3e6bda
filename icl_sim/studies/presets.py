"""The figures that a study has by its family of tasks, if it names none, and what a reader of them must know."""

from __future__ import annotations

from collections.abc import Mapping

from icl_sim.studies.figures import AUTO, POSITION, QUANTITY, STEP, Closest, Heat, Lines, Spec
from icl_sim.studies.quantities import Quantity

_ERRORS = (
    Quantity("icl_error_high", label="ICL error, common classes"),
    Quantity("icl_error_low", label="ICL error, rare classes"),
    Quantity("iwl_error_high", label="IWL error, common classes"),
    Quantity("iwl_error_low", label="IWL error, rare classes"),
)
_PREFERENCE = (
    Quantity("preference_high", label="Preference, common classes"),
    Quantity("preference_low", label="Preference, rare classes"),
)
_GATE = (
    Quantity("gate_mean", "eval-relevant-high_prob", "Gate, relevant context, common classes"),
    Quantity("gate_mean", "eval-relevant-low_prob", "Gate, relevant context, rare classes"),
    Quantity("gate_mean", "eval-irrelevant-high_prob", "Gate, irrelevant context, common classes"),
    Quantity("gate_mean", "eval-irrelevant-low_prob", "Gate, irrelevant context, rare classes"),
)
_SEQUENCES = (
    Quantity("error", "icl", "In-context error, new classes"),
    Quantity("error", "iwl", "In-weight error, no support"),
    Quantity("restricted_error", "ciwl", "In-weight error, label shown elsewhere"),
    Quantity("error", "swap", "In-context error, labels one further"),
    Quantity("error", "iwl_common", "In-weight error, common classes"),
    Quantity("error", "iwl_rare", "In-weight error, rare classes"),
)
_HEAD = (
    Quantity("previous_token", "icl", "Attention of label tokens to their item (ILA1)"),
    Quantity("label_tokens", "icl", "Attention to label tokens (TLA2)"),
    Quantity("right_labels", "icl", "Attention to the right label (TILA2)"),
    Quantity("induction_strength", "icl", "Induction strength"),
)
_ERROR = (Quantity("normalized_error", "default", "Normalized squared error"),)
_ERROR_LIMITS = (0.0, 1.25)  # 1 is the error of answering 0; few learners are worse, and those much worse
PRESETS: Mapping[str, tuple[Spec, ...]] = {
    "class_mixture": (
        Lines(name="errors", title="In-context and in-weight error", quantities=_ERRORS),
        Lines(name="steps", title="Error while training", quantities=_ERRORS, x=STEP, lines=AUTO),
        Lines(name="preference", title="Preference: 1 in-context, -1 in-weight", quantities=_PREFERENCE),
        Lines(name="gate_curves", title="Gate: weight of the in-weight part g", quantities=_GATE),
        Heat(name="gate", title="Gate, as a map", quantities=_GATE),
        Heat(name="gate_steps", title="Gate while training", quantities=_GATE, y=STEP),
    ),
    "bursty": (
        Lines(name="errors", title="In-context and in-weight error", quantities=_SEQUENCES),
        Lines(name="steps", title="Errors while training", quantities=_SEQUENCES, x=STEP, lines=AUTO),
        Lines(name="mechanism", title="The induction head while training", quantities=_HEAD, x=STEP, lines=QUANTITY),
        Heat(name="phases", title="In-context and in-weight error, as a map", quantities=_SEQUENCES[:4]),
    ),
    "regression": (
        Lines(
            name="positions",
            title="Error over examples in context",
            quantities=_ERROR,
            x=POSITION,
            limits=_ERROR_LIMITS,
        ),
        Lines(name="errors", title="Error", quantities=_ERROR),
        Lines(name="steps", title="Error while training", quantities=_ERROR, x=STEP, lines=AUTO),
        Lines(
            name="positions_steps",
            title="Error over examples in context",
            quantities=_ERROR,
            x=POSITION,
            lines=STEP,
            limits=_ERROR_LIMITS,
        ),
        Lines(
            name="shifts",
            title="Error over examples in context, by evaluation set",
            quantities=(Quantity("normalized_error", "*", "*"),),
            x=POSITION,
            lines=QUANTITY,
            limits=_ERROR_LIMITS,
        ),
        Lines(
            name="distances",
            title="Squared difference of predictions (SPD) to references",
            quantities=(Quantity("spd_*", "default", "*"),),
            x=POSITION,
            lines=QUANTITY,
            log_y=True,
        ),
        Lines(
            name="distances_steps",
            title="SPD to references while training",
            quantities=(Quantity("spd_*", "default", "*"),),
            x=STEP,
            lines=QUANTITY,
            log_y=True,
        ),
        Lines(
            name="implied_weights",
            title="Squared difference of implied weights (ILWD) to references",
            quantities=(Quantity("ilwd_*", "default", "*"),),
            x=POSITION,
            lines=QUANTITY,
        ),
        Closest(
            name="closest",
            title="The reference whose predictions are nearest, over 1 to d - 1 examples",
            quantities=(Quantity("mspd_*", "default", "*"),),
        ),
    ),
}
MEANINGS = {  # what a reader of a report must know
    "class_mixture": "ICL error: labels are shifted and the context holds the query's class, so that only the context "
    "tells: 0 copies it, 1 ignores it. IWL error: labels are as trained and the context does not hold the class, so "
    "that only memory tells. Preference: of the answers to shifted labels that follow either, the share that follows "
    "the context less the share that follows memory: 1 is pure ICL, -1 pure IWL. Control: shifted and not in the "
    "context, so that nobody can know. Common classes share p_high, rare ones the rest; N is the number of distinct "
    "training sequences.",
    "bursty": "Errors are of the query. In-context: bursts of new or held-out classes, which only the context tells; "
    "or all labels one further than in training, where 0 follows the context and 1 memory. In-weight: the labels of "
    "training, and no support: the query's class is not in the context, so that only memory tells. Label shown "
    "elsewhere: it is not there either, but another class carries its label, and the answer is the likeliest of the "
    "context's labels, as in every restricted_error. Chance among all C labels is an error of 1 - 1/C; among those in "
    "the context it is restricted_chance_error. Support is how often the context holds the query's class, by bursts or "
    "by luck. Attention is the first layer's from label tokens to their items (ILA1), and the second layer's from the "
    "query to all label tokens (TLA2) and to those of the right label (TILA2).",
    "regression": "Normalized error: squared error of predictions divided by the task's scale (the dimension, for "
    "linear functions), so that 1 is the error of always answering 0 where inputs are N(0, I); after k examples, or "
    "as a mean over all k that are asked. Clean error: the same against targets without noise. SPD to a reference: "
    "squared difference of the predictions of both on the same sequences, divided by the scale; ILWD: of the weights "
    "that their predictions imply. σ is the standard deviation of the noise of targets, d the dimension, M the number "
    "of distinct functions of pretraining.",
}
DEFAULT: tuple[Spec, ...] = (
    Lines(name="results", title="Results"),
    Lines(name="steps", title="Results while training", x=STEP, lines=AUTO),
)
