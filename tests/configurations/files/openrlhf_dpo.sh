deepspeed --module openrlhf.cli.train_dpo \
   --model.model_name_or_path meta-llama/Llama-3.1-8B-Instruct \
   --ref.model_name_or_path meta-llama/Llama-3.1-8B-Instruct \
   --data.dataset OpenRLHF/preference_dataset_mixture2_and_safe_pku \
   --data.max_len 8192 \
   --model.beta 0.1 \
   --model.label_smoothing 0.05 \
   --model.nll_loss_coef 0.2 \
   --train.batch_size 256
