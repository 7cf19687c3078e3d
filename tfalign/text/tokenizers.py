"""Tokenizers with explicit special tokens, over the ``tokenizers`` library.

Byte-level BPE (Radford et al. 2019, section 2.2) loses nothing: ``decode(encode(text)) == text`` for
every Unicode string. WordPiece (Devlin et al. 2019) is BERT's, and loses case and spacing.

A special token is known by its role ("pad", "bos", "eos", "unk", "cls", "sep", "mask", or any role
of your own), and is written by whoever builds the sequence, never found in somebody's text: a user
who types ``<|eos|>`` gets its letters.
"""

from __future__ import annotations

import collections
import json
import types
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from tfalign.text.chat import read_template
from tfalign.text.special_ids import SpecialIds

BYTE_BPE_SPECIAL_TOKENS = types.MappingProxyType(
    {"pad": "<|pad|>", "bos": "<|bos|>", "eos": "<|eos|>"}
)
WORD_PIECE_SPECIAL_TOKENS = types.MappingProxyType(
    {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
)
WORD_SPECIAL_TOKENS = types.MappingProxyType({"eos": "<eos>", "unk": "<unk>"})

_TOKENIZER_FILE = "tokenizer.json"
_ROLES_FILE = "tokenizer_config.json"  # Hugging Face's name and keys: "eos_token": "<|eos|>"
_TEMPLATE_FILE = "chat_template.jinja"  # or "chat_template" in that file
_ROLE_SUFFIX = "_token"

# What a tokenizer.json without a roles file calls its special tokens; the first one present wins.
_USUAL_SPELLINGS = {
    "pad": ("<|pad|>", "[PAD]", "<pad>"),
    "bos": ("<|bos|>", "<s>", "<bos>", "<|endoftext|>"),
    "eos": ("<|eos|>", "</s>", "<eos>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
}

# Han characters and full-width punctuation stand without spaces between them.
_SPACE_BEFORE_HAN = tokenizers.Regex(r"^ (?=[\p{Han}\x{3000}-\x{303f}\x{ff00}-\x{ffef}])")
_REPLACEMENT = "\ufffd"
# What loses its spaces, one after the other, when a decoded text is cleaned up as transformers does.
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
_NO_WORD = "\0"  # before a word, makes it one that texts do not have
_INSIDE_WORD = "##"  # begins a WordPiece token that does not begin a word


class Tokenizer(SpecialIds):
    """A ``tokenizers.Tokenizer`` whose special tokens have roles.

    Args:
        core: ``tokenizers.Tokenizer``; the wrapper keeps a copy of its own.
        special_tokens: mapping of role to spelling, for instance ``{"eos": "<|eos|>"}``. A "pad"
            spelled like the "eos" is taken as absent, since it would hide where a text ends.
        chat_template: str, the Jinja source that writes conversations, see ``text.chat``; None for none.
        clean_up: bool, whether ``decode`` takes out spaces before punctuation and within English
            contractions ("clean_up_tokenization_spaces" of transformers); text is lost by it.

    Attributes:
        special_tokens, special_ids: mappings of role to spelling, and of role to id.
        special_spellings: frozenset of str, those of all special tokens, of a role or not.
        vocab_size: int, one more than the largest id.

    Raises:
        ValueError: if a special token is not in the vocabulary, or plain text can produce it.

    >>> tokenizer = train_byte_bpe(["hello world", "你好，世界"], vocab_size=300)
    >>> tokenizer.decode(tokenizer.encode("世界 <|eos|>"))
    '世界 <|eos|>'
    >>> tokenizer.encode("", eos=True) == [tokenizer.eos_id]
    True
    """

    def __init__(self, core, special_tokens, chat_template=None, clean_up=False):
        roles = dict(special_tokens)
        if "eos" in roles and roles.get("pad") == roles["eos"]:
            del roles["pad"]
        for role, spelling in roles.items():
            if core.token_to_id(spelling) is None:
                raise ValueError(
                    f"The {role} token must be in the vocabulary. Received: {spelling!r}"
                )
        self._special = _copy(core)
        self._special.add_special_tokens(list(roles.values()))
        self._special.no_padding()
        self._special.no_truncation()
        self._special.encode_special_tokens = False
        added = self._special.get_added_tokens_decoder().items()
        special = {token_id: token.content for token_id, token in added if token.special}
        self._skipped = frozenset(special)
        self.special_spellings = frozenset(special.values())
        self._plain = _without_words(self._special, self.special_spellings - {roles.get("unk")})
        self._plain.encode_special_tokens = True
        self.chat_template = chat_template
        self.clean_up = clean_up
        self.special_tokens = types.MappingProxyType(roles)
        self.special_ids = types.MappingProxyType(
            {role: core.token_to_id(spelling) for role, spelling in roles.items()}
        )
        # Rows that an embedding needs; ids of a published vocabulary may have gaps.
        self.vocab_size = max(self._special.get_vocab().values()) + 1
        self._check_plain_text_is_plain()

    def is_special(self, token_id):
        """bool, whether ``decode`` leaves the token out."""
        return token_id in self._skipped

    def encode(self, text, bos=False, eos=False, allow_special=False):
        """Text to ids.

        Args:
            text: str.
            bos: bool, put the "bos" token in front.
            eos: bool, put the "eos" token behind.
            allow_special: bool, read the spelling of a special token as that token. Only for text
                that the program itself wrote: in a user's text it would let the user end a turn.

        Returns:
            list of int.

        Raises:
            ValueError: if the text holds half a surrogate pair, or the token asked for is absent.
        """
        return self.encode_batch([text], bos, eos, allow_special)[0]

    def encode_batch(self, texts, bos=False, eos=False, allow_special=False):
        """``encode`` of many texts, on all cores. Returns a list of lists of int."""
        texts = list(texts)
        head = [self._required("bos")] if bos else []
        tail = [self._required("eos")] if eos else []
        core = self._special if allow_special else self._plain
        try:
            encodings = core.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            raise ValueError(_why_not_text(texts)) from None
        return [head + encoding.ids + tail for encoding in encodings]

    def encode_located(self, text):
        """Ids of a text whose special tokens count as such, and where in it each token begins.

        Returns:
            (list of int, list of int); for text that a program wrote, as ``text.chat`` does.
        """
        encoding = self._special.encode(text, add_special_tokens=False)
        return encoding.ids, [start for start, _ in encoding.offsets]

    def decode(self, ids, skip_special=True):
        """Ids (ints, or an integer array) to str; bytes that are not UTF-8 become U+FFFD."""
        return self.decode_batch([ids], skip_special)[0]

    def decode_batch(self, rows, skip_special=True):
        """``decode`` of many rows, on all cores. Returns a list of str."""
        rows = [[int(i) for i in row] for row in rows]
        texts = self._special.decode_batch(rows, skip_special_tokens=skip_special)
        return [_without_spaces(text) for text in texts] if self.clean_up else texts

    def token(self, token_id):
        """str, the vocabulary's spelling of the id, or None where there is none."""
        return self._special.id_to_token(int(token_id))

    def to_json(self):
        """str, what tokenizer.json would hold."""
        return self._special.to_str()

    def save(self, directory):
        """Writes ``tokenizer.json`` and the roles into ``directory``, as transformers reads them."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        roles = {role + _ROLE_SUFFIX: spelling for role, spelling in self.special_tokens.items()}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
        config["clean_up_tokenization_spaces"] = self.clean_up
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        (directory / _TEMPLATE_FILE).unlink(missing_ok=True)  # it would come before ours
        (directory / _TOKENIZER_FILE).write_text(
            self._special.to_str(pretty=True), encoding="utf-8", newline="\n"
        )
        (directory / _ROLES_FILE).write_text(
            json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n"
        )

    @classmethod
    def load(cls, path, special_tokens=None):
        """Reads a ``tokenizer.json``, of ours or anybody's.

        Args:
            path: the file, or the directory that holds it.
            special_tokens: mapping of role to spelling; by default what ``tokenizer_config.json``
                beside it says, else the usual spellings among its special tokens.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a tokenizer.
        """
        path = Path(path)
        file = path / _TOKENIZER_FILE if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"There is no tokenizer at {file}.")
        try:
            core = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # noqa: BLE001 (the library raises no narrower one)
            raise ValueError(f"{file} is not a tokenizer.json: {error}") from None
        config = _read_config(file.with_name(_ROLES_FILE))
        if special_tokens is None:
            special_tokens = _roles(config) or _usual_roles(core)
        template = read_template(config, file.with_name(_TEMPLATE_FILE))
        clean_up = bool(config.get("clean_up_tokenization_spaces"))
        return cls(core, special_tokens, template, clean_up)

    def _required(self, role):
        if role not in self.special_ids:
            known = ", ".join(self.special_ids) or "none"
            raise ValueError(f"The tokenizer has no {role} token. Received roles: {known}")
        return self.special_ids[role]

    def _check_plain_text_is_plain(self):
        for role, token_id in self.special_ids.items():
            spelling = self.special_tokens[role]
            if role != "unk" and (spelling.isalnum() or token_id in self.encode(spelling)):
                raise ValueError(
                    f"The {role} token must not be a word that plain text can hold; use brackets "
                    f"around letters, as in '<|eos|>'. Received: {spelling!r}"
                )


class StreamDecoder:
    """Text out of tokens as they come, never half a character.

    What ``push`` returned so far, and ``flush`` at the end, add up to ``tokenizer.decode`` of all, if
    that does not clean up.

    >>> tokenizer = train_byte_bpe(["a"], vocab_size=259)
    >>> stream = StreamDecoder(tokenizer)
    >>> [stream.push(token_id) for token_id in tokenizer.encode("好!")]
    ['', '', '好', '!']
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        self._window = []  # ids whose text is not all out, after one whose text is
        self._num_shown = 0  # characters of the window's text that are out

    def push(self, token_id):
        """Takes the next token. Returns str, the further text that is now certain, often ''."""
        token_id = int(token_id)
        if self._tokenizer.is_special(token_id):
            return ""
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        certain = text.rstrip(_REPLACEMENT)  # it may be the start of a character
        fresh = certain[self._num_shown :]
        self._num_shown = max(self._num_shown, len(certain))
        if certain == text:
            # A decoder may treat the very first token on its own, so one stays as context.
            self._window = [token_id]
            self._num_shown = len(self._tokenizer.decode(self._window))
        return fresh

    def flush(self):
        """Ends the text. Returns str, what was held back, U+FFFD for broken characters."""
        rest = self._tokenizer.decode(self._window)[self._num_shown :]
        self._window, self._num_shown = [], 0
        return rest


def train_byte_bpe(texts, vocab_size, special_tokens=BYTE_BPE_SPECIAL_TOKENS):
    """Learns a byte-level BPE, GPT-2's kind. The same texts give the same tokenizer.

    Args:
        texts: iterable of str.
        vocab_size: int, at least 256 and the special tokens; little text may not fill it.
        special_tokens: mapping of role to spelling; they get the ids 0, 1, ... in its order.

    Returns:
        Tokenizer.
    """
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(
            f"A byte-level vocabulary holds 256 bytes and {len(special_tokens)} special tokens, so "
            f"vocab_size must be at least {smallest}. Received: vocab_size={vocab_size}"
        )
    core = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,  # a pair seen once is no pattern
        special_tokens=_distinct(special_tokens),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return Tokenizer(core, special_tokens)


def train_word_piece(texts, vocab_size, special_tokens=WORD_PIECE_SPECIAL_TOKENS, lower_case=True):
    """Learns a WordPiece vocabulary, BERT's kind. The same texts give the same tokenizer.

    Args:
        texts: iterable of str.
        vocab_size: int; little text may not fill it, and many characters may exceed it.
        special_tokens: mapping of role to spelling, "unk" among them; ids 0, 1, ... in its order.
        lower_case: bool, lower-case the text and strip its accents first.

    Returns:
        Tokenizer.
    """
    texts = list(texts)
    unk = _required_unk(special_tokens)
    core = _word_piece(unk, lower_case)
    # The library numbers the characters inside words in the order of a randomised hash, and breaks
    # ties by these numbers. Listed in order as special tokens, they get theirs from us; the vocabulary
    # alone is kept, and there they are ordinary.
    inner = sorted({_INSIDE_WORD + character for character in _inner_characters(core, texts)})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=_distinct(special_tokens) + inner,
        continuing_subword_prefix=_INSIDE_WORD,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    vocab = core.get_vocab(with_added_tokens=False)
    return Tokenizer(_word_piece(unk, lower_case, vocab), special_tokens)


def train_words(texts, vocab_size=None, special_tokens=WORD_SPECIAL_TOKENS):
    """The words of texts that come tokenised, separated by white space, the most frequent first.

    Args:
        texts: iterable of str.
        vocab_size: int, special tokens included; None for all words.
        special_tokens: mapping of role to spelling, "unk" among them; ids 0, 1, ... in its order.

    Returns:
        Tokenizer.
    """
    counts = collections.Counter(word for text in texts for word in text.split())
    core = _word_level(counts, vocab_size, special_tokens)
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenizer(core, special_tokens)


def train_characters(texts, special_tokens=WORD_SPECIAL_TOKENS):
    """The characters of texts, the most frequent first; arguments as for ``train_words``."""
    counts = collections.Counter()
    for text in texts:
        counts.update(text)
    core = _word_level(counts, None, special_tokens)
    core.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    return Tokenizer(core, special_tokens)


def read_byte_bpe(vocab_file, merges_file, special_tokens):
    """A published byte-level BPE: ``encoder.json`` and ``vocab.bpe`` in GPT-2's format."""
    core = _byte_level(models.BPE.from_file(str(vocab_file), str(merges_file)))
    return Tokenizer(core, special_tokens)


def read_word_piece(vocab_file, special_tokens=WORD_PIECE_SPECIAL_TOKENS, lower_case=True):
    """A published WordPiece vocabulary: ``vocab.txt`` in BERT's format, one token a line."""
    vocab = models.WordPiece.read_file(str(vocab_file))
    return Tokenizer(_word_piece(_required_unk(special_tokens), lower_case, vocab), special_tokens)


def _byte_level(model):
    core = tokenizers.Tokenizer(model)
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return core


def _word_piece(unk, lower_case, vocab=None):
    model = models.WordPiece(vocab or {}, unk_token=unk, max_input_chars_per_word=100)
    core = tokenizers.Tokenizer(model)
    core.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=_INSIDE_WORD, cleanup=True),
            decoders.Replace(_SPACE_BEFORE_HAN, ""),
        ]
    )
    return core


