"""Keys that people bring from veRL, EasyR1, TRL and OpenRLHF, and what they are called here."""

from collections.abc import Iterator
from typing import Any

_OURS: dict[str, str] = {
    "run": "experiment_name run_name wandb_run_name exp_name",
    "seed": "data.seed data_seed",
    "model.path": "model.model_path actor_rollout_ref.model.path model_name_or_path "
    "model_name pretrain actor.model_name_or_path model.tokenizer_path tokenizer_name_or_path "
    "base_model",
    "model.dtype": "bf16 fp16 torch_dtype param_dtype precision rollout.dtype",
    "model.max_pixels": "data.max_pixels image_max_pixels processor.max_pixels",
    "model.min_pixels": "data.min_pixels image_min_pixels processor.min_pixels",
    "model.trust_remote_code": "trust_remote_code",
    "data.train": "train_files train_file train_data dataset_name dataset dataset_path "
    "prompt_data train_dataset dataset_dir",
    "data.heldout": "val_files val_file test_files eval_dataset eval_data val_data validation_data "
    "dataset_test_split",
    "data.train.keys.prompt": "prompt_key input_key question_key",
    "data.train.keys.images": "image_key images_key image_column",
    "data.train.keys.answer": "answer_key label_key output_key solution_key",
    "data.train.image_dir": "data.image_dir image_root image_folder_path",
    "data.train.split": "dataset_train_split prompt_split",
    "data.train.weight": "prompt_data_probs dataset_mixing_weights",
    "data.train.skip_bad_rows": "filter_overlong_prompts",
    "data.instruction": "format_prompt system_prompt instruction input_template prompt_template",
    "permutation.n_s": "num_permutations n_permutations n_perm num_orders n_orders",
    "sampling.n": "rollout.n num_generations n_samples_per_prompt group_size n_samples "
    "num_return_sequences responses_per_prompt",
    "sampling.temperature": "rollout.temperature temperature",
    "sampling.top_p": "rollout.top_p top_p",
    "sampling.max_tokens": "max_response_length max_completion_length generate_max_len "
    "response_length max_new_tokens rollout.response_length max_gen_len",
    "eval.max_tokens": "val_kwargs.max_tokens eval_generate_max_len",
    "eval.every_steps": "test_freq eval_steps val_freq eval_freq val_before_train eval_interval",
    "rollout.nodes": "vllm_num_engines num_engines rollout_num_nodes num_rollout_workers",
    "rollout.engine.max_model_len": "rollout.max_model_len vllm_max_model_length "
    "vllm_max_model_len max_prompt_length prompt_max_len rollout.prompt_length max_seq_length "
    "max_length max_len",
    "rollout.engine.max_images": "limit_images limit_mm_per_prompt max_images_per_prompt",
    "rollout.engine.tensor_parallel_size": "tensor_model_parallel_size tensor_parallel_size "
    "vllm_tensor_parallel_size",
    "rollout.engine.gpu_memory_utilization": "rollout.gpu_memory_utilization "
    "vllm_gpu_memory_utilization gpu_memory_utilization",
    "rollout.engine.max_num_seqs": "rollout.max_num_seqs max_num_seqs",
    "rollout.engine.max_num_batched_tokens": "rollout.max_num_batched_tokens "
    "max_num_batched_tokens",
    "rollout.engine.enforce_eager": "rollout.enforce_eager enforce_eager",
    "reward.function": "reward_funcs reward_function custom_reward_function reward_fn "
    "remote_rm_url reward_manager compute_score",
    "reward.accuracy_weight": "reward_weights",
    "reward.filter.drop_uniform": "filter_groups dynamic_sampling dynamic_filtering "
    "online_filtering",
    "reward.filter.min_accuracy": "filter_low",
    "reward.filter.max_accuracy": "filter_high",
    "reward.overlong": "overlong_buffer overlong_buffer_len soft_punish_cache",
    "trainer.ranks": "n_gpus_per_node actor_num_gpus_per_node num_gpus num_processes "
    "nproc_per_node",
    "trainer.hosts": "nnodes actor_num_nodes num_machines",
    "trainer.steps": "total_training_steps total_epochs num_train_epochs max_steps num_episodes "
    "total_episodes epochs num_epochs max_epochs training_steps",
    "trainer.groups_per_step": "train_batch_size rollout_batch_size data.batch_size "
    "per_device_train_batch_size generation_batch_size prompts_per_step",
    "trainer.minibatch_groups": "ppo_mini_batch_size actor.global_batch_size mini_batch_size "
    "steps_per_generation",
    "trainer.micro_batch_tokens": "ppo_micro_batch_size ppo_micro_batch_size_per_gpu "
    "micro_batch_size_per_device_for_update micro_batch_size_per_device_for_experience "
    "micro_train_batch_size micro_rollout_batch_size gradient_accumulation_steps "
    "ppo_max_token_len_per_gpu log_prob_micro_batch_size_per_gpu train_max_tokens_per_gpu",
    "trainer.max_staleness": "staleness_threshold off_policy_steps max_off_policy max_async_level "
    "async_queue_size",
    "trainer.zero_stage": "deepspeed_stage zero2 zero3",
    "trainer.gradient_checkpointing": "enable_gradient_checkpointing gradient_checkpointing "
    "gradient_checkpointing_enable",
    "trainer.freeze_vision": "freeze_vision_tower freeze_vision_modules freeze_visual",
    "trainer.attention": "attn_implementation flash_attn attn_impl",
    "trainer.objective.preset": "adv_estimator advantage_estimator loss_type algo algorithm.name",
    "trainer.objective.clip_low": "clip_ratio_low clip_ratio cliprange eps_clip epsilon "
    "epsilon_low eps_clip_low",
    "trainer.objective.clip_high": "clip_ratio_high epsilon_high eps_clip_high",
    "trainer.objective.dual_clip": "clip_ratio_c clip_ratio_dual delta",
    "trainer.objective.aggregate": "loss_agg_mode loss_avg_mode",
    "trainer.objective.kl_coef": "kl_loss_coef kl_coef init_kl_coef beta use_kl_loss disable_kl",
    "trainer.objective.kl": "kl_loss_type kl_penalty kl_estimator",
    "trainer.objective.normalise": "scale_rewards norm_adv_by_std_in_grpo",
    "trainer.objective.mask_truncated": "mask_truncated_completions",
    "trainer.objective.importance_level": "importance_sampling_level",
    "trainer.optimizer.learning_rate": "lr optim.lr optimizer.lr learning_rate actor_learning_rate",
    "trainer.optimizer.warmup_steps": "lr_warmup_steps lr_warmup_steps_ratio lr_warmup_ratio "
    "warmup_ratio warmup_steps",
    "trainer.optimizer.weight_decay": "weight_decay l2",
    "trainer.optimizer.beta1": "betas adam_beta1 adam_betas",
    "trainer.optimizer.beta2": "adam_beta2",
    "trainer.optimizer.grad_clip": "max_grad_norm clip_grad max_norm gradient_clipping",
    "trainer.optimizer.offload": "adam_offload optimizer_offload offload_optimizer "
    "offload.offload_optimizer fsdp_config.optimizer_offload",
    "trainer.checkpoint.every_steps": "save_freq save_steps save_interval",
    "trainer.checkpoint.keep": "save_limit save_total_limit max_ckpt_num max_actor_ckpt_to_keep",
    "launcher.share_gpus": "colocate_all_models colocate vllm_mode hybrid_engine",
    "model.lora.rank": "lora_r lora_rank lora.rank lora.r",
    "model.lora.alpha": "lora_alpha lora.alpha",
    "model.lora.dropout": "lora_dropout",
    "model.lora.targets": "lora_target_modules target_modules lora_target exclude_modules",
    "trackers": "use_wandb wandb report_to use_tensorboard use_swanlab trainer.logger logger "
    "wandb_project use_mlflow",
    "trainer.packing": "use_remove_padding packing_samples remove_padding",
    "--run-dir": "default_local_dir save_checkpoint_path output_dir save_path ckpt_path",
    "--resume": "resume_mode resume_from_checkpoint load_checkpoint",
}
"""Our key or option, and theirs. One of theirs with a point counts only below that section."""

