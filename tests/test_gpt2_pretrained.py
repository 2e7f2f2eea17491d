"""Weights go to transformers and come from it; files that do not fit are named."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import EntryNotFoundError, RevisionNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2LMHeadModel
from transformers import GPT2Config as TheirConfig

from lmcourse.gpt2 import GPT2, GPT2Config, GPT2Tokenizer, from_pretrained, save_pretrained
from lmcourse.gpt2 import tokenizer as tokenizer_module
from lmcourse.gpt2.pretrained import REVISIONS, SMALL

SIZES = {"vocab_size": 61, "n_positions": 12, "n_embd": 24, "n_layer": 2, "n_head": 3}
OTHER_SIZES = {"vocab_size": 40, "n_positions": 7, "n_embd": 16, "n_layer": 3, "n_head": 1} | {
    "n_inner": 20,
    "layer_norm_epsilon": 1e-3,
}


def theirs(sizes: dict, seed: int = 0) -> GPT2LMHeadModel:
    """A model of transformers whose every parameter is random, biases too."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(TheirConfig(**sizes, bos_token_id=0, eos_token_id=0)).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def logits(model, vocab_size: int, length: int) -> torch.Tensor:
    ids = torch.randint(vocab_size, (2, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = model(ids)
    return getattr(output, "logits", output)


def assert_same(ours: GPT2, other: torch.nn.Module, tolerance: float = 1e-4) -> None:
    size = ours.config.vocab_size, ours.config.n_positions
    expected = logits(other, *size)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(ours, *size), expected, atol=tolerance, rtol=0)


@pytest.fixture
def folder(tmp_path) -> Path:
    """What transformers writes."""
    theirs(SIZES).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder: Path, change) -> None:
    """Let ``change`` edit the tensors of a folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def configure(folder: Path, **options) -> None:
    """Change ``config.json``; None takes an option out."""
    path = folder / "config.json"
    content = json.loads(path.read_text()) | options
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


# --- round trips ---


@pytest.mark.parametrize("sizes", [SIZES, OTHER_SIZES])
def test_a_model_of_transformers_gives_the_same_logits(sizes, tmp_path):
    other = theirs(sizes)
    other.save_pretrained(tmp_path)
    ours = from_pretrained(tmp_path)
    assert_same(ours, other)
    for name, value in sizes.items():
        assert getattr(ours.config, name) == value
    assert not ours.training and all(p.requires_grad for p in ours.parameters())
    assert {p.dtype for p in ours.parameters()} == {torch.float32}


@pytest.mark.parametrize("sizes", [SIZES, OTHER_SIZES])
def test_transformers_reads_what_we_write(sizes, tmp_path):
    ours = GPT2(GPT2Config(**sizes), seed=3).eval()
    for parameter in ours.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    save_pretrained(ours, tmp_path / "new" / "folder")
    other, report = GPT2LMHeadModel.from_pretrained(
        tmp_path / "new" / "folder", output_loading_info=True
    )
    assert not any(report.values())
    assert_same(ours, other)
    again = from_pretrained(tmp_path / "new" / "folder")
    assert again.config == ours.config
    for name, tensor in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
    files = sorted(file.name for file in (tmp_path / "new" / "folder").iterdir())
    assert files == ["config.json", "model.safetensors"]


def test_the_tokenizer_goes_along(tmp_path):
    tokenizer = GPT2Tokenizer.train("low lower lowest new newer newest", 270)
    model = GPT2(GPT2Config(**SIZES | {"vocab_size": 270}))
    save_pretrained(model, tmp_path, tokenizer=tokenizer)
    other = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.encode("newer low<|endoftext|>", allowed_special="all").tolist()
    assert other("newer low<|endoftext|>").input_ids == ids
    config = GPT2LMHeadModel.from_pretrained(tmp_path).config
    assert config.eos_token_id == config.bos_token_id == tokenizer.eos_token_id == ids[-1]
    assert GPT2Tokenizer.from_pretrained(tmp_path).merges == tokenizer.merges


def test_a_later_model_replaces_the_one_before(folder):
    (folder / "README.md").write_text("kept")
    model = GPT2(GPT2Config(**OTHER_SIZES))
    save_pretrained(model, folder)
    assert from_pretrained(folder).config == model.config
    assert (folder / "README.md").read_text() == "kept"


def test_dropout_is_kept_and_off_until_training(tmp_path):
    save_pretrained(GPT2(GPT2Config(**SIZES, dropout=0.25)), tmp_path)
    ours = from_pretrained(tmp_path)
    assert ours.config.dropout == 0.25 and not ours.training
    other = GPT2LMHeadModel.from_pretrained(tmp_path).config
    assert (other.resid_pdrop, other.embd_pdrop, other.attn_pdrop) == (0.25, 0.25, 0.0)
    assert_same(ours, GPT2LMHeadModel.from_pretrained(tmp_path))


# --- types, devices, older and other files ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_load_as_float32_unless_asked(dtype, tmp_path):
    model = GPT2(GPT2Config(**SIZES))
    save_pretrained(model, tmp_path, dtype=dtype)
    stored = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    loaded = from_pretrained(tmp_path)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].to(dtype).float())
    same = from_pretrained(tmp_path, dtype=dtype).state_dict()
    assert {tensor.dtype for tensor in same.values()} == {dtype}
    other = GPT2LMHeadModel.from_pretrained(tmp_path)
    assert other.dtype == dtype
    assert_same(loaded, other.float())


def test_the_device_is_the_one_asked_for_or_torchs_default(folder):
    assert from_pretrained(folder, device="meta").device.type == "meta"
    with torch.device("meta"):
        assert from_pretrained(folder).device.type == "meta"
        assert from_pretrained(folder, device="cpu").device.type == "cpu"


def test_the_callers_random_numbers_stay_as_they_were(folder):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    from_pretrained(folder)
    assert torch.equal(torch.rand(3), expected)


def test_weights_outlive_their_file(folder):
    model = from_pretrained(folder)
    expected = logits(model, 61, 12)
    size = (folder / "model.safetensors").stat().st_size
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(bytes(size))
    assert torch.equal(logits(model, 61, 12), expected)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_the_hubs_older_files_hold_masks_and_an_output_matrix(folder, prefix):
    expected = from_pretrained(folder).state_dict()

    def age(tensors):
        for name in list(tensors):
            tensors[prefix + name.removeprefix("transformer.")] = tensors.pop(name)
        for layer in range(2):
            mask = torch.ones(1, 1, 12, 12).tril()
            tensors[f"{prefix}h.{layer}.attn.bias"] = mask.to(torch.uint8)
            tensors[f"{prefix}h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
        tensors["lm_head.weight"] = tensors[f"{prefix}wte.weight"].clone()

    rewrite(folder, age)
    found = from_pretrained(folder).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_in_several_files(tmp_path):
    other = theirs(SIZES)
    other.save_pretrained(tmp_path, max_shard_size="20kB")
    assert not (tmp_path / "model.safetensors").exists()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same(from_pretrained(str(tmp_path)), other)


def test_another_name_of_the_same_activation(folder):
    configure(folder, activation_function="gelu_pytorch_tanh", n_inner=None)
    assert from_pretrained(folder).config.n_inner == 96


# --- files that do not fit ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("transformer.h.1.mlp.c_fc.bias"), "h.1.mlp.c_fc.bias is missing"),
        (lambda t: t.update({"h.2.ln_1.bias": torch.zeros(24)}), "h.2.ln_1.bias is unexpected"),
        (
            lambda t: t.update({"transformer.wpe.weight": torch.zeros(11, 24)}),
            r"wpe.weight must have shape \(12, 24\), got \(11, 24\)",
        ),
        (
            lambda t: t.update(
                {"transformer.h.0.mlp.c_fc.weight": torch.zeros(96, 24)}  # as nn.Linear has it
            ),
            r"h.0.mlp.c_fc.weight must have shape \(24, 96\), got \(96, 24\)",
        ),
        (lambda t: t.clear(), r"wte.weight is missing; .*; and 23 more$"),
        (
            lambda t: t.update({"lm_head.weight": torch.ones(61, 24)}),
            "lm_head.weight must equal wte.weight, because GPT2 has one matrix for both",
        ),
        (
            lambda t: t.update({"transformer.ln_f.bias": torch.zeros(24, dtype=torch.int8)}),
            r"transformer.ln_f.bias must be floats, got torch.int8",
        ),
    ],
)
@pytest.mark.wrong_input
def test_tensors_that_do_not_fit_are_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message) as caught:
        from_pretrained(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.1, 0.5, 0.999])
@pytest.mark.wrong_input
def test_a_truncated_file_is_named(folder, kept):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file \("):
        from_pretrained(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_embd": None, "n_head": None}, "config.json lacks n_embd, n_head"),
        ({"n_head": 5}, "config.json: n_head must divide n_embd, got 5 and 24"),
        ({"n_layer": "2"}, "config.json: n_layer must be an integer, got str '2'"),
        ({"resid_pdrop": 1.0}, "config.json: dropout must be"),
        ({"model_type": "llama"}, "model_type must be 'gpt2', got 'llama'"),
        (
            {"activation_function": "relu"},
            "activation_function must be 'gelu_new' or 'gelu_pytorch_tanh', got 'relu'",
        ),
        ({"scale_attn_weights": False}, "scale_attn_weights must be True, got False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx must be False, got True"),
        ({"add_cross_attention": True}, "add_cross_attention must be False, got True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings must be True, got False"),
        ({"n_layer": 3}, r"do not fit its config.json: h.2.ln_1.weight is missing"),
        ({"vocab_size": 60}, r"wte.weight must have shape \(60, 24\), got \(61, 24\)"),
    ],
)
@pytest.mark.wrong_input
def test_a_configuration_that_does_not_fit_is_named(folder, options, message):
    configure(folder, **options)
    with pytest.raises(ValueError, match=message) as caught:
        from_pretrained(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.wrong_input
def test_files_that_are_missing_or_not_json_are_named(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON: Expecting"):
        from_pretrained(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json must hold an object, got \[\]"):
        from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"model has no config\.json: is it a model's\?"):
        from_pretrained(folder)
    with pytest.raises(FileNotFoundError, match=r"'lmcourse-small', .* got 'gpt3': there is no"):
        from_pretrained("gpt3")


@pytest.mark.wrong_input
def test_pickles_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"has no model.safetensors; .* pickle .* convert it with transfor"
    ):
        from_pretrained(folder)


@pytest.mark.wrong_input
def test_an_index_that_holds_something_else_is_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')
    with pytest.raises(ValueError, match=r"index.json must hold a weight_map"):
        from_pretrained(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"wte.weight": "a"}}')
    with pytest.raises(FileNotFoundError, match=r"model/a"):
        from_pretrained(folder)


@pytest.mark.wrong_input
def test_wrong_arguments_are_named(folder, tmp_path):
    for dtype in (torch.int64, "float32"):
        with pytest.raises(TypeError, match=r"dtype must be a floating-point type of torch, got"):
            from_pretrained(folder, dtype=dtype)
    with pytest.raises(ValueError, match=r"revision is for models of the hub, gpt2, .* got"):
        from_pretrained(folder, revision="main")
    model = from_pretrained(folder)
    with pytest.raises(ValueError, match="at most the model's 61 tokens, got 50257"):
        save_pretrained(model, tmp_path / "no", tokenizer=GPT2Tokenizer.from_pretrained("gpt2"))
    with torch.no_grad():
        model.ln_f.bias[3] = 1e5
    with pytest.raises(ValueError, match=r"ln_f.bias must be finite in torch.float16, got"):
        save_pretrained(model, tmp_path / "no", dtype=torch.float16)
    assert not (tmp_path / "no").exists()


# --- the hub ---


@pytest.fixture
def hub(folder, monkeypatch, tmp_path) -> list[tuple[str, str, str]]:
    """Serve ``folder`` in place of the hub; the list gets what is asked for."""
    asked = []

    def hf_hub_download(repository, file, *, revision):
        asked.append((repository, file, revision))
        if revision == "unknown":
            raise RevisionNotFoundError.__new__(RevisionNotFoundError)
        if not (folder / file).exists():
            raise EntryNotFoundError(f"404: {file}")
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    return asked


@pytest.mark.parametrize("name", REVISIONS)
def test_the_hub_is_asked_for_two_files_at_a_pinned_commit(hub, folder, name):
    assert len(REVISIONS[name]) == 40
    repository, revision = f"openai-community/{name}", REVISIONS[name]
    model = from_pretrained(name)
    files = ["config.json", "model.safetensors"]
    assert hub == [(repository, file, revision) for file in files]
    assert_same(model, GPT2LMHeadModel.from_pretrained(folder))
    from_pretrained(repository, revision="main")
    assert hub[2:] == [(repository, file, "main") for file in files]


def test_every_model_has_a_tokenizer_by_the_same_name():
    assert tokenizer_module._FOLDERS.keys() == {*REVISIONS, "lmcourse-small"}
    assert tokenizer_module._FOLDERS["lmcourse-small"] == SMALL


@pytest.mark.wrong_input
def test_what_the_hub_has_not_is_named(hub, folder):
    with pytest.raises(ValueError, match="revision must be one of openai-community/gpt2, got 'unk"):
        from_pretrained("gpt2", revision="unknown")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"gpt2 has no model.safetensors at revision 'v1';"):
        from_pretrained("gpt2", revision="v1")


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """No network and an empty cache, as the real library has it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.wrong_input
def test_with_no_network_the_error_says_what_to_do(offline):
    with pytest.raises(ConnectionError) as caught:
        from_pretrained("gpt2-medium")
    message = str(caught.value)
    assert message.startswith("gpt2-medium is not in the cache, and the Hugging Face hub cannot")
    assert "'lmcourse-small'" in message
    assert (
        "`hf download openai-community/gpt2-medium config.json model.safetensors "
        f"--revision {REVISIONS['gpt2-medium']} --local-dir my-gpt2-medium`"
    ) in message


@pytest.mark.parametrize("repository", ["models--openai-community--gpt2", "models--gpt2"])
def test_a_cached_copy_needs_no_network(offline, folder, repository):
    snapshot = offline / repository / "snapshots" / REVISIONS["gpt2"]
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(folder, snapshot)
    assert_same(from_pretrained("gpt2"), GPT2LMHeadModel.from_pretrained(folder))


@pytest.mark.wrong_input
def test_without_huggingface_hub_the_error_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModuleNotFoundError, match=r'gpt2 .* pip install "lmcourse\[hub\]"'):
        from_pretrained("gpt2")
