set -x
python3 -m openrlhf.cli.train_ppo_ray \
   --actor.num_gpus_per_node 8 \
   --vllm.num_engines 4 \
   --train.colocate_all \
   --algo.kl.init_coef 1e-3 \
   --algo.kl.use_loss \
   --algo.kl.estimator k3 \
   --algo.advantage.estimator group_norm \
   --algo.dynamic_filtering_enable \
   --algo.dynamic_filtering_range 0 1 \
   --actor.eps_clip_low_high 0.2 0.27 \
   --actor.model_name_or_path OpenRLHF/Llama-3-8b-sft-mixture \
   --reward.remote_url examples/python/reward_func.py \
   --train.batch_size 128 \
   --rollout.batch_size 128 \
   --rollout.n_samples_per_prompt 8 \
   --data.max_len 2048 \
   --actor.adam.lr 5e-7 \
   --algo.advantage.is_correction_enable
