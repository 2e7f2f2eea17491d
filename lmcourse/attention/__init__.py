"""Attention: one function over several implementations, from the definition to a GPU's kernel."""

from lmcourse.attention.dispatch import Choice, attention, explain
from lmcourse.attention.reference import attention_weights

__all__ = ["Choice", "attention", "attention_weights", "explain"]
