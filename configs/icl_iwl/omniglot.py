r"""Real Omniglot: 20 common and 1,603 rare characters, against N (the omniglot-* sweeps of the paper).

    python launch/run.py --config=configs/icl_iwl/omniglot.py:quick --config.task.omniglot_dir=DIR \
        --workdir=out/omniglot

Beside the words of `paper`, two kinds more:

    size, input_noise, num_contexts, num_relevant_contexts, p_high, p_relevant
                what is swept; "size", N alone, runs without any word
    seen, held_out
                whether evaluation shows the drawing that training showed, as in the published figures and without any
                word, or another person's

At the paper's scale a study has 105 x 105 pixels, 100,000 steps and N = 10^4, 10^5, 10^6: a matter of GPUs.
`reference` is that divided by ten on all sides: 160 rare characters, 10,000 steps and N = 10^3, 10^4, 10^5, so that a
rare character is met as often, and has as many of the N sequences, as in the paper; images have 20 x 20 pixels, and the
encoder is smaller.
`quick` does a fifth of the steps of `reference`. `launch/fetch_omniglot.py --dir=DIR` gets the images.
"""

import icl_sim as icl
from configs.icl_iwl import claims_omniglot, paper
from configs.words import words
from icl_sim.predictors import ResidualEncoder
from icl_sim.tasks import ClassMixture, Omniglot

SWEEPS = {
    "size": {},
    "input_noise": {"task.inputs.noise": (0.0, 0.1, 1.0)},
    "num_contexts": {"task.context_length": (2, 4)},
    "num_relevant_contexts": {"task.num_relevant": (1, 2, 3, 4)},
    "p_high": {"task.p_high": (0.5, 0.99)},
    "p_relevant": {"task.p_relevant": (0.0, 0.5, 0.9, 0.99, 1.0)},
}
HELD_OUT = {"seen": False, "held_out": True}
SIZES = (1e4, 1e5, 1e6)
SCALES = {
    "paper": paper.Scale(),
    "reference": paper.Scale(seeds=3, steps=10_000, evaluation=icl.Evaluation(sequences=500, points=8)),
    "quick": paper.Scale(seeds=3, steps=2_000, evaluation=icl.Evaluation(sequences=200, points=5)),
}
SMALL_ENCODER = ResidualEncoder(stem_width=16, widths=(16, 32, 64), strides=(1, 2, 2), blocks=1)


def get_config(arg=""):
    chosen = words(arg, {**paper.KINDS, "sweep": SWEEPS, "choice of drawings": HELD_OUT})
    sweep, small = chosen["sweep"], chosen["scale"] != "paper"
    return paper.config(
        f"{chosen['scale']},{chosen['family']}",
        name=f"Omniglot, {sweep}",
        description="Real handwritten characters, 20 common ones and many rare: few common labels, a long tail.",
        task=ClassMixture(
            num_high=20,
            num_low=160 if small else 1603,
            context_length=4 if sweep == "num_relevant_contexts" else 2,
            held_out=HELD_OUT[chosen["choice of drawings"]],
            relevant_law="insert",
            inputs=Omniglot(size=20) if small else Omniglot(),
        ),
        encoder=SMALL_ENCODER if small else ResidualEncoder(),
        axes=SWEEPS[sweep],
        training=icl.Training(schedule="rsqrt", warmup_steps=4000),
        steps=100_000,
        seeds=3,
        sizes=tuple(size / 10 for size in SIZES) if small else SIZES,
        scales=SCALES,
        baselines=sweep != "p_relevant",
        claims=claims_omniglot.OMNIGLOT_CLAIMS,
    )
