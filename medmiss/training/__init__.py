"""One trainer for all methods: data, engines, checkpoints, distributed set-up."""

from medmiss.training.average import WeightAverage
from medmiss.training.cases import labelled_cases, partition
from medmiss.training.checkpoint import RunCheckpoint
from medmiss.training.datasets import CachedCases, SeededDataset, ValidationDataset
from medmiss.training.distributed import join_process_group, leave_process_group
from medmiss.training.evaluator import MethodEvaluator, Validation
from medmiss.training.loss_terms import LossTerms
from medmiss.training.metrics import ClassAccuracy, ClassArea, RegionDice, SubsetMetric
from medmiss.training.progress import EpochLog, TerminalProgress
from medmiss.training.samplers import EpochSampler, ShardSampler
from medmiss.training.schedule import WarmupDecay
from medmiss.training.start import started
from medmiss.training.trainer import MethodTrainer

__all__ = [
    "CachedCases",
    "ClassAccuracy",
    "ClassArea",
    "EpochLog",
    "EpochSampler",
    "LossTerms",
    "MethodEvaluator",
    "MethodTrainer",
    "RegionDice",
    "RunCheckpoint",
    "SeededDataset",
    "ShardSampler",
    "SubsetMetric",
    "TerminalProgress",
    "Validation",
    "ValidationDataset",
    "WarmupDecay",
    "WeightAverage",
    "join_process_group",
    "labelled_cases",
    "leave_process_group",
    "partition",
    "started",
]
