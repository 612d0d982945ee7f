from . import audit as audit
from . import checkpoints as checkpoints
from . import schema as schema
from .ledger import Ledger as Ledger
from .outbox import Outbox as Outbox
from .rows import Decision as Decision
from .rows import ViewRow as ViewRow