NAMES: dict[str, str] = {name: ours for ours, theirs in _OURS.items() for name in theirs.split()}
"""What each of their keys is called here."""

_UNITS = {
    "trainer.steps": "counts steps, not epochs",
    "trainer.groups_per_step": "counts questions a step",
    "trainer.minibatch_groups": "counts questions an update",
    "trainer.micro_batch_tokens": "counts tokens",
    "rollout.engine.max_model_len": "counts prompt and response together",
    "data.train.skip_bad_rows": "skips rows that do not fit; check names a prompt that is too long",
}
"""What is different about ours."""


def called_here(key: str, value: Any) -> str | None:
    """What an unknown key of another tool is called: "here it is trainer.optimizer.learning_rate".

    None when no tool that is known here has it.

    Args:
        key: with its sections, "optimizer.lr".
        value: its value; of a section, the first key below it that is known.
    """
    for name in (key, *_below(key, value)):
        parts = name.split(".")
        for start in range(len(parts)):
            theirs = ".".join(parts[start:])
            if theirs in NAMES and NAMES[theirs] != name:
                ours = NAMES[theirs]
                unit = f", which {_UNITS[ours]}" if ours in _UNITS else ""
                kind = "the option " if ours.startswith("--") else ""
                before, after = ("here it is ", "") if name == key else (f"'{name}' is ", " here")
                return f"{before}{kind}{ours}{after}{unit}"
    return None


def _below(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{key}.{name}"
            yield from _below(f"{key}.{name}", inner)
