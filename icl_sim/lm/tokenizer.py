"""Text to token ids and back, from what a checkpoint folder or a GGUF file says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icl_sim.lm.extras import needed
from icl_sim.lm.files import parsed, read_json, read_text

# How kinds of byte-level BPE cut text into words before merging, by the name that GGUF files give them.
GPT2_WORDS = "gpt2"
SINGLE_DIGITS = ("smollm",)  # as GPT-2, with every digit a word of its own
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {  # regular expressions of words
    "qwen2": rf"{_WORDS}|\p{{N}}|{_REST}",
    "llama-bpe": rf"{_WORDS}|\p{{N}}{{1,3}}|{_REST}",
}
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # types of tokens in GGUF


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, with the tokens that begin and end a text.

    Attributes:
      inner: of the package `tokenizers`.
      bos, eos: ids of the tokens that begin and end a text; None where there is none.
      start: the token that the model expects first in every text, mostly `bos`; None for none.
      newline: the token that stands for a line break, where that is one of its own (fairseq: `eos`).
    """

    inner: Any
    bos: int | None = None
    eos: int | None = None
    start: int | None = None
    newline: int | None = None

    @property
    def beginning(self) -> tuple[int, ...]:
        """What stands first in every text: one token or none."""
        return () if self.start is None else (self.start,)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without tokens that begin or end it."""
        if self.newline is None:
            return self._line(text)
        first, *others = text.split("\n")
        return self._line(first) + [token for line in others for token in (self.newline, *self._line(line))]

    def _line(self, text: str) -> list[int]:
        return self.inner.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Any) -> str:
        """The text of ids, special tokens included."""
        lines: list[list[int]] = [[]]
        for token in map(int, ids):
            if token == self.newline:
                lines.append([])
            else:
                lines[-1].append(token)
        return "\n".join(self.inner.decode(line, skip_special_tokens=False) for line in lines)

    def id_of(self, token: str) -> int | None:
        """The id of a token by its own name, as "</s>"; None if there is none."""
        return self.inner.token_to_id(token)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self.inner.get_vocab_size()


def from_folder(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a checkpoint folder: tokenizer.json, or GPT-2's vocab.json and merges.txt; None if neither is
    there.

    Raises:
      ValueError: if the files are broken.
    """
    if (path := folder / "tokenizer.json").is_file():
        inner = from_json(path, read_text(path))
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        vocabulary, merges = folder / "vocab.json", read_text(folder / "merges.txt").splitlines()
        pairs = [line for line in merges if line and not line.startswith("#version")]
        ids = read_json(vocabulary)
        special = [token for token in ("<|endoftext|>",) if isinstance(ids, dict) and token in ids]
        inner = byte_level(ids, pairs, GPT2_WORDS, special, str(vocabulary))
    else:
        return None
    settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    settings = settings if isinstance(settings, dict) else {}
    bos, eos = (_special(inner, settings.get(f"{end}_token"), config.get(f"{end}_token_id")) for end in ("bos", "eos"))
    # A tokenizer.json puts it first itself, which a word shows. Files of GPT-2's form say it by this key (OPT), or not
    # at all: those of fairseq's language models, which are read as XGLM and begin every text with it.
    begins = settings.get("add_bos_token") is True or config.get("model_type") == "xglm"
    start = first if (first := _first(inner, folder)) is not None else bos if begins else None
    return Tokenizer(inner, bos, eos, start, newline=_newline(config, eos))


