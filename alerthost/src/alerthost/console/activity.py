"""The page *Activity*: the changes by operators."""

from __future__ import annotations

from alerthost.console.view import MOST, Html, View


def show_list(view: View) -> Html:
    """List the changes by operators, the newest first."""
    page = view.admin.lists.activity(view.after, MOST)
    return Html("activity.html", {"rows": page.rows, "after": page.after})
