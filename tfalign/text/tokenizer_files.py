"""The files of a tokenizer: tokenizer.json, and what stands beside it in a model's directory.

Read as transformers 5 reads them. Of tokenizer_config.json these entries are used: ``*_token``,
``additional_special_tokens`` and ``extra_special_tokens``, ``added_tokens_decoder``, ``chat_template``,
``clean_up_tokenization_spaces``, and ``add_bos_token`` where tokenizer.json has no post-processor to say
it. Those that would have to agree with tokenizer.json must (``do_lower_case``, ``add_prefix_space``,
``split_special_tokens``); the others only describe, and are kept as they are. special_tokens_map.json
and added_tokens.json count where there is no ``added_tokens_decoder``, chat_template.jinja before
``chat_template``, and of the stop ids generation_config.json before config.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from tfalign import files
from tfalign.text import cores

_TOKENIZER = "tokenizer.json"
_CONFIG = "tokenizer_config.json"  # Hugging Face's names and keys: "eos_token": "<|eos|>"
_GENERATION = "generation_config.json"
_MODEL = "config.json"
_TEMPLATE = "chat_template.jinja"
_TEMPLATES = "chat_templates"  # a folder of further ones
_SPECIAL_MAP, _ADDED = "special_tokens_map.json", "added_tokens.json"
_ROLE_SUFFIX = "_token"
_STANDARD_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_MORE_SPECIAL = ("additional_special_tokens", "extra_special_tokens")
_DECODER = "added_tokens_decoder"
_ROLE_KEYS = tuple(role + _ROLE_SUFFIX for role in _STANDARD_ROLES)
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
_MOST_BYTES = 1 << 30

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


def read(path: str | os.PathLike, special_tokens: Mapping[str, str] | None) -> dict[str, Any]:
    """What ``Tokenizer`` is constructed with.

    Args:
        path: tokenizer.json, or the directory that holds it.
        special_tokens: role to spelling, before what the files say.

    Raises:
        FileNotFoundError: if there is no tokenizer.json.
        ValueError: if a file is not what it should be, or two of them contradict each other.
    """
    path = files.as_path(path)
    file = path / _TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"There is no tokenizer at {file}.")
    text = _text(file)
    core = cores.from_json(text, str(file))
    for token in json.loads(text).get("added_tokens") or ():
        _check_id(core, token["content"], str(token["id"]), f"{file}: the ids of added_tokens")
    try:
        cores.check_size(core)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    directory = file.parent
    config_file = directory / _CONFIG
    config = _with_special_map(directory, read_object(config_file))
    _check_agreement(config, core, config_file)
    _add_tokens(core, config, directory, config_file)
    if special_tokens is None:
        special_tokens = _roles(config, config_file) or _usual_roles(core)
    else:
        config = {key: value for key, value in config.items() if key not in _ROLE_KEYS}
    for key in ("clean_up_tokenization_spaces", "add_bos_token"):
        if not isinstance(config.get(key), (bool, type(None))):
            raise ValueError(
                f"{config_file}: {key} must be true or false. Received: {config[key]!r}"
            )
    templates = _templates(config, directory, config_file)
    return {
        "core": core,
        "special_tokens": special_tokens,
        "chat_template": templates.pop("default", None),
        "clean_up": bool(config.get("clean_up_tokenization_spaces")),
        "stop_ids": read_stop_ids(directory, core),
        "other_templates": templates,
        "settings": config,
        "num_ids": _number_of_ids(directory / _MODEL),
    }


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file's object, {} where there is no file.

    Raises:
        ValueError: if it holds anything else.
    """
    if not file.is_file():
        return {}
    try:
        value = json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{file} must hold a JSON object. Received: {type(value).__name__}")
    return value


