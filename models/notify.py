def notification(kind, message, then="close", sticky=None):
    """A client action that shows a notification.

    :param str kind: ``success``, ``info``, ``warning`` or ``danger``; a success goes away by itself.
    :param str then: ``close`` the dialogue, or ``reload`` the page.
    :param bool sticky: whether it stays until it is closed; None: all but a success.
    """
    following = {
        "close": {"type": "ir.actions.act_window_close"},
        "reload": {"type": "ir.actions.client", "tag": "soft_reload"},
    }
    return {
        "type": "ir.actions.client",
        "tag": "display_notification",
        "params": {
            "message": message,
            "sticky": kind != "success" if sticky is None else sticky,
            "type": kind,
            "next": following[then],
        },
    }
