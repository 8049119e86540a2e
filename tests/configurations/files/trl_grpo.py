"""A GRPO run as people write it: the paper's loss, a KL, two rewards, vLLM."""

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer

MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
KL = 0.04


def correctness(completions, answer, **kwargs):
    return [float(a in c) for c, a in zip(completions, answer, strict=True)]


def formatting(completions, **kwargs):
    return [float("\\boxed" in c) for c in completions]


training_args = GRPOConfig(
    output_dir="out/grpo",
    run_name="grpo-qwen",
    learning_rate=1e-6,
    per_device_train_batch_size=8,
    gradient_accumulation_steps=4,
    num_generations=8,
    max_completion_length=1024,
    num_train_epochs=1,
    bf16=True,
    beta=KL,
    loss_type="grpo",
    use_bias_correction_kl=False,
    temperature=0.9,
    use_vllm=True,
    reward_weights=[1.0, 0.2],
    mask_truncated_completions=True,
    logging_steps=1,
)
trainer = GRPOTrainer(
    model=MODEL,
    reward_funcs=[correctness, formatting],
    args=training_args,
    train_dataset=load_dataset("openai/gsm8k", "main", split="train"),
)
trainer.train()
