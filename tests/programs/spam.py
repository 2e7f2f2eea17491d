"""A classifier of text messages: spam or not."""

import numpy as np
from tensorflow.keras.callbacks import EarlyStopping
from tensorflow.keras.layers import LSTM, Dense, Embedding
from tensorflow.keras.models import Sequential
from tensorflow.keras.preprocessing.sequence import pad_sequences
from tensorflow.keras.preprocessing.text import Tokenizer

from lmcourse.data import load_spam

train, validation, test = load_spam()
tokenizer = Tokenizer(num_words=1000, oov_token="<OOV>")
tokenizer.fit_on_texts(train.texts[:400])


def prepared(messages, count):
    sequences = tokenizer.texts_to_sequences(messages.texts[:count])
    return pad_sequences(sequences, maxlen=30, truncating="post"), messages.labels[:count]


x_train, y_train = prepared(train, 400)
x_validation, y_validation = prepared(validation, 100)
x_test, y_test = prepared(test, 100)

model = Sequential([Embedding(1000, 16), LSTM(16), Dense(1, activation="sigmoid")])
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
history = model.fit(
    x_train,
    y_train,
    epochs=3,
    batch_size=32,
    validation_data=(x_validation, y_validation),
    callbacks=[EarlyStopping(monitor="val_loss", patience=2, restore_best_weights=True)],
    verbose=0,
)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
probabilities = model.predict(x_test, verbose=0)
found = np.array([loss, accuracy])