def _word_level(counts, vocab_size, special_tokens):
    unk = _required_unk(special_tokens)
    special = _distinct(special_tokens)
    words = sorted(counts.keys() - set(special), key=lambda word: (-counts[word], word))
    vocab = {token: index for index, token in enumerate([*special, *words][:vocab_size])}
    return tokenizers.Tokenizer(models.WordLevel(vocab, unk_token=unk))


def _inner_characters(core, texts):
    """set of str, characters that some word has after its first."""
    inner = set()
    for text in texts:
        for word, _ in core.pre_tokenizer.pre_tokenize_str(core.normalizer.normalize_str(text)):
            inner.update(word[1:])
    return inner


def _required_unk(special_tokens):
    if "unk" not in special_tokens:
        raise ValueError(
            "An unk token is needed for words outside the vocabulary. "
            f"Received roles: {', '.join(special_tokens) or 'none'}"
        )
    return special_tokens["unk"]


def _distinct(special_tokens):
    spellings = list(special_tokens.values())
    if len(set(spellings)) < len(spellings):
        raise ValueError(
            "Each special token needs a spelling of its own; a pad that is also eos hides where a "
            f"text ends. Received: {dict(special_tokens)}"
        )
    return spellings


def _copy(core):
    return tokenizers.Tokenizer.from_str(core.to_str())


