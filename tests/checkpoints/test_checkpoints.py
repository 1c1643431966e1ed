"""Files of weights: what is read, what is recognised, and what every kind of bad file is told."""

import argparse
import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from randar_core.checkpoints import detect as detecting
from randar_core.checkpoints.build import build
from randar_core.checkpoints.bundle import save_bundle
from randar_core.checkpoints.detect import detect
from randar_core.checkpoints.families import family_of
from randar_core.checkpoints.locate import locate
from randar_core.checkpoints.model import load_model, load_tokenizer, load_transformer
from randar_core.checkpoints.pairing import check_pair
from randar_core.checkpoints.releases import RELEASES, Defaults, find_release
from randar_core.checkpoints.weights import Checkpoint, CheckpointError, read_weights
from randar_core.models.llamagen import LlamaGenConfig, LlamaGenTokenizer
from randar_core.models.maskgit import MaskGITConfig, MaskGITTokenizer
from randar_core.models.randar import RandAR, RandARConfig

KEYS = json.loads((Path(__file__).parents[1] / "golden" / "checkpoint_keys.json").read_text())
RELEASED = {
    "randar_0.3b_llamagen": "randar-l-llamagen",
    "randar_0.3b_maskgit": "randar-l-maskgit",
    "randar_0.7b_llamagen": "randar-xl-llamagen",
    "llamagen_vq_ds16_c2i": "llamagen-vq16",
    "maskgit_vqgan_imagenet_f16_256": "maskgit-vqgan",
    "rar_b": "rar-b",
    "rar_l": "rar-l",
    "rar_xl": "rar-xl",
    "rar_xxl": "rar-xxl",
    "lpd_l_256": "lpd-l-256",
    "lpd_xl_256": "lpd-xl-256",
    "lpd_xxl_256": "lpd-xxl-256",
    "lpd_l_512": "lpd-l-512",
    "lpd_xl_512": "lpd-xl-512",
}
DECODER = RandARConfig(width=32, layers=2, heads=2, codebook_size=24, classes=5, grid=4)
LLAMAGEN = LlamaGenConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=4, z_channels=8, norm_groups=4)
MASKGIT = MaskGITConfig(8, (1, 2), 1, codebook_size=24, codebook_dim=8, norm_groups=4)


def filled(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def decoder():
    return filled(RandAR(DECODER))


@pytest.fixture(scope="module")
def tokenizer():
    return filled(LlamaGenTokenizer(LLAMAGEN))


@pytest.fixture
def small_releases(monkeypatch):
    """The table of releases with sizes that tests can write: the tokenizers and one decoder each."""
    small = [
        replace(find_release("randar-l-llamagen"), config=DECODER),
        replace(find_release("llamagen-vq16"), config=LLAMAGEN),
        replace(find_release("maskgit-vqgan"), config=MASKGIT),
    ]
    monkeypatch.setattr(detecting, "RELEASES", small)


def save_raw(path: Path, network: nn.Module, config: bool = True, **changes) -> Path:
    """A file with the network's own keys; a change replaces a tensor, or drops it where it is None."""
    tensors = {**network.state_dict(), **changes}
    metadata = {"config": json.dumps(asdict(network.config))} if config else None
    save_file({key: tensor for key, tensor in tensors.items() if tensor is not None}, path, metadata)
    return path


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


# Recognising


@pytest.mark.parametrize("file", RELEASED)
def test_every_released_file_is_recognised_by_its_keys_and_shapes(file):
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS[file].items()}
    (part,) = detect(Checkpoint(Path(file), tensors, {})).networks
    assert part.release.name == RELEASED[file]
    assert not part.mismatch
    assert part.parameters == part.release.parameters


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)
def test_the_table_counts_the_weights_of_every_size(release):
    family = family_of(release.config)
    shapes = family.shapes(release.config)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == release.parameters


def test_heads_come_from_the_table():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.7b_llamagen"].items()}
    assert detect(Checkpoint(Path("xl"), tensors, {})).transformer.config.heads == 20


def test_what_differs_from_a_release_is_named():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.3b_maskgit"].items()}
    del tensors["norm.weight"]
    tensors["freqs"] = torch.empty(3, device="meta")
    tensors["output.weight"] = torch.empty(1000, 1024, device="meta")
    part = detect(Checkpoint(Path("l"), tensors, {})).transformer
    assert part.release.name == "randar-l-maskgit"
    assert part.mismatch.missing == {"norm.weight": (1024,)}
    assert part.mismatch.unexpected == {"freqs": (3,)}
    assert part.mismatch.different == {"output.weight": ((1000, 1024), (1024, 1024))}


