"""Real handwritten characters: burstiness makes a network learn in context (Chan et al. 2022, "Data distributional
properties drive emergent in-context learning in transformers", arXiv 2205.05055, figure 2).

    python launch/run.py --config=configs/sequences/omniglot_bursty.py --config.task.omniglot_dir=DIR \
        --workdir=out/omniglot_bursty

1,536 characters of Omniglot are trained on and 64 are held out, all 19 drawings of each; a context of 8 pairs has two
characters 3 times each and two others. Words: see common.py, and

    paper       the paper's own: 1,603 + 10 characters by their own names, 105 x 105 pixels, a residual encoder and 12
                layers of 64, 500,000 steps on batches of 32; days on an accelerator

What the other scales change, and why they take minutes: an image is 64 features of its gradients instead of pixels, a
character's name one of 32, and the network that of Reddy 2023. `launch/fetch_omniglot.py --dir=DIR` gets the images.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences import common
from configs.sequences.common import NETWORK, Scale, of
from configs.words import words
from icl_sim.predictors import InductionNetwork
from icl_sim.predictors.networks import published
from icl_sim.studies.claims import Ratio, above, below
from icl_sim.studies.figures import STEP, Lines, Quantity
from icl_sim.tasks import Omniglot
from icl_sim.tasks.sequences.presets import chan

P_BURSTY = (0.0, 0.5, 0.9, 1.0)
SCALES = {
    "reference": Scale(steps=4_000, seeds=3, points=20),
    "quick": Scale(steps=2_000, seeds=1, points=10),
    "paper": Scale(steps=500_000, seeds=3, points=50),
}
DRAWINGS = {"order_seed": 0, "noise": 0.0, "drawings": tuple(range(19)), "held_out_drawings": (19,)}
QUANTITIES = (
    Quantity("error", "icl", "Characters held out (in-context)"),
    Quantity("error", "iwl", "Characters not in the context (in-weight)"),
    Quantity("restricted_error", "ciwl", "The name shown elsewhere (in-weight)"),
    Quantity("error", "swap", "Names one further (in-context)"),
)

claim = claims_of("Chan et al. 2022", min_steps=4_000)
CLAIMS = (
    claim(
        "in_context",
        "Where 9 of 10 contexts are bursty, characters never seen are named from the context.",
        of("error", **{"task.p_bursty": 0.9}),
        below(0.1),
    ),
    claim(
        "no_bursts",
        "Without bursts they are not: the error is that of not looking at the context.",
        of("error", **{"task.p_bursty": 0.0}),
        above(0.75),
    ),
    claim(
        "in_weight",
        "Bursts keep characters out of the weights: without them the error on characters not in the context is smaller "
        "than where all are bursty.",
        Ratio(of("error", "iwl", **{"task.p_bursty": 0.0}), of("error", "iwl", **{"task.p_bursty": 1.0})),
        below(0.75),
    ),
)


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale, full = SCALES[chosen["scale"]], chosen["scale"] == "paper"
    if full:
        task = chan(inputs=Omniglot(**DRAWINGS))
        network = published.chan(images=True)
        training = icl.Training(
            steps=scale.steps, batch_size=32, learning_rate=3e-4, schedule="rsqrt", warmup_steps=4_000
        )
    else:
        inputs = Omniglot(**DRAWINGS, size=32, view="gradients")
        task = chan(1536, 64, inputs).replace(num_labels=32, ways="distinct_labels", exemplars="any")
        network = InductionNetwork()
        training = common.training(scale, learning_rate=1e-3)
    study = icl.Study(
        name=f"Bursty Omniglot ({chosen['scale']})",
        description="Handwritten characters, two of them three times each in a share of the contexts of 8 pairs.",
        task=task,
        predictors={NETWORK: network},
        training=training,
        evaluation=common.evaluation(scale),
        sweep=icl.product({"task.p_bursty": P_BURSTY, "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            Lines(
                name="p_bursty",
                title="Bursts teach a network to look at the context: errors",
                quantities=QUANTITIES,
                x="task.p_bursty",
                lines="quantity",
            ),
            Lines(
                name="training",
                title="Errors during training",
                quantities=QUANTITIES[:2],
                x=STEP,
                lines="quantity",
                columns="task.p_bursty",
            ),
        ),
        headline=("icl_error", "iwl_error"),
    )
    return icl.config_of(study)
