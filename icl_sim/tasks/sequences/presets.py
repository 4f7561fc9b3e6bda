"""The data of the papers, by name. Each is a setting of `BurstySequences`; where released code does what it hardly
means to, the sound choice is the default and `as_released` has the other."""

from __future__ import annotations

import numbers

from icl_sim.tasks.glyphs import Glyphs
from icl_sim.tasks.omniglot import Omniglot
from icl_sim.tasks.sequences.bursty import BurstySequences
from icl_sim.tasks.sequences.clusters import Clusters
from icl_sim.tasks.sequences.features import Features
from icl_sim.tasks.sequences.separated import Separated

Inputs = Clusters | Features | Glyphs | Omniglot | Separated


def chan(
    num_classes: int = 1613, num_holdout: int = 10, inputs: Inputs | None = None, *, as_released: bool = False
) -> BurstySequences:
    """Chan et al. 2022: 8 pairs, of which two classes take 3 each and any classes the others; nine in ten bursty.

    Inputs are Gaussian clusters of 20 items unless others are given; the paper has Omniglot, all 20 drawings, in which
    a sequence shows none twice. The last 10 classes of training are the common ones.

    One drawing of each class is `Glyphs(drawings=(0,))` and the like (released: exemplars "single"), and every drawing
    a class of its own is `Separated(of=...)`.

    Args:
      as_released: the two classes are drawn independently, so that they coincide at times: among 10 held-out classes in
        a tenth of the sequences, which nobody can answer. Slots beside the bursts may repeat a drawing of these. And
        contexts without the query's class, in evaluation, are of any other classes, which can repeat.
    """
    return BurstySequences(
        num_classes=num_classes,
        num_holdout=num_holdout,
        num_common=10,
        context_length=8,
        bursts=(3, 3),
        p_bursty=0.9,
        query="any",
        ways="independent" if as_released else "distinct",
        exemplars="distinct_by_part" if as_released else "distinct",
        unsupported="other" if as_released else "unique",
        inputs=inputs or Clusters(dim=64, exemplars=20),
    )


def chan_mixed(
    num_rare: int = 1603,
    num_common: int = 10,
    num_holdout: int = 10,
    p_fewshot: float = 0.9,
    shots: int = 4,
    ways: int = 2,
    inputs: Inputs | None = None,
) -> BurstySequences:
    """The "mixed" sequences of Chan et al. 2022: few-shot ones of rare classes, called 0 to ways - 1 in an order of the
    sequence, and sequences of any common classes under labels of their own."""
    return BurstySequences(
        num_classes=num_rare + num_common,
        num_holdout=num_holdout,
        num_common=num_common,
        context_length=shots * ways,
        bursts=(shots,) * ways,
        p_bursty=p_fewshot,
        p_rare=1.0,
        otherwise_of="common",
        query="any",
        labels="per_sequence",
        exemplars="distinct",
        inputs=inputs or Clusters(dim=64, exemplars=20),
    )


def singh_transience(num_classes: int = 12_800, inputs: Inputs | None = None) -> BurstySequences:
    """Singh et al. 2023: 8 pairs, the query's class and a distractor three times each, always."""
    return BurstySequences(
        num_classes=num_classes,
        num_holdout=100,
        context_length=8,
        bursts=(3, 3),
        p_bursty=1.0,
        query="first",
        filler="other",
        inputs=inputs or Clusters(dim=512, exemplars=20),
    )


def singh_induction(num_classes: int = 50, num_labels: int = 5, inputs: Inputs | None = None) -> BurstySequences:
    """Singh et al. 2024: A a B b and A or B, with labels drawn for every sequence of 5, two of whose 10 pairs are held
    out; 50 classes of one exemplar each."""
    return BurstySequences(
        num_classes=num_classes,
        num_holdout=100,
        context_length=2,
        bursts=(1, 1),
        p_bursty=1.0,
        query="first",
        num_labels=num_labels,
        labels="per_sequence",
        relabels=num_labels,
        held_out_pairs=2,
        inputs=inputs or Clusters(dim=512, noise=0.0, exemplars=1),
    )


def singh_coopetition(num_classes: int = 12_800, inputs: Inputs | None = None) -> BurstySequences:
    """Singh et al. 2025: A a B b and A, with every class's own label."""
    return BurstySequences(
        num_classes=num_classes,
        context_length=2,
        bursts=(1, 1),
        p_bursty=1.0,
        query="first",
        inputs=inputs or Clusters(dim=512, exemplars=20),
    )


def singh_ciwl(num_classes: int = 12_800, inputs: Inputs | None = None) -> BurstySequences:
    """What of Singh et al. 2025 only the weights can answer, with the context's help: A b B c and D, one of the two
    labels that of D; three different classes."""
    return singh_coopetition(num_classes, inputs).replace(p_bursty=0.0, otherwise="unique", labels="shown")


def singh_icl(num_classes: int = 12_800, inputs: Inputs | None = None) -> BurstySequences:
    """What of Singh et al. 2025 only the context can answer: A a B b and A, with two of all labels drawn for every
    sequence."""
    return singh_coopetition(num_classes, inputs).replace(labels="per_sequence", relabels=num_classes)


def reddy(
    num_classes: int = 1024,
    num_labels: int = 32,
    burst: int = 1,
    context_length: int = 8,
    p_novel: float = 0.0,
    max_offset: int = 0,
    *,
    no_repeats: bool = True,
    new_of_batch: int = 0,
) -> BurstySequences:
    """Reddy 2023: Gaussian clusters under 32 labels; L / B classes of different labels, B times each.

    In the paper a sequence stands anywhere in 65 positions, those of 32 pairs: for 8 pairs a `max_offset` of 48.

    Args:
      no_repeats: whether the classes of a context have different labels, all alike; otherwise they are drawn
        independently by their frequencies, and coincide at times, as do their labels.
      new_of_batch: how many classes are new in every batch, for its sequences of new classes to choose from: 128 in the
        released code. With 0 every sequence has its own.

    Raises:
      ValueError: if `burst` does not divide `context_length`.
    """
    if not isinstance(burst, numbers.Integral) or burst < 1 or context_length % burst:
        raise ValueError(
            f"burst is {burst!r}; it must be a whole number that divides context_length, {context_length}."
        )
    return BurstySequences(
        num_classes=num_classes,
        num_labels=num_labels,
        context_length=context_length,
        bursts=(burst,) * (context_length // burst),
        p_bursty=1.0,
        p_novel=p_novel,
        query="slot",
        ways="distinct_labels" if no_repeats else "independent",
        max_offset=max_offset,
        inputs=Clusters(dim=63, noise=0.1, new=new_of_batch),
    )


PRESETS = {
    "chan": chan,
    "chan_mixed": chan_mixed,
    "singh_transience": singh_transience,
    "singh_induction": singh_induction,
    "singh_coopetition": singh_coopetition,
    "singh_ciwl": singh_ciwl,
    "singh_icl": singh_icl,
    "reddy": reddy,
}
