"""CB, whether a text entails a statement:
in-context learning against finetuning (Dai et al. 2023; Deutch et al. 2024).

    python launch/lm.py --config=configs/lm/cb.py:quick --workdir=out/lm_cb
    python launch/lm.py --config=configs/lm/cb.py --config.task.folder=FOLDER --workdir=out/lm_cb

FOLDER holds cb/SPLIT.jsonl; without it, what the variable ICL_SIM_TEXT names, or the hub (extra `hub`).
--config.task.model names another model than SmolLM2-135M: a checkpoint folder or a .gguf file.
"""

from configs.lm.common import comparison


def get_config(arg=""):
    return comparison("cb", "CB", arg)
