"""A grammar of pickles made to harm, and dumps of four formats with its words in their places."""

import random
import struct
from typing import Any

import numpy as np

from hostile_files.emit import (
    ADMITTED,
    FORBIDDEN,
    SIZES,
    STORAGES,
    Code,
    archive,
    call,
    emit,
    name,
    number,
    storage,
    tensor,
)

ATOMS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, -0.25, float("nan"), float("inf"), 1e308, "", "a", "u_0_0",
    "\ud800", "\x1b[2J", "q\n'\"", b"", b"\0" * 8, b"latin1", *SIZES,
)  # fmt: skip
KEYS = ("0", "1", "2", "3", "missing", "../data.pkl", "")


class Words:
    """Random words of the grammar; what was remembered may come again."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.remembered = 0

    def any(self, depth: int = 0) -> Code:
        """One object of any kind."""
        kinds = (self.atom, self.atom, self.again, self.tensor, self.given_name, self.call)
        if depth < 4:
            kinds += (self.box, self.box, self.keyed, self.keyed)
        if depth < 2:
            kinds += (self.deep, self.doubling, self.cycle, self.huge, self.noise, self.nested)
        made = self.rng.choice(kinds)
        code = made(depth) if made in (self.box, self.keyed) else made()
        return self.kept(code) if self.rng.random() < 0.3 else code

    def kept(self, code: Code) -> Code:
        """An object that is remembered too."""
        self.remembered += 1
        return Code(code.raw + b"r" + struct.pack("<I", self.remembered))

    def again(self) -> Code:
        """An object that was remembered, or a place of the memo that holds none."""
        place = self.rng.choice((self.remembered, self.rng.randrange(1, 9), 1 << 31, 77))
        return Code(b"j" + struct.pack("<I", place))

    def atom(self) -> Code:
        """A number, a text, bytes or a constant."""
        return Code(emit(self.rng.choice(ATOMS)))

    def box(self, depth: int) -> Code:
        """A list or tuple, by one of the opcodes."""
        inside = b"".join(self.any(depth + 1).raw for _ in range(self.rng.randrange(4)))
        how = self.rng.choice(("list", "tuple", "appends", "frozen", "set", "three"))
        if how == "three":
            return Code(b"N" + b"".join(self.any(depth + 1).raw for _ in range(2)) + b"\x87")
        ends = {"list": (b"(", b"l"), "tuple": (b"(", b"t"), "appends": (b"](", b"e")}
        ends |= {"frozen": (b"(", b"\x91"), "set": (b"\x8f(", b"\x90")}
        return Code(ends[how][0] + inside + ends[how][1])

    def keyed(self, depth: int) -> Code:
        """A dictionary whose keys are anything."""
        count = self.rng.randrange(4)
        inside = b"".join(self.any(depth + 1).raw * 2 for _ in range(count))
        return Code(self.rng.choice((b"}(" + inside + b"u", b"(" + inside + b"d")))

    def deep(self) -> Code:
        """One object in another, up to 10 000 of them; as a key half of the time."""
        count = self.rng.choice((10, 63, 65, 500, 5000, 10_000))
        wrap = self.rng.choice((b"\x85", b"list", b"dict", b"state"))
        if wrap == b"\x85":
            code = b")" + b"\x85" * count
        elif wrap == b"list":
            code = b"](" * count + b"e" * count
        elif wrap == b"dict":
            code = (b"}(" + number(1)) * count + b"N" + b"u" * count
        else:
            opaque = name("torch.Tensor") + b")R"
            code = opaque * min(count, 500) + b"b" * (min(count, 500) - 1)
        return self._maybe_key(code)

    def doubling(self) -> Code:
        """An object that holds the one before twice, up to 80 times."""
        count = self.rng.choice((5, 20, 40, 60, 80))
        how = self.rng.choice((b"tuple", b"list", b"dict"))
        if how == b"tuple":
            return self._maybe_key(b")" + b"2\x86" * count)
        if how == b"list":
            step = b"](j\0\0\1\0j\0\0\1\0er\0\0\1\0"
            return self._maybe_key(b"]r\0\0\1\0" + b"0".join([step] * count))
        step = b"}(" + b"K\1j\0\0\1\0K\2j\0\0\1\0ur\0\0\1\0"
        return Code(b"}r\0\0\1\0" + b"0".join([step] * count))

    def _maybe_key(self, code: bytes) -> Code:
        if self.rng.random() < 0.5:
            return Code(code)
        return Code(self.rng.choice((b"}" + code + b"Ns", b"\x8f(" + code + b"\x90")))

    def cycle(self) -> Code:
        """An object inside of itself."""
        return Code(
            self.rng.choice(
                (b"]r\0\0\2\0j\0\0\2\0a", b"}r\0\0\2\0K\1j\0\0\2\0s", b"](]r\0\0\2\0j\0\0\2\0ae")
            )
        )

    def huge(self) -> Code:
        """A size that no file of this length can hold, or a number of many digits."""
        size = self.rng.choice(SIZES) & 0xFFFFFFFF
        long = self.rng.choice(SIZES) & 0xFFFFFFFFFFFFFFFF
        return Code(
            self.rng.choice(
                (
                    b"X" + struct.pack("<I", size) + b"ab",
                    b"B" + struct.pack("<I", size) + b"ab",
                    b"\x8e" + struct.pack("<Q", long) + b"ab",
                    b"\x8d" + struct.pack("<Q", long) + b"ab",
                    b"\x8b" + struct.pack("<I", size) + b"ab",
                    b"\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000,
                    b"\x8a\xff" + b"\x7f" * 255,
                    b"\x8f" * 3000 + b"N",
                )
            )
        )

    def noise(self) -> Code:
        """Any opcode with any bytes after it."""
        return Code(bytes([self.rng.randrange(256)]) + self.rng.randbytes(self.rng.randrange(6)))

    def given_name(self) -> Code:
        """A global, mostly one that some format admits."""
        known = FORBIDDEN if self.rng.random() < 0.03 else ADMITTED
        kinds = tuple(f"torch.{kind}" for kind in STORAGES)
        return Code(name(self.rng.choice(known + kinds)))

    def call(self) -> Code:
        """Something called, or given a state, with anything."""
        function = self.given_name() if self.rng.random() < 0.9 else self.any(3)
        inside = b"".join(self.any(3).raw for _ in range(self.rng.randrange(5)))
        end = self.rng.choice((b"R", b"R", b"\x81", b"b"))
        return Code(function.raw + b"(" + inside + b"t" + end)

    def size(self) -> Any:
        """Sizes or strides of a tensor."""
        if self.rng.random() < 0.1:
            return self.any(3)
        return tuple(self.rng.choice(SIZES) for _ in range(self.rng.randrange(4)))

    def source(self) -> Any:
        """What a tensor lies over: a storage, or a forged one."""
        kind, key = self.rng.choice(STORAGES), self.rng.choice(KEYS)
        return self.rng.choice(
            (
                storage(key, kind),
                storage("0", "FloatStorage"),
                tensor(storage("0"), (self.rng.choice(SIZES),), (0,), self.rng.choice(SIZES)),
                self.again(),
                (storage("0"), "FloatStorage"),
                Code(emit(("storage", Code(name("torch.Size")), key, "cpu", 1)) + b"Q"),
                Code(emit(("module", kind, key, "cpu", self.rng.choice(SIZES))) + b"Q"),
                Code(self.any(3).raw + b"Q"),
            )
        )

    def tensor(self) -> Code:
        """A tensor, in bounds or not."""
        if self.rng.random() < 0.3:
            n = self.rng.randrange(9)
            return tensor(storage("0"), (n,), (1,), self.rng.randrange(9))
        return tensor(self.source(), self.size(), self.size(), self.rng.choice(SIZES))

    def nested(self) -> Code:
        """A nested tensor, jagged or strided, or a tensor rebuilt by a given function."""
        values, offsets, strides, starts = (
            self.tensor() if self.rng.random() < 0.5 else self._whole() for _ in range(4)
        )
        fields = {"values": values, "offsets": offsets, "lengths": self.rng.choice((None, strides))}
        fields["_ragged_idx"] = self.rng.choice((1, 1, 1, 2, values))
        how = self.rng.randrange(3)
        if how == 0:
            return call("torch.nested._internal.nested_tensor._rebuild_njt", fields)
        if how == 1:
            return call("torch._utils._rebuild_nested_tensor", values, offsets, strides, starts)
        arguments = (storage("0"), 0, (4,), (1,), False, None)
        function = self.rng.choice((Code(name("torch._utils._rebuild_tensor_v2")), self.any(3)))
        return call("torch._tensor._rebuild_from_type_v2", function, None, arguments, None)

    def _whole(self) -> Code:
        """A tensor of whole numbers, some of them out of any bounds."""
        n = self.rng.randrange(1, 6)
        return tensor(storage("3", "LongStorage"), (n,), (1,), self.rng.randrange(3))


def storages(rng: random.Random) -> dict[str, bytes]:
    """Contents of the storages that archives carry."""
    whole = [rng.choice((0, 1, 2, 4, 8, -1, 1 << 40, 1 << 62)) for _ in range(8)]
    return {
        "0": np.linspace(-1, -0.1, rng.choice((1, 9, 250, 1000)), dtype=np.float32).tobytes(),
        "1": rng.randbytes(rng.choice((0, 1, 7, 64))),
        "2": np.arange(16.0).tobytes(),
        "3": np.array(whole, dtype=np.int64).tobytes(),
    }


def spoiled(value: Any, words: Words, share: float) -> Any:
    """Plain data with words of the grammar in the place of some of it."""
    if words.rng.random() < share:
        return words.any(1)
    if isinstance(value, dict):
        return {k: spoiled(v, words, share) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoiled(item, words, share) for item in value)
    return value


def pickle_bytes(value: Any, words: Words) -> bytes:
    """A whole pickle; now and then cut or with a wrong byte."""
    raw = bytearray(b"\x80\x02" + emit(value) + b".")
    if words.rng.random() < 0.1:
        raw[words.rng.randrange(len(raw))] = words.rng.randrange(256)
    if words.rng.random() < 0.03:
        del raw[words.rng.randrange(len(raw)) :]
    return bytes(raw)


def slime_rollout() -> Any:
    """A rollout dump of two groups of two."""
    samples = [
        {
            "group_index": i // 2, "index": i, "prompt": "q", "tokens": [1, 2, 3], "response": "a",
            "response_length": 2, "reward": float(i % 2), "loss_mask": [1, 1],
            "weight_versions": ["3"], "rollout_log_probs": [-0.5, -0.25], "metadata": {"a": [1]},
        }
        for i in range(4)
    ]  # fmt: skip
    return {"rollout_id": 1, "samples": samples}


def slime_train() -> Any:
    """A train dump of the same."""
    logs = tensor(storage("0"), (2,), (1,), 1)
    samples = [
        {
            "rollout_position": i, "response_lengths": 2, "loss_masks": [1, 1], "log_probs": logs,
            "ref_log_probs": logs, "rollout_log_probs": [-0.5, -0.25], "teacher_log_probs": logs,
        }
        for i in range(4)
    ]  # fmt: skip
    return {"format_version": 2, "rollout_id": 1, "samples": samples, "raw_reward": [0.0, 1.0] * 2}


def verl_queue() -> Any:
    """A queue batch of two groups of two, its fields jagged."""
    offsets = tensor(storage("offsets", "LongStorage"), (5,), (1,))
    jagged = {"values": tensor(storage("0"), (8,), (1,), 1), "offsets": offsets, "lengths": None}
    field = call("torch.nested._internal.nested_tensor._rebuild_njt", {**jagged, "_ragged_idx": 1})
    fields = dict.fromkeys(("responses", "response_mask", "rollout_log_probs", "rm_scores"), field)
    made = call("tensordict._reductions._make_td", None, {"_tensordict": fields})
    keys = [f"u{i // 2}_0_{i % 2}" for i in range(4)]
    tags = [{"min_global_steps": 0, "prompt_len": 1} for _ in keys]
    return {"tensordict": made, "tags": tags, "keys": keys, "global_steps": 1}


def skyrl() -> Any:
    """A training input of four rows of two tokens."""

    def array(values: Any, kind: str) -> dict[str, Any]:
        held = np.array(values, dtype=kind)
        return {"format": "numpy", "data": held.tobytes(), "shape": held.shape, "dtype": kind}

    logs = array([[-0.5, -0.25]] * 4, "float32")
    batch = {
        "loss_mask": array([[1, 1]] * 4, "int64"),
        "response_mask": array([[1, 1]] * 4, "bool"),
    }
    batch |= {"rollout_logprobs": logs, "action_log_probs": logs, "base_action_log_probs": None}
    batch["advantages"] = array([[0.5, 0.5], [-0.5, -0.5]] * 2, "float32")
    metadata = {"policy_prompt_boundaries": [(0, 2), (2, 4)], "pad_size": 0}
    return {"batch_dict": batch, "batch_size": 4, "device": "cpu", "metadata": metadata}


def dump(rng: random.Random) -> tuple[str, bytes]:
    """A file name and its content: a dump of one of four formats, or a word alone."""
    words = Words(rng)
    kind = rng.choice(("slime", "train", "queue", "skyrl", "word", "bare"))
    if kind == "bare":
        return "x.pkl", pickle_bytes(words.any(), words)
    share = rng.choice((0.01, 0.03, 0.1, 0.3))
    makers = {"slime": slime_rollout, "train": slime_train, "queue": verl_queue, "skyrl": skyrl}
    whole = Code(words.any().raw) if kind == "word" else makers[kind]()
    value = spoiled(whole, words, share) if kind != "word" else whole
    if kind == "skyrl":
        return "global_step_1_training_input.pkl", pickle_bytes(value, words)
    inside = storages(rng) | {"offsets": np.array([0, 2, 4, 6, 8]).tobytes()}
    names = {"slime": "1.pt", "train": "1.pt", "queue": "tq_batch.pt", "word": "2.pt"}
    return names[kind], archive(pickle_bytes(value, words), inside, rng)
