"""One program, frozen as one file and as a directory: built once a run, for all tests of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from frozen.apps import App, Built, build

from support import built_once

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Both binaries."""
    place = built_once("frozen-app", tmp_path_factory, functools.partial(build, "app"))
    return Built(place / "onefile", place / "onedir.d" / "onedir", (place / "log").read_text())


@pytest.fixture(scope="session")
def built_around_mp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that uses multiprocessing, which no other test may drag in."""
    place = built_once("frozen-mp_app", tmp_path_factory, functools.partial(build, "mp_app"))
    return place / "mp.d" / "mp"


@pytest.fixture(params=["onefile-early", "onefile-library", "onedir-early", "onedir-library"])
def app(request: pytest.FixtureRequest, built: Built, tmp_path: Path) -> App:
    """Every binary in every way to begin."""
    form, origin = request.param.split("-")
    return App(getattr(built, form), origin, tmp_path)
