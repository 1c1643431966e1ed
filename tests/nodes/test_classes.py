"""Class and Class List."""

import pytest


def inputs_of(node):
    return {socket.id: socket for socket in node.GET_SCHEMA().inputs}


def test_classes_chain_into_a_batch(pack, sample):
    first = pack.run("RandARClassList", class_list="circle")[0]
    both = pack.run("RandARClassList", class_list="1, star", classes=first)[0]
    latent, _ = sample(classes=both, batch_size=2)
    assert len(latent["samples"]) == 6


def test_a_class_of_another_model_is_refused(pack, sample):
    retriever = pack.run("RandARClass", class_name="207: golden retriever")[0]
    with pytest.raises(ValueError, match="doesn't know the class '207: golden retriever'.*circle, square, star"):
        sample(classes=retriever)


def test_a_class_that_does_not_exist_is_refused_with_near_names(pack, sample):
    with pytest.raises(ValueError, match="circel.*Did you mean circle"):
        sample(classes=pack.run("RandARClassList", class_list="circel")[0])


def test_an_empty_class_list_is_refused(pack):
    with pytest.raises(ValueError, match="class list is empty"):
        pack.run("RandARClassList", class_list=" \n,")


def test_the_built_in_model_draws_its_own_classes(pack, reports):
    model, vae = pack.run("RandARLoadModel", model_name="built-in")
    options = inputs_of(pack.nodes["RandARClass"])["class_name"].options
    assert options[: len(model.class_names)] == [f"built-in: {name}" for name in model.class_names]
    castle = pack.run("RandARClass", class_name="built-in: castle")[0]
    latent, _ = pack.run("RandARSampler", model=model, classes=castle, seed=0, steps=4, cfg=2.0)
    assert vae.decode(latent["samples"]).shape == (1, model.side, model.side, 3)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("built-in: star", "doesn't know the class 'star'. Since version 0.2.0 it draws landscapes: sea, mountains, "),
        ("1000: nothing", "The class list has no entry '1000: nothing'"),
    ],
)
def test_an_entry_that_an_older_workflow_names_is_refused_with_what_there_is(pack, label, said):
    node = pack.nodes["RandARClass"]
    assert said in node.validate_inputs(label)
    with pytest.raises(ValueError) as error:
        pack.run("RandARClass", class_name=label)
    assert said in str(error.value)


def test_a_copy_without_the_built_in_model_says_so(pack, monkeypatch, tmp_path):
    classes = pack.module("nodes.classes")
    monkeypatch.setattr(classes, "BUILTIN", tmp_path / "lost.safetensors")
    monkeypatch.setattr(classes, "listed_classes", classes.listed_classes.__wrapped__)
    with pytest.raises(
        ValueError, match="'built-in: castle' is a class of the built-in model, which this copy .* lacks"
    ):
        pack.run("RandARClass", class_name="built-in: castle")


def test_an_older_entry_in_a_class_list_is_refused_too(pack):
    with pytest.raises(ValueError, match="doesn't know the class 'moon'. .*procedural-shapes"):
        pack.run("RandARClassList", class_list="built-in: castle, built-in: moon")


def test_a_bare_name_of_an_older_workflow_is_answered_with_the_classes_that_there_are(pack):
    builtin = tuple(entry.vocabulary for entry in pack.module("nodes.classes").listed_classes().values())[0]
    (prompt,) = pack.run("RandARClassList", class_list="star")[0]
    with pytest.raises(ValueError, match=f"no class named 'star'.*{', '.join(builtin)}"):
        prompt.blend.condition_for(builtin)


def test_an_entry_and_one_that_comes_from_another_node_pass(pack):
    node = pack.nodes["RandARClass"]
    assert node.validate_inputs("built-in: castle") is node.validate_inputs("88: macaw") is True
    assert node.validate_inputs(None) is True
