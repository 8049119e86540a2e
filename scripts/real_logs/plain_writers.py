"""Libraries that log what they are handed: W&B, TensorBoard, trackio, verl and tinker."""

import contextlib
import importlib.util
import io
import math
import os
import shutil
import sys
import tempfile
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Written = tuple[str, list[Row]]
STEPS = range(1, 5)


def trl_row(step: int) -> Row:
    """What transformers hands W&B and TensorBoard of a step of GRPO."""
    return {
        "train/global_step": step,
        "train/reward": 0.125 * step,
        "train/kl": 0.01 * step**2,
        "train/loss": math.nan if step == 3 else 1 / step,
        "train/completions/mean_length": 100.0 + step,
        "train/completions/clipped_ratio": 0.25,
        "train/frac_reward_zero_std": 0.5 if step < 3 else 1.0,
    }


def verl_row(step: int) -> Row:
    """What verl hands its loggers of a step."""
    return {
        "critic/score/mean": 0.125 * step,
        "critic/rewards/mean": 0.125 * step - 0.01,
        "actor/kl_loss": 0.001 * step,
        "actor/entropy": 1 / step,
        "actor/pg_clipfrac": 0.0,
        "actor/ppo_kl": -1e-5,
        "response_length/mean": 200.5 + step,
        "response_length/clip_ratio": 0.0625,
        "rollout_corr/k3_kl": 0.00123,
        "training/global_step": step,
        **({"val-core/gsm8k/reward/mean@1": 0.5} if step == 2 else {}),
    }


def wandb(folder: Path) -> Written:
    """An offline run, with an evaluation in a row of its own and values that are no numbers."""
    import wandb

    given: list[Row] = []
    hidden = wandb.Settings(
        mode="offline",
        silent=True,
        console="off",
        host="host",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        disable_code=True,
        disable_git=True,
        save_code=False,
        program="train.py",
    )
    with tempfile.TemporaryDirectory() as scratch:
        run = wandb.init(project="p", name="grpo", dir=scratch, id="realrun1", settings=hidden)
        for step in STEPS:
            rows = [{**trl_row(step), "note": "a text", "nested": {"a": step, "b": {"c": 2.5}}}]
            if step == 2:
                rows.append({"train/global_step": step, "eval/reward": 0.75})
            for row in rows:
                run.log(row)
                given.append(row)
            run.log({"histogram": wandb.Histogram([1, 2, 3])})
        run.finish()
        wandb.teardown()  # the file is whole only when W&B's own process has ended
        made = next(Path(scratch).glob("wandb/offline-run-*"))
        target = folder / "wandb" / "offline-run-20260101_000000-realrun1"
        (target / "files").mkdir(parents=True)
        shutil.copy(made / "run-realrun1.wandb", target)
        (target / "files" / "requirements.txt").write_text("numpy==2.4.6\ntrl==1.16.0\n")
    return f"wandb {version('wandb')}", given


def tensorboard(folder: Path) -> Written:
    """Two event files of one run, the second of a run that was resumed at step 4."""
    from torch.utils.tensorboard import SummaryWriter

    given = []
    for part, steps in (("first", (1, 2, 3, 4)), ("second", (4, 5))):
        writer = SummaryWriter(str(folder / "runs" / part))
        for step in steps:
            row = {key: v for key, v in trl_row(step).items() if key != "train/global_step"}
            row["train/reward"] += 0.5 if part == "second" else 0.0
            for key, value in row.items():
                writer.add_scalar(key, value, step)
            writer.add_scalar("new_style", step / 8, step, new_style=True)
            writer.add_text("text", "no number", step)
            given.append({"step": step, "new_style": step / 8, **row})
        writer.close()
    for file in sorted(folder.rglob("*tfevents*")):  # their names tell time, host and process
        number = 1 if file.parent.name == "first" else 2
        file.rename(file.with_name(f"events.out.tfevents.{number}.host"))
    import torch

    return f"torch {torch.__version__}, tensorboard {version('tensorboard')}", given


def trackio(folder: Path) -> Written:
    """A project of two runs; the second is the last that was written."""
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRACKIO_DIR": scratch, "HF_HUB_OFFLINE": "1", "TRACKIO_NO_GPU": "1"}
        import trackio

        given = []
        for name in ("early", "late"):
            with contextlib.redirect_stdout(io.StringIO()):
                trackio.init(project="p", name=name, embed=False)
                for step in STEPS:
                    row = {**trl_row(step), "train/reward": 0.125 * step + (name == "late")}
                    trackio.log(row, step=step)
                    if name == "late":
                        given.append(row)
                trackio.finish()
        import sqlite3

        made = next(Path(scratch).glob("p*.db"))
        with contextlib.closing(sqlite3.connect(made)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            store.execute("PRAGMA journal_mode = DELETE")
            store.execute("PRAGMA page_size = 512")  # a ninth of the size
            store.execute("VACUUM")
        shutil.copy(made, folder / "p.db")
    return f"trackio {version('trackio')}", given


def verl(folder: Path) -> Written:
    """The file logger of verl, and what its console logger prints of the same rows."""
    root = Path(str(distribution("verl").locate_file("verl")))
    tracking = _module(root / "utils" / "tracking.py")
    console = _module(root / "utils" / "logger" / "aggregate_logger.py")
    os.environ["VERL_FILE_LOGGER_PATH"] = str(folder / "run.jsonl")
    given, printed = [], io.StringIO()
    with contextlib.redirect_stdout(printed):
        logger = tracking.FileLogger("p", "n")
        local = console.LocalLogger()
    printed.truncate(printed.seek(0))
    for step in STEPS:
        import numpy as np

        row = {key: np.float64(value) for key, value in verl_row(step).items()}
        logger.log(data=row, step=step)
        with contextlib.redirect_stdout(printed):
            local.log(data=row, step=step)
        given.append({"step": step, **verl_row(step)})
    logger.finish()
    (folder / "console.log").write_text(printed.getvalue())
    return f"verl {version('verl')}", given


def tinker(folder: Path) -> Written:
    """The logger of tinker-cookbook's recipes."""
    from tinker_cookbook.stores.storage import storage_from_uri
    from tinker_cookbook.stores.training_store import TrainingRunStore

    store = TrainingRunStore(storage_from_uri(str(folder)))
    given = []
    for step in range(4):
        row = {
            "progress/batch": step,
            "optim/lr": 1e-4,
            "env/all/reward/total": 0.125 * step,
            "env/all/by_group/frac_mixed": 0.75,
            "env/all/by_group/frac_all_good": 0.125,
            "env/all/by_group/frac_all_bad": 0.125,
            "env/all/ac_tokens_per_turn": 64.5 + step,
            "optim/kl_sample_train_v2": 0.0005,
            "optim/entropy": 0.875,
        }
        store.write_metrics(row, step)
        given.append({"step": step, **row})
    return f"tinker-cookbook {version('tinker-cookbook')}", given


def _module(path: Path) -> Any:
    """One file of a package as a module: the package itself would load all of its engines."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