def test_another_size_is_recognised_by_its_configuration(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    assert detect(read_weights(path)).transformer.config == DECODER
    assert same_weights(load_transformer(path), decoder)


def test_another_size_without_its_configuration_says_what_is_needed(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    with pytest.raises(
        CheckpointError, match=r"a size that was not released .*\[24, 32\].* metadata 'config'.* RandARConfig"
    ):
        load_transformer(path)


def test_the_leftover_of_training_is_accepted(tmp_path, tokenizer):
    path = save_raw(tmp_path / "t.safetensors", tokenizer, **{"quantize.codebook_used": torch.zeros(65536)})
    assert same_weights(load_tokenizer(path), tokenizer)


def test_a_file_that_mixes_families_is_refused(tmp_path, decoder, tokenizer):
    path = save_raw(tmp_path / "d.safetensors", decoder, **tokenizer.state_dict())
    with pytest.raises(CheckpointError, match="mixes the keys of randar .* and llamagen"):
        detect(read_weights(path))


def test_foreign_weights_are_refused(tmp_path):
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError, match="not one of the models known here.*conv.weight"):
        detect(read_weights(tmp_path / "f.safetensors"))


# Loading


def test_a_missing_key_is_named(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": None})
    with pytest.raises(CheckpointError, match=r"d.safetensors'.*missing: norm.weight \[32\]"):
        load_transformer(path)


def test_an_extra_key_is_named(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, bias=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"unexpected: bias \[2\]"):
        load_transformer(path)


def test_a_misshapen_key_is_named_with_what_was_expected(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": torch.zeros(31)})
    with pytest.raises(CheckpointError, match=r"of another shape: norm.weight is \[31\], expected \[32\]"):
        load_transformer(path)


def test_of_many_missing_keys_the_first_are_named(tmp_path, decoder):
    gone = {key: None for key in decoder.state_dict() if key.startswith("layers.1.")}
    path = save_raw(tmp_path / "d.safetensors", decoder, **gone)
    with pytest.raises(CheckpointError, match=r"missing: layers.1.attention.wqkv.weight \[96, 32\].* and 3 more"):
        load_transformer(path)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(tmp_path, decoder, wrong):
    weight = decoder.state_dict()["layers.1.ffn_norm.weight"].clone()
    weight[7] = wrong
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"layers.1.ffn_norm.weight": weight})
    with pytest.raises(CheckpointError, match="layers.1.ffn_norm.weight holds NaN or infinite"):
        load_transformer(path)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_weights_of_another_kind_are_refused(tmp_path, decoder, dtype):
    path = save_raw(tmp_path / "d.safetensors", decoder, **{"norm.weight": torch.ones(32).to(dtype)})
    with pytest.raises(CheckpointError, match=f"norm.weight holds {dtype}; expected one of float32, bfloat16"):
        load_transformer(path)


def test_weights_come_in_the_dtype_asked_for(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    loaded = load_transformer(path, dtype=torch.bfloat16)
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.bfloat16}
    assert same_weights(loaded.float(), filled(RandAR(DECODER)).bfloat16().float())


def test_a_file_of_mixed_dtypes_is_loaded_in_the_one_that_most_weights_have(tmp_path, decoder):
    half = {key: value.half() for key, value in decoder.state_dict().items() if "norm" not in key}
    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder, **half))
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float16}


def test_a_loaded_network_is_ready_and_whole(tmp_path, decoder):
    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(tensor.is_meta for tensor in [*loaded.parameters(), *loaded.buffers()])
    classes, tokens, order = torch.tensor([0, 3]), torch.zeros(2, 16, dtype=torch.long), torch.arange(16).expand(2, -1)
    found, expected = (model(model.class_embedding(classes), tokens, order) for model in (loaded, decoder))
    assert torch.equal(found, expected)


def test_the_host_hands_in_its_own_layers(tmp_path, decoder):
    class HostLinear(nn.Linear):
        pass

    class HostLayers:
        Linear, Embedding, RMSNorm = HostLinear, nn.Embedding, nn.RMSNorm

    loaded = load_transformer(save_raw(tmp_path / "d.safetensors", decoder), operations=HostLayers)
    assert any(isinstance(module, HostLinear) for module in loaded.modules())


