"""Writes tests/lm/golden: needs torch and transformers (pip install icl_sim[parity]).

python tests/lm/make_golden.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lm import tiny

SMALL = {"vocab_size": tiny.VOCAB, "initializer_range": 0.02}
GPT2 = SMALL | {"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 32}
NEOX = SMALL | {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "rotary_pct": 0.5,
    "hidden_act": "gelu",
}
OPT = {
    "vocab_size": tiny.VOCAB,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "ffn_dim": 24,
    "max_position_embeddings": 32,
}
LLAMA = SMALL | {
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 100.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
GEMMA = LLAMA | {
    "num_hidden_layers": 3,
    "head_dim": 8,
    "query_pre_attn_scalar": 12,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
CASES = {
    "gpt2": ("gpt2", GPT2),
    "gpt2_by_layer": ("gpt2", GPT2 | {"scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
    "gpt_neo": (
        "gpt_neo",
        SMALL
        | {
            "hidden_size": 16,
            "num_heads": 4,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 4,
            "max_position_embeddings": 32,
        },
    ),
    "gptj": ("gptj", GPT2 | {"n_embd": 32, "rotary_dim": 4, "tie_word_embeddings": False}),
    "gpt_neox": ("gpt_neox", NEOX),
    "gpt_neox_sequential": ("gpt_neox", NEOX | {"use_parallel_residual": False}),
    "opt": ("opt", OPT),
    "opt_post_norm": ("opt", OPT | {"do_layer_norm_before": False, "word_embed_proj_dim": 8}),
    "xglm": (
        "xglm",
        {
            "vocab_size": tiny.VOCAB,
            "d_model": 16,
            "attention_heads": 4,
            "num_layers": 2,
            "ffn_dim": 24,
            "max_position_embeddings": 32,
        },
    ),
    "llama": ("llama", LLAMA),
    "llama3": ("llama", LLAMA | {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "attention_bias": True}),
    "mistral": ("mistral", LLAMA | {"sliding_window": 4}),
    "qwen2": ("qwen2", LLAMA | {"tie_word_embeddings": True}),
    "qwen2_windows": ("qwen2", LLAMA | {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    "qwen3": ("qwen3", LLAMA | {"head_dim": 8}),
    "gemma3": ("gemma3_text", GEMMA),
}


def main() -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tiny.GOLDEN.mkdir(exist_ok=True)
    for case, (kind, sizes) in CASES.items():
        with tempfile.TemporaryDirectory() as scratch:
            AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(scratch)
            config = json.loads((Path(scratch) / "config.json").read_text())
            config.pop("transformers_version")
            shapes = shapes_in(Path(scratch) / "model.safetensors")
            arrays = {name: tiny.tensor(name, shape) for name, shape in shapes.items()}
            tiny.write(Path(scratch), config, arrays)
            model = AutoModelForCausalLM.from_pretrained(
                scratch, dtype=torch.float32, attn_implementation="eager"
            ).eval()
            with torch.inference_mode():
                logits = model(torch.tensor(tiny.IDS)).logits.numpy()
        record = {
            "config": config,
            "tensors": shapes,
            "logits": [[[float(f"{x:.7g}") for x in t] for t in b] for b in logits],
        }
        (tiny.GOLDEN / f"{case}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")
        print(case, float(abs(logits).max()), sum(array.size for array in arrays.values()))


def shapes_in(path: Path) -> dict[str, list[int]]:
    """Names and shapes of a safetensors file's tensors."""
    size = int.from_bytes(path.open("rb").read(8), "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    return {name: header[name]["shape"] for name in sorted(header) if name != "__metadata__"}


if __name__ == "__main__":
    main()
