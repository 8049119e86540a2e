"""Prompts as text and as token ids: chat templates, and the model's context as a limit."""

from typing import Any

from tod.base import DataError
from tod.engine.data.task import Example, Prompt


def prompt_text(prompt: Prompt, tokenizer: Any) -> str:
    """The text that a model sees: messages through the chat template, plain text as it is.

    A last message of the assistant is continued rather than answered. A tokenizer without a
    template gets the contents of the messages, a line each.
    """
    if isinstance(prompt, str):
        return prompt
    if getattr(tokenizer, "chat_template", None) is None:
        return "\n".join(str(message["content"]) for message in prompt)
    continued = prompt[-1]["role"] == "assistant"
    return str(
        tokenizer.apply_chat_template(
            prompt,
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
        )
    )


def prompt_ids(prompt: Prompt, tokenizer: Any) -> list[int]:
    """Token ids of `prompt_text`; special tokens are added to plain text only.

    A chat template already writes the special tokens it wants.
    """
    templated = (
        not isinstance(prompt, str) and getattr(tokenizer, "chat_template", None) is not None
    )
    encoded = tokenizer(prompt_text(prompt, tokenizer), add_special_tokens=not templated)
    return list(encoded["input_ids"])


def fitting_ids(example: Example, tokenizer: Any, longest: int) -> list[int]:
    """Token ids of an example, refused when there are more than ``longest``.

    Raises:
        DataError: The prompt is empty, or does not fit; the example and both lengths are named.
    """
    ids = prompt_ids(example.prompt, tokenizer)
    if not ids:
        raise DataError(
            f"example {example.id}: the prompt has no tokens, so there is nothing to continue. "
            "Remove the row, or use a tokenizer that adds a first token."
        )
    if longest < 1:
        raise DataError(
            f"`max_new_tokens` fills the model's whole context and {1 - longest} beyond it: no "
            "prompt fits beside it. Lower `operator.proposal.max_new_tokens`."
        )
    if len(ids) > longest:
        raise DataError(
            f"example {example.id}: its prompt has {len(ids)} tokens and at most {longest} fit "
            "(the model's context less the new tokens). Shorten or remove the row, lower "
            f"`max_new_tokens`, or use a model with a longer context. It begins: "
            f"{prompt_text(example.prompt, tokenizer)[:60]!r}"
        )
    return ids


def unknown_message(example: Example, tokenizer: Any, count: int) -> str:
    """What to say of a prompt with ``count`` tokens that the tokenizer does not know."""
    text = prompt_text(example.prompt, tokenizer)
    strange = [c for c in dict.fromkeys(text) if not _knows(tokenizer, c)]
    what = ", ".join(map(repr, strange[:5])) or "some of it"
    return (
        f"example {example.id}: the tokenizer does not know {what} and reads {count} tokens of the "
        f"prompt as {tokenizer.unk_token!r}, in {text[:60]!r}. The model sees no difference "
        "between such characters: use a model whose tokenizer knows them, or other prompts. "
        "(Said once.)"
    )


def _knows(tokenizer: Any, text: str) -> bool:
    return tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"]