# Prints how far anonymous memory rises while the file is loaded in each dtype.
MEMORY = """
import sys, threading, torch
from randar_core.checkpoints.model import load_transformer
from randar_core.models.randar import RandAR, RandARConfig

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

def watch(done, seen):
    while not done.wait(0.001):
        seen.append(anonymous())

torch.set_num_threads(1)
RandAR(RandARConfig(32, 1, 2, 8), device="meta")  # torch loads what it needs for this once
for path, dtype in zip(sys.argv[1::2], sys.argv[2::2]):
    done, seen = threading.Event(), [anonymous()]
    thread = threading.Thread(target=watch, args=(done, seen))
    thread.start()
    decoder = load_transformer(path, dtype=getattr(torch, dtype))
    done.set()
    thread.join()
    print(max(*seen, anonymous()) - seen[0])
    del decoder
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of anonymous memory")
def test_loading_makes_no_second_copy_of_the_weights(tmp_path):
    """Memory rises by the loaded weights alone, in the file's own dtype as in another."""
    config = RandARConfig(width=512, layers=12, heads=8, codebook_size=512)
    shapes = RandAR(config, device="meta").state_dict()
    weights = {key: torch.zeros(value.shape, dtype=torch.bfloat16) for key, value in shapes.items()}
    path = tmp_path / "model.safetensors"
    save_file(weights, path, {"config": json.dumps(asdict(config))})
    runs = [(path, "bfloat16"), (path, "float16")]
    command = [sys.executable, "-c", MEMORY, *[str(word) for run in runs for word in run]]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    own, converted = map(int, printed.split())
    size = path.stat().st_size
    assert 0.8 * size <= own <= 1.2 * size
    assert 0.8 * size <= converted <= 1.2 * size


# Decoder and tokenizer


def test_a_decoder_and_its_tokenizer_make_a_model(tmp_path, small_releases, decoder, tokenizer):
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer, config=False)
    model = load_model(decoder_path, tokenizer_path)
    assert model.name == "d"  # shapes alone don't make it the release
    assert same_weights(model.transformer, decoder) and same_weights(model.tokenizer, tokenizer)
    assert model.class_names[207] == "golden retriever"
    assert (model.defaults.guidance, model.defaults.steps) == (3.4, 88)


def test_a_decoder_without_its_tokenizer_names_the_file_to_get(tmp_path, small_releases, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    with pytest.raises(
        CheckpointError,
        match=r"Put vq_ds16_c2i.pt \(llamagen-vq16, from huggingface.co/FoundationVision/LlamaGen\) next to it",
    ):
        load_model(path)


def test_a_tokenizer_of_another_codebook_is_refused(tmp_path, decoder):
    other = filled(LlamaGenTokenizer(replace(LLAMAGEN, codebook_size=32)))
    paths = save_raw(tmp_path / "d.safetensors", decoder), save_raw(tmp_path / "t.safetensors", other)
    with pytest.raises(CheckpointError, match="codebook of 24 tokens, the tokenizer has 32"):
        load_model(*paths)


def test_a_tokenizer_of_another_family_is_refused(tmp_path, small_releases, decoder):
    """The same codebook size does not make it the same codebook."""
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder, config=False)
    other = save_raw(tmp_path / "t.safetensors", filled(MaskGITTokenizer(MASKGIT)), config=False)
    with pytest.raises(CheckpointError, match="trained with a llamagen tokenizer, not with maskgit .*t.safetensors"):
        load_model(decoder_path, other)


def test_released_decoders_refuse_the_other_released_tokenizer():
    parts = {}
    for file in ("randar_0.3b_llamagen", "maskgit_vqgan_imagenet_f16_256"):
        tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS[file].items()}
        (parts[file],) = detect(Checkpoint(Path(file), tensors, {})).networks
    with pytest.raises(CheckpointError, match="Give it the tokenizer vq_ds16_c2i.pt"):
        check_pair(*parts.values())


def test_a_tokenizer_in_the_decoders_place_is_told_apart(tmp_path, decoder, tokenizer):
    decoder_path = save_raw(tmp_path / "d.safetensors", decoder)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer)
    with pytest.raises(CheckpointError, match="t.safetensors' is a llamagen tokenizer without a transformer. Give"):
        load_model(tokenizer_path, decoder_path)
    with pytest.raises(
        CheckpointError, match="d.safetensors' is a randar transformer without a tokenizer. Expected a tokenizer"
    ):
        load_model(decoder_path, decoder_path)


# Bundles


def test_a_bundle_brings_everything_back(tmp_path, decoder, tokenizer):
    defaults = Defaults(guidance=2.5, temperature=0.9, steps=12)
    save_bundle(tmp_path / "b.safetensors", decoder, tokenizer, list("abcde"), defaults, "small")
    model = load_model(tmp_path / "b.safetensors")
    assert (model.name, model.class_names, model.defaults) == ("small", tuple("abcde"), defaults)
    assert (model.transformer.config, model.tokenizer.config) == (DECODER, LLAMAGEN)
    assert same_weights(model.transformer, decoder) and same_weights(model.tokenizer, tokenizer)


