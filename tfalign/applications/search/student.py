"""A student of an English encoder that reads another language without spaces: a vocabulary of its words, some of the
teacher's blocks, and token embeddings that are mixtures of the embeddings of their translations."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from tfalign.applications.search.lexicon import word_translations
from tfalign.data import CompletionRecord
from tfalign.models import BERT
from tfalign.pretrained import Pretrained
from tfalign.text import Tokenizer
from tfalign.text.cores import with_head
from tfalign.trainers.encoders import backbone_of

INSIDE = "##"  # begins a token that does not begin a word
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
_LONGEST_WORD = 500  # characters; a Han text has no spaces


def student_of(
    teacher: Pretrained,
    pairs: Sequence[CompletionRecord],
    num_layers: int = 1,
    least: int = 5,
    dropout: float = 0.1,
) -> Pretrained:
    """A student as wide as its teacher, a BERT; it is to be trained by a ``DistillationTrainer``.

    Args:
        teacher: a BERT with its WordPiece tokenizer.
        pairs: texts as "prompt" and their translations as "completion", from which the words and their translations
            are learned.
        num_layers: blocks, taken from the teacher's at even distances.
        least: a word of several characters occurs so often in the translations.
        dropout: rate.

    Raises:
        ValueError: if the teacher is no BERT, or has fewer blocks.
    """
    backbone = _checked(teacher, num_layers)
    sources, translations = (
        [getattr(one, side) for one in pairs] for side in ("prompt", "completion")
    )
    tokenizer = student_tokenizer(teacher.tokenizer, sources, translations, least)
    config = dataclasses.replace(
        backbone.config,
        vocab_size=tokenizer.vocab_size,
        num_layers=num_layers,
        dropout=dropout,
        attention_dropout=None,
    )
    student = BERT(config)
    _copy(backbone, student)
    embeddings = _embeddings(backbone, teacher.tokenizer, tokenizer, sources, translations)
    student.token_embedding.embeddings.assign(embeddings)
    return Pretrained(student, tokenizer)


def _checked(teacher, num_layers):
    """The teacher's backbone."""
    backbone = backbone_of(teacher.model)
    if not isinstance(backbone, BERT):
        raise ValueError(f"The teacher must be a BERT. Received: {type(backbone).__name__}")
    if not 1 <= num_layers <= backbone.config.num_layers:
        raise ValueError(
            f"The teacher has {backbone.config.num_layers} blocks. Received: num_layers={num_layers}"
        )
    return backbone


def han_words(texts: Iterable[str], longest: int = 4, least: int = 5) -> list[str]:
    """Characters, and runs of them that greedy longest match uses at least so often.

    >>> han_words(["我的包裹", "你的包裹"] * 3, least=6)
    ['你', '包', '我', '的', '的包裹', '裹']
    """
    runs = [run for text in texts for run in _HAN.findall(text)]
    counts = collections.Counter(
        run[at : at + size]
        for run in runs
        for size in range(1, longest + 1)
        for at in range(len(run) - size + 1)
    )
    words = {word for word, count in counts.items() if len(word) == 1 or count >= least}
    for _ in range(2):  # those that are left take over from those that go
        used = collections.Counter(
            piece for run in runs for piece in _longest_match(run, words, longest)
        )
        words = {word for word in words if len(word) == 1 or used[word] >= least}
    return sorted(words)


def student_tokenizer(
    teacher: Tokenizer, sources: Sequence[str], translations: Sequence[str], least: int = 5
) -> Tokenizer:
    """A WordPiece tokenizer that takes a run of Han characters as one word, and so the longest pieces of it.

    Its vocabulary is the special tokens, the teacher's tokens of one ASCII character, those that the texts use, and Han
    words, each also as it stands inside a run.
    """
    numbered = sorted((index, token) for token, index in teacher.core.get_vocab().items())
    spelled = dict(numbered)
    special = list(teacher.special_tokens.values())
    used = {
        spelled[index]
        for ids in teacher.encode_batch([*sources, *translations])
        for index in ids
        if index in spelled
    }
    ascii_pieces = {t for t in spelled.values() if t.isascii() and len(t.removeprefix(INSIDE)) == 1}
    words = han_words(translations, least=least)
    new = [form for word in words for form in (word, INSIDE + word)]
    kept = [
        token for token in spelled.values() if token in used | ascii_pieces and token not in special
    ]
    vocabulary = {token: at for at, token in enumerate(dict.fromkeys([*special, *kept, *new]))}
    unk = teacher.special_tokens["unk"]
    model = models.WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=_LONGEST_WORD)
    core = tokenizers.Tokenizer(model)
    core.normalizer = normalizers.BertNormalizer(handle_chinese_chars=False, lowercase=True)
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), _unknown_apart(words)]
    )
    core.decoder = tokenizers.decoders.WordPiece(prefix=INSIDE)
    core.add_special_tokens(special)
    ends = [(teacher.special_tokens[role],) for role in ("cls", "sep")]
    return Tokenizer(with_head(core, *ends), teacher.special_tokens)


def _unknown_apart(words):
    """Han characters that are none of the words', each for itself: one that is unknown would make its run so."""
    known = "".join(word for word in words if len(word) == 1)
    unknown = rf"[\p{{Han}}&&[^{known}]]" if known else r"\p{Han}"
    return pre_tokenizers.Split(tokenizers.Regex(unknown), "isolated")


def _longest_match(run, words, longest):
    at = 0
    while at < len(run):
        piece = next(
            run[at : at + size] for size in range(longest, 0, -1) if run[at : at + size] in words
        )
        yield piece
        at += len(piece)


def _copy(teacher, student):
    """Gives a student all weights of its teacher but token embeddings and the blocks between those that it has."""
    of_teacher = {variable.path: variable for variable in teacher.variables}
    step = teacher.config.num_layers // student.config.num_layers
    for variable in student.variables:
        path = re.sub(r"^(.*block_)(\d+)", lambda m: f"{m[1]}{int(m[2]) * step}", variable.path)
        if path in of_teacher and of_teacher[path].shape == variable.shape:
            variable.assign(of_teacher[path])


def _embeddings(backbone, teacher, student, sources, translations):
    """float32[V, W]: the teacher's of its own tokens in ASCII, of the others the mixture of their translations'."""
    table = np.asarray(backbone.token_embedding.embeddings)
    known, new = teacher.core.get_vocab(), student.core.get_vocab()
    plain = {token.removeprefix(INSIDE) for token in new}
    number = {word: at for at, word in enumerate(sorted(plain))}
    of_id = {index: number[token.removeprefix(INSIDE)] for token, index in new.items()}
    read = [[of_id[index] for index in ids] for ids in student.encode_batch(translations)]
    lexicon = word_translations(read, teacher.encode_batch(sources))
    mixtures = lexicon.mixtures(table, len(number))
    mixtures[~mixtures.any(axis=1)] = table.mean(axis=0)  # of words that were not seen
    embeddings = np.zeros((student.vocab_size, table.shape[1]), "float32")
    for token, index in new.items():
        own = known.get(token) if token.isascii() else None
        embeddings[index] = mixtures[of_id[index]] if own is None else table[own]
    return embeddings
