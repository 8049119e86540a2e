"""Loading models: tod:// names, directories and hub ids, from safetensors only."""

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from tod.base import ModelError
from tod.base.extras import load, require
from tod.engine.lora import LoraSpec

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
_DROPOUTS = ("dropout", "pdrop")  # how configs name the probabilities of dropout


def load_model(
    name_or_path: str,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    lora: LoraSpec | None = None,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer.

    ``tod://NAME`` is an embedded model, an existing directory is read from disk (of a run's
    directory the trained model), anything else is a hub id (from the local cache or the network).
    Only safetensors are read and no code of the model's repository runs. Dropout is set to 0, so
    that a forward in training mode gives the probabilities that were sampled. The model comes in
    evaluation mode; a tokenizer without padding token pads with its end-of-sequence token, and no
    embedding is added.

    Raises:
        ModelError: The model is not there, needs a network that is not there, has no
            safetensors, or cannot be loaded as a causal language model.
        MissingPackage: ``lora`` is given and peft is not installed.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if lora is not None:
        require("peft")
    source, options = _source(name_or_path, revision)
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is not known. Use one of {', '.join(DTYPES)}.")
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
        _without_dropout(config)
        model, loaded = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except _UNREADABLE as error:
        raise _explained(name_or_path, source, error) from error
    if loaded["missing_keys"]:
        first = ", ".join(sorted(loaded["missing_keys"])[:3])
        raise ModelError(
            f"model {name_or_path!r} lacks {len(loaded['missing_keys'])} of its weights ({first}, "
            "…): they would be random. Copy the complete model, every .safetensors part included."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    if lora is not None:
        model = _with_lora(model, lora)
    return model.to(device).eval(), tokenizer


def load_tokenizer(name_or_path: str, revision: str | None = None) -> Any:
    """The tokenizer of a model, without the model. Errors as in ``load_model``."""
    from transformers import AutoTokenizer

    source, options = _source(name_or_path, revision)
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False, **options)
    except _UNREADABLE as error:
        raise _explained(name_or_path, source, error) from error


def skeleton(name_or_path: str, lora: LoraSpec | None = None, revision: str | None = None) -> Any:
    """The model without its weights, on the ``meta`` device. Errors as in ``load_model``."""
    from transformers import AutoConfig, AutoModelForCausalLM

    source, options = _source(name_or_path, revision)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **options)
    except _UNREADABLE as error:
        raise _explained(name_or_path, source, error) from error
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        return model if lora is None else _with_lora(model, lora)


def shapes(name_or_path: str) -> Any:
    """The model without its weights but with its generation settings, which name what ends a text.

    Errors as in ``load_model``.
    """
    from transformers import GenerationConfig

    model = skeleton(name_or_path)
    source, options = _source(name_or_path, None)
    try:
        model.generation_config = GenerationConfig.from_pretrained(source, **options)
    except OSError:  # it has none: its config alone says what ends a text
        return model
    return model


def plain(model: Any) -> Any:
    """The transformers model inside adapters (their weights stay in place) and wrappers."""
    while isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(model: Any) -> Any:
    """The sizes of the decoder, which writes the text."""
    return plain(model).config.get_text_config(decoder=True)


def context_length(model: Any) -> int | None:
    """Most tokens the model can hold, prompt and completion together; None if it names no limit."""
    limit = getattr(text_config(model), "max_position_embeddings", None)
    return None if limit is None else int(limit)


def eos_ids(model: Any, tokenizer: Any = None) -> tuple[int, ...]:
    """Every token that ends a completion: the tokenizer's and those of the model's settings."""
    found: set[int] = set()
    for owner in (tokenizer, getattr(model, "generation_config", None), model.config):
        value = getattr(owner, "eos_token_id", None)
        found.update(
            value if isinstance(value, list | tuple) else () if value is None else (value,)
        )
    return tuple(sorted(int(token) for token in found))


def pad_id(model: Any, tokenizer: Any = None) -> int:
    """The token that fills space which is never attended to; 0 when nobody names one."""
    for owner in (tokenizer, model.config):
        value = getattr(owner, "pad_token_id", None)
        if value is not None:
            return int(value)
    ends = eos_ids(model, tokenizer)
    return ends[0] if ends else 0


def _source(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """What to hand to transformers, and its options."""
    if name.startswith("tod://"):
        from tod.engine import tiny

        return str(tiny.path(name)), {"local_files_only": True}
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(_of_run(name, folder)), {"local_files_only": True}
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or folder.exists():
        what = "is a file" if folder.exists() else "does not exist"
        raise ModelError(
            f"model path {name!r} {what} (looked at {folder.absolute()}): a model is a directory "
            "with config.json, safetensors and a tokenizer. Check the path, or use tod://tiny."
        )
    return name, {} if revision is None else {"revision": revision}


def _of_run(name: str, folder: Path) -> Path:
    """The folder, or the trained model that a run directory holds in ``model/``."""
    if not (folder / "manifest.json").exists() or (folder / "config.json").exists():
        return folder
    if not (folder / "model" / "config.json").exists():
        raise ModelError(
            f"model {name!r} is a run directory without {folder / 'model'}: a run that trains "
            f"writes it at its end. Finish that one with `tod run … --resume`, or check the path."
        )
    return folder / "model"


def _explained(name: str, source: str, error: Exception) -> ModelError:
    """One readable error: what was tried, why it failed, the way out."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    folder = Path(source)
    if folder.is_dir():
        pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt*")
        )
        if pickles and not list(folder.glob("*.safetensors")):
            return ModelError(
                f"model {name!r} has {pickles[0]} but no .safetensors: pickled weights can run "
                "code when loaded and are never read. Convert them: load in a place you trust and "
                "`model.save_pretrained(path)`."
            )
        return ModelError(
            f"model {name!r} in {folder} cannot be loaded as a causal language model: {reason} "
            "It needs config.json, .safetensors and tokenizer files."
        )
    return ModelError(
        f"model {name!r} is not a local directory and could not be taken from the hub's cache on "
        f"this machine or from the network: {reason} Check the id, connect once to download it "
        "(unset HF_HUB_OFFLINE), give the path of a local copy, or use tod://tiny."
    )


def _without_dropout(config: Any) -> None:
    """Set every dropout probability of a config and of its parts to 0."""
    for key, value in vars(config).items():
        if isinstance(value, float) and any(word in key for word in _DROPOUTS):
            setattr(config, key, 0.0)
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            _without_dropout(value)


def _with_lora(model: Any, spec: LoraSpec) -> Any:
    peft = load("peft")
    targets = spec.target_modules
    config = peft.LoraConfig(
        r=spec.rank,
        lora_alpha=2 * spec.rank if spec.alpha is None else spec.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # peft asks for an attribute that transformers has renamed
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        torch.manual_seed(spec.seed)
        try:
            return peft.get_peft_model(model, config)
        except ValueError as error:
            known = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if _linear(m)})
            raise ModelError(
                f"LoRA target_modules={targets!r} do not fit this model: "
                f"{str(error).splitlines()[0]} Linear modules here: {', '.join(known)}."
            ) from error


def _linear(module: Any) -> bool:
    return getattr(getattr(module, "weight", None), "ndim", 0) == 2 and not isinstance(
        module, torch.nn.Embedding
    )
