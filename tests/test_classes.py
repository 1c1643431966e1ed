"""Classes by id and by name."""

import pytest

from randar_core.classes import imagenet_classes, resolve_class

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
