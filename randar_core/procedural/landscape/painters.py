"""The classes: which layers and things make each of them."""

from collections.abc import Callable

from .city import paint_skyline
from .layout import CELL, Layer, Layout, snap
from .painter import Painter
from .relief import paint_dunes, paint_hills, paint_peaks
from .sky import paint_aurora, paint_open_sky, paint_sky
from .things import Random, put_balloons, put_boats, put_castle, put_house, put_lighthouse, put_trees
from .water import paint_water, paint_waves
from .woods import paint_row_of_firs


def backdrop(painter: Painter, scene: Layout, random: Random) -> None:
    """Sky, clouds and what rises at the horizon."""
    paint_open_sky(painter, scene)
    if scene.far == 1:
        paint_hills(painter, scene, random, Layer(scene.horizon - 0.02, 1 / 1.1, 0.1, scene.haze), "fir")
    elif scene.far == 2:
        paint_peaks(painter, scene, random, Layer(scene.horizon + 0.02, 0.34, 0.2, scene.haze))


def countryside(painter: Painter, scene: Layout, random: Random) -> None:
    """Backdrop, a hill in the middle ground and one in front."""
    backdrop(painter, scene, random)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.04, 1 / 0.9, 0.1, 0.4 * scene.haze))
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.2, 1 / 0.6, 0.07))


def sea(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    if scene.far == 1:
        paint_hills(painter, scene, random, Layer(scene.horizon - 0.01, 1 / 1.1, 0.08, scene.haze), "fir")
    paint_water(painter, scene, scene.horizon)
    paint_waves(painter, scene, random, scene.horizon, rows=3)


def mountains(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.1, 0.34, 0.36, scene.haze), snow=0.4)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.2, 0.5, 0.42, 0.35 * scene.haze), snow=0.4)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.16, 1 / 0.8, 0.08, 0.3 * scene.haze), "fir")
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.27, 1 / 0.5, 0.06), "fir")


def desert(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.05, 0.42, 0.16, scene.haze), near=0.0)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.2, 0.62, 0.2, 0.4 * scene.haze), near=0.4)
    paint_dunes(painter, scene, random, Layer(scene.horizon + 0.42, 0.9, 0.24), near=1.0)


def forest(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.02, 0.1, 0.2, scene.haze))
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.14, 0.15, 0.33, 0.5 * scene.haze))
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.3, 0.22, 0.46))


def city(painter: Painter, scene: Layout, random: Random) -> None:
    paint_open_sky(painter, scene)
    foot = snap(scene.horizon + 0.14, CELL / 2)
    paint_skyline(painter, scene, random, Layer(foot, 0.13, 0.44, 0.85 * scene.haze), windows=False)
    paint_skyline(painter, scene, random, Layer(foot, 0.17, 0.32, 0.1), windows=True)
    paint_water(painter, scene, foot)


def aurora(painter: Painter, scene: Layout, random: Random) -> None:
    paint_sky(painter, scene)
    paint_aurora(painter, scene, random)
    paint_peaks(painter, scene, random, Layer(scene.horizon + 0.14, 0.36, 0.2, 0.5 * scene.haze), snow=0.5)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.16, 1 / 0.7, 0.06, 0.1), "snow")
    paint_row_of_firs(painter, scene, random, Layer(scene.horizon + 0.36, 0.24, 0.3))


def house(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    put_house(painter, scene, random)


def lighthouse(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    paint_water(painter, scene, scene.horizon + CELL)
    put_lighthouse(painter, scene, random)


def tree(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    put_trees(painter, scene, random)


def sailing_boat(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    paint_water(painter, scene, scene.horizon)
    put_boats(painter, scene, random)


def hot_air_balloon(painter: Painter, scene: Layout, random: Random) -> None:
    countryside(painter, scene, random)
    put_balloons(painter, scene, random)


def castle(painter: Painter, scene: Layout, random: Random) -> None:
    backdrop(painter, scene, random)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.04, 1 / 0.9, 0.1, 0.4 * scene.haze))
    put_castle(painter, scene, random)
    paint_hills(painter, scene, random, Layer(scene.horizon + 0.3, 1 / 0.7, 0.07))


CLASSES: dict[str, Callable[[Painter, Layout, Random], None]] = {
    "sea": sea,
    "mountains": mountains,
    "desert": desert,
    "forest": forest,
    "city": city,
    "aurora": aurora,
    "house": house,
    "lighthouse": lighthouse,
    "tree": tree,
    "sailing boat": sailing_boat,
    "hot-air balloon": hot_air_balloon,
    "castle": castle,
}

THINGS = {
    "house": put_house,
    "lighthouse": put_lighthouse,
    "tree": put_trees,
    "sailing boat": put_boats,
    "hot-air balloon": put_balloons,
    "castle": put_castle,
}
"""What puts a thing into a scene. The other classes are scenes."""

GROUNDS = {"sea": "rock", "mountains": "grass", "desert": "sand", "forest": "fir", "city": "leaf", "aurora": "snow"}
"""The material under things of other classes, by scene."""

OTHER_SCENES = {name: tuple(GROUNDS) for name in THINGS} | {"sailing boat": ("sea", "city")}  # where there is water
"""The scenes that a thing may stand in apart from its own."""


def paint_in_other_scene(scene_class: str, name: str, painter: Painter, scene: Layout, random: Random) -> None:
    """The thing `name` in a scene of the class `scene_class`, one of `OTHER_SCENES`."""
    CLASSES[scene_class](painter, scene, random)
    THINGS[name](painter, scene, random, GROUNDS[scene_class])