def _without_words(core, spellings):
    """A copy whose model does not have these words, if it is of a kind that finds whole words in a
    text; their ids stay taken."""
    entries = json.loads(core.to_str())
    model = entries["model"]
    spellings = spellings - {model.get("unk_token")}
    if model["type"] == "Unigram":  # a list of pieces with their log-probabilities
        hidden = spellings & {piece for piece, _ in model["vocab"]}
        model["vocab"] = [[_hide(piece, hidden), score] for piece, score in model["vocab"]]
    elif model["type"] in ("WordLevel", "WordPiece"):
        hidden = spellings & model["vocab"].keys()
        model["vocab"] = {_hide(word, hidden): at for word, at in model["vocab"].items()}
    else:
        return _copy(core)
    entries["added_tokens"] = [
        token for token in entries["added_tokens"] if token["content"] not in hidden
    ]
    return tokenizers.Tokenizer.from_str(json.dumps(entries))


def _hide(word, hidden):
    return _NO_WORD + word if word in hidden else word


def _without_spaces(text):
    for spaced in _SPACED:
        text = text.replace(spaced, spaced.strip())
    return text


def _read_config(file):
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _roles(config):
    roles = {}
    for key, value in config.items():
        spelling = value.get("content") if isinstance(value, dict) else value
        if key.endswith(_ROLE_SUFFIX) and isinstance(spelling, str):
            roles[key[: -len(_ROLE_SUFFIX)]] = spelling
    return roles


def _usual_roles(core):
    added = {token.content for token in core.get_added_tokens_decoder().values() if token.special}
    roles = {}
    for role, spellings in _USUAL_SPELLINGS.items():
        present = [spelling for spelling in spellings if spelling in added]
        if present:
            roles[role] = present[0]
    return roles


def _why_not_text(texts):
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return f"Text {index} must be a str. Received: {type(text).__name__}"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return (
                f"Text {index} is not Unicode text: half a surrogate pair at character "
                f"{error.start}. Received: {text[error.start : error.start + 1]!a}"
            )
    return "The texts cannot be encoded."
