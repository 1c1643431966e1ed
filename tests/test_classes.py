"""Classes by id and by name."""

import unicodedata

import pytest

from randar_core.classes import condition_text, imagenet_classes, other_meanings, parse_condition, resolve_class
from randar_core.procedural.landscape.pictures import CLASSES as LANDSCAPES
from randar_core.procedural.shapes import CLASSES as SHAPES

NAMES = imagenet_classes()


@pytest.mark.parametrize("wanted", [207, "207", " 207 ", "golden retriever", "Golden_Retriever", "golden-retriever"])
def test_a_class_is_found_by_id_and_by_name(wanted):
    assert resolve_class(wanted, NAMES) == 207


@pytest.mark.parametrize("wanted", [-1, 1000, "1000", "-3"])
def test_an_id_out_of_range_tells_the_range(wanted):
    with pytest.raises(ValueError, match="the classes 0 to 999"):
        resolve_class(wanted, NAMES)


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(ValueError, match=r"Did you mean golden retriever \(207\)"):
        resolve_class("golden retreiver", NAMES)


def test_a_word_of_a_name_suggests_the_names_that_have_it():
    with pytest.raises(ValueError, match=r"Did you mean .*golden retriever \(207\)"):
        resolve_class("retriever", NAMES)


def test_a_name_like_no_other_is_refused():
    with pytest.raises(ValueError, match="no class named 'zzzzqq'"):
        resolve_class("zzzzqq", NAMES)


def test_a_number_that_is_a_name_is_the_name():
    assert [resolve_class(word, ("0", "1", "10", "2")) for word in ("2", 2, "10", "3")] == [3, 3, 2, 3]
    assert resolve_class("1995", ("1994", "1995")) == 1


def test_names_that_differ_in_case_alone_are_told_apart():
    assert (resolve_class("Cardigan", NAMES), resolve_class("cardigan", NAMES)) == (264, 474)
    with pytest.raises(ValueError, match="2 classes are named 'CARDIGAN'; say which by its id: 264, 474"):
        resolve_class("CARDIGAN", NAMES)


def test_a_name_is_found_however_its_accents_are_written():
    names = ("Käse", "crème brûlée")
    assert resolve_class(unicodedata.normalize("NFD", "käse"), names) == 0
    assert resolve_class("Käse", tuple(unicodedata.normalize("NFD", name) for name in names)) == 0


def test_a_wordnet_id_is_answered_with_names_and_numbers():
    with pytest.raises(ValueError, match="'n02099601' is a WordNet id .* Give the class's name or number"):
        resolve_class("n02099601", NAMES)
    assert resolve_class("n02099601", ("n02099601", "n02099602")) == 0


def test_an_unknown_name_shows_the_classes_of_a_model():
    with pytest.raises(ValueError, match="This model has 2 classes: fish, moon"):
        resolve_class("zzzz", ("fish", "moon"))


def test_the_other_meanings_of_a_word_are_known():
    crane, bird = resolve_class("crane", NAMES), resolve_class("crane bird", NAMES)
    assert other_meanings(crane, NAMES) == [bird] and other_meanings(bird, NAMES) == []


@pytest.mark.parametrize(
    ("text", "classes", "weights"),
    [
        ("fish", (0,), (1,)),
        ("1", (1,), (1,)),
        ("+1", (1,), (1,)),
        ("0.7*fish + 0.3*moon", (0, 1), (0.7, 0.3)),
        ("fish+moon", (0, 1), (0.5, 0.5)),
        ("fish*3 + 1*moon", (0, 1), (0.75, 0.25)),
        ("30%*moon + 70%*fish", (0, 1), (0.7, 0.3)),
        ("2*0 + .5*1", (0, 1), (0.8, 0.2)),
        ("0*fish + 1*moon", (1,), (1,)),
        ("a+b", (2,), (1,)),
        ("0.5*a*c + 0.5*fish", (0, 3), (0.5, 0.5)),
    ],
)
def test_a_blend_is_read(text, classes, weights):
    found = parse_condition(text, ("fish", "moon", "a+b", "a*c"))
    assert found.classes == classes and found.weights == pytest.approx(weights)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x*fish", "'x' isn't a weight"),
        ("-0.3*fish + moon", "the weight -0.3 is below 0. To steer away"),
        ("0*fish + 0*moon", "at least one must be above 0"),
        ("fish +", "a class is missing"),
        ("+", "a class is missing"),
        ("0.5*", "a class is missing"),
        ("0.5*dog + fish", "no class named 'dog'"),
        ("", "name of a class is empty"),
    ],
)
def test_a_blend_that_makes_no_sense_is_refused(text, match):
    with pytest.raises(ValueError, match=match):
        parse_condition(text, ("fish", "moon"))


def test_a_blend_is_told_as_it_is_read():
    condition = parse_condition("0.7*fish + 0.3*moon", ("fish", "moon"))
    assert parse_condition(condition_text(condition, ("fish", "moon")), ("fish", "moon")) == condition
    assert condition_text(parse_condition("fish", ("fish", "moon")), ("fish", "moon")) == "fish"


@pytest.mark.parametrize("name", sorted(set(SHAPES) - set(LANDSCAPES)))
def test_a_shape_that_the_built_in_model_drew_before_is_answered_with_its_landscapes(name):
    names = ", ".join(LANDSCAPES)
    with pytest.raises(ValueError, match=f"no class named '{name}'. This model has {len(LANDSCAPES)} classes: {names}"):
        resolve_class(name, LANDSCAPES)
