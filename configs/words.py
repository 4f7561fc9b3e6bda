"""The words after the colon of `--config=FILE:WORDS`, joined by commas, at most one of each kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from icl_sim.names import suggestion


def words(arg: str | None, kinds: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The word of each kind that the part after the colon chooses; the first of a kind is what no word means.

    Raises:
      ValueError: for a word that is of no kind, naming the nearest, and for two of one kind.
    """
    chosen: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in (arg or "").split(","))):
        kind = next((kind for kind, known in kinds.items() if word in known), None)
        if kind is None:
            known = [known for words in kinds.values() for known in words]
            raise ValueError(f"{word!r} is no variant; {suggestion(word, known)}")
        if kind in chosen:
            raise ValueError(
                f"{chosen[kind]!r} and {word!r} both name a {kind}; give one of: {', '.join(kinds[kind])}."
            )
        chosen[kind] = word
    return {kind: next(iter(known)) for kind, known in kinds.items()} | chosen
