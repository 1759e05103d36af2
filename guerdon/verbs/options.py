"""Every option of every verb, once: the schema behind flags, configuration files, ``--set a.b=c`` and keyword
arguments.

Each field of a verb's class is a flag of that verb; the fields of a group (optim, sampling, lora) are set with ``--set
optim.lr=…`` or in a file. Light on purpose: the command line reads it before torch is loaded.
"""

from dataclasses import dataclass, field
from typing import Any

from guerdon.verbs.schema import assignments, build, merged, opt, plain, read_config

__all__ = ["assignments", "build", "merged", "plain", "read_config"]

SHAPINGS = ("none", "par")
COMBINATIONS = ("mean", "minimum", "mean_minus_std")
KINDS = ("auto", "scalar", "embedding")
AUDITED = (
    "agreement",
    "cycles",
    "position",
    "near_duplicates",
    "format",
    "label_noise",
    "separability",
    "coverage",
    "leakage",
)
HYPER = "The method's hyperparameters by name, as `--set hyper.smoothing=0.1`."
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoraOptions:
    """Adapters instead of all weights."""

    rank: int = opt(0, "Rank of LoRA adapters; 0 trains all weights.", "--lora-rank", least=0)
    alpha: float = opt(16.0, "The update is scaled by alpha / rank.")
    dropout: float = opt(0.0, "Dropout before an adapter.", least=0, below=1)
    targets: str = opt("all-linear", "Which modules get an adapter, joined by commas.")


@dataclass(frozen=True)
class FitOptions:
    """AdamW, whose weight decay is the verb's own option."""

    lr: float | None = opt(None, "Peak learning rate; none takes the verb's own default.", above=0)
    warmup: int = opt(10, "Updates of linear rise.", least=0)
    clip: float = opt(1.0, "Largest gradient norm.", above=0)
    fused: bool = opt(False, "torch's fused kernels: faster, and the last bits round otherwise.")


@dataclass(frozen=True)
class OptimOptions(FitOptions):
    """AdamW."""

    weight_decay: float = opt(0.0, "Decoupled weight decay.", least=0)


@dataclass(frozen=True)
class SamplingOptions:
    """How responses are drawn."""

    temperature: float = opt(1.0, "Softmax temperature.", above=0)
    top_p: float = opt(1.0, "Nucleus: the smallest set of tokens with this probability.", above=0)
    limit: int = opt(64, "Most tokens of a response.", least=1)


@dataclass(frozen=True)
class ReadOptions:
    """How files of records are read."""

    format: str = opt("auto", "Format of the records; 'auto' looks at the first one.")
    on_error: str = opt("raise", "A bad record: 'raise' stops, 'skip' leaves it out.", choices=("raise", "skip"))


@dataclass(frozen=True)
class MachineOptions:
    """Where and how a model computes."""

    device: str = opt("cpu", "cpu, cuda, cuda:1, mps …")
    threads: int = opt(0, "Torch threads; 0 is one for models under 10 M weights.", least=0)


@dataclass(frozen=True)
class AuditOptions(ReadOptions, MachineOptions):
    """``audit``."""

    parts: str = opt("all", f"What to look at: all, or some of {', '.join(AUDITED)}, with commas.")
    embed: str | None = opt(None, "Sentence embeddings for noise, separability and coverage: 'minilm' or a model.")
    most_pairs: int = opt(5_000, "Pairs that models of format, noise and separability are fitted to.", least=1)
    most_records: int = opt(100_000, "Records that near duplicates, coverage and leakage look at.", least=1)
    policy: str | None = opt(None, "A policy's folder or hub id: which pairs does it rank rightly, which are hard?")
    reference: str | None = opt(None, "The policy that --policy was trained from (default: itself).")
    dtype: str = opt("float32", f"Of the policy: {', '.join(DTYPES)}.", choices=DTYPES)
    seed: int = opt(0, "Root of every split, fold and draw.")


@dataclass(frozen=True)
class ConvertOptions:
    """``convert``."""

    to: str | None = opt(None, "Format to write; see docs/data-formats.md for their names.", "--to")
    source: str = opt("auto", "Format of SRC; 'auto' looks at the first record.", "--from")
    on_error: str = opt("raise", "A bad record: 'raise' stops, 'skip' leaves it out.", choices=("raise", "skip"))
    strict: bool = opt(False, "Refuse a conversion that would drop anything.")
    split: str | None = opt(None, "Which split of a data set folder to read.")


@dataclass(frozen=True)
class RewardOptions(ReadOptions, MachineOptions):
    """``train-reward``."""

    model: str = opt("minilm", "A model's folder or hub id, or 'minilm'.", "--model", "-m")
    kind: str = opt("auto", "'scalar' trains a backbone, 'embedding' a head on frozen vectors.", choices=KINDS)
    members: int = opt(1, "Size of the ensemble.", least=1)
    epochs: int = opt(2, "Passes over the pairs.", least=1)
    batch: int = opt(32, "Pairs an update.", least=1)
    weight_decay: float = opt(0.01, "Weight decay of the fit.", least=0)
    smoothing: float = opt(0.0, "Label smoothing.", least=0, below=0.5)
    bootstrap: bool | None = opt(None, "Each member sees its own resample (default: with several members).")
    hidden: int | None = opt(None, "Width of a non-linear head on vectors.", least=1)
    features: str = opt("response", "Of response, prompt, product, difference, exchange, dialogue; with commas.")
    max_length: int | None = opt(None, "Tokens of a row.", least=1)
    held_out: float = opt(0.1, "Share of the prompts kept for the evaluation.", least=0, below=1)
    dtype: str = opt("float32", f"{', '.join(DTYPES)}.", choices=DTYPES)
    seed: int = opt(0, "Root of all draws.")
    optim: FitOptions = field(default_factory=FitOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)


