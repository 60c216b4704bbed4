from .grid import run_grid as run_grid
from .records import Record as Record
from .records import read_records as read_records
from .records import write_records as write_records
from .run import evaluate as evaluate
