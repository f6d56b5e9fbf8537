"""The configuration of a run: one YAML file for every service, checked before anything starts.

Unknown keys are refused. ``${NAME}`` and ``${NAME:-default}`` in a value come from the environment;
use them for secrets. Times end in ``_s`` and are seconds. Each part has its own file; `run.Config`
holds them all.
"""

from shared.config.load import load_config, save_config
from shared.config.lora import LoraConfig
from shared.config.objective import ObjectiveConfig
from shared.config.questions import DataConfig, ModelConfig
from shared.config.reward import FilterConfig, RewardConfig
from shared.config.run import Config
from shared.config.section import Section
from shared.config.trainer import TrainerConfig

__all__ = [
    "Config",
    "DataConfig",
    "FilterConfig",
    "LoraConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "RewardConfig",
    "Section",
    "TrainerConfig",
    "load_config",
    "save_config",
]
