"""SST-5, five grades of sentiment:
in-context learning against finetuning (Dai et al. 2023; Deutch et al. 2024).

    python launch/lm.py --config=configs/lm/sst5.py:quick --workdir=out/lm_sst5
    python launch/lm.py --config=configs/lm/sst5.py --config.task.folder=FOLDER --workdir=out/lm_sst5

FOLDER holds sst5/SPLIT.jsonl; without it, what the variable ICL_SIM_TEXT names, or the hub (extra `hub`).
--config.task.model names another model than SmolLM2-135M: a checkpoint folder or a .gguf file.
"""

from configs.lm.common import comparison


def get_config(arg=""):
    return comparison("sst5", "SST-5", arg)
