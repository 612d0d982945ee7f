from .ledger import Ledger as Ledger
from .rows import Decision as Decision
from .rows import ViewRow as ViewRow
