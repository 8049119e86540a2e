set -x
python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=grpo \
    algorithm.norm_adv_by_std_in_grpo=False \
    algorithm.rollout_correction.bypass_mode=True \
    algorithm.rollout_correction.loss_type=reinforce \
    algorithm.rollout_correction.rollout_is=token \
    actor_rollout_ref.actor.policy_loss.loss_mode=gspo \
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-sum-norm \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.01 \
    actor_rollout_ref.actor.kl_loss_type=k3+ \
    actor_rollout_ref.rollout.n=8 \
    data.train_batch_size=256 \
    data.max_response_length=2048 \
    actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    trainer.n_gpus_per_node=8
