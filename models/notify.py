def notification(kind, message, then="close"):
    """A client action that shows a notification.

    :param str kind: ``success``, ``info``, ``warning`` or ``danger``; a success goes away by itself.
    :param str then: ``close`` the dialogue, or ``reload`` the page.
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
            "sticky": kind != "success",
            "type": kind,
            "next": following[then],
        },
    }
