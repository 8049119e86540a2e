"""The repositories whose configurations are read, and which of them are held back."""

import hashlib
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERL = "verl-project/verl"
TRL = "huggingface/trl"


@dataclass(frozen=True)
class Repository:
    """A public repository; its checkout is the folder ``owner+name``.

    Attributes:
        name: ``owner/name``.
        most: Files that are taken of it, in the order of a hash of their paths.
        verl: Revision of verl that it runs with, where its checkout has none of its own;
            ``required``: each recipe's own REQUIRED_VERL.txt says it.
    """

    name: str
    most: int = 20
    verl: str = ""

    @property
    def folder(self) -> str:
        """Its checkout's name."""
        return self.name.replace("/", "+")

    @property
    def held_back(self) -> bool:
        """Whether it is one of the one in four that nobody looks at until the end."""
        return held_back(self.name)


def held_back(name: str) -> bool:
    """One repository in four, by a hash of its name: declared before any result was seen."""
    return int(hashlib.sha256(name.lower().encode()).hexdigest(), 16) % 4 == 0


REPOSITORIES = (
    Repository("verl-project/verl", 150),
    Repository("NVIDIA-NeMo/RL", 80),
    Repository("verl-project/verl-recipe", 60, verl="required"),
    Repository("OpenRLHF/OpenRLHF", 30),
    Repository("huggingface/trl"),
    Repository("huggingface/open-r1"),
    Repository("huggingface/alignment-handbook", 30),
    Repository("huggingface/smollm"),
    Repository("knoveleng/open-rs"),
    Repository("om-ai-lab/VLM-R1"),
    Repository("volcengine/verl", 20),
    Repository("eric-haibin-lin/verl", 15),
    Repository("sunblaze-ucb/Intuitor", 15),
    Repository("Jiayi-Pan/TinyZero", 20),
    Repository("PeterGriffinJin/Search-R1"),
    Repository("Unakar/Logic-RL"),
    Repository("rllm-org/rllm", verl="v0.8.0"),
    Repository("agentica-project/rllm"),
    Repository("agentica-project/deepscaler"),
    Repository("hkust-nlp/simpleRL-reason"),
    Repository("BytedTsinghua-SIA/DAPO"),
    Repository("PRIME-RL/PRIME"),
    Repository("PRIME-RL/TTRL"),
    Repository("PRIME-RL/Entropy-Mechanism-of-RL"),
    Repository("RAGEN-AI/RAGEN", verl="1e47e412a441bae8cd1152888f6822871f95dec5"),
    Repository("hiyouga/EasyR1"),
    Repository("TIGER-AI-Lab/verl-tool"),
    Repository("LeapLabTHU/Absolute-Zero-Reasoner"),
    Repository("ganler/code-r1"),
    Repository("ElliottYan/LUFFY"),
    Repository("SkyworkAI/Skywork-OR1"),
    Repository("GAIR-NLP/ToRL"),
    Repository("GAIR-NLP/DeepResearcher"),
    Repository("cmu-l3/l1"),
    Repository("ypwang61/One-Shot-RLVR"),
    Repository("Alibaba-NLP/ZeroSearch"),
    Repository("dongguanting/ARPO"),
    Repository("ChenxinAn-fdu/POLARIS"),
    Repository("NVlabs/Tool-N1"),
    Repository("qiancheng0/ToolRL"),
    Repository("OpenManus/OpenManus-RL"),
    Repository("TideDra/lmm-r1"),
    Repository("RUCAIBox/R1-Searcher"),
    Repository("TsinghuaC3I/MARTI"),
    Repository("ModalMinds/MM-EUREKA"),
    Repository("Open-Reasoner-Zero/Open-Reasoner-Zero"),
)


def commit_of(checkout: Path) -> str:
    """The commit that a checkout is of."""
    return _git(checkout, "rev-parse", "HEAD").strip()


def files_of(checkout: Path) -> list[str]:
    """Its tracked files that are there, in the order of a hash of their paths."""
    names = _git(checkout, "ls-files").splitlines()
    there = [name for name in names if (checkout / name).is_file()]
    return sorted(there, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def revision(checkout: Path, wanted: str) -> str:
    """A revision that is in the checkout's history; its commit where the wanted one is not."""
    done = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "-q", "--verify", f"{wanted}^{{commit}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or commit_of(checkout)


def required(recipe: Path) -> str:
    """The revision of verl that a recipe of verl-recipe asks for; empty if it says none."""
    path = recipe / "REQUIRED_VERL.txt"
    if not path.is_file():
        return ""
    said = dict(re.findall(r"^(\w+)=(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    names = "VERL_COMMIT COMMIT ROLLING_VERL_COMMIT OPTION_B_VERL_COMMIT REPRODUCTION_COMMIT TAG"
    return next((said[name] for name in [*names.split(), "REFERENCE_COMMIT"] if name in said), "")


def _git(checkout: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), *words], capture_output=True, text=True, check=True
    )
    return done.stdout
