"""DPO with label smoothing, as copied from a cDPO recipe."""

import argparse

from trl import DPOConfig, DPOTrainer

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=5e-7)
args = parser.parse_args()

config = DPOConfig(
    output_dir="out/dpo",
    beta=0.05,
    loss_type="sigmoid",
    label_smoothing=0.1,
    learning_rate=args.lr,
    max_length=2048,
    rpo_alpha=1.0,
    sync_ref_model=True,
)
DPOTrainer(model="sft", args=config, train_dataset=None).train()
