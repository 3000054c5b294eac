"""A mount without a kernel."""

import pytest

from tests.vfs.world import World, memory_directory


@pytest.fixture
def memory_path():
    with memory_directory() as path:
        yield path


@pytest.fixture
def new_world(memory_path, nursery):
    """Return a function that builds a mount with other options on a disk of its own."""
    made = []

    def new_world(**options):
        options = {"root": memory_path / str(len(made)), **options}
        made.append(World(nursery=nursery, **options))
        return made[-1]

    yield new_world
    for world in made:
        world.staging.close()


@pytest.fixture
def world(new_world):
    return new_world()
