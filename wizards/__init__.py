from . import send, settle
