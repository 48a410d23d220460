"""Open a language model from disk without running anything that it holds, and swap LoRA adapters on its base.

The network must be one of ``transformers``' own classes, its weights safetensors; :func:`describe` has looked at the
files before. A base is opened once; an adapter takes milliseconds, and leaves the base as it was, bit for bit, when it
is taken off again.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palladion.errors import InputError
from palladion.models.language_model_files import LanguageModelFiles, Task, describe, identity, resolve_base
from palladion.models.model_files import printable

if TYPE_CHECKING:
    import torch

    from palladion.models.adapter_swapping import Attachment

__all__ = ["LanguageModel", "LanguageModelFiles", "Task", "describe", "identity", "open_language_model", "resolve_base"]

DTYPES = ("auto", "float32", "bfloat16", "float16")
_BITS = (4, 8)
# A network in memory may be this much larger than its stored weights (a head that the base lacks, for instance).
_MOST_EXCESS, _SMALL_EXCESS = 0.25, 1_000_000
# Tokens that a tokenizer may have beyond the model's own: rows are made for them.
_MOST_NEW_TOKENS = 65_536
_HEADS = ["lm_head", "score", "classifier"]


class LanguageModel:
    """A network in memory, with one adapter on it at a time.

    Attributes:
        network: the model of ``transformers``, in evaluation mode.
        tokenizer: that of the model that is attached: for texts the adapter's where it has one, else the base's.
        task: what the model answers with.
        base: the directory of the base.
        labels: number of labels of the attached model; None where it writes text.
        vocabulary: number of tokens that the tokenizer knows.
        pad: number of the token that fills rows up.
        device: where the weights are.
        dtype: of the weights; of the arithmetic, where they are quantised.
        bits: 4 or 8 where the weights are quantised.
    """

    network: Any
    tokenizer: Any
    labels: int | None
    vocabulary: int
    pad: int

    def __init__(
        self, base: LanguageModelFiles, task: Task, labels: int | None, *, device: str, dtype: str, bits: int | None
    ) -> None:
        import torch

        self.base, self.task, self.bits = base.directory, task, bits
        self.device = choose_device(device)
        self.dtype: torch.dtype = choose_dtype(dtype, self.device)
        if bits is not None:
            _check_quantisation(bits, self.device)
        self._base_files = base
        self._attachment: Attachment | None = None
        self._tokenizers: dict[tuple[Path, str], Any] = {}
        self.network = _open_network(base, task, labels, self.device, self.dtype, bits)

    def attach(self, files: LanguageModelFiles) -> None:
        """Make this the model that ``files`` describe: the base itself, or an adapter of it.

        Raises:
            InputError: it is for another task, or does not fit this base. Then nothing is attached.
        """
        from palladion.models.adapter_swapping import Attachment

        if files.task is not self.task:
            raise InputError(f"is a {files.task} model; opened is one for {self.task}", path=files.directory)
        base = self._base_files
        own = files if files.tokenizer and (self.task is Task.CAUSAL or not base.tokenizer) else base
        tokenizer = self._tokenizer(own.directory)
        self.detach()
        attachment = Attachment(self.network)
        try:
            if files.adapter is not None:
                attachment.add_adapter(files.adapter, merged=self._merges())
            vocabulary = max(tokenizer.get_vocab().values()) + 1
            more = vocabulary - self.network.get_input_embeddings().weight.shape[0]
            if more > _MOST_NEW_TOKENS:
                raise InputError(f"its tokenizer has {more:,} tokens more than the model", path=own.directory)
            attachment.extend_vocabulary(vocabulary)
        except BaseException:
            attachment.remove()
            raise
        self._attachment = attachment
        self.tokenizer, self.labels, self.vocabulary = tokenizer, files.labels, vocabulary
        self.pad = tokenizer.pad_token_id
        # Pooling of classifiers looks for the last token that is none of these.
        self.network.config.get_text_config().pad_token_id = self.pad

    def detach(self) -> None:
        """Take off what is attached; afterwards the base is what it was."""
        if self._attachment is not None:
            self._attachment.remove()
            self._attachment = None

    def _merges(self) -> bool:
        """Whether updates are added to the weights, which costs memory once, and no time a token.

        Only where rounding does not matter and the second copy of the weights is small: elsewhere the factors work
        beside the weights, as in PEFT.
        """
        import torch

        small = self._base_files.parameters <= 1_000_000_000
        return self.bits is None and self.dtype == torch.float32 and small

    def _tokenizer(self, directory: Path) -> Any:
        # Texts are filled up on the left, so that what follows is beside them; labels are read off the right end.
        side = "left" if self.task is Task.CAUSAL else "right"
        if (directory, side) not in self._tokenizers:
            self._tokenizers[directory, side] = _open_tokenizer(directory, self.network.config, side)
        return self._tokenizers[directory, side]


def open_language_model(
    files: LanguageModelFiles,
    *,
    base: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    bits: int | None = None,
) -> LanguageModel:
    """Open a full model, or an adapter on its base.

    Args:
        files: what :func:`describe` has found.
        base: the base of an adapter; by default what the adapter names (:func:`resolve_base`).
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``, which is a GPU where there is one.
        dtype: one of :data:`DTYPES`; ``auto`` is float32 on a CPU, bfloat16 on a GPU that has it, else float16.
        bits: 4 (NF4) or 8 quantises the weights as they are opened; needs bitsandbytes and a GPU.

    Raises:
        InputError: it cannot be opened, or does not fit its base.
    """
    from palladion.models.image_classifier import require_packages

    require_packages()
    base_files = files
    if files.adapter is not None:
        directory = resolve_base(files, base)
        base_files = describe(directory)
        if base_files.adapter is not None:
            raise InputError("is an adapter itself, where the base model is needed", path=directory)
        if files.task is Task.CAUSAL and base_files.task is not Task.CAUSAL:
            raise InputError("is a classifier; the adapter needs a base that writes text", path=directory)
    if not base_files.tokenizer and not files.tokenizer:
        raise InputError("holds no tokenizer", path=base_files.directory)
    model = LanguageModel(base_files, files.task, files.labels, device=device, dtype=dtype, bits=bits)
    model.attach(files)
    return model


def choose_device(name: str) -> "torch.device":
    """The device of this name; ``auto`` is a GPU where there is one.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal() and len(number) < 4)):
        raise InputError(f"there is no device {name!r}; there are auto, cpu, cuda and cuda:0, cuda:1 and so on")
    if kind == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no GPU here; --device cpu works without one")
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"there is no device {name!r}; this machine has {torch.cuda.device_count()} GPUs")
    return torch.device(name)


