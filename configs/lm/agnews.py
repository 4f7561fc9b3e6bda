"""AGNews, four topics of news:
in-context learning against finetuning (Dai et al. 2023; Deutch et al. 2024).

    python launch/lm.py --config=configs/lm/agnews.py:quick --workdir=out/lm_agnews
    python launch/lm.py --config=configs/lm/agnews.py --config.task.folder=FOLDER --workdir=out/lm_agnews

FOLDER holds agnews/SPLIT.jsonl; without it, what the variable ICL_SIM_TEXT names, or the hub (extra `hub`).
--config.task.model names another model than SmolLM2-135M: a checkpoint folder or a .gguf file.
"""

from configs.lm.common import comparison


def get_config(arg=""):
    return comparison("agnews", "AGNews", arg)
