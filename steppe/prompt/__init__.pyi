"""The names of steppe.prompt; see core/lazy.py."""

from .breaker import Breaker as Breaker
from .budget import Budget as Budget
from .budget import BudgetedClient as BudgetedClient
from .cache import CachedClient as CachedClient
from .cache import ReplayError as ReplayError
from .chat import AbstractClient as AbstractClient
from .chat import BudgetError as BudgetError
from .chat import ChatError as ChatError
from .chat import ChatResult as ChatResult
from .chat import Message as Message
from .chat import Request as Request
from .chat import Usage as Usage
from .client import HTTPClient as HTTPClient
from .scripted import FunctionClient as FunctionClient
from .scripted import ScriptedClient as ScriptedClient
from .wire import Limits as Limits
