import torch
from transformers import DynamicCache, LlamaConfig
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    StaticLayer,
)

from tod.engine.sampling.cache import ROOMY_FROM, RoomyLayer, new_cache, uncovered


def states(seed, rows, length):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 2, length, 4, generator=generator) for _ in range(2)]


def test_roomy_layer_holds_what_the_plain_one_holds():
    plain, roomy = DynamicLayer(), RoomyLayer(500)
    rows = 3
    script = [("update", 5), ("repeat", 4)] + [("update", 1)] * 70  # beyond its first room
    script += [("select", [7, 2, 2, 0, 11]), ("update", 1), ("select", [4, 1]), ("update", 2)]
    script += [("reorder", [1, 0]), ("update", 1), ("crop", -3), ("update", 1), ("select", [0])]
    script += [("update", 90), ("update", 1)]
    for step, (action, value) in enumerate(script):
        if action == "update":
            new = states(step, rows, value)
            for ours, theirs in zip(roomy.update(*new), plain.update(*new), strict=True):
                assert torch.equal(ours, theirs)
        elif action == "repeat":
            rows *= value
            for layer in (plain, roomy):
                layer.batch_repeat_interleave(value)
        elif action == "crop":
            for layer in (plain, roomy):
                layer.crop(value)
        else:
            rows = len(value)
            name = "batch_select_indices" if action == "select" else "reorder_cache"
            for layer in (plain, roomy):
                getattr(layer, name)(torch.tensor(value))
        assert roomy.get_seq_length() == plain.get_seq_length()
        assert torch.equal(roomy.keys, plain.keys)
        assert torch.equal(roomy.values, plain.values)


def test_roomy_layer_writes_in_place():
    layer = RoomyLayer(500)
    layer.update(*states(0, 2, 5))
    layer.batch_repeat_interleave(2)
    places = set()
    for step in range(60):
        layer.update(*states(step, 4, 1))
        places.add(layer.keys.data_ptr())
    assert len(places) == 1


def test_prompt_states_are_not_overwritten():
    layer = RoomyLayer(8)
    prompt = states(0, 2, 3)
    kept = prompt[0].clone()
    layer.update(*prompt)
    layer.update(*states(1, 2, 1))
    assert torch.equal(prompt[0], kept)


def test_reset_forgets():
    layer = RoomyLayer(8)
    layer.update(*states(0, 2, 3))
    layer.reset()
    assert layer.get_seq_length() == 0
    new = states(1, 5, 2)
    assert torch.equal(layer.update(*new)[0], new[0])


def test_cache_is_chosen_by_length():
    config = LlamaConfig(num_hidden_layers=2)
    assert {type(x) for x in new_cache(config, ROOMY_FROM - 1).layers} == {DynamicLayer}
    assert {type(x) for x in new_cache(config, ROOMY_FROM).layers} == {RoomyLayer}
    config.layer_types, config.sliding_window = ["sliding_attention", "full_attention"], 4
    kinds = [type(x) for x in new_cache(config, ROOMY_FROM).layers]
    assert kinds == [DynamicSlidingWindowLayer, RoomyLayer]


def test_layers_without_the_batch_methods_are_named():
    cache = DynamicCache(config=LlamaConfig(num_hidden_layers=2))
    assert uncovered(cache) is None
    for layer in (LinearAttentionLayer(), StaticLayer(8)):
        cache.layers[1] = layer
        assert f"cache layer 1 ({type(layer).__name__})" in uncovered(cache)
