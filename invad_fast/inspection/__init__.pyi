from .inspector import Inspector as Inspector
from .part import Reason as Reason
from .part import Result as Result
from .part import Ticket as Ticket
from .part import View as View
from .recipe import Recipe as Recipe
