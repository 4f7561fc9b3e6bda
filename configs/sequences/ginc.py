"""Examples of one concept tell a reader of documents what comes next (Xie et al. 2021, "An explanation of in-context
learning as implicit Bayesian inference", arXiv 2111.02080): GINC, and beside the network Bayes' rule.

    python launch/run.py --config=configs/sequences/ginc.py --workdir=out/ginc

Smaller than theirs: 5 entities, 5 properties and 15 words instead of 10, 10 and 50; documents of 44 words instead of
10,240; a network of two layers and 0.1 million parameters; up to 4 examples of 3, 5 or 8 words.
The network ends near Bayes' rule for documents, which takes a prompt for one: between examples it sees what hardly ever
happens in a document. Who expects that (`bayes_restarts`) gains from every example. Words: see common.py.
"""

import icl_sim as icl
from configs.claiming import claims_of
from configs.sequences.common import Scale, of
from configs.words import words
from icl_sim.predictors import HiddenMarkovBayes, Transformer
from icl_sim.studies.claims import Difference, above, below
from icl_sim.studies.figures import POSITION, PREDICTOR, QUANTITY, STEP, Lines, Quantity
from icl_sim.tasks import Ginc

NETWORK, BAYES, RESTARTS = "transformer", "bayes", "bayes_restarts"
CONCEPTS, LENGTHS, SHOTS = 5, (3, 5, 8), (0, 1, 2, 4)
SCALES = {"reference": Scale(steps=2_000, seeds=3, points=7), "quick": Scale(steps=800, seeds=1, points=6)}

claim = claims_of("Xie et al. 2021", min_steps=2_000)
of_bayes = claims_of("Xie et al. 2021", min_steps=0)
own = claims_of("this study", min_steps=2_000)


def error(k, shots, predictor=NETWORK, unseen="", seen=CONCEPTS):
    return of(f"error/{shots}", f"{unseen}k{k}", predictor, **{"task.seen": seen})


def loss(predictor):
    return of("cross_entropy", "pretraining", predictor, **{"task.seen": CONCEPTS})


def fall(*args, **kwargs):
    """By how much the error falls from none to the most examples."""
    return Difference(error(args[0], SHOTS[0], *args[1:], **kwargs), error(args[0], SHOTS[-1], *args[1:], **kwargs))


MOST, LONG, SHORT = SHOTS[-1], LENGTHS[-1], LENGTHS[0]
CLAIMS = (
    claim(
        "length",
        "The longer the examples, the smaller the error: after 4 examples, it is smaller by .1 for 8 words than for 3.",
        Difference(error(SHORT, MOST), error(LONG, MOST)),
        above(0.1),
    ),
    claim(
        "number",
        "The more examples, the smaller the error: it falls from none to 4 examples of 3 words.",
        fall(SHORT),
        above(0),
    ),
    claim(
        "zero_shot",
        "One example of 3 words can be worse than none: examples do not follow from each other as in documents.",
        Difference(error(SHORT, 1), error(SHORT, 0)),
        above(0),
    ),
    claim(
        "number.from_one",
        "From one example to 4 the error falls.",
        Difference(error(SHORT, 1), error(SHORT, MOST)),
        above(0),
    ),
    of_bayes(
        "bayes.zero_shot",
        "By Bayes' rule for documents too, one example of 3 words is worse than none.",
        Difference(error(SHORT, 1, BAYES), error(SHORT, 0, BAYES)),
        above(0),
    ),
    claim(
        "unseen",
        "On concepts that no document has there is no in-context learning: after 4 examples of 8 words the error is "
        "larger by .2.",
        Difference(error(LONG, MOST, unseen="unseen_"), error(LONG, MOST)),
        above(0.2),
    ),
    claim(
        "one_concept",
        "Prompts are of all five concepts: where documents have one of them, the error is larger by .1.",
        Difference(error(LONG, MOST, seen=1), error(LONG, MOST)),
        above(0.1),
    ),
    of_bayes(
        "bayes.number",
        "By Bayes' rule the error falls from none to 4 examples for who expects documents to start anew now and then.",
        fall(SHORT, RESTARTS),
        above(0),
    ),
    of_bayes(
        "bayes.length",
        "And by Bayes' rule too longer examples leave a smaller error, by .1.",
        Difference(error(SHORT, MOST, BAYES), error(LONG, MOST, BAYES)),
        above(0.1),
    ),
    of_bayes(
        "bayes.unseen",
        "It knows nothing of unseen concepts: its error is larger by .2.",
        Difference(error(LONG, MOST, BAYES, "unseen_"), error(LONG, MOST, BAYES)),
        above(0.2),
    ),
    own(
        "documents",
        "On documents, the network's loss is above that of Bayes' rule, by less than .2 nats.",
        Difference(loss(NETWORK), loss(BAYES)),
        below(0.2),
    ),
)


READERS = {"columns": PREDICTOR, "predictors": (NETWORK, BAYES, RESTARTS), "where": {"task.seen": CONCEPTS}}


def over_examples(name, title, quantities, **how):
    return Lines(
        name=name,
        title=title,
        quantities=quantities,
        x=POSITION,
        x_label="examples in the prompt",
        lines=QUANTITY,
        **how,
    )


def get_config(arg=""):
    chosen = words(arg, {"scale": SCALES})
    scale = SCALES[chosen["scale"]]
    prompts = tuple(Quantity("error", f"k{k}", f"Examples of {k} words") for k in LENGTHS)
    unseen = tuple(Quantity("error", f"unseen_k{k}", f"Examples of {k} words") for k in LENGTHS)
    study = icl.Study(
        name=f"GINC ({chosen['scale']})",
        description="Xie et al. 2021, smaller: 5 concepts seen and 5 unseen, 25 states, 15 words, documents of 44.",
        task=Ginc(
            seen=CONCEPTS,
            concepts=CONCEPTS,
            entities=5,
            properties=5,
            vocabulary=15,
            length=44,
            lengths=LENGTHS,
            shots=SHOTS,
        ),
        predictors={
            NETWORK: Transformer(tokens="inputs", depth=2, width=64, heads=2, position="rotary", position_base=100.0),
            BAYES: HiddenMarkovBayes(),
            RESTARTS: HiddenMarkovBayes(jump=0.02),
        },
        training=icl.Training(
            steps=scale.steps, batch_size=32, learning_rate=3e-3, schedule="cosine", warmup_steps=100
        ),
        evaluation=icl.Evaluation(sequences=1024, batch_size=256, points=scale.points),
        sweep=icl.product({"task.seen": (CONCEPTS, 1), "seed": range(scale.seeds)}),
        claims=CLAIMS,
        figures=(
            over_examples(
                "examples", "Error over examples in the prompt, of concepts that documents have", prompts, **READERS
            ),
            over_examples(
                "unseen", "Error over examples in the prompt, of concepts that no document has", unseen, **READERS
            ),
            over_examples(
                "concepts",
                "Documents of one concept, and of five",
                prompts,
                columns="task.seen",
                predictors=(NETWORK,),
            ),
            Lines(
                name="documents",
                title="Loss on documents",
                quantities=(Quantity("cross_entropy", "pretraining", "Loss (nats)"),),
                x=STEP,
                lines=PREDICTOR,
                columns="task.seen",
            ),
        ),
        headline=(f"error_k{LENGTHS[1]}",),
    )
    return icl.config_of(study)
