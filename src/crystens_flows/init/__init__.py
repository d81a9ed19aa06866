"""Files that put the stores and a workflow manager into place on a machine."""

from crystens_flows.init.files import Backend, ConfigFile, config_files, default_folder
from crystens_flows.init.place import Placed, place
from crystens_flows.init.surroundings import Partition, Surroundings, look_around

__all__ = [
    "Backend",
    "ConfigFile",
    "Partition",
    "Placed",
    "Surroundings",
    "config_files",
    "default_folder",
    "look_around",
    "place",
]
