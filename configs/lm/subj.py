"""Subj, subjective and objective sentences:
in-context learning against finetuning (Dai et al. 2023; Deutch et al. 2024).

    python launch/lm.py --config=configs/lm/subj.py:quick --workdir=out/lm_subj
    python launch/lm.py --config=configs/lm/subj.py --config.task.folder=FOLDER --workdir=out/lm_subj

FOLDER holds subj/SPLIT.jsonl; without it, what the variable ICL_SIM_TEXT names, or the hub (extra `hub`).
--config.task.model names another model than SmolLM2-135M: a checkpoint folder or a .gguf file.
"""

from configs.lm.common import comparison


def get_config(arg=""):
    return comparison("subj", "Subj", arg)
