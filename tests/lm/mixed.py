"""A decoder of three small layers, no two alike."""

from __future__ import annotations

from icl_sim.lm.architecture import Architecture, Rope

# All that can differ from layer to layer does.
MIXED = Architecture(
    vocab_size=61,
    width=24,
    depth=3,
    heads=4,
    kv_heads=2,
    head_width=8,
    mlp_width=32,
    max_positions=64,
    norm="rms",
    positions="rope",
    rope_width=6,
    ropes=(Rope(), Rope(theta=1e5), Rope()),
    windows=(0, 4, 0),
    query_key_norm=True,
    sandwich_norms=True,
    gated=True,
    activation="silu",
    attention_scale=8**-0.5,
    attention_scale_by_layer=True,
    initial_std=0.3,
)