def choose_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """The type of this name; ``auto`` by the device.

    Raises:
        InputError: there is no such type.
    """
    import torch

    if name not in DTYPES:
        raise InputError(f"there is no type {name!r}; there are {', '.join(DTYPES)}")
    if name != "auto":
        found: torch.dtype = getattr(torch, name)
        return found
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def _check_quantisation(bits: int, device: "torch.device") -> None:
    if bits not in _BITS:
        raise InputError(f"--bits {bits}: there are 4 and 8")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("--bits needs bitsandbytes: pip install bitsandbytes")
    if device.type != "cuda":
        raise InputError(f"--bits needs a GPU; the model would be opened on {device}")


def _open_network(
    base: LanguageModelFiles,
    task: Task,
    labels: int | None,
    device: "torch.device",
    dtype: "torch.dtype",
    bits: int | None,
) -> Any:
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    head = {} if labels is None else {"num_labels": labels}
    if task is Task.CAUSAL:
        opener: Any = transformers.AutoModelForCausalLM
    else:
        opener = transformers.AutoModelForSequenceClassification
    options: dict[str, Any] = {"dtype": dtype}
    if bits is not None:
        quantised = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            **(quantised | {"bnb_4bit_compute_dtype": dtype} if bits == 4 else {"load_in_8bit": True}),
            llm_int8_skip_modules=_HEADS,
        )
    if device.type == "cuda" and importlib.util.find_spec("accelerate") is not None:
        options["device_map"] = {"": device}  # straight there, without a copy in the machine's memory
    try:
        config = transformers.AutoConfig.from_pretrained(
            base.directory, local_files_only=True, trust_remote_code=False, **head
        )
        # Never what the settings say: other names than these are of kernels that would be fetched.
        options["attn_implementation"] = "sdpa" if _on_paper(opener, config, base)._supports_sdpa else "eager"
        network, found = opener.from_pretrained(
            base.directory,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except InputError:
        raise
    except Exception as error:  # a strange file can make any of the many layers below raise anything
        raise InputError(f"cannot be opened as a {task} model: {_said(error)}", path=base.directory) from None
    missing = sorted(str(name) for name in found["missing_keys"])
    if base.task is not task:
        # The head comes with the adapter.
        missing = [name for name in missing if name.split(".")[0] not in _HEADS]
    if missing:
        shown = ", ".join(printable(name, 80) for name in missing[:3])
        raise InputError(f"lacks {len(missing)} tensors of its network: {shown}", path=base.directory)
    if bits is None:
        network = network.to(device)
    return network.eval().requires_grad_(requires_grad=False)


def _on_paper(opener: Any, config: Any, base: LanguageModelFiles) -> Any:
    """The network without numbers.

    Raises:
        InputError: it is larger than its weights; memory would be taken for what they lack.
    """
    import torch

    with torch.device("meta"):
        network = opener.from_config(config, trust_remote_code=False)
    size = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    if size > base.parameters * (1 + _MOST_EXCESS) + _SMALL_EXCESS:
        raise InputError(
            f"config.json describes a network of {size:,} numbers, the weights hold {base.parameters:,}",
            path=base.directory,
        )
    return network


def _open_tokenizer(directory: Path, config: Any, side: str) -> Any:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            directory, config=config, local_files_only=True, trust_remote_code=False
        )
        tokenizer.padding_side = side
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token_id is None:
                tokenizer.add_special_tokens({"pad_token": "[PAD]"})
            else:
                tokenizer.pad_token_id = tokenizer.eos_token_id
    except Exception as error:  # as above
        raise InputError(f"its tokenizer cannot be opened: {_said(error)}", path=directory) from None
    return tokenizer


def _said(error: BaseException) -> str:
    """The first line of an error of a library, as it can be shown."""
    lines = str(error).strip().splitlines()
    return printable(lines[0] if lines else type(error).__name__, 300)
