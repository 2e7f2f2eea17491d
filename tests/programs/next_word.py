"""Text to padded word ids, a model of the next word, and a guess for a new sentence."""

import numpy as np
from tensorflow.keras.layers import LSTM, Dense, Embedding
from tensorflow.keras.models import Sequential
from tensorflow.keras.preprocessing.sequence import pad_sequences
from tensorflow.keras.preprocessing.text import Tokenizer

from lmcourse.data import load_corpus

text = load_corpus("alice").text[1000:7000]
lines = [line for line in text.splitlines() if line]

tokenizer = Tokenizer(num_words=300, oov_token="<OOV>")
tokenizer.fit_on_texts(lines)
vocab_size = 300

prefixes, next_words = [], []
for sequence in tokenizer.texts_to_sequences(lines):
    for i in range(1, len(sequence)):
        prefixes.append(sequence[:i])
        next_words.append(sequence[i])
x = pad_sequences(prefixes, maxlen=12)
y = np.array(next_words)

model = Sequential()
model.add(Embedding(vocab_size, 16, mask_zero=True))
model.add(LSTM(24))
model.add(Dense(vocab_size, activation="softmax"))
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(x, y, epochs=3, batch_size=64, verbose=0)

sentence = "Alice began to look at the rabbit, astonished beyond telling"
sequence = pad_sequences(tokenizer.texts_to_sequences([sentence]), maxlen=12)
probabilities = model.predict(sequence, verbose=0)[0]
next_word = tokenizer.index_word[int(np.argmax(probabilities))]
