from . import settle
