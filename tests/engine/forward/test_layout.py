import peft
import pytest
import torch
import transformers as hf

from tod.base import ModelError, SpecError
from tod.engine.forward import model_parts
from tod.engine.forward.layout import LAYOUTS, choose, refusal
from tod.engine.forward.log_probs import token_log_probs

SERVED = {
    "llama": ["packed", "shared_prompt", "rows"],
    "qwen3": ["packed", "shared_prompt", "rows"],
    "mistral": ["packed", "shared_prompt", "rows"],
    "gemma3": ["packed", "shared_prompt", "rows"],
    "gemma2": ["shared_prompt", "rows"],
    "gpt2": ["packed", "shared_prompt", "rows"],
}
PAIRS = [(family, layout) for family, layouts in SERVED.items() for layout in layouts]


@pytest.mark.parametrize(("family", "layout"), PAIRS)
def test_single_precision_agrees_with_one_forward_per_sequence(toy, rollouts, family, layout):
    model = toy.build(family)
    expected = toy.picked(toy.oracle(model, rollouts), rollouts)
    found = token_log_probs(model, rollouts, layout=layout).log_prob
    assert float((found - expected).detach().abs().max()) <= toy.log_prob("float32")
    expected_gradient = toy.gradient(model, expected)
    assert toy.apart(toy.gradient(model, found), expected_gradient) <= toy.of_gradient("float32")


@pytest.mark.parametrize(("family", "layout"), [p for p in PAIRS if p[0] != "gemma2"])
def test_double_precision_agrees_with_one_forward_per_sequence(toy, family, layout):
    model = toy.build(family, torch.float64)
    for seed in (3, 4):
        rollouts = toy.rollouts(seed)
        expected = toy.picked(toy.oracle(model, rollouts), rollouts)
        found = token_log_probs(model, rollouts, layout=layout).log_prob
        assert float((found - expected).detach().abs().max()) <= toy.log_prob("float64")
        expected_gradient = toy.gradient(model, expected)
        assert toy.apart(toy.gradient(model, found), expected_gradient) <= toy.of_gradient(
            "float64"
        )


def test_all_prompt_of_one_token_and_completions_of_one_token(toy, rollouts):
    alone = rollouts.take([0])  # one candidate of one token
    assert alone.sequences.total == 1
    model = toy.build("llama")
    expected = toy.picked(toy.oracle(model, alone), alone)
    for layout in LAYOUTS:
        found = token_log_probs(model, alone, layout=layout).log_prob
        torch.testing.assert_close(found, expected, rtol=0, atol=toy.log_prob("float32"))


@pytest.mark.parametrize("family", list(SERVED))
def test_auto_takes_the_first_layout_that_serves(toy, family):
    assert choose(toy.build(family)) == SERVED[family][0]


def test_softcapped_attention_is_refused_by_the_packed_layout_and_named(toy):
    model = toy.build("gemma2")
    assert "softcap" in refusal(model, "packed")
    with pytest.raises(SpecError, match=r"softcap.*layout='auto'"):
        choose(model, "packed")


def test_linear_attention_falls_back_to_rows(toy, rollouts):
    torch.manual_seed(0)
    config = hf.MambaConfig(
        vocab_size=41,
        hidden_size=16,
        num_hidden_layers=2,
        state_size=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = hf.MambaForCausalLM(config).eval()
    assert choose(model) == "rows"
    expected = toy.picked(toy.oracle(model, rollouts), rollouts)
    found = token_log_probs(model, rollouts).log_prob
    assert float((found - expected).detach().abs().max()) <= toy.log_prob("float32")


def test_positions_by_mask_only_fall_back(toy, rollouts):
    torch.manual_seed(0)
    model = hf.BloomForCausalLM(hf.BloomConfig(vocab_size=41, hidden_size=16, n_layer=2, n_head=2))
    assert refusal(model.eval(), "packed") is not None
    expected = toy.picked(toy.oracle(model, rollouts), rollouts)
    found = token_log_probs(model, rollouts).log_prob
    assert float((found - expected).detach().abs().max()) <= toy.log_prob("float32")


def test_a_wrong_layout_is_caught_by_the_trial(toy, monkeypatch):
    model = toy.build("llama")
    right = model_parts.logits
    monkeypatch.setattr(model_parts, "logits", lambda *args: right(*args) * 1.01)
    with pytest.raises(ModelError, match="log-probs differ by"):
        choose(model)


def test_gradient_checkpointing_uses_rows_and_keeps_the_gradient(toy, rollouts):
    model = toy.build("llama")
    expected = toy.gradient(model, token_log_probs(model, rollouts).log_prob)
    model.activation_checkpointing_enable()
    model.train()
    assert choose(model) == "rows"
    with pytest.raises(SpecError, match="gradient checkpointing"):
        choose(model, "packed")
    found = toy.gradient(model, token_log_probs(model, rollouts).log_prob)
    assert toy.apart(found, expected) <= toy.of_gradient("float32")
    with torch.no_grad():
        assert choose(model) == "packed"
    assert choose(model.eval()) == "packed"  # nothing is recomputed outside training mode


# peft asks transformers a question under its old name
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_adapters_are_seen_and_trained(toy, rollouts, layout):
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj", "down_proj"])
    model = peft.get_peft_model(toy.build("llama"), config).eval()
    bare = token_log_probs(model, rollouts, layout=layout).log_prob
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    expected = toy.picked(toy.oracle(model, rollouts), rollouts)
    found = token_log_probs(model, rollouts, layout=layout).log_prob
    assert float((found - expected).detach().abs().max()) <= toy.log_prob("float32")
    assert toy.apart(toy.gradient(model, found), toy.gradient(model, expected)) <= toy.of_gradient(
        "float32"
    )
    with model.disable_adapter(), torch.no_grad():
        reference = token_log_probs(model, rollouts, layout=layout).log_prob
    torch.testing.assert_close(reference, bare.detach(), rtol=0, atol=toy.log_prob("float32"))


def test_the_model_is_left_as_it_was(toy, rollouts):
    model = toy.build("qwen3").train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    token_log_probs(model, rollouts, layout="packed")
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == "sdpa"


def test_unknown_layout_is_refused(toy):
    with pytest.raises(SpecError, match="'diagonal' is none of"):
        choose(toy.build("llama"), "diagonal")
