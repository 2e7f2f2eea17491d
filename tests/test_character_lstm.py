"""The character model that ships, and the program that trained it."""

import math
import re

import numpy as np
import pytest
import torch

from lmcourse import character_lstm, keras
from lmcourse.character_lstm import (
    FILE,
    CharacterLSTM,
    bits_per_character,
    build,
    encode,
    frequent_characters,
    load,
    main,
    save,
    streams,
    train,
)
from lmcourse.data import load_corpus

HELD_OUT = {name: load_corpus(name).split().held_out.text for name in ("austen", "shakespeare")}
NURSERY = 'He said, "Sing a song of sixpence." She sang.\n' * 70


def torch_logits(model, ids):
    """Run the model's LSTM in torch's own layer, for ids (batch, time)."""
    embedding, kernel, recurrent_kernel, bias, *dense = map(torch.tensor, model.get_weights())
    lstm = torch.nn.LSTM(len(kernel), len(recurrent_kernel), batch_first=True)
    arrays = (kernel.T, recurrent_kernel.T, bias, torch.zeros_like(bias))
    for parameter, array in zip(lstm.parameters(), arrays, strict=True):
        parameter.data = array.contiguous()
    with torch.no_grad():
        hidden, _ = lstm(embedding[torch.tensor(ids)])
    kernel, bias = dense
    return hidden @ kernel + bias


def stated(pattern):
    """The number that the module's documentation states."""
    words = " ".join(character_lstm.__doc__.split())
    return float(re.search(pattern, words).group(1))


def test_bits_per_character_are_those_that_the_documentation_states():
    model, characters = load()
    for name, pattern in (
        ("austen", r"of Austen takes it (\d\.\d\d) bits"),
        ("shakespeare", r"one of Shakespeare (\d\.\d\d)"),
    ):
        bits = bits_per_character(HELD_OUT[name], model, characters)
        assert abs(bits - stated(pattern)) < 0.006


def test_bits_per_character_agree_with_torch():
    model, characters = load()
    text = HELD_OUT["austen"][:8001]
    x, y = (
        part.reshape(2, 4000)
        for part in (encode(text, characters)[:-1], encode(text, characters)[1:])
    )
    logits = torch_logits(model, x)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(y).flatten())
    bits = bits_per_character(text, model, characters, n_streams=2)
    assert bits == pytest.approx(loss.item() / math.log(2), abs=1e-4)


def test_shipped_model_stays_as_it_was_described():
    model, characters = load()
    assert characters[0] == "" and len(set(characters)) == len(characters) == 68
    assert model.output_shape == (None, None, 68)
    assert not model.compiled
    train_text = "\n\n".join(load_corpus(n).split().train.text for n in ("austen", "shakespeare"))
    assert characters == frequent_characters(train_text)
    assert FILE.stat().st_size < 1_000_000


def test_encode_reads_unknown_characters_as_zero():
    assert encode("abz\na", ["", "\n", "a", "b"]).tolist() == [2, 3, 0, 1, 2]
    assert encode("", ["", "a"]).shape == (0,)


def test_frequent_characters_are_sorted_after_the_unknown_one():
    assert frequent_characters("bbbaaac", at_least=3) == ["", "a", "b"]
    assert frequent_characters("bbbaaac", at_least=4) == [""]


def test_rows_of_streams_go_on_in_the_next_batch_and_targets_are_one_later():
    ids = np.arange(100)
    x, y = streams(ids, n_streams=4, length=6)
    assert x.shape == y.shape == (16, 6)
    np.testing.assert_array_equal(y, x + 1)
    for stream in range(4):
        read = x[stream::4].ravel()
        np.testing.assert_array_equal(read, read[0] + np.arange(24))
    assert sorted(x.ravel()) == list(range(96))


@pytest.mark.wrong_input
def test_streams_want_enough_text():
    assert streams(np.arange(25), 4, 6)[0].shape == (4, 6)
    with pytest.raises(ValueError, match=r"n_streams \* length = 24 characters, got 24"):
        streams(np.arange(24), 4, 6)


def probabilities(model, ids):
    return model(ids).detach().numpy()


def small(**options):
    keras.utils.set_random_seed(0)
    arguments = dict(units=12, width=6, n_streams=4, length=40, epochs=4, learning_rate=0.02)
    return train(NURSERY, **arguments | options, verbose=0)


def test_training_learns_a_rhyme_and_keeps_no_state():
    model, characters = small(epochs=16)
    assert bits_per_character(NURSERY, model, characters, n_streams=4) < 1
    ids = encode("He said", characters)[None]
    np.testing.assert_array_equal(probabilities(model, ids), probabilities(model, ids))


def test_training_is_repeatable():
    for one, other in zip(small().model.get_weights(), small().model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_decays_the_rate_and_starts_epochs_with_fresh_states(monkeypatch):
    seen = []

    class Watched(character_lstm.LinearDecay):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            seen.append((self.model.optimizer.learning_rate, self.model.get_layer("lstm").states))

    monkeypatch.setattr(character_lstm, "LinearDecay", Watched)
    small()
    rates, states = zip(*seen, strict=True)
    np.testing.assert_allclose(rates, [0.02, 0.015, 0.01, 0.005])
    assert all(state is None or not any(map(np.any, state)) for state in states)


def test_training_reads_rows_in_their_order(monkeypatch):
    seen = []
    fit = keras.Model.fit

    def watched(self, x, y, **options):
        seen.append((options["shuffle"], options["batch_size"]))
        return fit(self, x, y, **options)

    monkeypatch.setattr(keras.Model, "fit", watched)
    small(epochs=1)
    assert seen == [(False, 4)]  # or the carried states are those of other rows


def test_a_model_comes_back_from_its_file_with_its_characters(tmp_path):
    model = build(3, units=4, width=2)
    save(tmp_path / "model.safetensors", model, ["", "é", "\n"])
    again, characters = load(tmp_path / "model.safetensors")
    assert characters == ["", "é", "\n"]
    ids = np.array([[0, 1, 2, 1]])
    np.testing.assert_array_equal(probabilities(model, ids), probabilities(again, ids))


@pytest.mark.wrong_input
def test_a_model_without_characters_is_refused(tmp_path):
    build(3, units=4, width=2).save(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="not the characters of its ids"):
        load(tmp_path / "model.safetensors")


def test_the_command_trains_measures_and_writes(tmp_path, monkeypatch, capsys):
    trained, measured = [], []

    def briefly(text):
        trained.append(text)
        return CharacterLSTM(build(4, units=4, width=2), ["", "e", "t", " "])

    def measure(text, model, characters):
        measured.append(text)
        return 1.234

    monkeypatch.setattr(character_lstm, "AUTHORS", ("alice",))
    monkeypatch.setattr(character_lstm, "train", briefly)
    monkeypatch.setattr(character_lstm, "bits_per_character", measure)
    main([str(tmp_path / "model.safetensors")])
    parts = load_corpus("alice").split()
    assert trained == [parts.train.text]
    assert measured == [parts.held_out.text]
    assert "alice: 1.23 bits" in capsys.readouterr().out
    assert load(tmp_path / "model.safetensors").characters == ["", "e", "t", " "]
