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
    star = pack.run("RandARClass", class_name="built-in: star")[0]
    latent, _ = pack.run("RandARSampler", model=model, classes=star, seed=0, steps=4, cfg=2.0)
    assert vae.decode(latent["samples"]).shape == (1, model.side, model.side, 3)
