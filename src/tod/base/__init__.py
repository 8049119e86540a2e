"""Arrays of either library, segment algebra, specs and errors."""

from tod.base.arrays import *
from tod.base.errors import *
from tod.base.groups import *
from tod.base.spec import *
from tod.base.unknown import *
from tod.base.yaml_data import *