def from_json(path: Path, text: str) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json."""
    parsed(path, text)  # a better sentence than that of the package, and a limit to nesting
    try:
        inner = needed("tokenizers").Tokenizer.from_str(text)
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001, the package has no class of its own
        raise ValueError(f"{path} is no tokenizer: {str(error)[:200]}") from None
    inner.no_truncation()
    inner.no_padding()
    return inner


def from_gguf(fields: Mapping[str, Any], where: str) -> Tokenizer:
    """The tokenizer of a GGUF file, from the fields of its `tokenizer.ggml` section.

    Raises:
      ValueError: if it is of a kind that is not supported, or broken.
    """
    kind, tokens = fields.get("model"), fields.get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise ValueError(f"{where} has no list of tokens.")
    types = fields.get("token_type")
    types = types if isinstance(types, list) and len(types) == len(tokens) else [NORMAL] * len(tokens)
    special = [token for token, of in zip(tokens, types, strict=True) if of in (CONTROL, USER)]
    if kind == "gpt2":
        vocabulary = {token: number for number, token in enumerate(tokens)}
        inner = byte_level(vocabulary, fields.get("merges"), str(fields.get("pre", "gpt2")), special, where)
    elif kind == "llama":
        space_first = bool(fields.get("add_space_prefix", True))
        inner = sentence_pieces(tokens, fields.get("scores"), types, special, space_first, where)
    else:
        raise ValueError(f"{where} has a tokenizer of kind {str(kind)[:80]!r}; supported: gpt2, llama.")
    bos, eos = (_special(inner, None, fields.get(f"{end}_token_id")) for end in ("bos", "eos"))
    # Files of byte-level BPE mostly do not say; of their models Llama 3 is used with it.
    begins = bool(fields.get("add_bos_token", kind == "llama" or fields.get("pre") == "llama-bpe"))
    return Tokenizer(inner, bos, eos, bos if begins else None)


def byte_level(vocabulary: Any, merges: Any, words: str, special: list[str], where: str) -> Any:
    """Byte-level BPE (GPT-2): text is cut into words, whose bytes are merged pair by pair.

    Args:
      vocabulary: token -> id.
      merges: pairs, "a b" each, the first to merge first.
      words: how text is cut, by the name that GGUF files give it.
      special: tokens that are found in a text before anything else.
    """
    tokenizers = needed("tokenizers")
    pieces = tokenizers.pre_tokenizers
    if not isinstance(vocabulary, dict) or not all(type(number) is int for number in vocabulary.values()):
        raise ValueError(f"{where} is no vocabulary, an id for each token.")
    if not isinstance(merges, list) or not all(isinstance(pair, str) and pair.count(" ") == 1 for pair in merges):
        raise ValueError(f"{where} has no list of merges, two tokens each.")
    try:
        pairs = [tuple(pair.split(" ")) for pair in merges]
        model = tokenizers.models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=words == "llama-bpe")
        inner = tokenizers.Tokenizer(model)
    except Exception as error:  # noqa: BLE001, the package has no class of its own
        raise ValueError(f"{where} has no tokenizer that fits together: {str(error)[:200]}") from None
    if words in PATTERNS:
        split = pieces.Split(tokenizers.Regex(PATTERNS[words]), "isolated")
        inner.pre_tokenizer = pieces.Sequence([split, pieces.ByteLevel(add_prefix_space=False, use_regex=False)])
    elif words in SINGLE_DIGITS:
        digits = pieces.Digits(individual_digits=True)
        inner.pre_tokenizer = pieces.Sequence([digits, pieces.ByteLevel(add_prefix_space=False)])
    elif words in (GPT2_WORDS, "gpt-2", "default"):
        inner.pre_tokenizer = pieces.ByteLevel(add_prefix_space=False)
    else:
        known = ", ".join((GPT2_WORDS, *SINGLE_DIGITS, *PATTERNS))
        raise ValueError(f"{where} cuts text into words as {words[:80]!r} does; supported: {known}.")
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return inner


def sentence_pieces(
    tokens: list[str], scores: Any, types: list[int], special: list[str], space_first: bool, where: str
) -> Any:
    """BPE of SentencePiece (Gemma): neighbours are merged whose joint token has the highest score.

    The merges are found again from vocabulary and scores: every way to cut a token into two others, by its score.
    """
    tokenizers = needed("tokenizers")
    numbers = isinstance(scores, list) and all(type(score) in (int, float) for score in scores)
    if not numbers or len(scores) != len(tokens):
        raise ValueError(f"{where} has no score for each token.")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    mergeable = {token for token, of in zip(tokens, types, strict=True) if of == NORMAL}
    ranked = sorted((token for token in mergeable if len(token) > 1), key=lambda token: -scores[vocabulary[token]])
    merges = []
    for token in ranked:
        if len(token) > 256:  # none is; each takes as many steps as it is long
            raise ValueError(f"{where} has a token of {len(token)} characters.")
        cuts = [(token[:at], token[at:]) for at in range(1, len(token))]
        cuts = [(a, b) for a, b in cuts if a in mergeable and b in mergeable]
        merges += sorted(cuts, key=lambda cut: (vocabulary[cut[0]], vocabulary[cut[1]]))
    unknown = next((token for token, of in zip(tokens, types, strict=True) if of == UNKNOWN), None)
    try:
        model = tokenizers.models.BPE(
            vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
        )
        inner = tokenizers.Tokenizer(model)
    except Exception as error:  # noqa: BLE001, the package has no class of its own
        raise ValueError(f"{where} has no tokenizer that fits together: {str(error)[:200]}") from None
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    spaces = [normalizers.Replace(" ", "\u2581")]
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), *spaces] if space_first else spaces)
    inner.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens([tokenizers.AddedToken(token, special=True, normalized=False) for token in special])
    return inner


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and the names of its ends, as transformers reads them."""
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    ends = {"bos_token": tokenizer.bos, "eos_token": tokenizer.eos}
    settings = {name: tokenizer.inner.id_to_token(token) for name, token in ends.items() if token is not None}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    if tokenizer.start is not None and tokenizer.start == tokenizer.bos:
        settings["add_bos_token"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _newline(config: Mapping[str, Any], eos: int | None) -> int | None:
    """The token of a line break: the end of a text where the config has `newlinemode` "s", as fairseq's models do."""
    mode = config.get("newlinemode") or "n"
    if mode not in ("n", "s") or (mode == "s" and eos is None):
        raise ValueError(
            f"The model's config has newlinemode {str(mode)[:80]!r} and the eos_token_id {eos}; supported: n, and s "
            "where there is a token for the end of a text."
        )
    return eos if mode == "s" else None


def _first(inner: Any, folder: Path) -> int | None:
    """The token that the tokenizer itself puts before every text, if it does."""
    try:
        with_it, without = inner.encode("a").ids, inner.encode("a", add_special_tokens=False).ids
        return with_it[0] if with_it[:1] != without[:1] else None
    except Exception as error:  # noqa: BLE001, the package has no class of its own
        raise ValueError(f"{folder} has a tokenizer that cannot read a word: {str(error)[:200]}") from None


def _special(inner: Any, name: Any, number: Any) -> int | None:
    """The id of a special token, from its name (or an object with its `content`) or its number in the config."""
    if isinstance(name, dict):
        name = name.get("content")
    if isinstance(name, str) and (found := inner.token_to_id(name)) is not None:
        return found
    if isinstance(number, list) and number:
        number = number[0]
    return number if type(number) is int and number >= 0 else None
