"""GPT-2: its tokenizer, the model, its weights, and the ways to write with it.

>>> model = from_pretrained("lmcourse-small")
>>> tokenizer = GPT2Tokenizer.from_pretrained("lmcourse-small")
>>> text = generate(model, "It is a truth", tokenizer=tokenizer, top_p=0.9, seed=0).text
"""

from lmcourse.gpt2.config import GPT2Config
from lmcourse.gpt2.generation import Generation, generate, stream
from lmcourse.gpt2.model import GPT2, KeyValueCache
from lmcourse.gpt2.pretrained import from_pretrained, save_pretrained
from lmcourse.gpt2.tokenizer import GPT2Tokenizer

__all__ = [
    "GPT2",
    "GPT2Config",
    "GPT2Tokenizer",
    "Generation",
    "KeyValueCache",
    "from_pretrained",
    "generate",
    "save_pretrained",
    "stream",
]
