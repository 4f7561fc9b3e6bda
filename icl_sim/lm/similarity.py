"""How alike demonstrations in the prompt and finetuning on them change a model (Dai et al. 2023; Deutch et al. 2024).

Axes, beside those of `icl_sim.types`: N queries, A layers, H heads, D width, T tokens of a query (the row of logits
over them, zeros where a query is shorter), K tokens of the demonstrations. Of three settings, ZSL is the model as it
is, ICL the same with demonstrations before the query, FT the model finetuned on them and asked as in ZSL.

Deutch et al. showed that the first measures of Dai et al. say little: updates that are normalised before they are
subtracted correlate by construction. Where z is the output of ZSL and two settings add independent noise of equal norm
to it, so that outputs are c |z| long, `sim_aou(..., normalised=True)` is (c - 1) / (2c) on average, and 0 without
normalising; and an untrained network scores as high as a trained one. So no measure here should be told without its
baselines, the accuracy after finetuning and the norm of the update.

All averages are plain means, over heads first and then over queries, a number per layer. Where there is no query to
average over, that is NaN.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

_LEAST = 1e-20  # in denominators: the cosine with a vector of zeros is 0


@dataclasses.dataclass(frozen=True)
class Recall:
    """`rec2ftp` with its counts: `both` of `finetuned` queries that finetuning corrects are right in ICL too."""

    percent: float
    both: int
    finetuned: int


def rec2ftp(zsl_N: np.ndarray, ft_N: np.ndarray, icl_N: np.ndarray) -> Recall:
    """Of the queries that ZSL has wrong and FT right, the percentage that ICL has right (Dai et al., section 4.3).

    The arrays say whether each query was answered rightly. NaN if finetuning corrects none.
    """
    corrected_N = ~np.asarray(zsl_N, bool) & np.asarray(ft_N, bool)
    both, finetuned = int(np.sum(corrected_N & np.asarray(icl_N, bool))), int(np.sum(corrected_N))
    return Recall(100 * both / finetuned if finetuned else math.nan, both, finetuned)


def corrected(zsl_N: np.ndarray, ft_N: np.ndarray, icl_N: np.ndarray) -> np.ndarray:
    """The queries that ZSL has wrong and both others right: `where` of the measures below for the mode "f2t"."""
    return ~np.asarray(zsl_N, bool) & np.asarray(ft_N, bool) & np.asarray(icl_N, bool)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine along the last axis, 0 where either vector is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.sum(a * b, -1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1) + _LEAST)


def sim_aou(
    icl_NAD: np.ndarray,
    ft_NAD: np.ndarray,
    zsl_NAD: np.ndarray,
    *,
    normalised: bool = False,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Similarity of attention output updates, `[A]`: the mean cosine of h_ICL - h_ZSL and h_FT - h_ZSL.

    With `normalised`, outputs are divided by their norms before they are subtracted, as Dai et al. (section 4.3) do;
    without, it is what Deutch et al. (section 3) correct it to.
    """
    if normalised:
        icl_NAD, ft_NAD, zsl_NAD = map(unit, (icl_NAD, ft_NAD, zsl_NAD))
    return _mean(cosine(icl_NAD - zsl_NAD, ft_NAD - zsl_NAD), where)


