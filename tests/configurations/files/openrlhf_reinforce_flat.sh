# the options as they were spelled in 2025
ray job submit --address="http://127.0.0.1:8265" \
   --runtime-env-json='{"working_dir": "/openrlhf"}' \
   -- python3 -m openrlhf.cli.train_ppo_ray \
   --pretrain OpenRLHF/Llama-3-8b-sft-mixture \
   --remote_rm_url http://localhost:5000/get_reward \
   --advantage_estimator reinforce \
   --init_kl_coef 0.01 \
   --normalize_reward \
   --n_samples_per_prompt 1 \
   --rollout_batch_size 1024 \
   --train_batch_size 128 \
   --gamma 1.0 \
   --packing_samples