@pytest.mark.parametrize("end, ends", [(4.0, (2, 4)), (1.5, (1.5, 1.5)), (1.0, (1, 1))])
def test_a_models_own_schedule_starts_no_higher_than_it_ends(tmp_path, decoder, tokenizer, end, ends):
    save_bundle(
        tmp_path / "b.safetensors", decoder, tokenizer, list("abcde"), Defaults(4.0, guidance_start=2.0), "small"
    )
    schedule = load_model(tmp_path / "b.safetensors").guidance(end).schedule
    assert (schedule(0.0), schedule(1.0)) == ends


def test_a_bundle_may_hold_one_network(tmp_path, decoder, tokenizer):
    save_bundle(tmp_path / "d.safetensors", decoder)
    save_bundle(tmp_path / "t.safetensors", tokenizer=tokenizer)
    model = load_model(tmp_path / "d.safetensors", tmp_path / "t.safetensors")
    assert same_weights(model.transformer, decoder)
    assert model.class_names == ("class 0", "class 1", "class 2", "class 3", "class 4")


def test_a_tokenizer_that_is_given_goes_before_the_bundles_own(tmp_path, decoder, tokenizer):
    save_bundle(tmp_path / "b.safetensors", decoder, tokenizer)
    other = LlamaGenTokenizer(LLAMAGEN).requires_grad_(False)
    path = save_raw(tmp_path / "t.safetensors", other)
    assert same_weights(load_model(tmp_path / "b.safetensors", path).tokenizer, other)


def test_a_bundle_of_other_codebooks_is_not_written(tmp_path, decoder):
    other = LlamaGenTokenizer(replace(LLAMAGEN, codebook_size=32))
    with pytest.raises(CheckpointError, match="codebook of 24"):
        save_bundle(tmp_path / "b.safetensors", decoder, other)
    assert not list(tmp_path.iterdir())


def test_a_bundle_needs_one_name_a_class(tmp_path, decoder):
    with pytest.raises(CheckpointError, match="3 class names were given for a transformer of 5 classes"):
        save_bundle(tmp_path / "b.safetensors", decoder, class_names="abc")


def test_a_bundle_that_cannot_be_written_says_so(tmp_path, decoder):
    with pytest.raises(CheckpointError, match="nowhere.*can't be written"):
        save_bundle(tmp_path / "nowhere" / "b.safetensors", decoder)


def test_a_failed_write_leaves_the_old_file(tmp_path, decoder, monkeypatch):
    path = tmp_path / "b.safetensors"
    save_bundle(path, decoder)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("randar_core.checkpoints.bundle.save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_bundle(path, decoder)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def rewritten(path: Path, decoder: nn.Module, metadata: dict[str, str]) -> Path:
    save_bundle(path, decoder)
    bundle = read_weights(path)
    save_file(bundle.tensors, path, bundle.metadata | metadata)
    return path


RANDAR = '{"family": "randar", "config": {"width": 8, "heads": 2, "codebook_size": 8, %s}}'


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"randar": "9"}, "bundle of format 9; this version reads format 1"),
        ({"decoder": "{"}, "metadata 'decoder' .* is not JSON"),
        ({"decoder": "[]"}, r"metadata 'decoder' .* is \[\]; expected a JSON object"),
        ({"decoder": '{"family": "dalle", "config": {}}'}, "a transformer of family 'dalle'; known: randar"),
        ({"decoder": '{"family": "randar", "config": {"depth": 3}}'}, "not a valid RandARConfig.*depth"),
        ({"decoder": '{"family": "randar"}'}, "not a valid RandARConfig"),
        (
            {"decoder": RANDAR % '"layers": 1000000000'},
            "not a valid RandARConfig: layers says 1000000000, more than the",
        ),
        ({"decoder": RANDAR % '"layers": 1, "grid": 0'}, "grid is 0"),
        ({"decoder": RANDAR % '"layers": 1, "grid": "16"'}, "grid is '16'"),
        ({"facts": '{"class_names": 5}'}, "are not a list of names"),
        ({"facts": '{"defaults": {"steps": "88"}}'}, "defaults in .* are not valid: steps is '88'"),
        ({"facts": '{"defaults": {"order": [], "temperature": 0}}'}, r"temperature is 0, order is \[\]"),
        ({"facts": '{"class_names": ["a"]}'}, "names 1 classes, but its transformer has 5"),
        ({"facts": '{"defaults": {"sampler": 1}}'}, "The defaults in .*sampler"),
        ({"facts": '{"defaults": {"order": "zigzag"}}'}, "the order is 'zigzag'; known: random, raster"),
    ],
)
def test_bundles_that_are_not_understood_say_why(tmp_path, decoder, tokenizer, metadata, message):
    path = rewritten(tmp_path / "b.safetensors", decoder, metadata)
    tokenizer_path = save_raw(tmp_path / "t.safetensors", tokenizer)
    with pytest.raises(CheckpointError, match=message):
        load_model(path, tokenizer_path)


