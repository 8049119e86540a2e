from trl.experimental.gkd import GKDConfig, GKDTrainer

args = GKDConfig(
    output_dir="out/gkd",
    lmbda=0.5,
    beta=0.5,
    temperature=0.9,
    per_device_train_batch_size=8,
    teacher_model_name_or_path="Qwen/Qwen2-1.5B-Instruct",
)
trainer = GKDTrainer(model="Qwen/Qwen2-0.5B-Instruct", args=args, train_dataset=None)
trainer.train()
