"""The peers' side of ``spellings``, called by ``transformers_side.py``: FOLDER/spellings and
FOLDER/adapter_spellings, each a folder per case with the directory and, in theirs.npz, what was computed
or why it could not be."""

import json
import pathlib
import shutil

import numpy as np
import peft
import spellings
import torch
import transformers

IDS = np.random.default_rng(0).integers(2, spellings.V, size=(2, 12))


def write(folder):
    for base, (name, sizes) in spellings.BASES.items():
        _random_model(name, sizes).save_pretrained(folder / "bases" / base)
    for case, (base, changes) in spellings.CASES.items():
        directory = folder / "spellings" / case / "theirs"
        shutil.copytree(folder / "bases" / base, directory)
        _edit(directory / "config.json", changes)
        kind = getattr(transformers, spellings.BASES[base][0])
        np.savez(directory.parent / "theirs.npz", ids=IDS, **_outcome(_compute, kind, directory))
    _write_adapters(folder)


def _write_adapters(folder):
    base = folder / "bases" / "llama"
    kind = transformers.LlamaForCausalLM
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(kind.from_pretrained(base), config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder / "adapter")
    for case, changes in spellings.ADAPTERS.items():
        directory = folder / "adapter_spellings" / case / "theirs"
        shutil.copytree(folder / "adapter", directory)
        _edit(directory / "adapter_config.json", changes)

        def load(place):
            return peft.PeftModel.from_pretrained(kind.from_pretrained(base), place)

        np.savez(
            directory.parent / "theirs.npz",
            ids=IDS,
            **_outcome(lambda place: _logits(load(place)), directory),
        )


def _random_model(name, sizes):
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def _edit(file: pathlib.Path, changes):
    entries = json.loads(file.read_text()) | changes
    kept = {key: value for key, value in entries.items() if value != spellings.REMOVE}
    file.write_text(json.dumps(kept))


def _compute(kind, directory):
    # other implementations leave Gemma 2's soft caps out
    model, report = kind.from_pretrained(
        directory, output_loading_info=True, attn_implementation="eager"
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise ValueError(f"weights are made up: {report}")
    return _logits(model)


def _logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor(IDS))[0].float().numpy()


def _outcome(function, *arguments):
    try:
        return {"output": function(*arguments)}
    except Exception as error:  # noqa: BLE001  # whatever it is, there is nothing to compare with
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}