def test_strange_tensors_in_a_bundle_are_named(tmp_path, decoder):
    path = tmp_path / "b.safetensors"
    save_bundle(path, decoder)
    bundle = read_weights(path)
    save_file(bundle.tensors | {"optimizer.step": torch.zeros(1)}, path, bundle.metadata)
    with pytest.raises(CheckpointError, match="bundle of transformer, but holds optimizer.step"):
        load_transformer(path)


# Reading


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_named(tmp_path, decoder, share):
    path = save_raw(tmp_path / "d.safetensors", decoder)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="d.safetensors' is (empty|cut or damaged|not a safetensors file)"):
        read_weights(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_pickle_is_named(tmp_path, decoder, zipped, share):
    path = tmp_path / "d.pt"
    torch.save(decoder.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="d.pt' is (empty|a cut or damaged PyTorch checkpoint)"):
        read_weights(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (os.urandom(300), "is (not a safetensors file|cut or damaged|named .safetensors)"),
    ],
)
def test_a_file_that_is_something_else_is_told_what_it_is(tmp_path, content, message):
    path = tmp_path / "f.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_weights(path)


def test_a_pickle_under_a_safetensors_name_is_refused(tmp_path, decoder):
    path = tmp_path / "d.safetensors"
    torch.save(decoder.state_dict(), path)
    with pytest.raises(CheckpointError, match="named .safetensors but looks like a PyTorch checkpoint"):
        read_weights(path)


def test_safetensors_under_another_name_are_read(tmp_path, decoder):
    path = save_raw(tmp_path / "d.safetensors", decoder).rename(tmp_path / "d.bin")
    assert same_weights(load_transformer(path), decoder)


@pytest.mark.parametrize("zipped", [True, False])
def test_released_pickles_are_read(tmp_path, small_releases, tokenizer, zipped):
    """LlamaGen's keeps the weights under `model`; a copy may carry what training left beside them."""
    left = {"args": argparse.Namespace(lr=1e-4, betas=(0.9, 0.95)), "steps": 7, "optimizer": {"state": {}}}
    path = tmp_path / "t.pt"
    torch.save({"model": tokenizer.state_dict(), **left}, path, _use_new_zipfile_serialization=zipped)
    assert same_weights(load_tokenizer(path), tokenizer)
    torch.save(tokenizer.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert same_weights(load_tokenizer(path), tokenizer)


class Trap:
    """Runs code when it is unpickled without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_named_and_not_run(tmp_path, decoder, zipped):
    weights = decoder.state_dict() | {"extra": Trap(tmp_path / "sprung")}
    torch.save(weights, tmp_path / "d.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"it asks for (posix|nt)\.mkdir.* Nothing of it was run"):
        read_weights(tmp_path / "d.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_bare_pickle_with_code_is_not_run(tmp_path, protocol):
    (tmp_path / "d.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=protocol))
    with pytest.raises(CheckpointError, match=r"d.bin' (holds more than weights|is a cut or damaged)"):
        read_weights(tmp_path / "d.bin")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "holds a list; expected a state dict"),
        ({"a": torch.zeros(1), "lr": 0.1}, "is not a state dict: under 'lr' it holds a float"),
        ({"model": {0: torch.zeros(1)}}, "is not a state dict: under a key of type int it holds a tensor"),
    ],
)
def test_a_pickle_that_is_no_state_dict_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "d.pt")
    with pytest.raises(CheckpointError, match=message):
        read_weights(tmp_path / "d.pt")


def test_a_folder_of_a_releases_name_is_not_taken_for_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rar-b").mkdir()
    with pytest.raises(FileNotFoundError, match="Fetch it with `randar download rar-b`"):
        locate("rar-b")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file '.*d.pt'"):
        read_weights(tmp_path / "d.pt")


def test_building_a_part_that_does_not_fit_says_what_it_looked_like():
    tensors = {key: torch.empty(shape, device="meta") for key, shape in KEYS["randar_0.3b_maskgit"].items()}
    del tensors["tok_embeddings.weight"]
    with pytest.raises(CheckpointError, match="doesn't fit randar-l-maskgit. missing: tok_embeddings.weight"):
        build(detect(Checkpoint(Path("l"), tensors, {})).transformer)