def read_stop_ids(directory: Path, core: tokenizers.Tokenizer) -> tuple[int, ...] | None:
    """The ids after which a model of this directory is done, as its ``eos_token_id`` has them.

    Ids that are none of the tokenizer's do not count: configurations keep their class' default.

    Raises:
        ValueError: if ``eos_token_id`` is neither an id nor a list of ids.
    """
    for name in (_GENERATION, _MODEL):
        value = read_object(directory / name).get("eos_token_id")
        ids = value if isinstance(value, list) else [value] * (value is not None)
        if not all(type(token_id) is int and token_id >= 0 for token_id in ids):
            raise ValueError(
                f"{directory / name}: eos_token_id must be an id or a list of ids. Received: {value!r}"
            )
        known = [at for at in ids if at < cores.MOST_TOKENS and core.id_to_token(at) is not None]
        if known:
            return tuple(dict.fromkeys(known))
    return None


def write(directory: str | os.PathLike, tokenizer: Any) -> None:
    """Writes a tokenizer's files: all of them, or, on a full disk, none.

    Raises:
        OSError: if they cannot be written; what was there before is whole.
    """
    directory = files.as_path(directory)
    contents = {
        _TOKENIZER: (tokenizer.to_json(pretty=True)).encode("utf-8"),
        _CONFIG: files.to_json(directory / _CONFIG, _config_of(tokenizer)),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        generation = _generation_of(directory, tokenizer)
        if generation is not None:
            contents[_GENERATION] = files.to_json(directory / _GENERATION, generation)
        _write_together(directory, contents)
        stale = [directory / name for name in (_TEMPLATE, _SPECIAL_MAP, _ADDED)]
        for file in [*stale, *(directory / _TEMPLATES).glob("*.jinja")]:
            file.unlink(missing_ok=True)  # they would come before ours
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno, f"The tokenizer was not written to {directory}: {reason}"
        ) from error


def _write_together(directory, contents):
    if isinstance(directory, files.RemotePath):
        for name, content in contents.items():
            (directory / name).write_bytes(content)
        return
    hidden = {name: files.hidden(directory / name, files.WRITING) for name in contents}
    try:
        for name, content in contents.items():
            files.write_synced(hidden[name], content)
        for name in contents:
            os.replace(hidden[name], directory / name)
    except OSError:
        for file in hidden.values():
            file.unlink(missing_ok=True)
        raise
    files.sync_directory(directory)


def _config_of(tokenizer):
    config = {"tokenizer_class": "PreTrainedTokenizerFast"} | tokenizer.settings
    for role, spelling in tokenizer.special_tokens.items():
        key = role + _ROLE_SUFFIX
        if _spelling(config.get(key)) != spelling:
            config[key] = spelling
    config["clean_up_tokenization_spaces"] = tokenizer.clean_up
    config.pop("chat_template", None)
    named = {"default": tokenizer.chat_template} if tokenizer.chat_template is not None else {}
    named |= tokenizer.other_templates
    if tokenizer.other_templates:
        config["chat_template"] = [{"name": name, "template": named[name]} for name in named]
    elif named:
        config["chat_template"] = tokenizer.chat_template
    return config


def _generation_of(directory, tokenizer):
    """The entries of generation_config.json where it has to say what the tokenizer stops at, else None."""
    said = read_stop_ids(directory, tokenizer.core) or tokenizer.usual_stop_ids
    stops = list(tokenizer.stop_ids)
    if not stops or tuple(stops) == said:
        return None
    entries = read_object(directory / _GENERATION)
    return entries | {"eos_token_id": stops if len(stops) > 1 else stops[0]}


def _text(file):
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{file} has more than {_MOST_BYTES} bytes.")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8: {error}") from None


def _with_special_map(directory, config):
    """The configuration with what an older file says beside it, and says later."""
    return config if _DECODER in config else config | read_object(directory / _SPECIAL_MAP)


def _check_agreement(config, core, file):
    """That settings which stand in tokenizer.json too say the same there."""
    if config.get("split_special_tokens"):
        raise ValueError(
            f"{file}: split_special_tokens is not supported, since a chat template's special tokens"
            f" would be letters. Received: {config['split_special_tokens']!r}"
        )
    components = (core.normalizer, core.pre_tokenizer)
    of_parts = [part for one in components for part in _parts(cores.entries_of(one))]
    for key, kind, name in (
        ("do_lower_case", "BertNormalizer", "lowercase"),
        ("add_prefix_space", "ByteLevel", "add_prefix_space"),
    ):
        said = config.get(key)
        for part in of_parts:
            if said is not None and part["type"] == kind and part[name] != said:
                raise ValueError(
                    f"{file}: {key} contradicts {_TOKENIZER}, whose {kind} has {name}={part[name]}."
                    f" Received: {said!r}"
                )


