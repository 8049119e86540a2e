"""The run directory: a public, versioned format that survives kill -9 and full disks."""

from tod.runs.atomic import *
from tod.runs.checkpoints import *
from tod.runs.directory import *
from tod.runs.environment import *
from tod.runs.figures import *
from tod.runs.json_lines import *
from tod.runs.lock import *
from tod.runs.manifest import *
from tod.runs.records import *
from tod.runs.table_parts import *
