"""Theory of in-context against in-weight learning: bounds, no-regret learners and Algorithm 1, exact laws."""

from icl_sim.theory import bounds, coopetition, exact, switch
from icl_sim.theory.conditions import Conditions, InContextBest, InContextLower, InContextUpper, InWeightUpper
from icl_sim.theory.constructions import Constructed, construct
from icl_sim.theory.learners import LEARNERS, Counts, FollowTheRegularizedLeader, GradientDescent, Hedge, Learner
from icl_sim.theory.nested import NestedDescent, NestedLogits
from icl_sim.theory.online import OnlineGated
from icl_sim.types import Predictor, Task

TASKS: dict[str, type[Task]] = {"conditions": Conditions, "nested_logits": NestedLogits}
PREDICTORS: dict[str, type[Predictor]] = {
    "online_gated": OnlineGated,
    "in_weight_upper": InWeightUpper,
    "in_context_upper": InContextUpper,
    "in_context_best": InContextBest,
    "in_context_lower": InContextLower,
    "constructed": Constructed,
    "nested_descent": NestedDescent,
}

__all__ = [
    "LEARNERS",
    "PREDICTORS",
    "TASKS",
    "Conditions",
    "Constructed",
    "Counts",
    "FollowTheRegularizedLeader",
    "GradientDescent",
    "Hedge",
    "InContextBest",
    "InContextLower",
    "InContextUpper",
    "InWeightUpper",
    "Learner",
    "NestedDescent",
    "NestedLogits",
    "OnlineGated",
    "bounds",
    "construct",
    "coopetition",
    "exact",
    "switch",
]