@dataclass(frozen=True)
class EvaluateOptions(ReadOptions, MachineOptions):
    """``evaluate``."""


@dataclass(frozen=True)
class AlignOptions(ReadOptions, MachineOptions):
    """``align``."""

    model: str | None = opt(None, "The policy: a folder or hub id.", "--model", "-m")
    method: str | None = opt(None, "dpo, simpo, kto, grpo … by name: `guerdon methods` lists all.")
    reward: str | None = opt(None, "What train-reward wrote; the methods that sample need it.", "--reward", "-r")
    guide: str | None = opt(None, "A policy that was aligned before, for the methods that read one (tgdpo).")
    beta: float | None = opt(None, "The method's β; none takes its own.", above=0)
    kl: float | None = opt(None, "The method's coefficient of the KL to the start; none takes its own.")
    hyper: dict[str, Any] = field(default_factory=dict, metadata={"help": HYPER})
    epochs: int = opt(1, "Passes over the pairs or prompts.", least=1)
    rounds: int | None = opt(None, "Rounds, instead of epochs.", least=1)
    batch: int = opt(32, "Pairs, or prompts, a round.", least=1)
    per_prompt: int | None = opt(None, "Responses a prompt (online); none takes the method's own.", least=1)
    micro: int | None = opt(16, "Rows of one forward pass.", least=1)
    reference_cache: str | None = opt(None, "Folder that keeps the reference's log-probs of the pairs between runs.")
    shaping: str = opt("none", "What is done to the reward.", choices=SHAPINGS)
    combine: str = opt("mean", "What is done to an ensemble's members.", choices=COMBINATIONS)
    held_out: float = opt(0.1, "Share of the prompts kept for the measurements.", least=0, below=1)
    samples: int = opt(8, "Prompts whose responses are shown before and after.", least=0)
    save_every: int = opt(10, "Rounds between checkpoints.", least=1)
    eval_every: int = opt(0, "Rounds between measurements; 0 measures at both ends.", least=0)
    dtype: str = opt("float32", f"{', '.join(DTYPES)}.", choices=DTYPES)
    seed: int = opt(0, "Root of all draws.")
    optim: OptimOptions = field(default_factory=OptimOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)


@dataclass(frozen=True)
class ScoreOptions(ReadOptions, MachineOptions):
    """``score``."""

    trust: bool = opt(False, "Import the code that a stored reward or module:object names.")
    rows: int = opt(20, "Rows of the table that is shown.", least=0)


@dataclass(frozen=True)
class ExplainOptions(ReadOptions, MachineOptions):
    """``explain``."""

    trust: bool = opt(False, "Import the code that a stored reward or module:object names.")
    rows: str = opt("0-4", "Which responses of the file, counted from 0: 0-4 or 3,7.")


@dataclass(frozen=True)
class SampleOptions(MachineOptions):
    """``sample``."""

    model: str | None = opt(None, "The policy: a folder or hub id.", "--model", "-m")
    reward: str | None = opt(None, "What train-reward wrote, a stored reward or module:object.", "--reward", "-r")
    best_of: int = opt(16, "Responses drawn for each prompt.", least=1)
    combine: str = opt("mean", "What is done to an ensemble's members.", choices=COMBINATIONS)
    batch: int = opt(16, "Prompts drawn and stored at a time.", least=1)
    keep_all: bool = opt(False, "Keep every response with its score beside the best.", "--all")
    trust: bool = opt(False, "Import the code that a stored reward or module:object names.")
    dtype: str = opt("float32", f"{', '.join(DTYPES)}.", choices=DTYPES)
    seed: int = opt(0, "Root of all draws.")
    sampling: SamplingOptions = field(default_factory=SamplingOptions)


@dataclass(frozen=True)
class ServeOptions(MachineOptions):
    """``serve``."""

    host: str = opt("127.0.0.1", "Address to listen on; only this machine reaches the default.")
    port: int = opt(8000, "Port; 0 takes a free one.", least=0, below=65536)
    token_env: str | None = opt(None, "Environment variable that holds the token clients must send.")
    invalid: str = opt("raise", "What trainers are told of a row without a valid reward: 'raise', 'nan' or a number.")
    query: str = opt("response", "OpenRLHF's queries: without their prompt, or 'whole'.", choices=("response", "whole"))
    label: str | None = opt(None, "One more column that holds the trainers' labels, beside 'label' and 'answer'.")
    together: bool | None = opt(None, "Score waiting requests in one call (default: where no row sees another).")
    combine: str = opt("mean", "What is done to an ensemble's members.", choices=COMBINATIONS)
    max_rows: int = opt(1024, "Rows of a request.", least=1)
    max_queued: int = opt(8192, "Rows that may wait.", least=1)
    max_body: float = opt(16.0, "MiB of a request.", above=0)
    read_seconds: float = opt(10.0, "Seconds a client may take to send a request.", above=0)
    score_seconds: float = opt(120.0, "Seconds a request may wait for its scores.", above=0)
    trust: bool = opt(False, "Import the code that a stored reward or module:object names.")


@dataclass(frozen=True)
class MethodsOptions:
    """``methods``."""

    search: str | None = opt(None, "Only methods that mention this.")
    family: str | None = opt(None, "Only methods of this family: direct, online …")


@dataclass(frozen=True)
class ReproduceOptions:
    """``reproduce``."""

    smoke: bool = opt(False, "A run of seconds that proves the plumbing and no claim.")


@dataclass(frozen=True)
class DemoOptions:
    """``demo``."""

    fast: bool = opt(False, "A smaller tour, to see that everything works.")
    seed: int = opt(0, "Root of all draws.")


@dataclass(frozen=True)
class NoOptions:
    """A verb without options of its own (``report``, ``doctor``)."""
