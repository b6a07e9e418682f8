from . import send
from . import settle