def _parts(entries):
    if not entries:
        return []
    inner = entries.get("normalizers") or entries.get("pretokenizers")
    return [part for one in inner for part in _parts(one)] if inner else [entries]


def _add_tokens(core, config, directory, file):
    """Gives a core the added tokens that the other files describe, as transformers does."""
    decoder = config.get(_DECODER, {})
    if not isinstance(decoder, dict):
        raise ValueError(f"{file}: {_DECODER} must be an object. Received: {decoder!r}")
    for key, value in decoder.items():
        spelling = _spelling(value) if isinstance(value, dict) else None
        _check_id(core, spelling, key, f"{file}: {_DECODER}")
        flags = {name: bool(value[name]) for name in _FLAGS if name in value}
        core.add_tokens([tokenizers.AddedToken(spelling, **flags)])
    if _DECODER not in config:
        for spelling, token_id in read_object(directory / _ADDED).items():
            _check_id(core, spelling, str(token_id), str(directory / _ADDED))
    for key in _MORE_SPECIAL:
        value = config.get(key) or []
        listed = list(value.values()) if isinstance(value, dict) else value
        if not isinstance(listed, list) or None in map(_spelling, listed):
            raise ValueError(f"{file}: {key} must be a list of tokens. Received: {value!r}")
        for spelling in map(_spelling, listed):
            if core.token_to_id(spelling) is None:
                raise ValueError(f"{file}: {key} must be in the vocabulary. Received: {spelling!r}")
        core.add_special_tokens([_spelling(one) for one in listed])


def _check_id(core, spelling, key, where):
    known = None if spelling is None else core.token_to_id(spelling)
    if known is None or str(known) != key:
        raise ValueError(
            f"{where} must agree with the vocabulary, where {spelling!r} has id {known}."
            f" Received: {key}"
        )


def _spelling(value):
    """A token's spelling: of a string, or of an object that describes it; None for anything else."""
    spelling = value.get("content") if isinstance(value, dict) else value
    return spelling if isinstance(spelling, str) else None


def _roles(config, file):
    roles = {}
    for key, value in config.items():
        role = key.removesuffix(_ROLE_SUFFIX)
        spelling = _spelling(value)
        if role == key or value is None:
            continue
        if spelling is not None:
            roles[role] = spelling
        elif role in _STANDARD_ROLES:
            raise ValueError(f"{file}: {key} must be a token's spelling. Received: {value!r}")
    return roles


def _usual_roles(core):
    added = {token.content for token in core.get_added_tokens_decoder().values() if token.special}
    roles = {}
    for role, spellings in _USUAL_SPELLINGS.items():
        present = [spelling for spelling in spellings if spelling in added]
        if present:
            roles[role] = present[0]
    return roles


def _templates(config, directory, file):
    """Name to chat template, "default" for the one that has no name."""
    value = config.get("chat_template")
    if isinstance(value, str):
        templates = {"default": value}
    else:
        listed = value if value is not None else []
        if not isinstance(listed, list) or not all(map(_is_named_template, listed)):
            raise ValueError(
                f"{file}: chat_template must be a text, or a list of objects with name and template."
                f" Received: {value!r}"
            )
        templates = {one["name"]: one["template"] for one in listed}
    named = sorted((directory / _TEMPLATES).glob("*.jinja"))
    in_files = {one.stem: _text(one) for one in named if one.is_file()}
    if (directory / _TEMPLATE).is_file():
        in_files["default"] = _text(directory / _TEMPLATE)
    return in_files or templates


def _is_named_template(value):
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("name", "template")
    )


def _number_of_ids(file):
    """Rows of the embedding, which may be more than the tokenizer has tokens."""
    size = read_object(file).get("vocab_size")
    return size if type(size) is int else 0
