"""From log-probabilities of candidates to answers: normalisation, calibration, accuracy and AUC.

Axes: N queries, C candidates, one per class, J tokens of a candidate.
"""

from __future__ import annotations

import math

import numpy as np

from icl_sim.names import require

NORMALISATIONS = ("mean", "sum", "none")


def candidate_scores(
    log_probs_NCJ: np.ndarray, lengths_C: np.ndarray, logits_NC: np.ndarray, normalisation: str = "mean"
) -> np.ndarray:
    """A score of each candidate, `[N, C]`.

    Args:
      log_probs_NCJ: log p(token | what comes before it), anything past a candidate's end.
      lengths_C: how many tokens each candidate has.
      logits_NC: of the first token of each, as the network gives them.
      normalisation: "mean" over the candidate's tokens, as in the code of Dai et al. 2023, "sum", or "none": the logit
        of the first token, the formula of their paper. For candidates of one token all give the same answers.
    """
    require("normalisation", normalisation, NORMALISATIONS)
    if normalisation == "none":
        return np.asarray(logits_NC, np.float64)
    there_CJ = np.arange(log_probs_NCJ.shape[2]) < np.asarray(lengths_C)[:, None]
    share_C = 1 / np.asarray(lengths_C, np.float64) if normalisation == "mean" else np.ones(len(lengths_C))
    return np.einsum("ncj,c->nc", np.where(there_CJ, log_probs_NCJ, 0.0), share_C)


def calibrated(scores_NC: np.ndarray) -> np.ndarray:
    """Batch calibration: each class's mean over all queries is subtracted.

    It takes away what a model prefers whatever is asked. It looks at all queries at once, and leans on their classes
    being about equally frequent; `auc` does neither.
    """
    return scores_NC - scores_NC.mean(0)


def right(scores_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Whether the label has the highest score, the first one on ties, `[N]`; never where a score is not finite."""
    return (scores_NC.argmax(1) == np.asarray(labels_N)) & np.isfinite(scores_NC).all(1)


def accuracy(scores_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The share of queries that are `right`."""
    return float(np.mean(right(scores_NC, labels_N)))


def auc(scores_NC: np.ndarray, labels_N: np.ndarray) -> float:
    """The area under the ROC curve, which no bias towards a class changes.

    For two classes: how often a query of class 1 has a higher log odds of 1 than one of class 0, ties counting half.
    For more: the mean over classes of that of each against the rest, by its probability among the candidates. NaN if
    all queries are of one class, or a score is not finite; a class without queries is left out.
    """
    if not np.isfinite(scores_NC).all():
        return math.nan
    labels_N = np.asarray(labels_N)
    top_N1 = scores_NC.max(1, keepdims=True)
    log_p_NC = scores_NC - top_N1 - np.log(np.exp(scores_NC - top_N1).sum(1, keepdims=True))
    classes = [1] if scores_NC.shape[1] == 2 else range(scores_NC.shape[1])
    if scores_NC.shape[1] == 2:
        log_p_NC = np.stack([scores_NC[:, 0] - scores_NC[:, 1], scores_NC[:, 1] - scores_NC[:, 0]], 1)
    found = [_area(log_p_NC[:, one], labels_N == one) for one in classes]
    found = [area for area in found if not math.isnan(area)]
    return float(np.mean(found)) if found else math.nan


def _area(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """The rank statistic: of all pairs of a positive and a negative, the share in which the positive is higher."""
    positives, negatives = int(positive_N.sum()), int((~positive_N).sum())
    if not positives or not negatives:
        return math.nan
    _, inverse, counts = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # ties share the mean of their ranks
    return float((rank_N[positive_N].sum() - positives * (positives + 1) / 2) / (positives * negatives))
