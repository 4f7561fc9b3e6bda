"""Figure 1 of Chan et al. 2025: the bound of in-weight error falls with the exposures N_x, in-context error stays.

python launch/run.py --config=configs/icl_iwl/figure1.py --workdir=out/figure1

Nothing is trained. A panel for each number k of irrelevant labels in a context of L = 8. The published figure draws the
in-weight bound and the in-context lower bound with a factor of 2, which is no bound on the cross-entropy
(`icl_sim.theory.bounds`); so the exact best case is drawn too, beside the upper bound. With `:exact` the marks are
where the in-weight bound falls below that best case.
"""

import icl_sim as icl
from configs.words import words
from icl_sim.studies.claims import Claim, Crossing, Value, above, near
from icl_sim.studies.figures import Lines, Mark, Quantity
from icl_sim.theory import Conditions, InContextBest, InContextLower, InContextUpper, InWeightUpper

SOURCE = "Chan et al. 2025, Figure 1"
LENGTH, FIRST, LAST = 8, 2.0**10, 2.0**34
# k -> log2 N_x at which the curves of the published figure cross.
PUBLISHED = {5: 23.2, 6: 15.4, 7: 11.7}
KINDS = {"lower": {"figure": "in_context_lower", "exact": "in_context_best"}}


def get_config(arg=""):
    chosen = words(arg, KINDS)["lower"]
    lower = KINDS["lower"][chosen]

    def crossing(**where):
        a, b = (Value(predictor=name, metric="cross_entropy", where=where) for name in ("in_weight_upper", lower))
        return Crossing(a, b, "task.exposures", ends=(FIRST, LAST))

    claims = [
        Claim(
            id=f"crossing.k={k}",
            statement=f"With {k} of {LENGTH} labels irrelevant, the in-weight bound falls below the in-context one at "
            + (f"N_x = 2^{PUBLISHED[k]}." if k in PUBLISHED else "no N_x up to 2^34."),
            source=SOURCE,
            measure=crossing(**{"task.irrelevant": k}),
            condition=near(2 ** PUBLISHED[k], 0.04 * 2 ** PUBLISHED[k]) if k in PUBLISHED else above(LAST),
            published=f"2^{PUBLISHED[k]}" if k in PUBLISHED else "never",
            exact=True,
        )
        for k in range(LENGTH)
    ]
    study = icl.Study(
        name="Figure 1" if chosen == "figure" else "Figure 1, with the exact best case",
        description="Bounds of in-weight and in-context error for L = 8, label noise .01 and k irrelevant labels.",
        task=Conditions(context_length=LENGTH, label_noise=0.01),
        predictors={
            "in_weight_upper": InWeightUpper(constant=10.0),
            "in_context_lower": InContextLower(factor=2.0),
            "in_context_best": InContextBest(),
            "in_context_upper": InContextUpper(),
        },
        training=icl.Training(steps=0),
        sweep=icl.product(
            {"task.irrelevant": range(LENGTH), "task.exposures": tuple(2 ** (half / 2) for half in range(20, 69))}
        ),
        claims=claims if chosen == "figure" else (),
        figures=(
            Lines(
                name="figure1",
                title="Bounds of in-weight and in-context error",
                quantities=(Quantity("cross_entropy", label="cross-entropy (nats)"),),
                x="task.exposures",
                columns="task.irrelevant",
                marks=(Mark(crossing(), "switch"),),
                log_y=True,
            ),
        ),
    )
    return icl.config_of(study)
