"""What Chan, Chen, György and Schuurmans 2025, "Toward Understanding In-context vs. In-weight Learning", claim and
found, as data that a run can be held against.

Published numbers were read off the authors' stored plots (means of 5 seeds, each at its checkpoint of the lowest
training loss, uncertain by about 0.03). A number agrees if the interval over our seeds lies within a tolerance of it:
0.05 where the published curve is flat at 0 or 1, and 0.15 where it moves, because a steep curve turns a small shift
in N into a large difference in error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icl_sim.studies.claims import (
    Claim,
    Difference,
    Largest,
    MinimumAt,
    Range,
    Smallest,
    Trend,
    Value,
    above,
    below,
    near,
)

PAPER = "Chan et al. 2025"
N, L, L_REL = "task.num_sequences", "task.context_length", "task.num_relevant"
P_HIGH, P_REL, NOISE, NUM_LOW = "task.p_high", "task.p_relevant", "task.inputs.noise", "task.num_low"
SIZES = tuple(2**k for k in range(6, 21, 2))

# S0, the setting of most figures.
S0 = {
    L: 1,
    L_REL: 0,
    P_HIGH: 0.9,
    P_REL: 0.9,
    NOISE: 0.2,
    "task.label_noise": 0.0,
    "task.num_high": 5,
    NUM_LOW: 5,
}
WORDS = {
    "icl_error_high": "ICL error on common classes",
    "icl_error_low": "ICL error on rare classes",
    "iwl_error_high": "IWL error on common classes",
    "iwl_error_low": "IWL error on rare classes",
    "ibd_relevant_low": "error on rare classes with a relevant context, labels as trained",
}


def value(
    metric: str, predictor: str = "transformer", eval_set: str = "summary", given: Mapping = S0, **where
) -> Value:
    """A metric in S0 but for the settings given by their short names here, such as `N=2**8` or `P_HIGH=0.5`."""
    changes = {globals()[name]: setting for name, setting in where.items()}
    return Value(predictor=predictor, metric=metric, eval_set=eval_set, where={**given, **changes})


def tolerance(published: float) -> float:
    return 0.05 if published <= 0.05 or published >= 0.95 else 0.15


def row(
    prefix: str,
    metric: str,
    published: Sequence[float | None],
    sizes: Sequence[int] = SIZES,
    source: str = "",
    **at,
) -> tuple[Claim, ...]:
    """One claim per entry of a published row over N; None where nothing was published."""
    predictor = at["predictor"] if "predictor" in at else "transformer"
    words = WORDS[metric] if metric in WORDS else metric.replace("_", " ")
    return tuple(
        Claim(
            id=f"{prefix}.N={size}",
            statement=f"{predictor}: {words} at N = {size}{_tail(at)}",
            source=source or f"{PAPER}, stored plots",
            measure=value(metric, **at, N=size),
            condition=near(number, tolerance(number)),
            published=float(number),
        )
        for size, number in zip(sizes, published, strict=True)
        if number is not None
    )


def _tail(at: Mapping) -> str:
    parts = [f"{name} = {at[name]}" for name in ("NOISE", "L", "L_REL", "P_HIGH") if name in at]
    return "".join(f", {part}" for part in parts) + (f" ({at['eval_set']})" if "eval_set" in at else "") + "."


def claim(id: str, statement: str, measure, condition: Range, published: float | str | None = None) -> Claim:
    return Claim(id=id, statement=statement, source=PAPER, measure=measure, condition=condition, published=published)


# ------------------------------------------------------------------------------- statements

EMERGES = (
    claim(
        "1a",
        "At N = 2^8 rare classes are learned in context.",
        value("icl_error_low", N=2**8),
        below(0.45),
        0.28,
    ),
    claim("1b", "At N = 2^8 they are not in the weights.", value("iwl_error_low", N=2**8), above(0.85), 0.96),
    claim("1c", "At N = 2^16 rare classes have lost ICL.", value("icl_error_low", N=2**16), above(0.9), 0.96),
    claim("1d", "At N = 2^16 they are in the weights.", value("iwl_error_low", N=2**16), below(0.12), 0.05),
    claim(
        "2a",
        "ICL error on rare classes is not monotone in N: it is lowest at 2^8 or 2^10.",
        MinimumAt(value("icl_error_low"), N, (2**8, 2**10)),
        above(0),
        "lowest at 2^8",
    ),
    claim(
        "2b",
        "Common classes lose ICL earlier: at N = 2^10 it is gone.",
        value("icl_error_high", N=2**10),
        above(0.8),
        0.9,
    ),
    claim("2c", "At N = 2^10 rare classes still have ICL.", value("icl_error_low", N=2**10), below(0.6), 0.4),
)
CONTROLS = (
    *(
        claim(
            f"4{letter}.{predictor}",
            f"{predictor}: with shifted labels and an irrelevant context nobody can be right, {words} classes, all N.",
            Smallest(value(f"control_{group}", predictor), N),
            above(0.95),
            "≈ 1",
        )
        for predictor in ("transformer", "ic_baseline", "iw_baseline")
        for letter, group, words in (("a", "high", "common"), ("b", "low", "rare"))
    ),
    *(
        claim(
            f"4{letter}.ibd",
            f"With labels as trained and a relevant context the error is small for N ≥ 2^10, {words} classes.",
            Largest(value(f"ibd_relevant_{group}"), N, at_least=2**10),
            below(0.05),
            0.02,
        )
        for letter, group, words in (("c", "high", "common"), ("d", "low", "rare"))
    ),
)
BASELINES = (
    *(
        c
        for group, words in (("high", "common"), ("low", "rare"))
        for c in (
            claim(
                f"5a.{group}",
                f"Trained on relevant contexts only, ICL is perfect for N ≥ 2^8, {words} classes.",
                Largest(value(f"icl_error_{group}", "ic_baseline"), N, at_least=2**8),
                below(0.05),
                0.0,
            ),
            claim(
                f"5b.{group}",
                f"Trained on relevant contexts only, nothing is in the weights for N ≥ 2^8, {words} classes.",
                Smallest(value(f"iwl_error_{group}", "ic_baseline"), N, at_least=2**8),
                above(0.95),
                1.0,
            ),
            claim(
                f"5c.{group}",
                f"Trained on irrelevant contexts only, there is no ICL at any N, {words} classes.",
                Smallest(value(f"icl_error_{group}", "iw_baseline"), N),
                above(0.95),
                "≥ .95",
            ),
        )
    ),
)

# The published table of S0, row by row, and what it says of the other noise levels.
S0_TABLE = (
    *row("S0.icl_high", "icl_error_high", (0.31, 0.40, 0.90, 0.99, 1, 1, 1, 1)),
    *row("S0.icl_low", "icl_error_low", (0.58, 0.28, 0.40, 0.66, 0.87, 0.96, 0.96, 0.95)),
    *row("S0.iwl_high", "iwl_error_high", (0.86, 0.71, 0.24, 0.05, 0.02, 0.02, 0.02, 0.02)),
    *row("S0.iwl_low", "iwl_error_low", (0.91, 0.96, 0.69, 0.38, 0.14, 0.05, 0.04, 0.04)),
    *row("S0.ibd_low", "ibd_relevant_low", (0.23, 0.05, 0.02, 0, 0, 0, 0, 0)),
    *row("S0.ic.icl_high", "icl_error_high", (0,) * 8, predictor="ic_baseline"),
    *row("S0.ic.icl_low", "icl_error_low", (0.25, *(0,) * 7), predictor="ic_baseline"),
    *row("S0.iw.iwl_high", "iwl_error_high", (0.18, 0.07, 0.03, *(0,) * 5), predictor="iw_baseline"),
    *row("S0.iw.iwl_low", "iwl_error_low", (0.70, 0.49, 0.11, 0.07, 0.03, 0, 0, 0), predictor="iw_baseline"),
)
S0_CLAIMS = EMERGES + CONTROLS + BASELINES + S0_TABLE
NOISE_TABLE = (
    *row("noise=.02.icl_high", "icl_error_high", (0.90, *(1,) * 7), NOISE=0.02),
    *row("noise=.02.icl_low", "icl_error_low", (0.78, 0.89, 0.98, *(1,) * 5), NOISE=0.02),
    *row("noise=0.icl_high", "icl_error_high", (1,) * 8, NOISE=0.0),
    *row("noise=0.icl_low", "icl_error_low", (0.81, 0.89, 0.98, *(1,) * 5), NOISE=0.0),
)
NOISE_CLAIMS = S0_CLAIMS + NOISE_TABLE

P_RELEVANT_CLAIMS = tuple(
    claim(
        f"5d.{group}.N={size}",
        f"More relevant contexts, more ICL: the error falls with p_relevant, {words} classes, N = {size}.",
        Trend(
            Value(predictor="transformer", metric=f"icl_error_{group}", where=_given | {N: size}),
            P_REL,
            rising=False,
        ),
        above(-0.05),
        "falls",
    )
    for _given in ({name: setting for name, setting in S0.items() if name != P_REL},)
    for group, words in (("high", "common"), ("low", "rare"))
    for size in (2**8, 2**10)
)

# L = 4, number of relevant items.
NUM_RELEVANT_CLAIMS = (
    *row("L=4.rel=4.icl_high", "icl_error_high", (0.12, 0.34, 0.79, 0.95, 0.99, 1, 1, 1), L=4, L_REL=4),
    *row("L=4.rel=4.icl_low", "icl_error_low", (0.26, 0.12, 0.12, 0.34, 0.74, 0.93, 0.96, 0.96), L=4, L_REL=4),
    *row("L=4.rel=2.icl_high", "icl_error_high", (0.87, 0.93, 0.97, 1, 1, 1, 1, 1), L=4, L_REL=2),
    *row("L=4.rel=2.icl_low", "icl_error_low", (0.76, 0.62, 0.62, 0.79, 0.93, 0.97, 0.97, 0.97), L=4, L_REL=2),
    *(
        claim(
            f"6a.rel={relevant}",
            f"At N = 2^8 and L = 4, ICL error on rare classes with {relevant} relevant items.",
            value("icl_error_low", N=2**8, L=4, L_REL=relevant),
            near(number, tolerance(number)),
            number,
        )
        for relevant, number in ((1, 0.95), (2, 0.62), (3, 0.27), (4, 0.12))
    ),
    claim(
        "6b",
        "At N = 2^8 and L = 4, ICL error on rare classes falls with the number of relevant items.",
        Trend(
            Value(
                predictor="transformer",
                metric="icl_error_low",
                where={name: setting for name, setting in S0.items() if name != L_REL} | {L: 4, N: 2**8},
            ),
            L_REL,
            rising=False,
        ),
        above(0),
        "falls",
    ),
    *(
        claim(
            f"6c.{predictor}.{group}",
            f"{predictor}: with one relevant item of four ICL does not emerge at any N, {words} classes.",
            Smallest(value(f"icl_error_{group}", predictor, L=4, L_REL=1), N),
            above(bound),
            published,
        )
        for predictor, group, words, bound, published in (
            ("transformer", "high", "common", 0.92, "≥ .97"),
            ("transformer", "low", "rare", 0.9, "≥ .95"),
            ("ic_baseline", "high", "common", 0.92, ".97 to 1"),
            ("ic_baseline", "low", "rare", 0.85, ".90 to .96"),
        )
    ),
)

_OOBD, _DEFAULT = "eval-default-none-flip_label", "error"
NUM_CONTEXTS_CLAIMS = (
    *(
        claim(
            f"7a.L={length}",
            f"Gated model at N = 2^8: error with shifted labels, default contexts, L = {length}.",
            value(_DEFAULT, "gated", _OOBD, N=2**8, L=length),
            near(number, tolerance(number)),
            number,
        )
        for length, number in ((1, 0.25), (2, 0.93), (4, 0.96), (8, 0.95))
    ),
    claim(
        "7b",
        "Transformer at N = 2^8: a longer context weakens ICL (error with shifted labels, L = 4 minus L = 1).",
        Difference(value(_DEFAULT, "transformer", _OOBD, N=2**8, L=4), value(_DEFAULT, "transformer", _OOBD, N=2**8)),
        above(0),
        "positive",
    ),
    *(
        claim(
            f"7c.{group}.L={length}",
            f"In-context predictor h at N = 2^16: error on a relevant context, {words} classes, L = {length}.",
            value(f"icl_error_{group}", "in_context", N=2**16, L=length),
            near(number, tolerance(number)),
            number,
        )
        for group, words, numbers in (
            ("high", "common", (0.0, 0.08, 0.24, 0.38)),
            ("low", "rare", (0.0, 0.08, 0.30, 0.70)),
        )
        for length, number in zip((1, 2, 4, 8), numbers, strict=True)
    ),
)

P_HIGH_CLAIMS = (
    claim(
        "8a",
        "With rare classes as frequent as common ones (p_high = .5) the gate has left the context at N = 2^14.",
        value("gate_mean", "gated", "eval-relevant-low_prob", N=2**14, P_HIGH=0.5),
        above(0.9),
        "→ 1",
    ),
    claim(
        "8b",
        "With rarer ones (p_high = .99) it trusts the context up to N = 2^20.",
        value("gate_mean", "gated", "eval-relevant-low_prob", N=2**20, P_HIGH=0.99),
        below(0.5),
        "stays in context",
    ),
    claim(
        "8c",
        "On the mixture the order is reversed: at N = 2^10 p_high = .5 keeps more ICL than .99 (difference of errors).",
        Difference(
            value(_DEFAULT, "gated", _OOBD, N=2**10, P_HIGH=0.99),
            value(_DEFAULT, "gated", _OOBD, N=2**10, P_HIGH=0.5),
        ),
        above(0),
        0.4,
    ),
)
NUM_LOW_CLAIMS = (
    claim(
        "8d",
        "With 495 rare classes the gate trusts the context up to N = 2^20.",
        value("gate_mean", "gated", "eval-relevant-low_prob", N=2**20, NUM_LOW=495),
        below(0.5),
        "stays in context",
    ),
)

_GATE_ROWS = (
    ("relevant", "high", (0.06, 0.22, 0.83, 0.97, 0.99, 1, 1, 1)),
    ("relevant", "low", (0.10, 0.09, 0.07, 0.08, 0.07, 0.08, 0.22, 0.29)),
    ("irrelevant", "low", (0.09, 0.16, 0.47, 0.69, 0.84, 0.95, 0.99, 0.99)),
)
GATE_CLAIMS = (
    claim(
        "9",
        "The gate turns to the weights on irrelevant contexts long before it does on relevant ones of the same class "
        "(difference of gates on rare classes at N = 2^14).",
        Difference(
            value("gate_mean", "gated", "eval-irrelevant-low_prob", N=2**14),
            value("gate_mean", "gated", "eval-relevant-low_prob", N=2**14),
        ),
        above(0.4),
        0.77,
    ),
    *(
        c
        for context, group, published in _GATE_ROWS
        for c in row(
            f"gate.{context}.{group}",
            "gate_mean",
            published,
            predictor="gated",
            eval_set=f"eval-{context}-{group}_prob",
        )
    ),
)

# ------------------------------------------------------------------------------- Omniglot

OMNIGLOT_GIVEN = {L: 2, L_REL: 0, P_HIGH: 0.9, P_REL: 0.9, NOISE: 0.1, "task.num_high": 20, NUM_LOW: 1603}
_OMNIGLOT_ROWS = (
    ("transformer", "icl_error_low", (0.51, 0.69, 0.98)),
    ("transformer", "icl_error_high", (1, 1, 1)),
    ("transformer", "iwl_error_low", (0.93, 0.54, 0.07)),
    ("transformer", "iwl_error_high", (0.02, 0.02, 0.02)),
    ("ic_baseline", "icl_error_high", (1, 1, 1)),
    ("ic_baseline", "icl_error_low", (0.33, 0.32, 0.44)),
    ("ic_baseline", "iwl_error_low", (1, 0.97, 0.94)),
    ("iw_baseline", "iwl_error_low", (0.09, 0.01, 0.01)),
)
OMNIGLOT_CLAIMS = (
    *(
        c
        for predictor, metric, published in _OMNIGLOT_ROWS
        for c in row(
            f"omniglot.{predictor}.{metric}",
            metric,
            published,
            (10**4, 10**5, 10**6),
            f"{PAPER}, notebook of 26 September 2024, 3 seeds",
            predictor=predictor,
            given=OMNIGLOT_GIVEN,
        )
    ),
    claim(
        "omniglot.icl",
        "Rare characters lose ICL with N: ICL error rises at every step of N.",
        Trend(value("icl_error_low", given=OMNIGLOT_GIVEN), N),
        above(0),
        "rises",
    ),
    claim(
        "omniglot.iwl",
        "Rare characters move into the weights with N: IWL error falls at every step of N.",
        Trend(value("iwl_error_low", given=OMNIGLOT_GIVEN), N, rising=False),
        above(0),
        "falls",
    ),
)
