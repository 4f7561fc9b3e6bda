"""One comparison: what finetuning on demonstrations does to a model, beside what showing them to it does."""

from __future__ import annotations

import numpy as np

from icl_sim.lm import similarity
from icl_sim.lm.asking import Answers, Record
from icl_sim.lm.finetuning import Finetuned
from icl_sim.types import Params

BASELINES = ("uniform", "gaussian", "same_norm")


def likeness(
    zsl: Answers,
    icl: Answers,
    ft: Answers,
    made: Finetuned,
    *,
    only_corrected: bool = False,
    kendall_queries: int = 100,
    seed: int = 0,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Every measure of `icl_sim.lm.similarity` on one task, as means over layers, and layer by layer `[A]`.

    Args:
      zsl, icl, ft: answers with records.
      made: what finetuning left.
      only_corrected: average over the queries that ZSL has wrong and both others right (mode "f2t" of the code of Dai
        et al. 2023), where they have all queries in their tables.
      kendall_queries: how many queries Kendall's tau is averaged over, the first ones; the code takes 100.
      seed: of the random baselines.
    """
    recall = similarity.rec2ftp(zsl.right_N, ft.right_N, icl.right_N)
    corrected_N = similarity.corrected(zsl.right_N, ft.right_N, icl.right_N)
    where = corrected_N if only_corrected else None
    z, i, f = _record(zsl), _record(icl), _record(ft)
    rng = np.random.default_rng(seed)
    outputs = (i.attention_NAD, f.attention_NAD, z.attention_NAD)
    layers = {
        "sim_aou": similarity.sim_aou(*outputs, where=where),
        "sim_aou_norm": similarity.sim_aou(*outputs, normalised=True, where=where),
    }
    for kind in BASELINES:
        layers[f"sim_aou_norm_{kind}"] = similarity.random_aou(kind, rng, *outputs, normalised=True, where=where)
    for kind in ("gaussian", "uniform"):
        layers[f"sim_aou_{kind}"] = similarity.random_aou(kind, rng, *outputs, where=where)
    maps = {"mask_NT": z.mask_NT, "where": where}
    for suffix, centre in (("", False), ("_centred", True)):
        own = {**maps, "centre": centre}
        layers[f"sim_am_before{suffix}"] = similarity.sim_am(i.logits_NAHT, z.logits_NAHT, **own)
        layers[f"sim_am_after{suffix}"] = similarity.sim_am(i.logits_NAHT, f.logits_NAHT, **own)
        layers[f"sim_am_delta{suffix}"] = similarity.sim_am(i.logits_NAHT, f.logits_NAHT, z.logits_NAHT, **own)
    layers |= _orders(icl, ft, made, kendall_queries, where, rng)
    numbers = {
        "rec2ftp": recall.percent,
        "ft_corrects": float(recall.finetuned),
        "ft_and_icl_correct": float(recall.both),
        "update_norm": made.update_norm,
        "relative_update_norm": made.relative_norm,
        "first_loss": made.losses[0] if made.losses else np.nan,
        "last_loss": made.losses[-1] if made.losses else np.nan,
    }
    return {**{name: float(values.mean()) for name, values in layers.items()}, **numbers}, layers


def alpha(zsl: Answers, lcgd: Answers, gd: Answers) -> np.ndarray:
    """How alike layer-causal and ordinary gradient descent change attention maps, by layer `[A]`."""
    z, a, b = _record(zsl), _record(lcgd), _record(gd)
    return similarity.alpha(a.logits_NAHT, b.logits_NAHT, z.logits_NAHT, mask_NT=z.mask_NT)


def trained_embeddings(params: Params, random: Params) -> Params:
    """Random layers between the trained embeddings, norms and unembedding: "trained embeddings" of Deutch et al. 2024.

    What is kept are token and position embeddings, the output matrix and all norms; attention and MLP are random.
    """
    layers = {
        name: part if name.endswith("norm") else random["layers"][name] for name, part in params["layers"].items()
    }
    return {**params, "layers": layers}


def _orders(
    icl: Answers, ft: Answers, made: Finetuned, most: int, where: np.ndarray | None, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Kendall's tau of how ICL weighs the demonstrations' tokens against finetuning, and against random weights."""
    weighed_NAK, query_NAD = _record(icl).context_NAK, _record(ft).query_NAD
    chosen_N = np.arange(len(weighed_NAK)) if where is None else np.flatnonzero(where)
    chosen_N = chosen_N[:most]
    depth = weighed_NAK.shape[1]
    if not len(chosen_N) or not weighed_NAK.shape[2]:
        return {"kendall": np.full(depth, np.nan), "kendall_random": np.full(depth, np.nan)}
    finetuned_NAK = similarity.training_attention(made.query_AKD, query_NAD[chosen_N])
    random_NAK = rng.random(finetuned_NAK.shape)
    return {
        "kendall": similarity.kendall(weighed_NAK[chosen_N], finetuned_NAK).mean(0),
        "kendall_random": similarity.kendall(weighed_NAK[chosen_N], random_NAK).mean(0),
    }


def _record(answers: Answers) -> Record:
    if answers.record is None:
        raise ValueError("The answers hold no record of the layers: ask with record=True.")
    return answers.record
