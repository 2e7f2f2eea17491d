"""A language model of characters that returns its states, then a continuation that carries them."""

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

from lmcourse.data import load_corpus

text = load_corpus("alice").text[1000:9000]
characters = sorted(set(text))
index = {character: i for i, character in enumerate(characters)}
ids = np.array([index[character] for character in text])
length = 40
windows = ids[: len(ids) // length * length].reshape(-1, length)
x, y = windows[:, :-1], windows[:, 1:]

inputs = keras.Input(shape=(None,))
embedding = layers.Embedding(len(characters), 12)
lstm = layers.LSTM(32, return_sequences=True, return_state=True)
dense = layers.Dense(len(characters), activation="softmax")
sequence, h, c = lstm(embedding(inputs))
outputs = dense(sequence)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.01),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
history = model.fit(x, y, validation_split=0.2, epochs=5, batch_size=8, shuffle=False, verbose=0)

start = [keras.Input(shape=(32,)), keras.Input(shape=(32,))]
sequence, h, c = lstm(embedding(inputs), initial_state=start)
sampler = keras.Model([inputs, *start], [dense(sequence), h, c])

prompt = "Alice was "
states = [np.zeros((1, 32), "float32"), np.zeros((1, 32), "float32")]
step = np.array([[index[character] for character in prompt]])
probabilities, written = [], prompt
for _ in range(20):
    distribution, *states = sampler.predict([step, *states], verbose=0)
    probabilities.append(distribution[0, -1])
    step = np.array([[int(np.argmax(distribution[0, -1]))]])
    written += characters[step[0, 0]]
