"""From texts to arrays of integers: `text` turns words into ids, `sequence` makes rows of a length.

>>> from lmcourse.keras.preprocessing.sequence import pad_sequences
>>> from lmcourse.keras.preprocessing.text import Tokenizer
>>> tokenizer = Tokenizer(oov_token="<unk>")
>>> tokenizer.fit_on_texts(["The cat sat.", "The dog sat down."])
>>> pad_sequences(tokenizer.texts_to_sequences(["The cat sat down!", "A dog?"]))
array([[2, 4, 3, 6],
       [0, 0, 1, 5]], dtype=int32)

Both give what Keras gives for the same input. What Keras would change without a word is an error: a
fraction cut to an integer, a negative id counted from the end, one string taken for a list.
"""

from lmcourse.keras.preprocessing import sequence, text

__all__ = ["sequence", "text"]
