r"""Real Omniglot: 20 common and 1,603 rare characters, against N (the omniglot-* sweeps of the paper).

    python launch/run.py --config=configs/icl_iwl/omniglot.py:quick --config.task.omniglot_dir=DIR \
        --workdir=out/omniglot

Which sweep is a word after the colon: input_noise, num_contexts, num_relevant_contexts, p_high or p_relevant; without
one, N alone. `launch/fetch_omniglot.py --dir=DIR` gets the images.
"""

import icl_sim as icl
from configs.icl_iwl import claims, paper
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
TASK = ClassMixture(
    num_high=20,
    num_low=1603,
    context_length=2,
    relevant_law="insert",
    inputs=Omniglot(),
)


def get_config(arg=""):
    words = [word for word in (arg or "").split(",") if word]
    sweeps = [word for word in words if word in SWEEPS] or ["size"]
    rest = ",".join(word for word in words if word not in SWEEPS)
    small = paper.words(rest)[0] != "paper"
    task, stem = TASK, "paper"
    if small:  # the paper's 105 x 105 pixels cost fourteen times as much
        task, stem = TASK.replace(inputs=Omniglot(size=28)), "small"
    return paper.config(
        rest,
        name=f"Omniglot, {sweeps[0]}",
        description="Real handwritten characters: 20 common, 1,603 rare; trained on one drawing, tested on another.",
        task=task,
        encoder=ResidualEncoder(stem=stem),
        axes=SWEEPS[sweeps[0]],
        training=icl.Training(schedule="rsqrt", warmup_steps=4000),
        steps=100_000,
        seeds=3,
        sizes=(1e4, 1e5, 1e6),
        baselines=sweeps[0] != "p_relevant",
        claims=claims.OMNIGLOT_CLAIMS,
    )
