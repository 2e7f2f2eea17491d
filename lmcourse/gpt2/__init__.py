"""GPT-2: its tokenizer, the model, its weights, and the ways to write with it."""

from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.model import GPT2, KeyValueCache

__all__ = ["GPT2", "GPT2Config", "KeyValueCache"]
