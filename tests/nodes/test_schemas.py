"""What ComfyUI sees of the nodes."""

SEED_MAX = 0xFFFFFFFFFFFFFFFF


def inputs_of(node):
    return {socket.id: socket for socket in node.GET_SCHEMA().inputs}


def test_everything_has_a_tooltip_and_is_found_by_other_names(pack):
    for node in pack.nodes.values():
        schema = node.GET_SCHEMA()
        assert schema.node_id.startswith("RandAR") and schema.category.startswith("RandAR")
        assert schema.description and schema.search_aliases
        for socket in [*schema.inputs, *schema.outputs]:
            assert socket.tooltip, (schema.node_id, getattr(socket, "id", None))
        assert all(output.display_name for output in schema.outputs)


def test_the_sampler_reads_like_ksampler(pack):
    sockets = inputs_of(pack.nodes["RandARSampler"])
    assert list(sockets)[:5] == ["model", "classes", "seed", "steps", "cfg"]
    assert sockets["seed"].control_after_generate and sockets["seed"].max == SEED_MAX
    assert [name for name, socket in sockets.items() if getattr(socket, "advanced", None)] == [
        "temperature",
        "top_k",
        "top_p",
        "mask_threshold",
        "schedule",
    ]
    assert sockets["steps"].default == 88 and sockets["denoise"].default == 1.0


def test_classes_are_listed_with_number_and_name(pack):
    options = inputs_of(pack.nodes["RandARClass"])["class_name"].options
    assert "207: golden retriever" in options and len(set(options)) == len(options) >= 1000


def test_the_temperature_says_that_of_the_built_in_model(pack):
    own = pack.module("randar_core.checkpoints.model").open_model("builtin").defaults.temperature
    assert f"the built-in model {own:g}," in inputs_of(pack.nodes["RandARSampler"])["temperature"].tooltip
