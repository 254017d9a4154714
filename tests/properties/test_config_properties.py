"""Whatever configuration makes sense survives JSON, replacement and copies; whatever does not is one clear error."""

import contextlib
import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st
from strategies import configs

import clipdiy_lab as lab
from clipdiy_lab.errors import ConfigError

FIELDS = [field.name for field in dataclasses.fields(lab.Config)]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(configs())
def test_json_there_and_back(config):
    again = lab.Config.from_json(config.to_json())
    assert again == config
    assert hash(again) == hash(config)
    assert again.to_json() == config.to_json()
    assert again.weights == config.weights
    assert repr(again) == repr(config)
    json.loads(config.to_json(), parse_constant=lambda name: 1 / 0)  # strict JSON: no NaN, no Infinity


@given(configs(), configs())
def test_replacing_what_changed_gives_the_other(one, other):
    changed = one.changed(other)
    assert set(changed) == set(one.changed(other, "encode")) | set(one.changed(other, "fuse"))
    assert one.replace(**{name: getattr(other, name) for name in FIELDS}) == other
    assert (changed == ()) == (one == other)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), anything, max_size=3))
def test_any_json_is_a_configuration_or_one_clear_error(values):
    with contextlib.suppress(ConfigError):
        config = lab.Config.from_json(json.dumps(values))
        assert lab.Config.from_json(config.to_json()) == config


@given(st.text() | st.binary())
def test_any_text_is_a_configuration_or_one_clear_error(text):
    with contextlib.suppress(ConfigError):
        lab.Config.from_json(text)


@given(st.sampled_from(FIELDS), anything)
def test_any_value_is_kept_plain_or_refused(knob, value):
    with contextlib.suppress(ConfigError):
        config = lab.Config(**{knob: value})
        assert lab.Config.from_json(config.to_json()) == config
