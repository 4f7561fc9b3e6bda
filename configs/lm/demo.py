"""SmolLM2-135M on SST-2, or on a handful of invented reviews: `make lm-demo`, a few minutes on 2 cores.

    ICL_SIM_TEXT=FOLDER python launch/lm.py --config=configs/lm/demo.py --workdir=out/lm_demo_sst2

FOLDER holds sst2/train.jsonl and sst2/validation.jsonl. Without it, the rows are those that come with icl_sim, which
are too few and too easy to say anything about the model.
"""

import os
from pathlib import Path

import icl_sim as icl
from configs.lm.common import BY_LAYER, MIDDLE
from configs.words import words
from icl_sim.lm.study import FOLDER, Finetuned, InContext, LabelledText, ZeroShot

REAL = {"data": "sst2", "shots": 32, "queries": 100}
INVENTED = {"data": "fixture", "shots": 16, "queries": 24}


def get_config(arg=""):
    words(arg, {})
    folder = os.environ.get(FOLDER, "")
    real = bool(folder) and (Path(folder).expanduser() / "sst2" / "train.jsonl").is_file()
    study = icl.Study(
        name="In-context learning and finetuning, in minutes",
        description="SmolLM2-135M as it is, with demonstrations in its context, and finetuned on them one by one, on "
        + ("SST-2." if real else "invented reviews."),
        task=LabelledText(**(REAL if real else INVENTED)),
        predictors={
            "zero_shot": ZeroShot(),
            "in_context": InContext(),
            "finetuned": Finetuned(learning_rate=MIDDLE),
        },
        training=icl.Training(steps=0),
        sweep=icl.product({"seed": (1,)}),
        figures=(BY_LAYER,),
    )
    return icl.config_of(study)