def random_aou(
    kind: str,
    rng: np.random.Generator,
    icl_NAD: np.ndarray,
    ft_NAD: np.ndarray,
    zsl_NAD: np.ndarray,
    *,
    normalised: bool = False,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """`sim_aou` with something random in place of finetuning, `[A]`.

    Args:
      kind: "uniform": the update is uniform on [0, 1), as in the code of Dai et al., all of it positive; "gaussian":
        it is normal; "same_norm": a normal step from h_ZSL as long as that of finetuning, which, normalised, shows how
        much of `sim_aou` is made by normalising.
    """
    if kind == "same_norm":
        step_NAD = unit(rng.standard_normal(zsl_NAD.shape))
        step_NAD *= np.linalg.norm(ft_NAD - zsl_NAD, axis=-1, keepdims=True)
        return sim_aou(icl_NAD, zsl_NAD + step_NAD, zsl_NAD, normalised=normalised, where=where)
    drawn = {"uniform": rng.random, "gaussian": rng.standard_normal}
    if kind not in drawn:
        raise ValueError(f"The random baseline is {kind!r}; it must be uniform, gaussian or same_norm.")
    if normalised:
        icl_NAD, zsl_NAD = map(unit, (icl_NAD, zsl_NAD))
    return _mean(cosine(icl_NAD - zsl_NAD, drawn[kind](zsl_NAD.shape)), where)


def sim_am(
    a_NAHT: np.ndarray,
    b_NAHT: np.ndarray,
    zsl_NAHT: np.ndarray | None = None,
    *,
    mask_NT: np.ndarray | None = None,
    centre: bool = False,
    where: np.ndarray | None = None,
) -> np.ndarray:
    """Similarity of attention maps, `[A]`: the mean cosine of two rows of logits over the query's tokens.

    Dai et al. call it "after finetuning" for ICL and FT, and "before" for ICL and ZSL.

    Args:
      zsl_NAHT: subtracted from both, which makes it SimAM_delta of Deutch et al.: it compares the changes, where the
        plain one falls the further finetuning moves, even in the right direction.
      mask_NT: which tokens each query has; needed to centre.
      centre: subtract each row's mean: a bias on keys, or a shift along the mean of the inputs, adds a constant to
        every logit of a row, which softmax does not see and a cosine does.
    """
    if zsl_NAHT is not None:
        a_NAHT, b_NAHT = a_NAHT - zsl_NAHT, b_NAHT - zsl_NAHT
    if mask_NT is not None:
        a_NAHT, b_NAHT = (np.where(mask_NT[:, None, None, :], one, 0.0) for one in (a_NAHT, b_NAHT))
    if centre:
        a_NAHT, b_NAHT = (_centred(one, mask_NT) for one in (a_NAHT, b_NAHT))
    return _mean(cosine(a_NAHT, b_NAHT).mean(-1), where)


def alpha(lcgd_NAHT: np.ndarray, gd_NAHT: np.ndarray, zsl_NAHT: np.ndarray, **options) -> np.ndarray:
    """How alike two ways of finetuning change attention maps, `[A]` (Deutch et al., appendix B); `sim_am`'s options."""
    return sim_am(lcgd_NAHT, gd_NAHT, zsl_NAHT, **options)


def training_attention(train_q_AKD: np.ndarray, q_NAD: np.ndarray) -> np.ndarray:
    """What finetuning attends to, `[N, A, K]`: products of a query's q with those of the training tokens.

    Summed over heads, they are products of the q of all heads in a row (Dai et al., section 4.3).

    Args:
      train_q_AKD: q of every training token at the moment at which it was trained on.
      q_NAD: of the queries, after finetuning.
    """
    return np.einsum("akd,nad->nak", train_q_AKD, q_NAD)


def kendall(a: np.ndarray, b: np.ndarray, variant: str = "a") -> np.ndarray:
    """Kendall's rank correlation along the last axis, K long; the leading axes must be equal.

    Args:
      variant: "a": (concordant - discordant) / (K (K - 1) / 2), as in the paper of Dai et al.; "b": ties are taken out
        of the denominator, as scipy does, which their code calls.

    Returns:
      NaN where K < 2, where a number is NaN, or, with "b", where either side is all ties.
    """
    if variant not in ("a", "b"):
        raise ValueError(f"The variant of Kendall's tau is {variant!r}; it must be a or b.")
    a, b = np.asarray(a), np.asarray(b)
    size = a.shape[-1]
    if size < 2:
        return np.full(a.shape[:-1], math.nan)
    rows_a, rows_b = a.reshape(-1, size), b.reshape(-1, size)
    told = [_tau(x, y, variant) for x, y in zip(rows_a, rows_b, strict=True)]
    return np.reshape(told, a.shape[:-1])


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors divided by their norms, along the last axis."""
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + _LEAST)


def _tau(a_K: np.ndarray, b_K: np.ndarray, variant: str) -> float:
    if np.isnan(a_K).any() or np.isnan(b_K).any():
        return math.nan
    # All pairs at once: signs are small numbers and K is some hundreds.
    signs_a, signs_b = ((x[:, None] > x).astype(np.int8) - (x[:, None] < x) for x in (a_K, b_K))
    # In 32 bits, which hold the pairs of 46,340 tokens.
    agreeing = int(np.einsum("ij,ij->", signs_a, signs_b, dtype=np.int32)) / 2
    if variant == "a":
        return agreeing / (len(a_K) * (len(a_K) - 1) / 2)
    untied = [np.count_nonzero(signs) / 2 for signs in (signs_a, signs_b)]
    return agreeing / math.sqrt(untied[0] * untied[1]) if all(untied) else math.nan


def _centred(row: np.ndarray, mask_NT: np.ndarray | None) -> np.ndarray:
    if mask_NT is None:
        return row - row.mean(-1, keepdims=True)
    mask = mask_NT[:, None, None, :]
    mean = np.sum(row, -1, keepdims=True, where=mask) / np.maximum(mask.sum(-1, keepdims=True), 1)
    return np.where(mask, row - mean, 0.0)


def _mean(cosines_NA: np.ndarray, where_N: np.ndarray | None) -> np.ndarray:
    chosen_NA = cosines_NA if where_N is None else cosines_NA[np.asarray(where_N, bool)]
    return chosen_NA.mean(0) if len(chosen_NA) else np.full(cosines_NA.shape[1], math.nan)
