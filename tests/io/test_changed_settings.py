"""What differs between two runs, in words."""

import json

from hypothesis import given
from hypothesis import strategies as st

from randar_core.io.changed_settings import changed_settings

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


def test_every_setting_that_differs_is_named_with_both_values():
    before = {"seed": 0, "loop": {"batch": 4, "rate": 0.1}, "gone": 1}
    now = {"seed": 1, "loop": {"batch": 2, "rate": 0.1}, "new": "x"}
    assert changed_settings(before, now) == [
        "gone: 1 then, not set now",
        "loop.batch: 4 then, 2 now",
        "new: not set then, x now",
        "seed: 0 then, 1 now",
    ]


def test_a_setting_that_is_none_is_one_that_is_not_set():
    assert changed_settings({}, {"width": None}) == [] == changed_settings({"width": None}, {})


@given(st.dictionaries(st.text(), VALUES))
def test_what_comes_back_from_json_has_not_changed(settings):
    assert changed_settings(json.loads(json.dumps(settings)), settings) == []


def test_a_tuple_is_the_list_that_json_makes_of_it():
    assert changed_settings({"extent": [0.3, [1, 2]]}, {"extent": (0.3, (1, 2))}) == []
